"""How often the first drafted token of the MTP block is what the model itself would choose: `python acceptance.py CHECKPOINT_FOLDER`.

Measured for both ways of pairing that engines use: the streams of token p with the embedding of token p + 1, to predict p + 2 (as the block
was trained), and with the embedding of the same token p. Greedy choices, on held-out text and on held-out prompts, texts as given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from export import round_as_trained, round_to_file
from model import Mode, Model, Notes
from train import load_checkpoint

HERE = Path(__file__).parent
#: Tokens of a piece of text, and pieces of each kind.
PIECE, PIECES = 1024, 12
MODE = Mode(rounding=True, top_k=256)


def drafted(model: Model, ids: Tensor, told: Tensor) -> Tensor:
    """The block's greedy choice at each position, from the streams of `ids` and the tokens `told`, `[T]`."""
    known, told = model.padded(ids[None]), model.padded(told[None]).flatten()
    place = model.place(known, isolate=False)
    streams = model.trunk(model.embedding[known.flatten()], known.flatten(), place, MODE, Notes())
    x = model.mtp(streams, model.embedding[told], model.tables(torch.float32)[0], told, place, MODE, Notes())
    return place.split(x @ model.output.T)[0, : len(ids)].argmax(-1)


def pieces() -> dict[str, list[list[int]]]:
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    text = tokenizer.encode((HERE / "eval/heldout.txt").read_text(encoding="utf-8")).ids
    found = {"text": [[0, *text[at : at + PIECE - 1]] for at in range(0, len(text) - PIECE, PIECE)][:PIECES]}
    for kind in ("tools", "arithmetic", "chat"):
        cases = [json.loads(line) for line in (HERE / f"eval/{kind}.jsonl").open(encoding="utf-8")]
        found[kind] = [case["tokens"][:PIECE] for case in cases[: 3 * PIECES]]
    return found


@torch.no_grad()
def main(folder: Path) -> None:
    model, _ = load_checkpoint(folder)
    round_as_trained(model)
    round_to_file(model)
    for kind, texts in pieces().items():
        count, after_next, same, same_after_next = 0, 0, 0, 0
        for ids in map(torch.tensor, texts):
            chosen = model(ids[None], mode=MODE)[0].argmax(-1)  # at p: of token p + 1
            by_next = drafted(model, ids[:-1], ids[1:])
            by_same = drafted(model, ids[:-1], ids[:-1])
            after_next += (by_next == chosen[1:]).sum().item()
            same += (by_same == chosen[:-1]).sum().item()
            same_after_next += (by_same == chosen[1:]).sum().item()
            count += len(ids) - 1
        print(f"{kind}: {count} positions; next-token pairing for p + 2: {after_next / count:.1%}; "
              f"same-token pairing for p + 1: {same / count:.1%}, for p + 2: {same_after_next / count:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
