"""Compares scores of `ds4 debug cases --json` with the least that the demo model must reach.

    python3 scripts/check-demo.py CASES.json CHAT.json

The floors are a little below the figures of models/demo/README.md, since another processor may round differently.
"""

import json
import sys

FLOORS = {"arithmetic": 0.96, "tools": 0.80, "recall": 0.80, "about": 0.42, "chat": 0.97}


def main(paths: list[str]) -> int:
    scores = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            scores |= json.load(file)["scores"]
    failed = [kind for kind in FLOORS if kind not in scores]
    for kind, score in scores.items():
        share = score["passed"] / score["cases"]
        print(f"{kind}: {score['passed']} of {score['cases']}, at least {FLOORS[kind]:.0%} wanted")
        if share < FLOORS[kind]:
            failed.append(kind)
    if failed:
        print("below the floor or missing:", ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
