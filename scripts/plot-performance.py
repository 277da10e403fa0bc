#!/usr/bin/env python3
"""Draws the table "On a GPU" of docs/performance.md as docs/performance-gpu.svg.

    plot-performance.py            # writes the picture
    plot-performance.py --check    # fails if it is not that of the table
"""

import math
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 60, 110, 36, 40
# Panels: title, and columns of the table by their names' place.
PANELS = [("prefill, tokens/s", {"ds4": 1, "C program": 3, "llama.cpp": 4}), ("decode, tokens/s", {"ds4": 5, "C program": 7, "llama.cpp": 8})]
HEAD = ["tokens", "prefill", "wanted", "C program", "llama.cpp", "decode", "wanted", "C program", "llama.cpp"]
# Told apart by people with any colour vision.
COLOURS = {"ds4": "#0072b2", "C program": "#d55e00", "llama.cpp": "#009e73"}


def table(text):
    """Rows of numbers below the head."""
    cells = [[cell.strip(" *") for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    start = cells.index(HEAD) + 2
    rows = []
    for row in cells[start:]:
        if len(row) != len(HEAD) or not re.fullmatch(r"[\d,]+", row[0]):
            break
        rows.append([float(cell.replace(",", "")) if re.fullmatch(r"[\d,.]+", cell) else None for cell in row])
    return rows


def panel(top, title, columns, rows):
    values = [row[column] for column in columns.values() for row in rows if row[column] is not None]
    step = 10 ** math.floor(math.log10(max(values)))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if max(values) / (step * part) <= 6)
    most = step * math.ceil(max(values) / step)
    logs = [math.log2(row[0]) for row in rows]
    def x(log):
        return LEFT + (WIDTH - LEFT - RIGHT) * (log - logs[0]) / (logs[-1] - logs[0])
    def y(value):
        return top + HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most
    lines = [f'<text x="{LEFT}" y="{top + 20}" font-weight="bold">{title}</text>']
    value = 0
    while value <= most:
        lines.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
        value += step
    for row, log in zip(rows, logs):
        lines.append(f'<text x="{x(log):.1f}" y="{top + HEIGHT - BOTTOM + 18}" text-anchor="middle">{row[0]:,.0f}</text>')
    for name, column in columns.items():
        points = [(x(log), y(row[column])) for row, log in zip(rows, logs) if row[column] is not None]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in points)
        lines.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        lines += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{COLOURS[name]}"/>' for px, py in points]
        lines.append(f'<text x="{points[-1][0] + 10:.1f}" y="{points[-1][1] + 4:.1f}" fill="{COLOURS[name]}">{name}</text>')
    return lines


def svg(rows):
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {2 * HEIGHT}" font-family="sans-serif" font-size="12">',
             "<title>H200, full-shape file: tokens a second by length of the context</title>", '<rect width="100%" height="100%" fill="#fff"/>']
    for index, (title, columns) in enumerate(PANELS):
        lines += panel(index * HEIGHT, title, columns, rows)
    return "\n".join([*lines, "</svg>"]) + "\n"


picture, path = svg(table((DOCS / "performance.md").read_text())), DOCS / "performance-gpu.svg"
if "--check" not in sys.argv:
    path.write_text(picture)
elif not path.exists() or path.read_text() != picture:
    sys.exit("docs/performance-gpu.svg is not that of the table; run python3 scripts/plot-performance.py")
