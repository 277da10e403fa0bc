"""The training model against other statements of the same formulas.

Logits against the DeepSeek V4 of `transformers`; rounding rules against loops over single numbers; the multi-token
block, which `transformers` lacks, against a token-by-token formulation. Run with `pytest` in this folder.
"""

from __future__ import annotations

import contextlib
import math
import types
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import model as demo
from config import ModelConfig
from model import Mode, Model

# Twelve indexer heads: with few, scores of exactly zero tie, and the order among equals is ours alone.
SMALL = replace(ModelConfig(), vocab=320, top_k=24, index_heads=12, context=2048)
F64 = torch.float64


def randomise(model: Model, seed: int = 5) -> Model:
    """Weights that use everything: sinks, biases, gates beyond the clamp, uneven norms."""
    random = torch.Generator().manual_seed(seed)

    def normal(shape, spread: float, mean: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=random) * spread + mean

    biases = [(name, value) for name, value in model.named_buffers() if name.endswith(".bias")]
    for name, value in [*model.named_parameters(), *biases]:
        last = name.rsplit(".")[-1]
        if last == "embedding":
            new = normal(value.shape, 1.0)
        elif "norm" in last:
            new = normal(value.shape, 0.2, 1.0)
        elif last == "sinks":
            new = normal(value.shape, 1.5, 0.5)
        elif last == "bias":
            new = normal(value.shape, 0.25)
        elif last in ("ape", "base"):
            new = normal(value.shape, 0.7)
        elif last == "scale":
            new = normal(value.shape, 0.2, 1.0)
        elif last in ("gate", "up") and ".ffn." in name:
            new = normal(value.shape, (6.0 if "blocks.1." in name else 1.5) / math.sqrt(value.shape[-1]))
        else:
            new = normal(value.shape, 1.4 / math.sqrt(value.shape[-1]))
        value.data.copy_(new)
    return model


# ------------------------------------------------------------------------------------------------- transformers


def reference(model: Model):
    """The same weights in the model of `transformers`, float64."""
    from transformers.models.deepseek_v4 import modeling_deepseek_v4 as modeling
    from transformers.models.deepseek_v4.configuration_deepseek_v4 import DeepseekV4Config

    c = model.config
    kinds = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
    config = DeepseekV4Config(
        vocab_size=c.vocab, hidden_size=c.width, moe_intermediate_size=c.expert_width, num_hidden_layers=c.layers,
        num_attention_heads=c.heads, num_key_value_heads=1, head_dim=c.head_width, q_lora_rank=c.query_rank,
        num_experts_per_tok=c.experts_used, n_routed_experts=c.experts, n_shared_experts=1,
        scoring_func="sqrtsoftplus", norm_topk_prob=True, routed_scaling_factor=c.route_scale,
        max_position_embeddings=int(c.yarn_context * c.yarn_factor), rope_theta=c.rope_base,
        compress_rope_theta=c.compressed_rope_base, layer_types=[kinds[r] for r in c.ratios],
        compress_rates={kinds[4]: 4, kinds[128]: 128},
        mlp_layer_types=["hash_moe" if i < c.hash_layers else "moe" for i in range(c.layers)], hc_mult=c.streams,
        hc_sinkhorn_iters=c.sinkhorn_rounds, hc_eps=c.hc_eps, swiglu_limit=c.clamp, sliding_window=c.window,
        o_groups=c.groups, o_lora_rank=c.output_rank, index_n_heads=c.index_heads, index_head_dim=c.index_width,
        index_topk=c.top_k, num_nextn_predict_layers=0, rms_norm_eps=c.eps, bos_token_id=0, eos_token_id=1,
        tie_word_embeddings=False, partial_rotary_factor=c.rotated / c.head_width,
        rope_parameters=dict(rope_type="yarn", factor=c.yarn_factor, beta_fast=c.yarn_fast, beta_slow=c.yarn_slow,
                             original_max_position_embeddings=c.yarn_context),
        attn_implementation="eager",
    )
    config._attn_implementation = config._experts_implementation = "eager"
    net = modeling.DeepseekV4ForCausalLM(config).eval().to(F64)
    missing, extra = net.load_state_dict(reference_weights(model), strict=False)
    assert not extra and all("inv_freq" in name for name in missing), (missing, extra)
    return modeling, net


def reference_weights(model: Model) -> dict[str, Tensor]:
    c, out = model.config, {}

    def compressor(prefix: str, part: demo.Compressor) -> None:
        out[prefix + "kv_proj.weight"], out[prefix + "gate_proj.weight"] = part.kv, part.gate
        out[prefix + "position_bias"], out[prefix + "kv_norm.weight"] = part.ape, part.norm

    out["model.embed_tokens.weight"], out["lm_head.weight"] = model.embedding, model.output
    out["model.norm.weight"] = model.norm
    for key in ("fn", "scale", "base"):
        out[f"model.hc_head.hc_{key}"] = getattr(model.head, key)
    for i, block in enumerate(model.blocks):
        p, attention, ffn = f"model.layers.{i}.", block.attention, block.ffn
        for site, part in (("attn_hc", block.attention_hc), ("ffn_hc", block.ffn_hc)):
            for key in ("fn", "scale", "base"):
                out[f"{p}{site}.{key}"] = getattr(part, key)
        out[p + "input_layernorm.weight"], out[p + "post_attention_layernorm.weight"] = block.attention_norm, block.ffn_norm
        a = p + "self_attn."
        out[a + "q_a_proj.weight"], out[a + "q_b_proj.weight"] = attention.q_a, attention.q_b
        out[a + "kv_proj.weight"], out[a + "sinks"] = attention.kv, attention.sinks
        out[a + "q_a_norm.weight"], out[a + "kv_norm.weight"] = attention.q_a_norm, attention.kv_norm
        out[a + "o_a_proj.weight"] = attention.output_a.flatten(0, 1)
        out[a + "o_b_proj.weight"] = attention.output_b
        if attention.compressor is not None:
            compressor(a + "compressor.", attention.compressor)
        if attention.indexer is not None:
            index = a + "compressor.indexer."
            compressor(index, attention.indexer.compressor)
            out[index + "q_b_proj.weight"] = attention.indexer.q_b
            out[index + "scorer.weights_proj.weight"] = attention.indexer.proj
        m = p + "mlp."
        out[m + "gate.weight"] = ffn.router
        out[m + "experts.gate_up_proj"] = torch.cat((ffn.gate[:-1], ffn.up[:-1]), 1)
        out[m + "experts.down_proj"] = ffn.down[:-1]
        for key in ("gate", "up", "down"):
            out[f"{m}shared_experts.{key}_proj.weight"] = getattr(ffn, key)[-1]
        if ffn.table is not None:
            out[m + "gate.tid2eid"] = ffn.table
        else:
            out[m + "gate.e_score_correction_bias"] = ffn.bias
    return {name: value.detach() for name, value in out.items()}


class Doubled(types.ModuleType):
    """`torch` in which float32 is spelled float64: `transformers` asks for float32 by name."""

    def __getattr__(self, name):
        return F64 if name == "float32" else getattr(torch, name)


@contextlib.contextmanager
def doubled(modeling):
    kept = modeling.torch, Tensor.float
    modeling.torch, Tensor.float = Doubled("torch"), lambda self: self.double()
    try:
        yield
    finally:
        modeling.torch, Tensor.float = kept


@pytest.fixture(scope="module")
def pair():
    torch.set_num_threads(1)
    model = randomise(Model(SMALL))
    return model.double(), *reference(model)


@pytest.mark.parametrize("length", [5, 129, 300, 1100])
def test_logits_equal_transformers(pair, length):
    model, modeling, net = pair
    ids = torch.randint(3, SMALL.vocab, (1, length), generator=torch.Generator().manual_seed(length))
    ids[0, 0] = 0
    with torch.no_grad(), doubled(modeling):
        want = net(input_ids=ids, use_cache=False).logits[0]
    with torch.no_grad():
        got = model(ids, F64, Mode(top_k=SMALL.top_k))[0]
        without_choice = model(ids, F64, Mode())[0]
        single = model(ids, torch.float32, Mode(top_k=SMALL.top_k))[0]
    error = (got - want).abs().max().item()
    print(f"{length} tokens: logit spread {want.std():.2f}, float64 error {error:.1e}, "
          f"float32 error {(single - want).abs().max():.1e}")
    assert error < 2e-5
    if length // 4 > SMALL.top_k:
        assert (got - without_choice).abs().max() > 1e-2, "the choice of rows changed nothing"


def test_rows_of_a_batch_do_not_mix(pair):
    model = pair[0]
    ids = torch.randint(3, SMALL.vocab, (3, 260), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together, alone = model(ids, F64, Mode(top_k=24)), model(ids[1:2], F64, Mode(top_k=24))
    assert torch.allclose(together[1:2], alone, atol=1e-10)


def test_isolated_documents_do_not_see_each_other(pair):
    model = pair[0]
    ids = torch.randint(3, SMALL.vocab, (2, 641), generator=torch.Generator().manual_seed(0))
    ids[:, [0, 250]] = 0
    ids[1, 250:] = ids[0, 250:]
    weight = torch.zeros(ids.shape)
    weight[:, 251:] = 1

    def losses(isolate: bool, mtp: bool = True) -> Tensor:
        return torch.stack([
            torch.stack(model.losses(ids[i : i + 1], weight[i : i + 1], F64, Mode(), mtp, isolate)[:2]) for i in (0, 1)
        ])

    with torch.no_grad():
        apart, together = losses(True), losses(False)
    assert torch.allclose(apart[0], apart[1], atol=1e-12)
    assert (together[0] - together[1]).abs().min() > 1e-4


# ---------------------------------------------------------------------------------------------------- multi-token


def rope_one(x: Tensor, position: int, base: float, sign: float = 1.0) -> Tensor:
    """Rotates the last 64 values of one vector, pair by pair."""
    x = x.clone()
    start = len(x) - 64
    for k in range(32):
        angle = sign * position * base ** (-2 * k / 64)
        a, b = x[start + 2 * k].item(), x[start + 2 * k + 1].item()
        x[start + 2 * k] = a * math.cos(angle) - b * math.sin(angle)
        x[start + 2 * k + 1] = a * math.sin(angle) + b * math.cos(angle)
    return x


def norm_one(x: Tensor, weight: Tensor | None = None) -> Tensor:
    y = x / math.sqrt(float((x * x).mean()) + 1e-6)
    return y if weight is None else y * weight


def split_one(site: demo.HyperConnection, streams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = site.fn @ norm_one(streams.flatten())
    pre = torch.sigmoid(m[:4] * site.scale[0] + site.base[:4]) + 1e-6
    post = 2 * torch.sigmoid(m[4:8] * site.scale[1] + site.base[4:8])
    mix = torch.softmax((m[8:] * site.scale[2] + site.base[8:]).view(4, 4), 1) + 1e-6
    mix = mix / (mix.sum(0, keepdim=True) + 1e-6)
    for _ in range(19):
        mix = mix / (mix.sum(1, keepdim=True) + 1e-6)
        mix = mix / (mix.sum(0, keepdim=True) + 1e-6)
    return pre @ streams, post, mix


def draft_step(model: Model, streams: Tensor, token: int, position: int, cache: list[Tensor]) -> Tensor:
    """One step of the multi-token block as spec §12 states it: streams at p, the token at p + 1, logits."""
    c, mtp = model.config, model.mtp
    told = mtp.e_proj @ norm_one(model.embedding[token], mtp.enorm)
    x = torch.stack([told + mtp.h_proj @ norm_one(stream, mtp.hnorm) for stream in streams])
    block, attention, ffn = mtp.block, mtp.block.attention, mtp.block.ffn

    h, post, mix = split_one(block.attention_hc, x)
    h = norm_one(h, block.attention_norm)
    q = (attention.q_b @ norm_one(attention.q_a @ h, attention.q_a_norm)).view(c.heads, c.head_width)
    cache.append(rope_one(norm_one(attention.kv @ h, attention.kv_norm), position, 1e4))
    heads = []
    for i in range(c.heads):
        head = rope_one(norm_one(q[i]), position, 1e4)
        rows = cache[-c.window :]
        weights = [math.exp(float(head @ row) / math.sqrt(c.head_width)) for row in rows]
        sink = math.exp(attention.sinks[i].item())
        mixed = sum(w * row for w, row in zip(weights, rows)) / (sink + sum(weights))
        heads.append(rope_one(mixed, position, 1e4, -1.0))
    grouped = torch.cat(heads).view(c.groups, -1)
    y = attention.output_b @ torch.cat([attention.output_a[g] @ grouped[g] for g in range(c.groups)])
    x = torch.stack([post[t] * y + sum(mix[s][t] * x[s] for s in range(4)) for t in range(4)])

    h, post, mix = split_one(block.ffn_hc, x)
    h = norm_one(h, block.ffn_norm)
    affinity = [math.sqrt(math.log1p(math.exp(z))) for z in (ffn.router @ h).tolist()]
    ranked = sorted(range(c.experts), key=lambda e: (-(affinity[e] + ffn.bias[e].item()), e))[: c.experts_used]
    scale = 1.5 / sum(affinity[e] for e in ranked)
    y = torch.zeros(c.width, dtype=F64)
    for e in [*ranked, c.experts]:
        gate, up = (ffn.gate[e] @ h).clamp(max=10), (ffn.up[e] @ h).clamp(-10, 10)
        weight = 1.0 if e == c.experts else scale * affinity[e]
        y += ffn.down[e] @ (gate * torch.sigmoid(gate) * up * weight)
    x = torch.stack([post[t] * y + sum(mix[s][t] * x[s] for s in range(4)) for t in range(4)])

    gates = torch.sigmoid((mtp.head.fn @ norm_one(x.flatten())) * mtp.head.scale + mtp.head.base) + 1e-6
    return model.output @ norm_one(gates @ x, mtp.norm)


def test_multi_token_block_equals_steps(pair):
    model = pair[0]
    ids = torch.randint(3, SMALL.vocab, (1, 140), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = model.draft(ids, F64)[0]
        padded = model.padded(ids[:, :-1])
        place = model.place(padded, isolate=False)
        streams = model.trunk(model.embedding[padded[0]], padded[0], place, Mode(), demo.Notes())
        cache: list[Tensor] = []
        for p in range(139):
            want = draft_step(model, streams[p], ids[0, p + 1].item(), p, cache)
            assert torch.allclose(got[p], want, atol=1e-9), p


# ------------------------------------------------------------------------------------------------------- rounding


def scalar_fp8(block: list[float]) -> list[float]:
    codes = [k * 2.0**-9 for k in range(8)] + [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8)][:-1]
    return scalar_rounding(block, codes, 1e-4, 448.0)


def scalar_fp4(block: list[float]) -> list[float]:
    return scalar_rounding(block, [0, 0.5, 1, 1.5, 2, 3, 4, 6], 6 * 2.0**-126, 6.0)


def scalar_rounding(block: list[float], codes: list[float], least: float, largest: float) -> list[float]:
    """Nearest code at the block's scale; a tie goes to the code of even index."""
    mantissa, exponent = math.frexp(max(least, *map(abs, block)) / largest)
    scale = 2.0 ** (exponent - 1 if mantissa == 0.5 else exponent)
    out = []
    for x in block:
        target = min(abs(x) / scale, largest)
        code = min(range(len(codes)), key=lambda i: (abs(codes[i] - target), i % 2))
        out.append(math.copysign(codes[code] * scale, x))
    return out


@pytest.mark.parametrize("rule,scalar,size", [(demo.fp8_blocks, scalar_fp8, 64), (demo.fp4_blocks, scalar_fp4, 32)])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_rounding_rules(rule, scalar, size, dtype):
    random = torch.Generator().manual_seed(1)
    x = torch.randn(60, size, generator=random) * torch.exp(3 * torch.randn(60, 1, generator=random))
    # Exact ties, powers of two, zeros and numbers below the least scale.
    x[0] = torch.arange(size) * 0.25 - 3
    x[1] = 448 * 2.0 ** -(torch.arange(size) % 20).float()
    x[2] = 0
    x[3] *= 1e-9
    x[4] = torch.arange(size) / 4 * 2.0**-8
    x[5] = 6 * 2.0 ** -(torch.arange(size) % 5).float()
    got = rule(x.to(dtype))
    want = torch.tensor([scalar(row) for row in x.double().tolist()], dtype=F64)
    assert torch.equal(got.double().abs(), want.abs()) and torch.equal(got.double().sign(), want.sign())


def test_rounding_passes_gradients_straight_through():
    x = torch.randn(3, 5, 128, requires_grad=True)
    g = torch.randn(3, 5, 128)
    demo.round_row(x, 64).backward(g)
    assert torch.allclose(x.grad, g)
    x.grad, hadamard = None, demo.hadamard_matrix(128)
    demo.round_index(x, hadamard, torch.float32).backward(g)
    assert torch.allclose(x.grad, g @ hadamard * 128**-0.5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ components


def test_sinkhorn_and_its_gradient():
    def plain(logits: Tensor) -> Tensor:
        c = logits.softmax(-1) + 1e-6
        c = c / (c.sum(-2, keepdim=True) + 1e-6)
        for _ in range(19):
            c = c / (c.sum(-1, keepdim=True) + 1e-6)
            c = c / (c.sum(-2, keepdim=True) + 1e-6)
        return c

    x = (torch.randn(7, 4, 4, dtype=F64) * 3).requires_grad_()
    g = torch.randn(7, 4, 4, dtype=F64)
    ours, want = demo.sinkhorn(x, 20, 1e-6), plain(x)
    assert torch.allclose(ours, want, atol=1e-12)
    assert torch.allclose(torch.autograd.grad(ours, x, g)[0], torch.autograd.grad(want, x, g)[0], atol=1e-12)


def test_choice_prefers_the_lower_index_among_equals():
    scores = torch.tensor([[[1.0, 0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]])
    visible = torch.tensor([[[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]], dtype=torch.bool)
    assert demo.choose(scores, visible, 3).int().tolist() == [[[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]]


def test_expert_table_is_balanced():
    table = demo.expert_table(ModelConfig())
    assert table.shape == (4096, 2) and (table[:, 0] != table[:, 1]).all()
    assert table.flatten().bincount().max() - table.flatten().bincount().min() <= 4


def test_every_parameter_learns_and_the_indexer_stays_apart():
    model = randomise(Model(replace(SMALL, context=512)))
    ids = torch.randint(3, SMALL.vocab, (2, 257), generator=torch.Generator().manual_seed(0))
    losses = model.losses(ids, torch.ones(ids.shape), torch.float32, Mode(True, 24, True), True, False, chunk=100)
    of_index = torch.autograd.grad(losses.index, list(model.parameters()), retain_graph=True, allow_unused=True)
    for (name, _), grad in zip(model.named_parameters(), of_index):
        assert (grad is not None) == (".indexer." in name), name
    of_rest = torch.autograd.grad(losses.main + losses.mtp, list(model.parameters()), allow_unused=True)
    for (name, _), grad in zip(model.named_parameters(), of_rest):
        assert (grad is None) == (".indexer." in name), name
        assert grad is None or grad.isfinite().all()
    assert losses.load.shape == (4, 4) and torch.allclose(losses.load.sum(1), torch.full((4,), 2.0))


# ------------------------------------------------------------------------------------------------------------- GPU

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@on_gpu
def test_sinkhorn_kernels():
    x, g = torch.randn(1000, 4, 4, dtype=F64) * 3, torch.randn(1000, 4, 4, dtype=F64)
    want = demo.sinkhorn(x.requires_grad_(), 20, 1e-6)
    want_grad = torch.autograd.grad(want, x, g)[0]
    single = x.detach().float().cuda().requires_grad_()
    got = demo.sinkhorn(single, 20, 1e-6)
    assert torch.allclose(got.double().cpu(), want, atol=1e-5)
    assert torch.allclose(torch.autograd.grad(got, single, g.float().cuda())[0].double().cpu(), want_grad, atol=1e-5)


@on_gpu
def test_compiled_bfloat16_gradients_point_the_same_way():
    model = Model(replace(ModelConfig(), top_k=64)).cuda()
    ids = torch.randint(2, 4096, (2, 1025), device="cuda")
    ids[:, 512:] = ids[:, :513]
    weight, parameters = torch.ones(ids.shape, device="cuda"), list(model.parameters())

    def gradients(dtype: torch.dtype, mode: Mode) -> list[Tensor]:
        losses = model.losses(ids, weight, dtype, mode, True, True)
        return torch.autograd.grad(losses.main + losses.mtp + losses.index, parameters)

    want = gradients(torch.float32, Mode(False, None, True))
    demo.compile_parts()
    for mode in (Mode(False, None, True), Mode(True, 64, True)):
        got = gradients(torch.bfloat16, mode)
        same = {name: torch.cosine_similarity(a.flatten(), b.flatten(), 0).item()
                for (name, _), a, b in zip(model.named_parameters(), got, want)}
        worst = sorted(same.items(), key=lambda item: item[1])[:8]
        print(mode, f"median {sorted(same.values())[len(same) // 2]:.4f}", worst)
        assert sorted(same.values())[len(same) // 10] > 0.9
