#!/usr/bin/env python3
"""Kills a server again and again while it saves KV states, and checks that nothing that was saved is lost.

    python3 scripts/crash-test.py target/release/ds4 --rounds 200

Each round starts `ds4 serve --kv-dir`, lets eight conversations go on at once and sends SIGKILL at a random moment. Then `ds4 kv verify`
must find every listed state whole, every state listed after an earlier round must be listed still (nothing is evicted: the limit is
far), and after the next start a conversation must find at least as many of its tokens as its longest listed state has. Standard
library only. Exit status 1 if anything is missing.
"""

import argparse
import hashlib
import http.client
import json
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time

CONVERSATIONS = 8
# A conversation that got longer begins anew.
TOKENS_MAX = 3000


def kv(ds4, directory, command):
    done = subprocess.run([ds4, "kv", command, "--kv-dir", directory, "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ds4 kv {command}: exit {done.returncode}: {done.stdout} {done.stderr}")
    if "damaged:" in done.stderr:
        sys.exit(f"ds4 kv {command} reports: {done.stderr}")
    return json.loads(done.stdout)


def start(ds4, directory):
    server = subprocess.Popen(
        [ds4, "serve", "--port", "0", "--kv-dir", directory, "--kv-min-free", "0", "--ctx", "8192"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in server.stderr:
        if "damaged" in line or "not saved" in line:
            sys.exit(f"the server reports: {line}")
        if "listening on http://" in line:
            port = int(line.split("127.0.0.1:")[1].split()[0])
            threading.Thread(target=server.stderr.read, daemon=True).start()
            return server, port
    sys.exit("the server did not start")


def longest_state(identity, names, tokens):
    """Length of the longest state, of whole pages, that begins a prompt. States are named by identity and tokens."""
    for length in range((len(tokens) - 1) // 128 * 128, 0, -128):
        content = bytes.fromhex(identity) + struct.pack(f"<{length}I", *tokens[:length])
        if hashlib.sha256(content).hexdigest()[:32] in names:
            return length
    return 0


def complete(port, tokens, count, seed):
    """The tokens that a completion adds, and how many of the prompt were known."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {
        "prompt": tokens,
        "max_tokens": count,
        "seed": seed,
        "logprobs": 0,
        "logit_bias": {"1": -100},
        "temperature": 1,
    }
    connection.request("POST", "/v1/completions", json.dumps(body))
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(answer)
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def talk(port, number, conversation, first_cached, source):
    """Lets a conversation grow until the server is gone."""
    try:
        while True:
            prompt = conversation + [source.randrange(20, 4000) for _ in range(source.randint(20, 200))]
            cached = complete(port, prompt, source.randint(1, 30), number)
            first_cached.setdefault(number, (cached, prompt))
            conversation[:] = prompt if len(prompt) < TOKENS_MAX else []
    except (OSError, http.client.HTTPException, ValueError):
        return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ds4", help="the program")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    source = random.Random(arguments.seed)
    conversations = [[] for _ in range(CONVERSATIONS)]
    known, identity, restored, committed = set(), None, 0, 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1, arguments.rounds + 1):
            server, port = start(arguments.ds4, directory)
            # Of the first answer of each conversation: tokens known, prompt.
            first_cached = {}
            threads = [
                threading.Thread(target=talk, args=(port, i, conversations[i], first_cached, random.Random(source.random())))
                for i in range(CONVERSATIONS)
            ]
            for thread in threads:
                thread.start()
            time.sleep(source.uniform(0.05, 2.0))
            server.kill()
            server.wait()
            for thread in threads:
                thread.join()
            for cached, tokens in first_cached.values():
                expected = longest_state(identity, known, tokens) if identity else 0
                if cached < expected:
                    sys.exit(f"round {number}: {cached} tokens were restored, {expected} were saved")
                restored += cached > 0
            verified = kv(arguments.ds4, directory, "verify")
            states = kv(arguments.ds4, directory, "ls")["states"]
            listed = {state["name"] for state in states}
            identity = states[0]["identity"] if states else None
            if verified["damaged"] or verified["whole"] != len(listed):
                sys.exit(f"round {number}: {verified}, {len(listed)} listed")
            lost = known - listed
            if lost:
                sys.exit(f"round {number}: lost {lost}")
            committed += len(listed) - len(known)
            known = listed
            if number % 10 == 0 or number == arguments.rounds:
                seconds = time.monotonic() - begin
                print(f"round {number}: {len(known)} states, all whole; {restored} conversations went on from disk; {seconds:.0f} s", flush=True)
    if restored < arguments.rounds or committed == 0:
        sys.exit(f"{restored} conversations went on from disk in {arguments.rounds} rounds: too few for a test")
    print(f"{arguments.rounds} rounds, {committed} states saved, none lost or damaged")


if __name__ == "__main__":
    main()
