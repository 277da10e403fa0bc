"""Writes the held-out cases in eval/. Deterministic; no value in them (names, codes, number combinations) is drawn in training.

A line of eval/KIND.jsonl: {"id", "kind", "prompt", "tokens", "answer", "check"}.
`prompt` is the rendered prompt (special strings in it are control tokens), `tokens` its ids; where the prompt is long only `tokens` is given.
`answer` is what should follow, judged by `check`:
- "exact": the text after the thinking is the answer;
- "final_contains": the text after the thinking contains the answer, not as a part of a longer word or number;
- "tool_call": from "\\n\\n<｜DSML｜tool_calls>" on everything equals the answer; an empty answer means that no tool may be called;
- "format": the whole turn is well formed (thinking closed once if it was opened, no other special token, EOS at the end).

    python3 make_eval.py
"""

import json
import random
from pathlib import Path

from batches import DocumentTokenizer
from data import about, arithmetic, chat, recall, story, tools
from data.draw import Draw
from data.render import assistant, random_system, render, render_calls, text_of, user

FOLDER = Path(__file__).parent / "eval"
TOKENIZER = DocumentTokenizer()
HELDOUT_CHARACTERS = 60_000
LONG_PROMPT_TOKENS = 3_000
LONG_PROMPT_DISTANCE = range(2_800, 3_201)
LARGEST_TOOL_PROMPT = 1_000  # tokens


def draw_for(name: str) -> Draw:
    return Draw(random.Random(f"eval {name}"), "eval")


def case(kind: str, number: int, segments: list, answer: str, check: str, with_text: bool = True) -> dict:
    ids, _ = TOKENIZER.encode([segments])[0]
    entry = {"id": f"{kind}-{number:03}", "kind": kind}
    if with_text:
        entry["prompt"] = text_of(segments)
    return entry | {"tokens": ids.tolist(), "answer": answer, "check": check}


def write(kind: str, cases: list):
    with open(FOLDER / f"{kind}.jsonl", "w", encoding="utf-8") as file:
        for entry in cases:
            file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")


# Tools -------------------------------------------------------------------------------------------------------------------

TOOL_CASES = {"single": 96, "chain": 36, "parallel": 12, "follow_up": 12, "remembered": 16, "value_missing": 8, "nothing_fits": 10, "small_talk": 10}
NO_CALL = {"nothing_fits", "small_talk"}


def tool_case(draw, scenario: str):
    """The prompt before the turn that is judged, and that turn's calls (none where no tool fits)."""
    before = [tools.choose_scenario(draw)] if draw.chance(0.25) and scenario != "chain" else []
    before = [name for name in before if name != "chain"]
    session = tools.build(draw, before + [scenario], draw.any((1, 2, 3, 4, 5, 6)))
    messages = session.messages
    if scenario in NO_CALL:
        turn = len(messages) - 1
    else:
        calling = [i for i, message in enumerate(messages) if message.calls]
        # Of a chain either the first or the second call is judged.
        turn = calling[-2] if scenario == "chain" and draw.chance(0.4) else calling[-1]
    return session, messages[:turn], messages[turn]


def tool_cases() -> list:
    cases = []
    for scenario, count in TOOL_CASES.items():
        draw = draw_for(f"tools {scenario}")
        made = 0
        while made < count:
            session, prompt, turn = tool_case(draw, scenario)
            style = "ds4" if draw.chance(0.25) else "official"
            segments = render(prompt, draw.chance(0.5), [bound.schema for bound in session.bound], style)
            answer = render_calls(turn.calls) if turn.calls else ""
            if bool(answer) == (scenario in NO_CALL):  # a scenario that fell back to another one
                continue
            entry = case("tools", len(cases), segments, answer, "tool_call", with_text=False)
            if len(entry["tokens"]) > LARGEST_TOOL_PROMPT:
                continue
            cases.append(entry | {"scenario": scenario, "tools": len(session.bound)})
            made += 1
    return cases


# Arithmetic, recall, chat, about -----------------------------------------------------------------------------------------


def arithmetic_cases(count: int = 100) -> list:
    draw = draw_for("arithmetic")
    cases = []
    for number in range(count):
        make = arithmetic.plain_question if number % 2 else arithmetic.word_problem
        question, _, _, result = make(draw)
        segments = render(random_system(draw) + [user(question)], thinking=True)
        cases.append(case("arithmetic", number, segments, str(result), "final_contains"))
    return cases


def recall_case(draw, number: int) -> dict:
    """One question about a fact some 3,000 tokens before it."""
    while True:
        facts = recall.some_facts(draw, draw.any((1, 4, 8)))
        asked = facts[0]
        before = recall.hide(draw, facts[1:], draw.integer(50, 400))
        after = "\n\n".join(recall.filler(draw, LONG_PROMPT_TOKENS))
        text = "\n\n".join(part for part in (before, asked.sentence, after) if part)
        question = draw.any(asked.questions)
        segments = render([user(f"{text}\n\n{question}")], thinking=number % 3 == 0)
        entry = case("recall", number, segments, asked.value, "final_contains", with_text=False)
        position = len(TOKENIZER.plain.encode(f"{before}\n\n{asked.sentence}").ids)
        distance = len(entry["tokens"]) - position
        if distance in LONG_PROMPT_DISTANCE and len(entry["tokens"]) < 4_000:
            return entry | {"question": question, "distance": distance}


def recall_cases(count: int = 50) -> list:
    draw = draw_for("recall")
    return [recall_case(draw, number) for number in range(count)]


def chat_cases(count: int = 200) -> list:
    """Prompts of every shape: one and several turns, thinking and not, some about the program."""
    draw = draw_for("chat")
    cases = []
    for number in range(count):
        messages = random_system(draw)
        for _ in range(draw.any((0, 0, 1, 2))):
            question, answer, reasoning = chat.question_and_answer(draw)
            messages += [user(question), assistant(answer, reasoning)]
        make = draw.any((chat.question_and_answer, chat.question_and_answer, chat.story_request, chat.explanation, chat.unknown, about.question))
        question, answer, _ = make(draw)
        segments = render(messages + [user(question)], thinking=number % 2 == 0)
        cases.append(case("chat", number, segments, answer, "format", with_text=False))
    return cases


def about_cases(count: int = 40) -> list:
    draw = draw_for("about")
    cases, seen = [], set()
    while len(cases) < count:
        question, answer, _ = about.question(draw)
        if question not in seen:
            seen.add(question)
            segments = render(random_system(draw) + [user(question)], thinking=len(cases) % 2 == 0)
            cases.append(case("about", len(cases), segments, answer, "exact"))
    return cases


def heldout_text() -> str:
    """Generated stories and descriptions alone, so that the file is free of other people's texts."""
    draw = draw_for("text")
    parts, size = [], 0
    while size < HELDOUT_CHARACTERS:
        parts.append(story.one_text(draw))
        size += len(parts[-1]) + 2
    return "\n\n".join(parts) + "\n"


def main():
    FOLDER.mkdir(exist_ok=True)
    for kind, cases in (
        ("tools", tool_cases()), ("arithmetic", arithmetic_cases()), ("recall", recall_cases()), ("chat", chat_cases()), ("about", about_cases()),
    ):  # fmt: skip
        write(kind, cases)
        lengths = sorted(len(entry["tokens"]) for entry in cases)
        print(f"{kind:10} {len(cases):4} cases, prompts of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}")
    (FOLDER / "heldout.txt").write_text(heldout_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
