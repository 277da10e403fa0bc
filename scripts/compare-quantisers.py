#!/usr/bin/env python3
"""Compares `ds4 quantize` with ggml's own quantisers on the same tensors and the same importance matrix.

    python3 -m venv VENV && VENV/bin/pip install -r scripts/requirements-quantisers.txt
    VENV/bin/python scripts/compare-quantisers.py target/release/ds4 [--markdown]

For the demo model's weights, and for the same weights with their rows mixed by a random rotation (the demo model was trained to lie
on points of the q2 form, its rotation does not), with and without the matrix that `ds4 imatrix` makes of held-out text:

- error: sum over all weights of importance (of the column; 1 without a matrix) times the squared difference, as a share of the same sum
  over the weights; for every tensor the ratio of ours to ggml's.
- blocks: what our blocks expand to, by `ds4 quantize --recipe f32` and by the `gguf` package, bit for bit.

Exits with 1 if the error over all tensors of a type exceeds ggml's by more than --tolerance, or a bit differs.
"""

import argparse
import collections
import ctypes
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGMLQuantizationType as T
from gguf.quants import dequantize

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
MODEL = REPOSITORY / "models/demo/ds4-demo-f16.gguf"
TEXT = REPOSITORY / "models/demo/eval/heldout.txt"
# What each recipe is asked about.
RECIPES = {"q8": (T.Q8_0,), "q2": (T.IQ2_XXS, T.Q2_K), "q4": (T.Q4_K,)}


class Ggml:
    """The library's `ggml_quantize_chunk`."""

    def __init__(self):
        import importlib.util

        package = pathlib.Path(importlib.util.find_spec("pywhispercpp").submodule_search_locations[0]).parent
        [base] = package.glob("pywhispercpp.libs/libggml-base*.so*")
        for needed in package.glob("pywhispercpp.libs/libgomp*.so*"):
            ctypes.CDLL(str(needed), mode=ctypes.RTLD_GLOBAL)
        self.chunk = ctypes.CDLL(str(base)).ggml_quantize_chunk
        self.chunk.restype = ctypes.c_size_t
        self.chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]

    def quantize(self, kind, weights, importance):
        """The f32 that ggml's blocks of `weights` (rows, columns) expand to."""
        rows, cols = weights.shape
        weights = np.ascontiguousarray(weights, dtype=np.float32)
        blocks = np.zeros(weights.size * 2, dtype=np.uint8)
        q = None if importance is None else np.ascontiguousarray(importance, dtype=np.float32)
        size = self.chunk(int(kind), weights.ctypes.data, blocks.ctypes.data, 0, rows, cols, None if q is None else q.ctypes.data)
        return dequantize(blocks[:size].reshape(rows, -1), kind).reshape(rows, cols)


def read_matrix(path):
    data, at, entries = path.read_bytes(), 4, {}
    for _ in range(struct.unpack_from("<i", data)[0]):
        (length,) = struct.unpack_from("<i", data, at)
        name = data[at + 4 : at + 4 + length].decode()
        _, count = struct.unpack_from("<ii", data, at + 4 + length)
        at += 12 + length
        entries[name] = np.frombuffer(data, "<f4", count, at)
        at += 4 * count
    return entries


def rotated(weights, rng):
    """Rows mixed by a random rotation, the same for all matrices of a stack: columns keep their meaning."""
    rows = weights.shape[-2]
    rotation, _ = np.linalg.qr(rng.standard_normal((rows, rows)))
    return (rotation.astype(np.float32) @ weights).astype(np.float32)


def write_rotated(path):
    """The matrices of the demo model, rotated, in a file of their own."""
    rng = np.random.default_rng(20260801)
    writer = GGUFWriter(path, "deepseek4")
    for tensor in GGUFReader(MODEL).tensors:
        if tensor.tensor_type != T.F16 or len(tensor.shape) < 2:
            continue
        weights = tensor.data.astype(np.float32).reshape(*reversed(tensor.shape.tolist()))
        # The vocabulary's rotation would be a matrix of its square.
        if weights.shape[-2] <= 1024:
            writer.add_tensor(tensor.name, rotated(weights, rng))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(*args):
    subprocess.run([str(arg) for arg in args], check=True, stdout=subprocess.DEVNULL)


def compare(ds4, ggml, source, matrix, folder):
    """(kind, ours, ggml's, worst ratio of a tensor, tensors) for each type, and the number of differing bits."""
    importance = {} if matrix is None else read_matrix(matrix)
    plain = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    rows, differing = [], 0
    for recipe, kinds in RECIPES.items():
        made, expanded = folder / "made.gguf", folder / "expanded.gguf"
        for path in (made, expanded):
            path.unlink(missing_ok=True)
        flags = [] if matrix is None or recipe == "q8" else ["--imatrix", matrix]
        run(ds4, "quantize", source, made, "--recipe", recipe, *flags)
        run(ds4, "quantize", made, expanded, "--recipe", "f32")
        ours_expanded = {tensor.name: tensor.data for tensor in GGUFReader(expanded).tensors}
        sums = collections.defaultdict(list)
        for tensor in GGUFReader(made).tensors:
            kind = tensor.tensor_type
            if kind not in kinds:
                continue
            weights = plain[tensor.name].data.astype(np.float32)
            cols = weights.shape[-1]
            weights = weights.reshape(-1, cols)
            ours = dequantize(tensor.data, kind).reshape(-1, cols)
            differing += int(np.count_nonzero(ours.view(np.uint32) != ours_expanded[tensor.name].reshape(-1, cols).view(np.uint32)))
            parts = int(tensor.shape[2]) if len(tensor.shape) > 2 else 1
            q = importance.get(tensor.name)
            if q is None and kind == T.IQ2_XXS:
                # ggml refuses this type without one; what the original program gives it then.
                q = (weights.reshape(parts, -1, cols) ** 2).sum(axis=1)
                errors_weigh = None
            else:
                errors_weigh = q
            per_part = [None] * parts if q is None else np.split(q.reshape(-1), parts)
            w = [np.ones(cols, np.float32)] * parts if errors_weigh is None else np.split(errors_weigh.reshape(-1), parts)
            errors = np.zeros(3)
            for part, (x, mine) in enumerate(zip(np.split(weights, parts), np.split(ours, parts))):
                theirs = ggml.quantize(kind, x, per_part[part])
                scale = w[part].astype(np.float64)
                errors += [float((scale * d.astype(np.float64) ** 2).sum()) for d in (mine - x, theirs - x, x)]
            sums[kind].append(errors)
        for kind in kinds:
            errors = np.array(sums[kind])
            if len(errors) == 0:
                continue
            share = errors[:, :2].sum(axis=0) / errors[:, 2].sum()
            floor = errors[:, 2] * 1e-9
            worst = ((errors[:, 0] + floor) / (errors[:, 1] + floor)).max()
            rows.append((kind.name, share[0], share[1], worst, len(errors)))
    return rows, differing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ds4", type=pathlib.Path)
    parser.add_argument("--tolerance", type=float, default=1.0, help="largest ratio of our error to ggml's")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    ggml, failed = Ggml(), False
    form = "| {} | {} | {} | {} | {} | {} | {} |" if args.markdown else "{:10} {:8} {:8} {:>11} {:>11} {:>7} {:>7}"
    print(form.format("weights", "matrix", "type", "ours", "ggml", "ratio", "worst"))
    if args.markdown:
        print("|" + 7 * "---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        run(args.ds4, "imatrix", "-m", MODEL, "--dataset", TEXT, "--out", folder / "m.dat", "--max-tokens", 20000)
        write_rotated(folder / "rotated.gguf")
        for name, source in (("trained", MODEL), ("rotated", folder / "rotated.gguf")):
            for matrix in (None, folder / "m.dat"):
                rows, differing = compare(args.ds4, ggml, source, matrix, folder)
                failed |= differing > 0
                if differing:
                    print(f"{differing} values are not what the gguf package makes of the blocks")
                for kind, ours, theirs, worst, tensors in rows:
                    ratio = ours / theirs if theirs > 0 else 1.0
                    failed |= ratio > args.tolerance + 1e-9
                    cells = (f"{ours:.4e}", f"{theirs:.4e}", f"{ratio:.4f}", f"{worst:.4f}")
                    print(form.format(name, "yes" if matrix else "no", kind, *cells))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
