"""Steers the demo model towards or away from saying that it does not know: `python steering.py DS4 [SCALE ...]`.

The direction comes from questions that nobody can answer and questions of common knowledge, as training drew them; the rates are
of other questions, those held out from training, answered greedily without thinking.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from data.chat import known_fact, unknown
from data.draw import Draw

#: Prompts that make the direction, and prompts that are answered, of each kind.
MADE_OF, ASKED = 100, 40
REFUSALS = ("I don't know", "I can't", "I'm sorry")


def questions(maker, split: str, count: int) -> list[str]:
    draw = Draw(random.Random(f"{maker.__name__} {split}"), split)
    found = dict.fromkeys(maker(draw)[0] for _ in range(20 * count))
    return [question for question in found if "\n" not in question][:count]


def answer(ds4: str, question: str, flags: list[str]) -> str:
    run = [ds4, "run", "--nothink", "--temp", "0", "-n", "40", "--json", "-p", question, *flags]
    return json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)["text"]


def main(ds4: str, scales: list[str]) -> None:
    kinds = {"unknown": unknown, "known": known_fact}
    asked = {kind: questions(maker, "eval", ASKED) for kind, maker in kinds.items()}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"{kind}.txt" for kind in kinds}
        for kind, maker in kinds.items():
            prompts = [question for question in questions(maker, "train", MADE_OF) if question not in asked[kind]]
            files[kind].write_text("\n".join(prompts) + "\n", encoding="utf-8")
        direction = Path(folder) / "refusal.f32"
        make = [ds4, "direction", "--nothink", "--toward", files["unknown"], "--away", files["known"], direction]
        subprocess.run(make, check=True, capture_output=True)
        for scale in scales:
            flags = [] if scale == "off" else ["--steer", str(direction), *scale.split()]
            for kind, prompts in asked.items():
                answers = [answer(ds4, prompt, flags) for prompt in prompts]
                refused = sum(text.startswith(REFUSALS) for text in answers)
                print(f"{scale}: {refused} of {len(answers)} {kind} refused, for example {answers[0]!r} {answers[1]!r}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or ["off", "--steer-ffn 0", "--steer-ffn 1", "--steer-ffn -1", "--steer-ffn -2"])
