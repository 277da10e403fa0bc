"""Random choices that keep training and evaluation apart.

A value is *held out* when a stable hash of its text says so; training never draws such a value and evaluation draws no other
(unless a list is too short to have one). Phrasings are held out in the same way, but evaluation uses them only in part.
"""

import functools
import json
import random
import zlib
from pathlib import Path

HELD_OUT_SHARE = 10  # one value in ten
HELD_OUT_PHRASE_SHARE = 0.3  # how often evaluation prefers a phrasing that training never saw
SHORTEST_LIST_TO_SPLIT = 5

CONSONANTS = "b c d f g h k l m n p r s t v w z".split()
CLUSTERS = "br ch cl cr dr fl gl gr pl pr sh sk sl sm st th tr".split()
VOWELS = "a e i o u a e i o ai ea oo".split()
ENDINGS = ["", "", "", "n", "r", "l", "s", "m", "t", "x", "k", "nd", "rn", "st"]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
HEX = "0123456789abcdef"
VOCABULARY_SHARE = 0.25  # of the made-up words of training
SHORTEST_VOCABULARY_WORD = 4


def held_out(text: str) -> bool:
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


@functools.cache
def vocabulary_words() -> list:
    """Lower-case words that are one token, so that training copies tokens that no list of values holds."""
    vocabulary = json.loads((Path(__file__).parent.parent / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted(token[1:] for token in vocabulary if token[0] == "Ġ" and token[1:].isascii() and token[1:].isalpha() and token[1:].islower())
    return [word for word in words if len(word) >= SHORTEST_VOCABULARY_WORD and not held_out(word)]


class Pool:
    """A list of values, divided once into what training and what evaluation may draw."""

    def __init__(self, values, key=str):
        self.values = list(values)
        self.train = [value for value in self.values if not held_out(key(value))]
        self.eval = [value for value in self.values if held_out(key(value))]
        if len(self.values) < SHORTEST_LIST_TO_SPLIT or not self.eval or not self.train:
            self.train = self.eval = self.values


# By identity of the list, which is kept alive here, so that its id stays its own. Only constant lists are that long.
PHRASE_POOLS: dict[int, tuple[list, Pool]] = {}


class Draw:
    def __init__(self, rng: random.Random, split: str):
        self.rng = rng
        self.split = split
        self.is_eval = split == "eval"
        self.random = rng.random
        self.any = rng.choice  # a choice that need not be kept apart
        self.integer = rng.randint

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, pool: Pool):
        return self.rng.choice(pool.eval if self.is_eval else pool.train)

    def pick_or_word(self, pool: Pool, share: float = 0.5):
        """In training often any word instead: else a short list is learnt by heart and a held-out value never said."""
        if not self.is_eval and self.chance(share):
            return self.word()
        return self.pick(pool)

    def several(self, pool: Pool, count: int) -> list:
        values = pool.eval if self.is_eval else pool.train
        if len(values) < count:
            values = pool.values
        return self.rng.sample(values, count)

    def phrase(self, templates: list):
        """One of several phrasings; of a list that is not too short, a tenth is kept for evaluation."""
        if len(templates) < SHORTEST_LIST_TO_SPLIT:
            return self.rng.choice(templates)
        entry = PHRASE_POOLS.get(id(templates))
        if entry is None:
            entry = PHRASE_POOLS[id(templates)] = (templates, Pool(templates, key=repr))
        pool = entry[1]
        if not self.is_eval:
            return self.rng.choice(pool.train)
        if pool.eval is not pool.train and self.chance(HELD_OUT_PHRASE_SHARE):
            return self.rng.choice(pool.eval)
        return self.rng.choice(pool.train)

    def made(self, make) -> str:
        """A random value on this split's side of the hash."""
        while True:
            value = make()
            if held_out(value) == self.is_eval:
                return value

    # Random-looking values -------------------------------------------------------------------------------------------

    def _syllables(self, count: int) -> str:
        rng = self.rng
        parts = []
        for _ in range(count):
            parts.append(rng.choice(CLUSTERS) if rng.random() < 0.2 else rng.choice(CONSONANTS))
            parts.append(rng.choice(VOWELS))
        return "".join(parts) + rng.choice(ENDINGS)

    def word(self) -> str:
        """A made-up lower-case word; in training sometimes one that is a single token."""
        if not self.is_eval and self.chance(VOCABULARY_SHARE):
            return self.any(vocabulary_words())
        return self.made(lambda: self._syllables(self.rng.choice((2, 2, 3))))

    def made_name(self) -> str:
        return self.made(lambda: self._syllables(2).capitalize())

    def digits(self, count: int) -> str:
        return self.made(lambda: str(self.rng.randrange(10 ** (count - 1), 10**count)))

    def letters(self, count: int) -> str:
        return self.made(lambda: "".join(self.rng.choices(LETTERS, k=count)))

    def code(self) -> str:
        """A short code in one of several shapes: 7413, KX-204, B7R2, 9fa03c."""
        rng = self.rng

        def make():
            shape = rng.randrange(6)
            if shape <= 1:
                return str(rng.randrange(1000, 10000))
            if shape == 2:
                return "".join(rng.choices(LETTERS, k=2)) + "-" + str(rng.randrange(100, 1000))
            if shape == 3:
                return rng.choice(LETTERS) + str(rng.randrange(10)) + rng.choice(LETTERS) + str(rng.randrange(10))
            if shape == 4:
                return "".join(rng.choices(HEX, k=6))
            return str(rng.randrange(10000, 1000000))

        return self.made(make)

    def made_port(self) -> str:
        return self.made(lambda: str(self.rng.randrange(1024, 65536)))
