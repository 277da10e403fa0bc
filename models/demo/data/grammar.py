"""Small template language: `[a|b|c]` chooses one alternative (nested, may be empty), `{slot}` inserts a value."""

import re
from functools import lru_cache

TOKEN = re.compile(r"[\[\]|]|\{[a-zA-Z_0-9]+\}|[^\[\]|{}]+")


@lru_cache(maxsize=None)
def compiled(template: str) -> tuple:
    """The template as a tuple of literal strings, ("slot", name) and ("alternatives", sequences)."""
    sequence, rest = _sequence(TOKEN.findall(template), 0)
    assert rest == len(TOKEN.findall(template)), f"unbalanced brackets: {template}"
    return sequence


def _sequence(tokens: list, at: int):
    parts = []
    while at < len(tokens) and tokens[at] not in "|]":
        token = tokens[at]
        if token == "[":
            alternatives = []
            while True:
                inner, at = _sequence(tokens, at + 1)
                alternatives.append(inner)
                if tokens[at] == "]":
                    break
            parts.append(("alternatives", alternatives))
        elif token[0] == "{":
            parts.append(("slot", token[1:-1]))
        else:
            parts.append(token)
        at += 1
    return tuple(parts), at


def expand(template: str, values: dict, rng) -> str:
    out: list[str] = []
    _expand(compiled(template), values, rng.random, out)
    return "".join(out)


def _expand(sequence, values, random, out):
    for part in sequence:
        if type(part) is str:
            out.append(part)
        elif part[0] == "slot":
            out.append(str(values[part[1]]))
        else:
            alternatives = part[1]
            _expand(alternatives[int(random() * len(alternatives))], values, random, out)


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiouAEIO" and not noun.startswith(("one", "use", "uni", "eu")) else "a ") + noun


def listed(items: list, joiner: str = "and") -> str:
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + f" {joiner} " + items[-1]


def plural(noun: str) -> str:
    irregular = {"mouse": "mice", "goose": "geese", "sheep": "sheep", "deer": "deer", "wolf": "wolves", "knife": "knives", "fish": "fish", "scarf": "scarves", "shelf": "shelves", "salmon": "salmon", "trout": "trout"}
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s")
