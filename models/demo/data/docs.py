"""Real prose: paragraphs of freely licensed documentation, extracted by extract_docs.py into one compressed text file.

The file is not part of the repository; `DEMO_DOCS` names it, or docs.txt.xz beside this package. Texts are separated by a form feed.
"""

import lzma
import os
from functools import lru_cache
from pathlib import Path

from .draw import Pool
from .segment import FULL, Segment, plain_document

CHARACTERS_PER_TOKEN = 3.0  # a careful guess: documentation is denser than stories


def docs_file() -> Path:
    return Path(os.environ.get("DEMO_DOCS") or Path(__file__).parent.parent / "docs.txt.xz")


@lru_cache(maxsize=1)
def texts() -> Pool:
    with lzma.open(docs_file(), "rt", encoding="utf-8") as file:
        found = [text.strip().split("\n\n") for text in file.read().split("\f")]
    return Pool([text for text in found if text], key=lambda paragraphs: paragraphs[0][:200])


def available() -> bool:
    return docs_file().exists()


def passage(draw, characters: int) -> str:
    """Consecutive paragraphs of one text, about that long."""
    pool = texts()
    paragraphs = draw.pick(pool)
    start = draw.rng.randrange(len(paragraphs))
    length, end = 0, start
    while end < len(paragraphs) and (end == start or length + len(paragraphs[end]) < characters):
        length += len(paragraphs[end]) + 2
        end += 1
    return "\n\n".join(paragraphs[start:end])


def generate(draw, context: int) -> list[Segment]:
    characters = int(draw.any((0.25, 0.5, 0.95)) * context * CHARACTERS_PER_TOKEN)
    return plain_document(passage(draw, characters), FULL, finished=False)
