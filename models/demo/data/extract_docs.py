"""Extracts prose from the documentation of a Rust toolchain and of Python into one compressed text file.

    python3 -m data.extract_docs RUST_HTML_FOLDER OUTPUT.txt.xz

Sources and licences (for the model card):
- The Rust documentation of the toolchain (book, reference, nomicon, rust by example, cargo, rustc, rustdoc, clippy and edition books, error
  codes, standard library pages): Apache-2.0 or MIT.
- Documentation strings and language topics of the Python standard library: PSF licence, version 2.
"""

import ast
import html
import lzma
import pydoc_data.topics
import re
import sys
import sysconfig
from pathlib import Path

BOOKS = ["book", "reference", "nomicon", "rust-by-example", "cargo", "rustc", "rustdoc", "clippy", "edition-guide", "style-guide", "embedded-book", "unstable-book", "error_codes"]
LIBRARY_CRATES = ["std", "alloc", "core"]
MAX_BYTES = 24 << 20

BLOCK = re.compile(r"<(p|li|h[1-4])(?:\s[^>]*)?>(.*?)</\1>", re.S)
PRE = re.compile(r"<pre.*?</pre>|<script.*?</script>|<style.*?</style>|<nav.*?</nav>|<table.*?</table>", re.S)
TAG = re.compile(r"<[^>]+>")
SPACE = re.compile(r"\s+")
PLAIN_SIGNS = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...", "\u00a0": " ", "→": "->", "×": "x"})
EXAMPLE = re.compile(r'<div class="example-wrap[^"]*">\s*(?:<a [^>]*>.*?</a>)?\s*</div>', re.S)
ANCHOR = re.compile(r'<a class="(?:doc-anchor|header)".*?</a>', re.S)


def clean(fragment: str) -> str:
    text = html.unescape(TAG.sub("", fragment.replace("<code>", "`").replace("</code>", "`")))
    text = text.translate(PLAIN_SIGNS)
    return SPACE.sub(" ", text.replace("§", "")).strip()


def is_prose(text: str) -> bool:
    """Whole sentences in plain letters."""
    letters = sum(c.isalpha() or c == " " for c in text)
    ascii_share = sum(ord(c) < 128 for c in text)
    return len(text) >= 50 and letters > 0.78 * len(text) and ascii_share >= 0.99 * len(text) and text[-1] in ".:!?" and text.count("`") % 2 == 0


def html_paragraphs(path: Path, only_docblocks: bool) -> list[str]:
    page = path.read_text(encoding="utf-8", errors="ignore")
    page = EXAMPLE.sub("", PRE.sub("", page))
    if only_docblocks:
        page = "".join(re.findall(r'<div class="docblock">(.*?)</div>', page, re.S))
    else:
        page = page.split("<main>")[-1].split("</main>")[0]
    page = ANCHOR.sub("", page)
    return [text for text in (clean(match.group(2)) for match in BLOCK.finditer(page)) if is_prose(text)]


def docstring_paragraphs(path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            found += text_paragraphs(ast.get_docstring(node) or "")
    return found


def text_paragraphs(text: str) -> list[str]:
    paragraphs = [SPACE.sub(" ", paragraph).strip().replace("``", "`") for paragraph in re.split(r"\n\s*\n", text)]
    return [paragraph for paragraph in paragraphs if is_prose(paragraph)]


def main():
    rust, output = Path(sys.argv[1]), sys.argv[2]
    seen: set[str] = set()
    texts, size = [], 0

    def add(paragraphs: list[str]):
        nonlocal size
        fresh = []
        for paragraph in paragraphs:
            if paragraph not in seen:  # the library pages repeat the docs of every trait
                seen.add(paragraph)
                fresh.append(paragraph)
        text = "\n\n".join(fresh)
        if len(text) > 200 and size < MAX_BYTES:
            texts.append(text)
            size += len(text)

    for book in BOOKS:
        for path in sorted((rust / book).rglob("*.html")):
            if path.name != "print.html":
                add(html_paragraphs(path, False))
    print(size, "bytes of books")
    for topic in sorted(pydoc_data.topics.topics):
        add(text_paragraphs(pydoc_data.topics.topics[topic]))
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" not in path.parts and "dist-packages" not in path.parts and "test" not in path.parts:
            add(docstring_paragraphs(path))
    print(size, "bytes with Python")
    for crate in LIBRARY_CRATES:
        for path in sorted((rust / crate).rglob("*.html")):
            if "arch" not in path.parts and "simd" not in path.parts:
                add(html_paragraphs(path, True))
    with lzma.open(output, "wt", encoding="utf-8") as file:
        file.write("\f".join(texts))
    print(len(texts), "texts,", size, "bytes,", Path(output).stat().st_size, "compressed")


if __name__ == "__main__":
    main()
