"""Endless packed training batches, made by worker processes.

    for ids, weight in Batches({"story": 0.5, "tools": 0.5}, context=1024, rows=64, seed=1, workers=14):
        ...

`ids` is uint16 [rows, context + 1]; `weight` is uint8 of the same shape: the loss weight of predicting that token, in eighths.
The shares of the mixture are shares of tokens. Batch k comes from worker k mod workers, and a worker's stream depends on the seed and its
number alone, so the batches are the same in every run. The tokeniser and the generators need no torch.

    python3 batches.py --measure        prints tokens a second of one worker for every kind
"""

import argparse
import bisect
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Queue

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the parallelism is in the processes

import numpy as np
from tokenizers import Tokenizer

import data
from data.segment import EOS, SPECIAL_STRINGS

TOKENIZER_FILE = Path(__file__).parent / "tokenizer.json"
EOS_ID = SPECIAL_STRINGS.index(EOS)
DOCUMENTS_AT_ONCE = 96  # tokenised by one call
WAITING_DOCUMENTS = 384  # among which the packer chooses
WAITING_BATCHES = 4  # of each worker
CUT_KINDS = {"story", "docs"}  # texts without a structure that a cut would break


class DocumentTokenizer:
    """Segments to ids; special strings become special tokens in trusted segments only."""

    def __init__(self, path: Path = TOKENIZER_FILE):
        text = path.read_text(encoding="utf-8")
        self.trusted = Tokenizer.from_str(text)
        self.plain = Tokenizer.from_str(json.dumps(json.loads(text) | {"added_tokens": []}))

    def encode(self, documents: list) -> list:
        """A pair of arrays (ids, weights) for each document."""
        texts: tuple[list, list] = ([], [])
        for document in documents:
            for segment in document:
                texts[segment.trusted].append(segment.text)
        encoded = iter(self.plain.encode_batch_fast(texts[False])), iter(self.trusted.encode_batch_fast(texts[True]))
        pairs = []
        for document in documents:
            ids: list = []
            weights = []
            for segment in document:
                piece = next(encoded[segment.trusted]).ids
                ids += piece
                weights.append(np.full(len(piece), segment.weight, np.uint8))
            pairs.append((np.array(ids, np.uint16), np.concatenate(weights)))
        return pairs


class Documents:
    """An endless stream of tokenised documents in the mixture's shares, none longer than `length` tokens."""

    def __init__(self, mixture: dict[str, float], context: int, seed: str):
        total = sum(mixture.values())
        self.shares = {kind: share / total for kind, share in mixture.items() if share > 0}
        self.made = dict.fromkeys(self.shares, 0.0)
        self.mean = dict.fromkeys(self.shares, 200.0)  # a running guess of a document's length
        self.context = context
        self.length = context + 1
        self.rng = random.Random(seed)
        self.tokenizer = DocumentTokenizer()

    def next_kinds(self, count: int) -> list[str]:
        """The kinds that are furthest behind their share, counting the lengths still to come by the running mean."""
        planned = dict(self.made)
        kinds = []
        for _ in range(count):
            kind = min(self.shares, key=lambda k: planned[k] / self.shares[k])
            planned[kind] += self.mean[kind]
            kinds.append(kind)
        return kinds

    def some(self) -> list:
        kinds = self.next_kinds(DOCUMENTS_AT_ONCE)
        pairs = self.tokenizer.encode([data.generate(kind, self.rng, "train", self.context) for kind in kinds])
        kept = []
        for kind, (ids, weights) in zip(kinds, pairs):
            if len(ids) > self.length:
                if kind not in CUT_KINDS:
                    continue
                ids, weights = ids[: self.length], weights[: self.length]
            self.made[kind] += len(ids)
            self.mean[kind] += 0.02 * (len(ids) - self.mean[kind])
            kept.append((ids, weights))
        return kept


class Packer:
    """Rows filled with whole documents: the longest waiting one that still fits is taken next."""

    def __init__(self, documents: Documents):
        self.documents = documents
        self.length = documents.length
        self.waiting: list = []  # (length, arrival, ids, weights), sorted
        self.arrivals = 0

    def refill(self):
        while len(self.waiting) < WAITING_DOCUMENTS:
            for ids, weights in self.documents.some():
                self.arrivals += 1
                bisect.insort(self.waiting, (len(ids), self.arrivals, ids, weights), key=lambda entry: entry[:2])

    def row(self):
        self.refill()
        ids = np.full(self.length, EOS_ID, np.uint16)
        weights = np.zeros(self.length, np.uint8)
        # The oldest document opens the row, so that none waits forever.
        index = min(range(len(self.waiting)), key=lambda i: self.waiting[i][1])
        filled = 0
        while index >= 0:
            length, _, document_ids, document_weights = self.waiting.pop(index)
            ids[filled : filled + length] = document_ids
            weights[filled : filled + length] = document_weights
            filled += length
            index = bisect.bisect_right(self.waiting, self.length - filled, key=lambda entry: entry[0]) - 1
        return ids, weights

    def batch(self, rows: int):
        packed = [self.row() for _ in range(rows)]
        order = self.documents.rng.sample(range(rows), rows)
        return np.stack([packed[i][0] for i in order]), np.stack([packed[i][1] for i in order])


class Batches:
    def __init__(self, mixture: dict[str, float], context: int, rows: int, seed: int, workers: int):
        self.shape = rows, context + 1
        self.queues: list[Queue] = [Queue(WAITING_BATCHES) for _ in range(workers)]
        self.processes = []
        self.turn = 0
        for worker in range(workers):
            task = {"mixture": mixture, "context": context, "rows": rows, "seed": f"{seed}/{worker}"}
            command = [sys.executable, str(Path(__file__).resolve()), "--worker", json.dumps(task)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE)
            self.processes.append(process)
            threading.Thread(target=self._read, args=(process, self.queues[worker]), daemon=True).start()

    def _read(self, process, queue: Queue):
        count = self.shape[0] * self.shape[1]
        while True:
            frame = process.stdout.read(3 * count)
            if len(frame) < 3 * count:
                queue.put(None)  # the worker ended: the reader must not wait for ever
                return
            ids = np.frombuffer(frame, np.uint16, count).reshape(self.shape)
            queue.put((ids, np.frombuffer(frame, np.uint8, count, 2 * count).reshape(self.shape)))

    def __iter__(self):
        return self

    def __next__(self):
        batch = self.queues[self.turn].get()
        self.turn = (self.turn + 1) % len(self.queues)
        if batch is None:
            raise RuntimeError("a batch worker ended; its message is on the error stream")
        return batch

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()


def work(task: dict):
    """A worker: writes batches to the standard output until the reader is gone."""
    packer = Packer(Documents(task["mixture"], task["context"], task["seed"]))
    while True:
        ids, weights = packer.batch(task["rows"])
        try:
            sys.stdout.buffer.write(ids.tobytes() + weights.tobytes())
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os._exit(0)


def measure(context: int, seconds: float = 3.0):
    """Speed, document length and packing of one process, for every kind."""
    for kind in data.KINDS:
        packer = Packer(Documents({kind: 1.0}, context, "measure"))
        packer.batch(4)
        start, rows, used, trained = time.perf_counter(), 0, 0, 0.0
        while time.perf_counter() - start < seconds:
            _, weights = packer.batch(8)
            rows += 8
            trained += weights.sum() / 8
        speed = rows * (context + 1) / (time.perf_counter() - start)
        print(f"{kind:10} context {context:5}  {speed:9.0f} tokens/s  mean document {packer.documents.mean[kind]:6.0f}  loss on {trained / rows / (context + 1):.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--worker", help="JSON of mixture, context, rows and seed")
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker))
    elif arguments.measure:
        for context in (512, 1024, 4096):
            measure(context)


if __name__ == "__main__":
    main()
