"""Tries the chat page in a headless Chromium.

    python3 scripts/check-page.py http://127.0.0.1:8000 [--shot page.png] [--prompt TEXT]   # a running `ds4 serve`
    python3 scripts/check-page.py --mock [--shots FOLDER] [--only WORD]                       # the page alone

With an address: sends one prompt to the real server, waits for the answer and looks for errors of the page. With --mock
a small stand-in for the server runs inside this script, so that every part of the page can be tried: the answer arrives
piece by piece as each check allows. Needs Chromium (found on the PATH, or named by CHROMIUM) and
`pip install -r scripts/requirements-page.txt`; no browser is downloaded. Exit status: 0 all passed, 1 a check failed,
2 something is missing.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import re
import shutil
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

try:
    from playwright.sync_api import Error as PlaywrightError
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    print("missing: the playwright package (pip install -r scripts/requirements-page.txt)", file=sys.stderr)
    sys.exit(2)

PAGE = Path(__file__).resolve().parent.parent / "crates/server/page/index.html"
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
WAIT_S = 10  # for anything the page or the mock must do
ANSWER_WAIT_S = 300  # for the real server, which may be a debug build on a small machine
TARGET_PX_MIN = 44  # least size of a button on a touch screen

SHOWCASE = """\
A lighthouse is a **tower with a lamp**: it tells a ship *where the land is* before the land can be seen.

## How far it reaches

Two things limit it, the [horizon](https://en.wikipedia.org/wiki/Horizon) and the weather.

1. The horizon. For a lamp `h` metres above the sea it lies about `3.57 * sqrt(h)` kilometres away.
   - An eye in a boat adds its own few kilometres.
   - Refraction adds about 8 % more.
2. The weather. Fog takes ~~a little~~ nearly everything.

| Height of the lamp | Horizon | Seen from a boat |
|---|---:|:---:|
| 10 m | 11.3 km | 17 km |
| 40 m | 22.6 km | 28 km |

```python
from math import sqrt

def horizon_km(height_m: float) -> float:
    return 3.57 * sqrt(height_m)  # a long comment that makes this line wider than any telephone
```

> The keeper counts the flashes; the ship counts them too.
"""
SHOWCASE_THOUGHTS = """\
The question is about how far the light of a lighthouse reaches. The horizon is what counts first: 3.57 times the root of
the height in metres. For 40 m that is 22.6 km.

I should mention the weather, and give a small table.
"""
HOSTILE = """\
<img src=x onerror="window.hit=1"> <script>window.hit=1</script> <b onmouseover=alert(1)>bold</b>
<svg/onload=window.hit=1> <iframe srcdoc="<script>parent.hit=1</script>"></iframe>

[a](javascript:window.hit=1) [b](JaVaScRiPt:window.hit=1) [c](data:text/html,<script>window.hit=1</script>)
[d](&#106;avascript:window.hit=1) [e](java\tscript:window.hit=1) [f](vbscript:x) [g](//evil.invalid) [h](/v1/models)
[i](<javascript:window.hit=1>) ![p](javascript:window.hit=1) ![q](https://evil.invalid/p.png) <javascript:window.hit=1>
[j](https://good.invalid/"onmouseover="window.hit=1) [k](https://good.invalid/?a=<script>)

```"><img src=x onerror=window.hit=1>
</code></pre><img src=x onerror=window.hit=1>
```

| <img src=x onerror=window.hit=1> | b |
|---|---|
| </td><script>window.hit=1</script> | c |
"""


def policy(page: str) -> str:
    """The Content-Security-Policy for the page, as the server builds it: hashes of its one style and one script."""

    def sha(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        assert len(found) == 1, f"the page must have exactly one bare <{tag}>, found {len(found)}"
        return base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{sha('script')}'; style-src 'sha256-{sha('style')}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


class Mock:
    """A server of the API whose next answers are set by the checks."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict, dict]] = []  # (headers, body) of each chat request
        self.script: list = []  # what the next answer does: see `play`
        self.gate = threading.Event()
        self.gone = threading.Event()  # the client went away during an answer
        self.models_status = 200
        mock = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def reply(self, status: int, kind: str, body: bytes, extra: dict | None = None):
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(extra or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/":
                    page = PAGE.read_text(encoding="utf-8")
                    extra = {"Content-Security-Policy": policy(page), "X-Content-Type-Options": "nosniff"}
                    self.reply(200, "text/html; charset=utf-8", page.encode(), extra)
                elif self.path == "/v1/models" and mock.models_status == 200:
                    entry = {"id": "deepseek-v4-flash", "object": "model", "name": "DeepSeek V4 Flash", "context_length": 1048576}
                    other = {"id": "deepseek-chat", "object": "model", "context_length": 1048576}
                    self.reply(200, "application/json", json.dumps({"object": "list", "data": [entry, other]}).encode())
                else:
                    status = 404 if self.path != "/v1/models" else mock.models_status
                    self.reply(status, "application/json", b'{"error":{"message":"no such thing"}}')

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                mock.requests.append((dict(self.headers), body))
                try:
                    mock.play(self, mock.script)
                except (BrokenPipeError, ConnectionResetError):
                    mock.gone.set()
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def set(self, *script) -> None:
        """Sets what the next answers do. Steps: ("think", text), ("say", text), ("gate",) waits until the check lets it go
        on, ("until gone",) keeps talking until the client leaves, ("end", finish reason), ("error", status, message),
        ("event error", message), ("comment", text), ("drop",) ends the stream without a word."""
        self.script = list(script)
        self.gate.clear()
        self.gone.clear()

    def play(self, http, script) -> None:
        if script[0][0] == "error":
            _, status, message = script[0]
            http.reply(status, "application/json", json.dumps({"error": {"message": message}}).encode())
            return
        http.send_response(200)
        http.send_header("Content-Type", "text/event-stream")
        http.end_headers()

        def event(data, name=""):
            http.wfile.write(f"{name}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())
            http.wfile.flush()

        def delta(content, finish=None):
            event({"choices": [{"index": 0, "delta": content, "finish_reason": finish}]})

        delta({"role": "assistant"})
        for step, *rest in script:
            if step in ("think", "say"):
                field = "reasoning_content" if step == "think" else "content"
                for piece in re.findall(r"(?s).{1,7}", rest[0]):
                    delta({field: piece})
            elif step == "gate":
                self.gate.wait(WAIT_S)
                self.gate.clear()
            elif step == "until gone":
                deadline = time.monotonic() + WAIT_S
                while time.monotonic() < deadline:
                    delta({"content": "more "})
                    time.sleep(0.02)
            elif step == "event error":
                event({"error": {"message": rest[0], "type": "server_error"}}, "event: error\n")
            elif step == "comment":
                http.wfile.write(f": {rest[0]}\n\n".encode())
            elif step == "end":
                delta({}, rest[0])
                usage = {"prompt_tokens": 1234, "completion_tokens": 56, "prompt_tokens_details": {"cached_tokens": 1024}}
                event({"choices": [], "usage": usage})
                event("[DONE]")


class Tab:
    """One page in a browser context of its own, with the complaints of its console."""

    def __init__(self, browser, base: str, **options) -> None:
        options.setdefault("viewport", DESKTOP)
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(WAIT_S * 1000)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(base)
        expect(self.page.locator("#model-name")).not_to_be_empty(timeout=WAIT_S * 1000)

    def send(self, text: str) -> None:
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def done(self, wait_s: float = WAIT_S):
        """Waits until no answer is being written; the last answer."""
        expect(self.page.locator("#send")).to_be_visible(timeout=wait_s * 1000)
        return self.page.locator("article.answer").last

    def close(self, expected: str = "") -> None:
        """Ends the tab; complaints other than those that hold `expected` fail the check."""
        found = [text for text in self.complaints if not expected or expected not in text]
        self.context.close()
        assert not found, f"the browser complained: {found}"


def storage(page) -> list[dict]:
    return page.evaluate("Object.keys(localStorage).filter(k => k.startsWith('ds4.chat.')).map(k => JSON.parse(localStorage[k]))")


# Each check takes the mock and a function that opens a tab.


def check_file_fits_a_strict_policy(mock, tab):
    page = PAGE.read_text(encoding="utf-8")
    assert "\r" not in page, "line ends must be \\n: browsers hash the script with \\n"
    policy(page)
    html = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S)
    assert not re.search(r"<(style|script)\b|\sstyle=|\son\w+=", html), "a style attribute or an inline handler"
    code = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"]:
        assert word not in code, f"{word} could make HTML or code of a text"


def check_streams_and_folds_the_thoughts(mock, tab):
    mock.set(("comment", "prefill"), ("gate",), ("think", "First I *think*."), ("gate",), ("say", "Then I **spe"), ("gate",), ("say", "ak**."), ("end", "stop"))
    t = tab()
    t.send("Hello")
    answer = t.page.locator("article.answer")
    expect(answer.locator(".waiting")).to_be_visible()
    expect(answer.locator(".waiting")).to_contain_text("Reading the prompt")
    assert answer.get_attribute("aria-busy") == "true"
    mock.gate.set()
    expect(answer.locator("details .text")).to_have_text("First I think.")
    expect(answer.locator("details .text")).to_be_visible()
    expect(answer.locator("summary")).to_have_text("Thinking…")
    mock.gate.set()
    expect(answer.locator("> .text")).to_have_text("Then I **spe")
    expect(answer.locator("details .text")).to_be_hidden()
    expect(t.page.locator("#stop")).to_be_visible()
    t.page.wait_for_timeout(200)  # a speed is shown only where there was time to measure one
    mock.gate.set()
    t.done()
    expect(answer.locator("> .text strong")).to_have_text("speak")
    expect(answer.locator("summary")).to_contain_text("Thought for")
    expect(answer.locator(".stats")).to_have_text(re.compile(r"^[\d.]+ tokens/s · 56 tokens · prompt 1.234, 1.024 cached · first token after [\d.]+ s$"))
    assert answer.get_attribute("aria-busy") is None
    answer.locator("summary").click()
    expect(answer.locator("details .text")).to_be_visible()
    mock.set(("think", "Quick."), ("say", "Now."), ("end", "stop"))  # all of it within one frame
    t.send("Hello")
    expect(t.done().locator("details .text")).to_be_hidden()
    t.close()


def check_request_carries_the_settings(mock, tab):
    mock.set(("think", "secret thought"), ("say", "ok"), ("end", "stop"))
    t = tab()
    t.page.click("#settings-open")
    for name, value in {"system": "Be brief.", "temperature": "0.5", "top_p": "0.9", "max_tokens": "77", "key": "sk-1"}.items():
        t.page.fill("#" + name, value)
    t.page.fill("#temperature", "9")  # out of range: the last good value stays
    t.page.select_option("#model", "deepseek-chat")
    t.page.keyboard.press("Escape")
    t.page.select_option("#effort", "max")
    t.send("one")
    t.done()
    t.page.reload()
    t.done()
    t.page.fill("#prompt", "two")
    t.page.press("#prompt", "Shift+Enter")
    t.page.type("#prompt", "lines")
    t.page.press("#prompt", "Enter")
    t.done()
    head, body = mock.requests[-1]
    assert head["Authorization"] == "Bearer sk-1", head
    assert body == {
        "model": "deepseek-chat", "stream": True, "stream_options": {"include_usage": True}, "reasoning_effort": "max",
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 77,
        "messages": [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"},
            {"role": "assistant", "content": "ok"}, {"role": "user", "content": "two\nlines"},
        ],
    }, body
    t.close()


def check_stop_reaches_the_server(mock, tab):
    mock.set(("say", "It begins. "), ("until gone",))
    t = tab()
    t.send("Go on for ever")
    expect(t.page.locator("article.answer > .text")).to_contain_text("It begins.")
    t.page.click("#stop")
    answer = t.done()
    assert mock.gone.wait(WAIT_S), "the server was not told"
    expect(answer).to_contain_text("Stopped.")
    expect(answer.locator(".stats")).to_contain_text("about")
    assert storage(t.page)[0]["nodes"][1]["state"] == "stopped"
    t.close()


def check_reload_keeps_conversations(mock, tab):
    mock.set(("say", SHOWCASE), ("end", "stop"))
    t = tab()
    t.send("First conversation")
    before = t.done().locator("> .text").inner_html()
    t.page.click("#new")
    mock.set(("say", "begun "), ("gate",), ("end", "stop"))
    t.send("Second conversation")
    expect(t.page.locator("article.answer > .text")).to_have_text("begun")
    t.page.reload()  # in the middle of the answer
    expect(t.page.locator("article.answer")).to_contain_text("Interrupted.")
    expect(t.page.locator("article.answer > .text")).to_have_text("begun")
    t.page.click("#list .open:has-text('First')")
    expect(t.page.locator("article.user .bubble")).to_have_text("First conversation")
    assert t.page.locator("article.answer > .text").inner_html() == before, "drawn otherwise than it was streamed"
    t.page.go_back()
    expect(t.page.locator("article.user .bubble")).to_have_text("Second conversation")
    t.page.click("#list li.now .icon")
    expect(t.page.locator("#list .open")).to_have_count(1)
    expect(t.page.locator("#welcome")).to_be_visible()
    t.page.click("#notice-act")  # undo
    expect(t.page.locator("#list .open")).to_have_count(2)
    assert len(storage(t.page)) == 2
    t.close()


def check_other_conversation_while_one_streams(mock, tab):
    mock.set(("say", "slowly "), ("gate",), ("say", "done"), ("end", "stop"))
    t = tab()
    t.send("Slow one")
    expect(t.page.locator("article.answer > .text")).to_have_text("slowly")
    t.page.click("#new")
    expect(t.page.locator("#send")).to_be_visible()
    t.page.click("#list .open:has-text('Slow one')")
    expect(t.page.locator("#stop")).to_be_visible()
    expect(t.page.locator("article.answer > .text")).to_have_text("slowly")
    t.page.click("#new")
    mock.gate.set()
    t.page.wait_for_timeout(300)
    t.page.click("#list .open:has-text('Slow one')")
    expect(t.page.locator("article.answer > .text")).to_have_text("slowly done")
    t.close()


def check_hostile_text_is_inert(mock, tab):
    mock.set(("think", HOSTILE), ("say", HOSTILE), ("end", "stop"))
    t = tab()
    t.send(HOSTILE)
    answer = t.done()
    answer.locator("summary").click()
    thread = t.page.locator("#thread")
    for selector in ["img", "script", "iframe", "svg", "b", "[onerror]", "[onmouseover]", "[onload]", "[style]", "object", "form"]:
        assert thread.locator(selector).count() == 0, f"{selector} in the thread"
    links = thread.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links and all(re.match(r"https://(good|evil)\.invalid/[^\"<>]*$", href) for href in links), links
    assert "<script>window.hit=1</script>" in answer.locator("> .text").inner_text()
    t.page.reload()
    t.done()
    assert t.page.evaluate("window.hit") is None
    assert t.page.locator("#title").inner_text().startswith("<img src=x")
    t.close()


def check_errors_can_be_read_and_retried(mock, tab):
    t = tab()
    mock.set(("error", 429, "queue full: 8 requests wait"))
    t.send("Are you there?")
    answer = t.done()
    expect(answer.locator(".trouble")).to_contain_text("queue full: 8 requests wait")
    mock.set(("error", 401, "wrong key"))
    answer.get_by_text("Try again").click()
    expect(t.page.locator(".trouble")).to_contain_text("The API key is under Settings.")
    mock.set(("say", "Half an ans"), ("event error", "decode failed at token 5"))
    t.page.get_by_text("Try again").click()
    expect(t.page.locator(".trouble")).to_contain_text("decode failed at token 5")
    expect(t.page.locator("article.answer > .text")).to_have_text("Half an ans")
    mock.set(("say", "Half"), ("drop",))
    t.page.get_by_text("Try again").click()
    expect(t.page.locator(".trouble")).to_contain_text("broke off")
    mock.set(("say", "cut"), ("end", "length"))
    t.page.get_by_text("Try again").click()
    expect(t.page.locator("article.answer")).to_contain_text("limit of tokens")
    # Of the five answers the two that never said a word are gone.
    assert [n["state"] for n in storage(t.page)[0]["nodes"]] == ["done", "failed", "failed", "done"]
    t.close(expected="Failed to load resource")


def check_server_down(mock, tab):
    t = tab()
    t.context.route("**/v1/**", lambda route: route.abort())
    t.send("Hello?")
    expect(t.done().locator(".trouble")).to_contain_text("cannot be reached")
    t.page.reload()
    expect(t.page.locator("#notice")).to_contain_text("cannot be reached")
    t.context.unroute("**/v1/**")
    t.page.click("#notice-act")
    expect(t.page.locator("#model-name")).to_have_text("DeepSeek V4 Flash")
    expect(t.page.locator("#notice")).to_be_hidden()
    t.close(expected="Failed to load resource")


def check_branches(mock, tab):
    t = tab()
    mock.set(("say", "red"), ("end", "stop"))
    t.send("A colour?")
    t.done()
    mock.set(("say", "blue"), ("end", "stop"))
    t.page.click(".again")
    answer = t.page.locator("article.answer > .text")
    expect(answer).to_have_text("blue")
    t.done()
    expect(t.page.locator(".answer .branch")).to_contain_text("2 of 2")
    t.page.click(".answer .branch button[aria-label='Earlier version']")
    expect(answer).to_have_text("red")
    t.page.click(".change")
    t.page.fill("article.user textarea", "A number?")
    mock.set(("say", "seven"), ("end", "stop"))
    t.page.press("article.user textarea", "Enter")
    expect(answer).to_have_text("seven")
    t.done()
    assert mock.requests[-1][1]["messages"] == [{"role": "user", "content": "A number?"}]
    t.page.reload()
    t.page.click(".user .branch button[aria-label='Earlier version']")
    expect(t.page.locator(".bubble")).to_have_text("A colour?")
    expect(answer).to_have_text("blue")  # the newest answer of that branch
    t.close()


def check_full_storage(mock, tab):
    mock.set(("say", "remembered here only"), ("end", "stop"))
    t = tab()
    t.page.evaluate("""() => { for (let size = 1 << 22; size; size >>= 1) {
        try { for (let i = 0; i < 3; i++) localStorage.setItem("x" + size + i, "y".repeat(size)); } catch {} } }""")
    t.send("Does it fit?")
    t.done()
    expect(t.page.locator("#notice")).to_contain_text("storage is full")
    t.page.click("#new")
    t.page.click("#list .open")
    expect(t.page.locator("article.answer > .text")).to_have_text("remembered here only")
    t.close()


def check_number_of_conversations_is_bounded(mock, tab):
    mock.set(("say", "ok"), ("end", "stop"))
    t = tab()
    t.page.evaluate("""() => { for (let i = 0; i < 200; i++) localStorage.setItem("ds4.chat.c" + i, JSON.stringify({ v: 1,
        id: "c" + i, title: "Old " + i, updated: 1000 + i, leaf: "n", nodes: [{ id: "n", parent: null, role: "user", text: "t", state: "done" }] })) }""")
    t.page.evaluate("localStorage.setItem('ds4.chat.bad', '{\"v\":1,\"id\":5}'); localStorage.setItem('ds4.chat.worse', 'null'); localStorage.setItem('ds4.settings', '[1')")
    t.page.reload()
    expect(t.page.locator("#list .open")).to_have_count(200)
    t.send("One more")
    t.done()
    expect(t.page.locator("#list .open")).to_have_count(200)
    expect(t.page.locator("#notice")).to_contain_text("“Old 0”, was deleted")
    t.close()


MARKDOWN_CASES = {
    "a *b* **c** ***d*** _e_ snake_case_name ~~f~~ 2 * 3": "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong> <em>e</em> snake_case_name <del>f</del> 2 * 3</p>",
    "**open *and `code * b` \\*x\\*": "<p>**open *and <code>code * b</code> *x*</p>",
    "`` a ` b `` and ` alone": "<p><code>a ` b</code> and ` alone</p>",
    "**粗体。**后面": "<p><strong>粗体。</strong>后面</p>",
    "# One\n### Three ###\ntext\nmore\n\n---\n#no": "<h1>One</h1><h3>Three</h3><p>text<br>more</p><hr><p>#no</p>",
    "- a\n- b\n  - c\n\n  d\n- [x] e": "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></ul><p>d</p></li><li><p>☑ e</p></li></ul>",
    "3. a\n   ```sh\n   ls\n   ```\n4. b": None,
    "> q\n> > r\n\nend": "<blockquote><p>q</p><blockquote><p>r</p></blockquote></blockquote><p>end</p>",
    "|a|b|\n|-|:-:|\n|1|`x\\|y`|\n\nend": '<div class="wide" tabindex="0"><table><thead><tr><th class="">a</th><th class="center">b</th></tr></thead><tbody><tr><td class="">1</td><td class="center"><code>x|y</code></td></tr></tbody></table></div><p>end</p>',
    "no|table\n-|x": "<p>no|table<br>-|x</p>",
    "see https://a.invalid/b_c_d. ok": '<p>see <a href="https://a.invalid/b_c_d" target="_blank" rel="noopener noreferrer nofollow">https://a.invalid/b_c_d</a>. ok</p>',
    "[t](https://a.invalid/x_(y) \"title\")": '<p><a href="https://a.invalid/x_(y)" target="_blank" rel="noopener noreferrer nofollow">t</a></p>',
    "\\(a_1 * b_1\\) and $$x*y*z$$ costs $5 * 6$": '<p><span class="math">a_1 * b_1</span> and <span class="math">x*y*z</span> costs $5 * 6$</p>',
    "~~~\n```\n~~~\nx": None,
    "": "",
}


def check_markdown(mock, tab):
    """Known answers; then drawn in pieces, in any pieces, a text looks as it does at once."""
    t = tab()
    whole = "(text) => { const root = document.createElement('div'), m = new Markdown(root); m.push(text); m.render(true); return root.innerHTML; }"
    pieces = """([text, cuts]) => { const root = document.createElement('div'), m = new Markdown(root);
        let at = 0; for (const cut of [...cuts, text.length]) { m.push(text.slice(at, cut)); m.render(); at = cut; } m.render(true); return root.innerHTML; }"""
    for source, wanted in MARKDOWN_CASES.items():
        got = t.page.evaluate(whole, source)
        assert wanted is None or got == wanted, f"{source!r}\n  got    {got}\n  wanted {wanted}"
    rng = random.Random(1)
    bits = ["a|b\n", "-|-\n", "|c|d|\n", "word ", "*", "**", "`", "```\n", "```py\n", "~~~\n", "\n", "\n\n", "- x\n", "  - y\n", "1. z\n", "   ", "> q\n", "# h\n",
            "---\n", "[l](https://a.invalid)", "[", "]", "(", "\\", "$$", "\\(", "_", "<br>", "http://", "-", "=", "|", " "]
    sources = [*MARKDOWN_CASES, SHOWCASE, HOSTILE, *("".join(rng.choices(bits, k=rng.randrange(1, 30))) for _ in range(600))]
    for source in sources:
        wanted = t.page.evaluate(whole, source)
        cuts = sorted(rng.sample(range(len(source) + 1), min(len(source), rng.choice([3, 12, 10**6]))))
        got = t.page.evaluate(pieces, [source, cuts])
        assert got == wanted, f"{source!r} cut at {cuts}\n  got    {got}\n  wanted {wanted}"
    t.close()


def check_drawing_is_linear(mock, tab):
    """Only the last block is drawn anew, and no text makes the page think for long."""
    t = tab()
    longest = t.page.evaluate("""(block) => { const m = new Markdown(document.createElement('div')); let most = 0;
        for (let i = 0; i < 400; i++) for (const word of block.split(/(?<= )/)) { m.push(word); m.render(); most = Math.max(most, m.pending.length); }
        return most; }""", "Some words of a paragraph, *marked* now and then.\n\n```\nfour\nlines\nof\ncode\n```\n\n- one\n- two\n\n")
    assert longest < 250, f"{longest} characters were drawn anew"
    code = t.page.evaluate("""() => { const m = new Markdown(document.createElement('div')); m.push("```\\n"); let most = 0;
        for (let i = 0; i < 5000; i++) { m.push("let x = " + i + ";\\n"); m.render(); most = Math.max(most, m.pending.length); } return most; }""")
    assert code == 0, f"{code} characters of finished code lines were drawn anew"
    for text in ["*", "**a ", "[", "![", "](", "[a](", "`", "`a``", "> ", "- ", "  - x\n", "\\(", "$$", "<", "_a", "| ", "|a|\n", "# ", "https://", "~", "[a](b c ", "```\n", "1. ", "h", "\\[", "a\n", "- a\n\n"]:
        ms = t.page.evaluate("""(text) => { const m = new Markdown(document.createElement('div')); m.push(text.repeat(1e5 / text.length));
            const began = performance.now(); m.render(true); return performance.now() - began; }""", text)
        assert ms < 3000, f"100,000 characters of {text!r} took {ms:.0f} ms"
    t.close()


def check_phone(mock, tab):
    mock.set(("think", SHOWCASE_THOUGHTS), ("say", SHOWCASE + "\n" + "unbroken" * 40), ("end", "stop"))
    t = tab(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    t.send("How far does a lighthouse reach? " + "x" * 200)
    t.done()
    sideways = "() => document.documentElement.scrollWidth > innerWidth || document.getElementById('scroll').scrollWidth > document.getElementById('scroll').clientWidth"
    assert not t.page.evaluate(sideways), "the page scrolls sideways"
    outside = """() => [...document.querySelectorAll("main *")].filter(e => !e.closest("pre, .wide") && e.getBoundingClientRect().right > innerWidth)
        .map(e => e.outerHTML.slice(0, 80))"""
    assert (found := t.page.evaluate(outside)) == [], f"beyond the right edge: {found}"
    assert t.page.evaluate("() => document.body.getBoundingClientRect().height <= innerHeight"), "the page is taller than the screen"
    t.page.click("#menu")
    expect(t.page.locator("#new")).to_be_visible()
    expect(t.page.locator("#new")).to_be_focused()
    t.page.wait_for_timeout(300)  # the drawer slides
    small = """min => [...document.querySelectorAll("button, select, summary")].filter(b => b.checkVisibility({ visibilityProperty: true }) && b.id !== "shade")
        .map(b => [b.id || b.className || b.textContent, b.getBoundingClientRect()]).filter(([, r]) => r.height < min || r.width < 24).map(([n, r]) => n + " " + r.width + "x" + r.height)"""
    assert (found := t.page.evaluate(small, TARGET_PX_MIN)) == [], f"too small to touch: {found}"
    t.page.keyboard.press("Escape")
    expect(t.page.locator("#new")).to_be_hidden()
    t.page.click("#settings-open")
    assert not t.page.evaluate(sideways), "the settings scroll sideways"
    t.close()


def luminance(page, selector: str, name: str) -> float:
    """Relative luminance, as WCAG defines it, of a colour of an element."""
    colour = page.locator(selector).first.evaluate("(e, name) => getComputedStyle(e)[name]", name)
    parts = [float(x) / 255 for x in re.findall(r"[\d.]+", colour)[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def check_light_and_dark(mock, tab):
    mock.set(("think", "hm"), ("say", SHOWCASE), ("end", "stop"))
    for scheme in ["light", "dark"]:
        t = tab(color_scheme=scheme)
        t.send("Colours")
        t.done()
        back = luminance(t.page, "body", "backgroundColor")
        assert (back < 0.05) == (scheme == "dark"), f"{scheme}: background luminance {back}"
        for selector in ["article.answer > .text", ".foot", ".text a", "summary", "#title", ".stats", "#model-name"]:
            text = luminance(t.page, selector, "color")
            ratio = (max(text, back) + 0.05) / (min(text, back) + 0.05)
            assert ratio >= 4.5, f"{scheme}: {selector} has a contrast of {ratio:.2f}, 4.5 is the least that reads well"
        t.close()


def check_everything_has_a_name(mock, tab):
    mock.set(("think", "hm"), ("say", SHOWCASE), ("end", "stop"))
    t = tab()
    t.send("Names")
    t.done()
    t.page.click("#settings-open")
    nameless = t.page.evaluate("""() => [...document.querySelectorAll("button, input, select, textarea")]
        .filter(e => !(e.getAttribute("aria-label") || e.textContent.trim() && e.tagName === "BUTTON" || e.labels?.length) && !e.hidden).map(e => e.outerHTML)""")
    assert nameless == [], nameless
    expect(t.page.locator("#status")).to_have_text("Answer complete")
    t.close()


def check_copy_works_without_the_clipboard_interface(mock, tab):
    mock.set(("say", "```sh\nls -l\n```"), ("end", "stop"))
    t = tab()
    t.page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")  # as on plain http
    t.send("Code")
    copy = t.done().locator(".code .copy")
    copy.click()
    expect(copy).to_have_text("Copied")
    t.page.focus("#prompt")
    t.page.keyboard.press("Control+V")
    assert t.page.input_value("#prompt") == "ls -l\n"
    t.close()


def take_shots(mock, tab, folder: Path):
    """Pictures for looking at."""
    folder.mkdir(parents=True, exist_ok=True)
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    for scheme in ["light", "dark"]:
        for name, options in [("desktop", {}), ("phone", phone)]:
            t = tab(color_scheme=scheme, **options)
            shot = lambda part: t.page.screenshot(path=folder / f"{name}-{scheme}-{part}.png")
            shot("welcome")
            for title in ["Names for a grey cat", "Why is the sea salt?", "A letter to the harbour office"]:
                mock.set(("say", "Well."), ("end", "stop"))
                t.send(title)
                t.done()
                t.page.evaluate("go(null)")
            mock.set(("think", SHOWCASE_THOUGHTS), ("gate",), ("say", SHOWCASE), ("end", "stop"))
            t.send("How far can the light of a lighthouse be seen?")
            expect(t.page.locator("article.answer details .text")).to_contain_text("small table")
            t.page.wait_for_timeout(600)
            shot("thinking")
            mock.gate.set()
            t.done()
            shot("end")
            t.page.evaluate("document.getElementById('scroll').scrollTop = 0")
            t.page.wait_for_timeout(100)
            shot("top")
            t.page.click("#settings-open")
            shot("settings")
            t.page.click("#settings-close")
            if name == "phone":
                t.page.click("#menu")
                t.page.wait_for_timeout(300)
                shot("drawer")
                t.page.keyboard.press("Escape")
            mock.set(("error", 429, "queue full: 8 requests are waiting, try again later"))
            t.send("And in fog?")
            t.done()
            t.page.locator(".change").last.click()
            shot("error")
            t.close(expected="Failed to load resource")


def with_mock(browser, shots: Path | None, only: str) -> int:
    failed = []
    checks = [(name[6:], check) for name, check in globals().items() if name.startswith("check_") and only in name]
    for name, check in checks:
        mock = Mock()
        tab = lambda mock=mock, **options: Tab(browser, mock.base, **options)
        try:
            check(mock, tab)
            print(f"ok      {name}")
        except (AssertionError, PlaywrightError):
            failed.append(name)
            print(f"FAILED  {name}")
            traceback.print_exc()
        mock.server.shutdown()
    if shots:
        mock = Mock()
        take_shots(mock, lambda **options: Tab(browser, mock.base, **options), shots)
    print(f"{len(checks) - len(failed)} of {len(checks)} passed")
    return 1 if failed or not checks else 0


def with_server(browser, base: str, prompt: str, shot: Path | None) -> int:
    t = Tab(browser, base)
    served = t.page.request.get(base)
    sent = served.headers.get("content-security-policy", "")
    assert "script-src 'sha256-" in sent and "default-src 'none'" in sent, f"no strict Content-Security-Policy: {sent!r}"
    t.send(prompt)
    answer = t.done(ANSWER_WAIT_S)
    if shot:
        shot.parent.mkdir(parents=True, exist_ok=True)
        t.page.screenshot(path=shot)
    trouble = answer.locator(".trouble")
    assert trouble.count() == 0, f"the page shows an error: {trouble.inner_text()}"
    text = answer.locator("> .text").inner_text().strip()
    assert text, "the answer is empty"
    figures = answer.locator(".stats").inner_text()
    assert "prompt" in figures, f"the server sent no usage: {figures!r}"
    t.page.reload()
    expect(t.page.locator("article.user .bubble")).to_have_text(prompt)
    assert t.page.locator("article.answer > .text").inner_text().strip() == text, "the reload lost the answer"
    t.close()
    print(f"{prompt}\n  {text}\n  {figures}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", nargs="?", help="address of a running server")
    parser.add_argument("--mock", action="store_true", help="check the page against a server inside this script")
    parser.add_argument("--prompt", default="What is 57 + 85?")
    parser.add_argument("--shot", type=Path, help="write a picture of the answer to this file")
    parser.add_argument("--shots", type=Path, help="with --mock: write pictures of the page to this folder")
    parser.add_argument("--only", default="", help="with --mock: the checks whose names hold this word")
    args = parser.parse_args()
    if bool(args.base) == args.mock:
        parser.error("give either an address or --mock")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path or not os.access(path, os.X_OK):
        print("missing: Chromium on the PATH or named by CHROMIUM (apt-get install chromium)", file=sys.stderr)
        return 2
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not start for the superuser, as whom containers usually run.
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
        try:
            return with_mock(browser, args.shots, args.only) if args.mock else with_server(browser, args.base, args.prompt, args.shot)
        except (AssertionError, PlaywrightError) as error:
            print(f"FAILED  {error}", file=sys.stderr)
            return 1
        finally:
            browser.close()


if __name__ == "__main__":
    sys.exit(main())
