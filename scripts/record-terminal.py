#!/usr/bin/env python3
"""Records the program in a terminal, and draws what was seen: the recordings and pictures of docs/.

    pip install -r scripts/requirements-recording.txt
    record-terminal.py target/release/ds4 docs/

For each scene NAME it writes NAME.cast (asciicast 2: `asciinema play NAME.cast`) and NAME.svg, the screen at the moment that
the scene names. All scenes are of the demo model: no file and no path of the machine is shown.
"""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import tempfile
import termios
import time
from html import escape
from pathlib import Path

import pyte

COLUMNS, ROWS = 100, 28
# Longest a command may take, seconds.
PATIENCE = 300
TYPING = 0.04
# Pauses of a recording are cut to this.
PAUSE_MAX = 1.5
# Colours by the names of the emulator.
COLOURS = {"black": "#1d2025", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef", "magenta": "#c678dd",
           "cyan": "#56b6c2", "white": "#dcdfe4", "brightblack": "#7f848e", "brightred": "#e06c75", "brightgreen": "#98c379",
           "brightbrown": "#e5c07b", "brightblue": "#61afef", "brightmagenta": "#c678dd", "brightcyan": "#56b6c2", "brightwhite": "#ffffff"}
FOREGROUND, BACKGROUND = "#dcdfe4", "#1d2025"
CELL = (8.4, 18)

# Commands, and keys that are pressed once a text is seen. The picture is taken before the last of those keys, or at the end.
SCENES = {
    "recording-start": [
        (["run", "-p", "What is 57 + 85?"], []),
        (["bench", "--backend", "cpu", "--ctx-start", "128", "--ctx-max", "384", "--step-incr", "128", "-n", "32"], []),
        (["eval", "--only", "tool", "--questions", "3", "--nothink", "-n", "200", "--plain"], []),
    ],
    "recording-eval": [
        (["eval", "--only", "tool", "--only", "recall", "--nothink", "-n", "200"], [("14 of 22", "\x1b[A"), ("READ 1", "q")]),
    ],
}


class Recording:
    def __init__(self):
        self.events, self.now = [], 0.0
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.Stream(self.screen)

    def show(self, text, after):
        self.now += min(after, PAUSE_MAX)
        self.events.append([round(self.now, 3), "o", text])
        # The emulator knows no second screen; nothing that was on the first is drawn after it.
        self.stream.feed(re.sub("\x1b\\[\\?1049[hl]", "\x1b[2J\x1b[H", text))

    def seen(self):
        rows = (self.screen.buffer[y] for y in range(ROWS))
        return "\n".join("".join(row[x].data for x in range(COLUMNS)) for row in rows)

    def cast(self):
        head = {"version": 2, "width": COLUMNS, "height": ROWS, "env": {"TERM": "xterm-256color"}}
        return "\n".join(json.dumps(line, ensure_ascii=False) for line in [head, *self.events]) + "\n"

    def svg(self):
        """The screen as it is, without anything from outside."""
        width, height = COLUMNS * CELL[0] + 16, ROWS * CELL[1] + 16
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace,Menlo,'
                 f'Consolas,\'DejaVu Sans Mono\',monospace" font-size="14"><rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>']
        for y in range(ROWS):
            runs = []
            for x in range(COLUMNS):
                cell = self.screen.buffer[y][x]
                style = (cell.fg, cell.bg, cell.bold, cell.reverse)
                if runs and runs[-1][1] == style:
                    runs[-1][2] += cell.data
                else:
                    runs.append([x, style, cell.data])
            for x, (fg, bg, bold, reverse), text in runs:
                fore, back = colour(fg, FOREGROUND), colour(bg, BACKGROUND)
                fore, back = (back, fore) if reverse else (fore, back)
                left, top = 8 + x * CELL[0], 8 + y * CELL[1]
                if back != BACKGROUND:
                    lines.append(f'<rect x="{left:.1f}" y="{top}" width="{len(text) * CELL[0]:.1f}" height="{CELL[1]}" fill="{back}"/>')
                weight = ' font-weight="bold"' if bold else ""
                # Word by word, so that columns stand below each other in any font.
                for word in re.finditer(r"\S+", text):
                    at, length = left + word.start() * CELL[0], len(word[0]) * CELL[0]
                    lines.append(f'<text x="{at:.1f}" y="{top + 14}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs" '
                                 f'fill="{fore}"{weight}>{escape(word[0])}</text>')
        return "\n".join([*lines, "</svg>"]) + "\n"


def colour(name, default):
    return default if name == "default" else COLOURS.get(name, f"#{name}")


def run(recording, program, args, keys):
    """One command in a terminal of its own; the picture before its last key, if it has keys."""
    shown = " ".join(f'"{arg}"' if " " in arg else arg for arg in ["ds4", *args])
    recording.show("\x1b[32m$\x1b[0m ", 0.5)
    for letter in shown:
        recording.show(letter, TYPING)
    recording.show("\r\n", 0.3)
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"TERM": "xterm-256color", "LANG": "C.UTF-8", "DS4_CONFIG": "", "DS4_GGUF_DIR": "/nonexistent",
                    # Vulkan drivers write a line of their own where it is not set.
                    "XDG_RUNTIME_DIR": tempfile.gettempdir()}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(program, ["ds4", *args], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    keys, picture, begin, last = list(keys), None, time.monotonic(), time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            text = decoder.decode(piece)
            now = time.monotonic()
            recording.show(text, now - last)
            last = now
        if keys and keys[0][0] in recording.seen():
            if len(keys) == 1:
                picture = recording.svg()
            os.write(terminal, keys.pop(0)[1].encode())
    else:
        os.kill(pid, 9)
        sys.exit(f"{shown} did not end in {PATIENCE} s; the screen:\n{recording.seen()}")
    os.waitpid(pid, 0)
    if keys:
        sys.exit(f"{shown} ended before {keys[0][0]!r} was seen; the screen:\n{recording.seen()}")
    return picture


def main():
    program, folder = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
    for name, commands in SCENES.items():
        recording, picture = Recording(), None
        for args, keys in commands:
            picture = run(recording, program, args, keys) or picture
        recording.show("\x1b[32m$\x1b[0m ", 0.5)
        for suffix, content in [("cast", recording.cast()), ("svg", picture or recording.svg())]:
            path = folder / f"{name}.{suffix}"
            path.write_text(content)
            print(f"{path}: {path.stat().st_size} bytes")


main()
