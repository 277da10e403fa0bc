"""Draws the loss curves of a run: `python plot.py log.csv loss.svg`."""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

#: Steps whose losses are averaged.
SMOOTH = 10


def main(log: Path, picture: Path) -> None:
    training, kinds = [], defaultdict(list)
    for row in csv.DictReader(log.open()):
        point = int(row["tokens"]) / 1e6, float(row["main"])
        (kinds[row["kind"]] if row["kind"] else training).append(point)
    matplotlib.rcParams["svg.hashsalt"] = "ds4"
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    smooth = [sum(loss for _, loss in training[max(0, i - SMOOTH) : i + 1]) / (i + 1 - max(0, i - SMOOTH))
              for i in range(len(training))]
    axes.plot([tokens for tokens, _ in training], smooth, color="0.6", label="training, mixed")
    for kind, points in sorted(kinds.items()):
        axes.plot(*zip(*points), marker="o", markersize=3, label=f"validation: {kind}")
    axes.set(xlabel="million tokens", ylabel="loss (nats a token)", yscale="log")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
