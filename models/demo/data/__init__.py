"""Training documents by kind. Every module has `generate(draw, context) -> list[Segment]`.

`context` is the longest document wanted, in tokens: a hint that generators follow roughly.
"""

import random

from . import about, arithmetic, chat, docs, recall, story, tools
from .draw import Draw

KINDS = {
    "story": story.generate,
    "docs": docs.generate,
    "chat": chat.generate,
    "arithmetic": arithmetic.generate,
    "about": about.generate,
    "tools": tools.generate,
    "recall": recall.generate,
}


def generate(kind: str, rng: random.Random, split: str = "train", context: int = 1024):
    return KINDS[kind](Draw(rng, split), context)
