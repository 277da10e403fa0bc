"""Writes a checkpoint as GGUF: `python export.py CHECKPOINT_FOLDER --out demo.gguf --mtp demo-mtp.gguf`.

Matrices are stored as F16, vectors as F32, so before anything else the weights are rounded to what the file will hold:
the logits of `--logits` are those of the file, not of the checkpoint.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

import model as demo
from config import ModelConfig
from model import Mode, Model
from train import load_checkpoint, weight_rules

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"


# ---------------------------------------------------------------------------------------------------------------
# Tensors
# ---------------------------------------------------------------------------------------------------------------


def main_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the main file, in its order."""
    yield "token_embd.weight", model.embedding
    yield from site("output_hc", model.head)
    yield "output_norm.weight", model.norm
    yield "output.weight", model.output
    for i, block in enumerate(model.blocks):
        for name, value in block_tensors(block):
            yield f"blk.{i}.{name}", value


def mtp_tensors(model: Model) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the file of the multi-token block."""
    mtp = model.mtp
    for name, value in site("hc_head", mtp.head):
        yield f"mtp.0.{name}", value
    for name in ("e_proj", "h_proj", "enorm", "hnorm", "norm"):
        yield f"mtp.0.{name}.weight", getattr(mtp, name)
    for name, value in block_tensors(mtp.block):
        yield f"mtp.0.{name}", value


def block_tensors(block: demo.Block) -> Iterator[tuple[str, Tensor]]:
    attention, ffn = block.attention, block.ffn
    yield from site("hc_attn", block.attention_hc)
    yield "attn_norm.weight", block.attention_norm
    yield "attn_q_a.weight", attention.q_a
    yield "attn_q_a_norm.weight", attention.q_a_norm
    yield "attn_q_b.weight", attention.q_b
    yield "attn_kv.weight", attention.kv
    yield "attn_kv_a_norm.weight", attention.kv_norm
    yield "attn_sinks.weight", attention.sinks
    yield "attn_output_a.weight", attention.output_a.flatten(0, 1)
    yield "attn_output_b.weight", attention.output_b
    if attention.compressor is not None:
        yield from compressor("attn_compressor", attention.compressor)
    if attention.indexer is not None:
        yield "indexer.attn_q_b.weight", attention.indexer.q_b
        yield "indexer.proj.weight", attention.indexer.proj
        yield from compressor("indexer_compressor", attention.indexer.compressor)
    yield from site("hc_ffn", block.ffn_hc)
    yield "ffn_norm.weight", block.ffn_norm
    yield "ffn_gate_inp.weight", ffn.router
    if ffn.table is not None:
        yield "ffn_gate_tid2eid.weight", ffn.table
    else:
        yield "exp_probs_b.bias", ffn.bias
    for name in ("gate", "up", "down"):
        yield f"ffn_{name}_exps.weight", getattr(ffn, name)[:-1]
    for name in ("gate", "up", "down"):
        yield f"ffn_{name}_shexp.weight", getattr(ffn, name)[-1]


def site(name: str, part: demo.HyperConnection | demo.StreamHead) -> Iterator[tuple[str, Tensor]]:
    for key in ("fn", "scale", "base"):
        yield f"{name}_{key}.weight", getattr(part, key)


def compressor(name: str, part: demo.Compressor) -> Iterator[tuple[str, Tensor]]:
    for key in ("ape", "kv", "gate", "norm"):
        yield f"{name}_{key}.weight", getattr(part, key)


def round_to_file(model: Model) -> None:
    """Makes every weight what the file can hold. All values of more than one dimension are F16 there."""
    for p in model.parameters():
        if p.ndim > 1:
            p.data = p.data.half().float()
            if not p.data.isfinite().all():
                raise ValueError("a weight is too large for F16")


def round_as_trained(model: Model) -> None:
    """Makes the weights what the last stages of training computed with. `ds4 quantize --recipe q2` stores these nearly without
    loss; from the exact weights it chooses other points, which the model was not trained for."""
    with torch.no_grad():
        for weight, rule in weight_rules(model):
            weight.copy_(rule(weight))


def stored(value: Tensor) -> np.ndarray:
    if not value.is_floating_point():
        return value.numpy().astype(np.int32)
    return value.detach().numpy().astype(np.float16 if value.ndim > 1 else np.float32)


# ---------------------------------------------------------------------------------------------------------------
# Metadata
# ---------------------------------------------------------------------------------------------------------------


def add_metadata(writer: gguf.GGUFWriter, c: ModelConfig) -> None:
    counts = {
        "context_length": c.context, "block_count": c.layers, "embedding_length": c.width, "vocab_size": c.vocab,
        "attention.head_count": c.heads, "attention.head_count_kv": 1, "attention.key_length": c.head_width,
        "attention.value_length": c.head_width, "attention.q_lora_rank": c.query_rank,
        "attention.output_lora_rank": c.output_rank, "attention.output_group_count": c.groups,
        "attention.sliding_window": c.window, "attention.indexer.head_count": c.index_heads,
        "attention.indexer.key_length": c.index_width, "attention.indexer.top_k": c.top_k,
        "rope.dimension_count": c.rotated, "rope.scaling.original_context_length": c.yarn_context,
        "expert_count": c.experts, "expert_used_count": c.experts_used, "expert_feed_forward_length": c.expert_width,
        "expert_shared_count": 1,
        "expert_gating_func": 4,  # square root of softplus, for readers that know several
        "hash_layer_count": c.hash_layers, "hyper_connection.count": c.streams,
        "hyper_connection.sinkhorn_iterations": c.sinkhorn_rounds,
    }
    numbers = {
        "rope.freq_base": c.rope_base, "rope.scaling.factor": c.yarn_factor,
        "rope.scaling.yarn_beta_fast": c.yarn_fast, "rope.scaling.yarn_beta_slow": c.yarn_slow,
        "attention.compress_rope_freq_base": c.compressed_rope_base, "expert_weights_scale": c.route_scale,
        "attention.layer_norm_rms_epsilon": c.eps, "hyper_connection.epsilon": c.hc_eps,
    }
    for key, value in counts.items():
        writer.add_uint32(f"deepseek4.{key}", value)
    for key, value in numbers.items():
        writer.add_float32(f"deepseek4.{key}", value)
    writer.add_bool("deepseek4.expert_weights_norm", True)
    writer.add_string("deepseek4.rope.scaling.type", "yarn")
    writer.add_array("deepseek4.attention.compress_ratios", list(c.ratios))
    writer.add_array("deepseek4.swiglu_clamp_exp", [c.clamp] * c.layers)


def add_tokenizer(writer: gguf.GGUFWriter, path: Path, size: int) -> None:
    """Tokens in the byte alphabet of `tokenizer.json`, merges by rank."""
    content = json.loads(path.read_text(encoding="utf-8"))
    tokens, kinds = [None] * size, [int(gguf.TokenType.NORMAL)] * size
    for token, i in content["model"]["vocab"].items():
        tokens[i] = token
    for entry in content["added_tokens"]:
        tokens[entry["id"]] = entry["content"]
        control = entry["content"] in (BOS, EOS, PAD)
        kinds[entry["id"]] = int(gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED)
    for i, token in enumerate(tokens):
        if token is None:
            tokens[i], kinds[i] = f"<unused {i}>", int(gguf.TokenType.UNUSED)
    if tokens.index(BOS) != 0 or tokens.index(EOS) != 1:
        raise ValueError("the model was trained with begin and end of sequence at ids 0 and 1")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("joyai-llm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(tokens.index(PAD) if PAD in tokens else 1)


def write(path: Path, name: str, tensors: Iterator[tuple[str, Tensor]], describe) -> None:
    writer = gguf.GGUFWriter(path, "deepseek4")
    writer.add_name(name)
    describe(writer)
    for key, value in tensors:
        writer.add_tensor(key, np.ascontiguousarray(stored(value)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size:,} bytes")


# ---------------------------------------------------------------------------------------------------------------
# Reference logits
# ---------------------------------------------------------------------------------------------------------------


def default_prompts(vocab: int) -> list[dict]:
    """Random tokens whose last quarter repeats the first; the longest makes the indexer choose."""
    prompts = []
    for length in (5, 129, 300, 1500):
        ids = torch.randint(2, vocab, (length,), generator=torch.Generator().manual_seed(length))
        ids[0], ids[length - length // 4 :] = 0, ids[: length // 4]
        prompts.append({"name": f"random-{length}", "ids": ids.tolist()})
    return prompts


def reference_logits(model: Model, prompts: list[dict]) -> list[dict]:
    """Float64 logits at some positions: `plain` without rounding of the caches, `cache` with it."""
    exact, top_k = model.double().eval(), model.config.top_k
    results = []
    for prompt in prompts:
        ids = torch.tensor([prompt["ids"]])
        length = ids.shape[1]
        at = sorted({p for p in (0, 1, 3, 4, 127, 128, length // 2, length - 2, length - 1) if 0 <= p < length})
        result = {"name": prompt["name"], "ids": prompt["ids"], "at": at}
        with torch.no_grad():
            for mode in ("plain", "cache"):
                result[mode] = exact(ids, torch.float64, Mode(mode == "cache", top_k))[0, at].numpy()
            if model.mtp is not None and length > 2:
                draft_at = [p for p in at if p < length - 1]
                result |= {"mtp_at": draft_at, "mtp": exact.draft(ids, torch.float64, Mode(False, top_k))[0, draft_at].numpy()}
        results.append(result)
    return results


def write_logits(path: Path, results: list[dict]) -> None:
    if path.suffix == ".npz":
        np.savez_compressed(path, **{f"{r['name']}.{k}": v for r in results for k, v in r.items() if k != "name"})
    else:
        plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in r.items()} for r in results]
        path.write_text(json.dumps({"prompts": plain}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="folder that train.py wrote; without it random weights")
    parser.add_argument("--out", type=Path, help="GGUF file of the model")
    parser.add_argument("--mtp", type=Path, help="GGUF file of the multi-token block")
    parser.add_argument("--name", default="ds4 demo")
    parser.add_argument("--tokenizer", type=Path, default=Path(__file__).with_name("tokenizer.json"))
    parser.add_argument("--coarse", action="store_true", help="weights as the last stages of training rounded them")
    parser.add_argument("--logits", type=Path, help="write reference logits, .json or .npz")
    parser.add_argument("--prompts", type=Path, help='JSON list of {"name", "ids"} for --logits')
    args = parser.parse_args()
    if args.checkpoint is not None:
        model, _ = load_checkpoint(args.checkpoint)
    else:
        from test_model import randomise

        model = randomise(Model(ModelConfig()))
    if args.coarse:
        round_as_trained(model)
    round_to_file(model)

    if args.out:

        def describe(writer: gguf.GGUFWriter) -> None:
            add_metadata(writer, model.config)
            add_tokenizer(writer, args.tokenizer, model.config.vocab)

        write(args.out, args.name, main_tensors(model), describe)
    if args.mtp:
        write(args.mtp, f"{args.name} MTP", mtp_tensors(model), lambda writer: None)
    if args.logits:
        prompts = json.loads(args.prompts.read_text()) if args.prompts else default_prompts(model.config.vocab)
        write_logits(args.logits, reference_logits(model, prompts))


if __name__ == "__main__":
    main()
