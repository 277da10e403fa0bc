#!/usr/bin/env python3
"""Writes the demo model with its hidden dimensions in another order: the same model, of which the q2 form knows nothing.

    python3 -m venv VENV && VENV/bin/pip install -r scripts/requirements-quantisers.txt
    VENV/bin/python scripts/permute-demo.py permuted-f16.gguf

The demo model was trained to lie on points of the q2 form, so that quantising it says little about other models. A permutation of the
hidden width, and of the inner width of every expert, changes nothing that the model computes, but takes apart the groups of weights that
share a scale or a lattice point. `ds4 debug compare` of the two files shows that they are the same.
"""

import argparse
import pathlib

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter

MODEL = pathlib.Path(__file__).resolve().parent.parent / "models/demo/ds4-demo-f16.gguf"
STREAMS = 4
# Tensors whose inputs, and whose outputs, are the hidden width.
FROM_HIDDEN = (
    "token_embd output attn_q_a attn_kv attn_compressor_kv attn_compressor_gate indexer_compressor_kv indexer_compressor_gate indexer.proj "
    "ffn_gate_inp ffn_gate_exps ffn_up_exps ffn_gate_shexp ffn_up_shexp attn_norm ffn_norm output_norm"
).split()
TO_HIDDEN = "attn_output_b ffn_down_exps ffn_down_shexp".split()
ALL_STREAMS = "hc_attn_fn hc_ffn_fn output_hc_fn".split()
TO_INNER = "ffn_gate_exps ffn_up_exps ffn_gate_shexp ffn_up_shexp".split()
FROM_INNER = "ffn_down_exps ffn_down_shexp".split()


def copy_metadata(reader, writer):
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        sub_type = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=sub_type)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    out = parser.parse_args().out
    rng = np.random.default_rng(20260801)
    reader = GGUFReader(MODEL)
    width = int(reader.fields["deepseek4.embedding_length"].contents())
    inner_width = int(reader.fields["deepseek4.expert_feed_forward_length"].contents())
    hidden, inner = rng.permutation(width), rng.permutation(inner_width)
    streams = np.concatenate([hidden + width * s for s in range(STREAMS)])
    writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
    copy_metadata(reader, writer)
    for tensor in reader.tensors:
        name = tensor.name.removesuffix(".weight").split(".", 2)
        name = name[2] if name[0] == "blk" else ".".join(name)
        data = tensor.data
        for names, axis, order in (
            (FROM_HIDDEN, -1, hidden),
            (TO_HIDDEN, -2, hidden),
            (ALL_STREAMS, -1, streams),
            (TO_INNER, -2, inner),
            (FROM_INNER, -1, inner),
        ):
            if name in names:
                data = np.take(data, order, axis=axis)
        writer.add_tensor(tensor.name, np.ascontiguousarray(data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
