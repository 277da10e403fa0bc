"""Builds tokenizer.json: byte-level BPE of 4,096 entries with DeepSeek's splitting rules and special strings.

    python3 build_tokenizer.py [--search]

Two decisions serve a small model that has to copy:

- No merge contains a digit, so every digit is a token of its own.
- A word is spelled alike with and without a space or sign in front: merges inside words are learned first, on bare words, and only then merges
  of a leading space (or `_`, `/`, `"`, …) with the first piece of a word. " zorvak" and "zorvak" differ in their first token alone.
"""

import argparse
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

import data
from data import docs
from data.render import DS4_HEAD, TOOLS_HEAD
from data.segment import SPECIAL_STRINGS

VOCABULARY = 4096
OUTPUT = Path(__file__).parent / "tokenizer.json"

NUMBERS = r"\p{N}{1,3}"
CJK = r"[一-龥぀-ゟ゠-ヿ]+"
WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Share of each kind in the sample that merges are learned from, in characters.
SAMPLE = {"story": 0.34, "docs": 0.16, "chat": 0.12, "arithmetic": 0.02, "about": 0.08, "tools": 0.2, "recall": 0.08}
SAMPLE_CHARACTERS = 8_000_000
PREFIX_MERGES = 1500  # merges of a leading space or sign; the best of those that --search tries
TOOL_BLOCK_SHARE = 0.05  # its constant text would drown everything else


def splitter() -> list:
    return [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (NUMBERS, CJK, WORDS)]


def byte_alphabet() -> dict[int, str]:
    """Byte to character, as in GPT-2."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def sample_pieces(characters: int) -> Counter:
    """How often each piece of the splitting rules occurs, in the byte alphabet."""
    split = pre_tokenizers.Sequence(splitter() + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    rng = random.Random(2718)
    pieces: Counter = Counter()
    for kind, share in SAMPLE.items():
        size = 0
        while size < share * characters:
            for text, trusted, _ in data.generate(kind, rng, "train", 1024):
                if text in (TOOLS_HEAD, DS4_HEAD):
                    if rng.random() > TOOL_BLOCK_SHARE:
                        continue
                    text = without_specials(text)
                elif trusted:
                    text = without_specials(text)
                size += len(text)
                for part in text.split("\0"):
                    pieces.update(piece for piece, _ in split.pre_tokenize_str(part))
    return pieces


def without_specials(text: str) -> str:
    for special in SPECIAL_STRINGS:
        text = text.replace(special, "\0")
    return text


def is_prefixed(piece: str) -> bool:
    """A space before anything, or one sign before a word."""
    return len(piece) > 1 and (piece[0] == "Ġ" and piece[1] not in "ĠĊ" or not piece[0].isalnum() and piece[0] not in "ĊĠ" and piece[1].isascii() and piece[1].isalpha())


def core_of(piece: str) -> str:
    return piece[1:] if is_prefixed(piece) else piece


def learn_merges(cores: Counter, count: int) -> tuple[list, dict]:
    """Plain BPE on whole cores, until there are `count` new tokens. Returns the merges and each core's final symbols.

    Two merges may give the same token; both are kept, the token counts once.
    """
    symbols = {core: list(core) for core in cores if not any(c.isdigit() for c in core)}
    pair_counts: Counter = Counter()
    where = defaultdict(set)
    for core, parts in symbols.items():
        for pair in zip(parts, parts[1:]):
            pair_counts[pair] += cores[core]
            where[pair].add(core)
    merges: list = []
    tokens: set[str] = set()
    while len(tokens) < count:
        best = max(pair_counts, key=lambda pair: (pair_counts[pair], pair))
        merges.append(best)
        joined = best[0] + best[1]
        tokens.add(joined)
        for core in list(where[best]):
            parts = symbols[core]
            for pair in zip(parts, parts[1:]):
                pair_counts[pair] -= cores[core]
                where[pair].discard(core)
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(joined)
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            symbols[core] = merged
            for pair in zip(merged, merged[1:]):
                pair_counts[pair] += cores[core]
                where[pair].add(core)
        del pair_counts[best]
    return merges, symbols


def learn(pieces: Counter, prefix_merges: int) -> tuple[list, int]:
    """All merges in rank order, and how many tokens the sample takes with them."""
    cores: Counter = Counter()
    for piece, count in pieces.items():
        cores[core_of(piece)] += count
    inner = VOCABULARY - len(SPECIAL_STRINGS) - 256 - prefix_merges
    merges, symbols = learn_merges(cores, inner)
    heads: Counter = Counter()
    tokens = 0
    for piece, count in pieces.items():
        core = core_of(piece)
        tokens += count * len(symbols.get(core, core))
        if is_prefixed(piece):
            heads[(piece[0], symbols.get(core, core)[0])] += count
            tokens += count
    ranked = sorted(((pair, count) for pair, count in heads.items() if not pair[1].isdigit()), key=lambda entry: (-entry[1], entry[0]))
    chosen = ranked[:prefix_merges]
    return merges + [pair for pair, _ in chosen], tokens - sum(count for _, count in chosen)


def document(merges: list) -> dict:
    """The contents of tokenizer.json."""
    alphabet = byte_alphabet()
    entries = list(dict.fromkeys(SPECIAL_STRINGS + [alphabet[byte] for byte in range(256)] + [one + other for one, other in merges]))
    assert len(entries) == VOCABULARY
    added = [
        {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": i < 3}
        for i, text in enumerate(SPECIAL_STRINGS)
    ]  # fmt: skip
    split = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} for pattern in (NUMBERS, CJK, WORDS)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": split + [byte_level]}, "post_processor": None, "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": {text: i for i, text in enumerate(entries)}, "merges": [list(pair) for pair in merges],
        },
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--characters", type=int, default=SAMPLE_CHARACTERS)
    parser.add_argument("--search", action="store_true", help="try several numbers of prefix merges and print the token counts")
    arguments = parser.parse_args()
    if not docs.available():
        parser.error(f"{docs.docs_file()} is missing: without it other merges are learned (make it with data/extract_docs.py)")
    pieces = sample_pieces(arguments.characters)
    if arguments.search:
        for prefix_merges in (800, 1100, 1300, 1500, 1700, 2000):
            print(prefix_merges, learn(pieces, prefix_merges)[1])
        return
    merges, tokens = learn(pieces, PREFIX_MERGES)
    OUTPUT.write_text(json.dumps(document(merges), ensure_ascii=False, indent=0), encoding="utf-8")
    print(f"{sum(len(piece) * count for piece, count in pieces.items()) / tokens:.2f} bytes a token on the sample")


if __name__ == "__main__":
    main()
