#!/usr/bin/env python3
"""Every link and inclusion of the Markdown files to a file of this repository leads somewhere, and docs/SUMMARY.md has every page.

    check-links.py [ROOT]
"""

import re
import sys
from pathlib import Path

root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
skip = {"target", ".git", "node_modules"}
pages = [p for p in root.rglob("*.md") if not skip & set(p.relative_to(root).parts)]


def anchors(page):
    """Names of the headings of a page, as its readers' programs make them."""
    found, fenced = set(), False
    for line in page.read_text().splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("#") and not fenced:
            title = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


wrong = []
for page in pages:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\{\{#include ([^}\s]+)\}\}", text):
        if not (page.parent / target).exists():
            wrong.append(f"{page.relative_to(root)}: {target} is not there")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists():
            wrong.append(f"{page.relative_to(root)}: {target} is not there")
        elif anchor and to.suffix == ".md" and anchor not in anchors(to):
            wrong.append(f"{page.relative_to(root)}: {target} has no such heading")
summary = (root / "docs" / "SUMMARY.md").read_text()
for page in (root / "docs").glob("*.md"):
    if page.name != "SUMMARY.md" and f"({page.name})" not in summary:
        wrong.append(f"{page.relative_to(root)} is not in docs/SUMMARY.md")
print("\n".join(wrong) or f"{len(pages)} pages, all links lead somewhere")
sys.exit(bool(wrong))
