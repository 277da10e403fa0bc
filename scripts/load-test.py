#!/usr/bin/env python3
"""Streams answers from a running server to many clients at once and prints speed, gaps between tokens, time to the first one, and errors.

    ds4 serve --port 8000 &
    python3 scripts/load-test.py http://127.0.0.1:8000 --clients 1,8 --seconds 20
    python3 scripts/load-test.py http://127.0.0.1:8000 --choices 1,8,1,8    # one request each, its decoding alone

Standard library only. Exit status 1 if any request failed. Local servers only.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlparse


def client(address, number, until, results, lock):
    """Asks one question after the other until the time is over."""
    source = random.Random(number)
    tokens, gap, first, errors, answers = 0, 0.0, 0.0, [], 0
    while time.monotonic() < until:
        words = " ".join(source.choice(["river", "lamp", "seven", "garden", "train"]) for _ in range(source.randint(5, 300)))
        body = {
            "messages": [{"role": "user", "content": f"Tell me a story with these words: {words}"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": source.randint(20, 200),
            "seed": number,
            "logit_bias": {"1": -100},  # End of sequence: answers are as long as asked for.
        }
        try:
            begin = time.monotonic()
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=120)
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            if response.status != 200:
                raise RuntimeError(f"status {response.status}: {response.read(200)!r}")
            last, done = None, False
            for line in response:
                if not line.startswith(b"data: "):
                    continue
                if line.startswith(b"data: [DONE]"):
                    done = True
                    continue
                chunk = json.loads(line[6:])
                if chunk["usage"]:
                    tokens += chunk["usage"]["completion_tokens"]
                if not any(any(choice["delta"].values()) for choice in chunk["choices"] if "role" not in choice["delta"]):
                    continue
                # Between the head of the stream and the first token the prompt is read: that is no gap.
                now = time.monotonic()
                if last is None:
                    first = max(first, now - begin)
                else:
                    gap = max(gap, now - last)
                last = now
            if not done:
                raise RuntimeError("the stream broke off")
            answers += 1
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            errors.append(str(error))
            time.sleep(0.1)
    with lock:
        results.append((tokens, gap, errors, answers, first))


def choices(address, count, tokens):
    """One request for so many answers to a short prompt: tokens a second between the first and the last token."""
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "n": count,
        "max_tokens": tokens,
        "stream": True,
        "seed": 3,
        "logit_bias": {"1": -100},
    }
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=3600)
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    first = last = None
    seen = 0
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line[6:]).get("choices", []):
            if choice["delta"].get("content") or choice["delta"].get("reasoning_content"):
                last = time.monotonic()
                first = first or last
                seen += 1
    if seen <= count:
        sys.exit("the answers were too short to measure")
    # The first token of each answer comes at the beginning.
    print(f"{count} choices: {(seen - count) / (last - first):.2f} tokens/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--clients", default="1,8", help="numbers of clients, one run each")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--choices", help="numbers of answers to one prompt, one request each; instead of clients")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of each answer with --choices")
    args = parser.parse_args()
    address = urlparse(args.url)
    if address.hostname not in ("127.0.0.1", "localhost", "::1"):
        parser.error("only servers on this machine are tested")
    if args.choices:
        for count in map(int, args.choices.split(",")):
            choices(address, count, args.tokens)
        return
    failed = False
    for count in map(int, args.clients.split(",")):
        results, lock, begin = [], threading.Lock(), time.monotonic()
        until = begin + args.seconds
        threads = [threading.Thread(target=client, args=(address, i, until, results, lock)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        errors = [error for result in results for error in result[2]]
        tokens, gap = sum(result[0] for result in results), max(result[1] for result in results)
        print(
            f"{count} clients: {tokens / seconds:.1f} tokens/s, {sum(result[3] for result in results)} answers, "
            f"longest gap {gap:.2f} s, first token after at most {max(result[4] for result in results):.2f} s, {len(errors)} errors {errors[:2] or ''}",
            flush=True,
        )
        failed |= bool(errors)
    sys.exit(failed)


if __name__ == "__main__":
    main()
