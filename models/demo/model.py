"""DeepSeek V4's architecture for whole training sequences.

The same formulas as the engine (hyper-connections, windowed attention with sinks, compressed rows, indexer, routed
experts, multi-token prediction), arranged for a GPU that sees all positions at once: windows are pooled together,
the sliding window is computed in blocks, and every expert is computed for every token, its weight being zero where
the router did not choose it. With four experts of which two are used that is cheaper than moving tokens about.

The work is done by functions marked `@part`. They take tensors, know nothing of layers, and are compiled one by one
(`compile_parts`), so all layers and most stages of training share their programs; one program for everything takes
minutes to compile. Rows of a batch are laid end to end: only the parts that look at compressed rows know where a row
ends, the others go by the number of the document that a token belongs to.

Activations have the type that the embedding is cast to; norms, softmax, router and hyper-connection gates are
computed in at least 32 bits. In float64 the module is a reference for the engine.

Shapes: B rows, T tokens of a row, N = B · T tokens, S streams, E width, H heads, D head width, C compressed rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from config import ModelConfig
from sinkhorn import sinkhorn

#: Score of what may not be seen. Finite, so that a query that sees nothing gives zeros instead of NaN.
NEVER = -1e30


class Mode(NamedTuple):
    """Switches of one evaluation."""

    #: Round what the caches hold as the engine does; gradients pass straight through.
    rounding: bool = False
    #: Compressed rows that the indexer may choose for a query; `None` for all that are visible.
    top_k: int | None = None
    #: Also compute the losses that are not about tokens.
    losses: bool = False


class Part:
    """A function that can be exchanged for its compiled self."""

    known: list[Part] = []

    def __init__(self, function: Callable):
        self.eager = self.run = function
        self.known.append(self)

    def __call__(self, *inputs):
        return self.run(*inputs)


part = Part


def compile_parts(mode: str | None = "default") -> None:
    """Compiles all parts on first use, for each shape anew; `None` undoes it."""
    torch._dynamo.config.recompile_limit = 256
    for one in Part.known:
        one.run = one.eager if mode is None else torch.compile(one.eager, fullgraph=True, dynamic=False, mode=mode)


def wide(x: Tensor) -> Tensor:
    """At least 32 bits."""
    return x if x.dtype == torch.float64 else x.float()


def linear(x: Tensor, weight: Tensor) -> Tensor:
    return F.linear(x, weight.to(x.dtype))


def rms_norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    y = wide(x)
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps)
    return (y if weight is None else y * wide(weight)).to(x.dtype)


def matrix(rows: int, columns: int, gain: float = 1.0, *stack: int) -> nn.Parameter:
    """Random, so that outputs are `gain` times as large as inputs."""
    return nn.Parameter(torch.randn(*stack, rows, columns) * gain * columns**-0.5)


# ---------------------------------------------------------------------------------------------------------------
# Rotary positions
# ---------------------------------------------------------------------------------------------------------------


def rope_angles(config: ModelConfig, compressed: bool) -> Tensor:
    """Angle of each position and pair in float64, `[context, rotated / 2]`."""
    pairs = torch.arange(config.rotated // 2, dtype=torch.float64)
    base = config.compressed_rope_base if compressed else config.rope_base
    frequency = base ** (-2 * pairs / config.rotated)
    if compressed:

        def pair_of(turns: float) -> float:
            """The pair that makes so many turns within the original context."""
            return config.rotated * math.log(config.yarn_context / (turns * 2 * math.pi)) / (2 * math.log(base))

        low, high = math.floor(pair_of(config.yarn_fast)), math.ceil(pair_of(config.yarn_slow))
        keep = 1 - ((pairs - low) / max(0.001, high - low)).clamp(0, 1)
        frequency = frequency / config.yarn_factor * (1 - keep) + frequency * keep
    return torch.arange(config.context, dtype=torch.float64)[:, None] * frequency


def rope_table(config: ModelConfig, compressed: bool) -> Tensor:
    """Factors of a head's values and of their neighbours in the pair, `[2, context, rotated]`."""
    angles = rope_angles(config, compressed)
    cos, sin = angles.cos().repeat_interleave(2, 1), angles.sin()
    return torch.stack((cos, torch.stack((-sin, sin), -1).flatten(1)))


def rotate(x: Tensor, table: Tensor, position: Tensor, inverse: bool = False) -> Tensor:
    """Turns consecutive pairs of the last values of heads, `[N, …, D]`; computed in at least 32 bits."""
    rotated = table.shape[-1]
    shape = (len(x),) + (1,) * (x.ndim - 2) + (rotated,)
    own, other = table[0][position].view(shape), table[1][position].view(shape)
    plain, turned = wide(x).split([x.shape[-1] - rotated, rotated], -1)
    swapped = turned.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    turned = turned * own + swapped * (-other if inverse else other)
    return torch.cat((plain, turned), -1)


# ---------------------------------------------------------------------------------------------------------------
# Rounding of what the caches hold
# ---------------------------------------------------------------------------------------------------------------


def _power_of_two_scale(blocks: Tensor, least: float, largest: float) -> Tensor:
    peak = blocks.abs().amax(-1, keepdim=True).clamp_min(least)
    return torch.exp2(torch.ceil(torch.log2(peak / largest)))


def _to_grid(x: Tensor, mantissa_bits: int, least_exponent: int) -> Tensor:
    """Nearest number with so many mantissa bits; below the least exponent the steps stay equal. Ties go to even."""
    exponent = torch.floor(torch.log2(x.abs().clamp_min(2.0**least_exponent)))
    step = torch.exp2(exponent - mantissa_bits)
    return torch.round(x / step) * step


def fp8_blocks(x: Tensor) -> Tensor:
    """E4M3 with one power of two for each 64 values."""
    blocks = x.unflatten(-1, (-1, 64))
    scale = _power_of_two_scale(blocks, 1e-4, 448)
    return (_to_grid((blocks / scale).clamp(-448, 448), 3, -6) * scale).flatten(-2)


def fp4_blocks(x: Tensor) -> Tensor:
    """E2M1 with one power of two for each 32 values."""
    blocks = x.unflatten(-1, (-1, 32))
    scale = _power_of_two_scale(blocks, 6 * 2.0**-126, 6)
    return (_to_grid((blocks / scale).clamp(-6, 6), 1, 0) * scale).flatten(-2)


def round_row(x: Tensor, rotated: int) -> Tensor:
    """What a key row is after the cache: FP8 in its plain part, all of it F16. Gradients pass straight through."""
    plain = torch.arange(x.shape[-1], device=x.device) < x.shape[-1] - rotated
    rounded = torch.where(plain, fp8_blocks(x), x).to(torch.float16).to(x.dtype)
    return x + (rounded - x).detach()


def round_index(x: Tensor, hadamard: Tensor, dtype: torch.dtype) -> Tensor:
    """What an indexer query or row is: spread by the Hadamard matrix, then FP4."""
    # The matrix is exact in any type when its factor is applied afterwards.
    spread = wide(x.to(dtype) @ hadamard.to(dtype)) * x.shape[-1] ** -0.5
    return spread + (fp4_blocks(spread) - spread).detach()


def hadamard_matrix(size: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix


# ---------------------------------------------------------------------------------------------------------------
# Hyper-connections
# ---------------------------------------------------------------------------------------------------------------


def stream_gates(streams: Tensor, fn: Tensor, eps: float) -> Tensor:
    """`fn` applied to the normed streams; the norm is a factor and may follow the product."""
    flat = streams.flatten(1)
    return wide(linear(flat, fn)) * torch.rsqrt(wide(flat).square().mean(-1, keepdim=True) + eps)


def collapse(streams: Tensor, pre: Tensor) -> Tensor:
    return (pre[..., None] * wide(streams)).sum(1)


@part
def read_streams(streams: Tensor, fn: Tensor, scale: Tensor, base: Tensor, norm: Tensor,
                 config: ModelConfig) -> tuple[Tensor, Tensor, Tensor]:
    """`[N, S, E]` to the normed input of a sublayer `[N, E]`, and the gates that `write_streams` needs."""
    s = config.streams
    pre, post, mix = stream_gates(streams, fn, config.eps).split([s, s, s * s], -1)
    scale, base = wide(scale), wide(base)
    pre = torch.sigmoid(pre * scale[0] + base[:s]) + config.hc_eps
    post = 2 * torch.sigmoid(post * scale[1] + base[s : 2 * s])
    mix = sinkhorn((mix * scale[2] + base[2 * s :]).unflatten(-1, (s, s)), config.sinkhorn_rounds, config.hc_eps)
    return rms_norm(collapse(streams, pre), config.eps, norm).to(streams.dtype), post, mix


@part
def write_streams(streams: Tensor, y: Tensor, post: Tensor, mix: Tensor) -> Tensor:
    """`post[t] · y + Σ_s mix[s][t] · streams[s]`"""
    kept = (mix[..., None] * wide(streams)[:, :, None]).sum(1)
    return (post[..., None] * wide(y)[:, None] + kept).to(streams.dtype)


@part
def read_last_streams(streams: Tensor, fn: Tensor, scale: Tensor, base: Tensor, norm: Tensor,
                      config: ModelConfig) -> Tensor:
    """What the output matrix is applied to, `[N, E]`."""
    pre = torch.sigmoid(stream_gates(streams, fn, config.eps) * wide(scale) + wide(base)) + config.hc_eps
    return rms_norm(collapse(streams, pre), config.eps, norm).to(streams.dtype)


class HyperConnection(nn.Module):
    """One site: how the streams are read for a sublayer, and how its output and they are mixed afterwards."""

    def __init__(self, config: ModelConfig, site: int):
        super().__init__()
        self.config, s = config, config.streams
        self.fn = nn.Parameter(torch.randn(2 * s + s * s, s * config.width) * (s * config.width) ** -0.5)
        self.scale = nn.Parameter(torch.full((3,), 0.1))
        # Each site prefers another stream, and streams mostly keep what they hold.
        read = torch.randn(s) * 0.3
        read[site % s] += 1.5
        keep = torch.randn(s, s) * 0.3 + 3 * torch.eye(s)
        self.base = nn.Parameter(torch.cat((read, torch.randn(s) * 0.3, keep.flatten())))

    def forward(self, streams: Tensor, norm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return read_streams(streams, self.fn, self.scale, self.base, norm, self.config)


class StreamHead(nn.Module):
    """Reads the streams for the output matrix."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, s = config, config.streams
        self.fn = nn.Parameter(torch.randn(s, s * config.width) * (s * config.width) ** -0.5)
        self.scale = nn.Parameter(torch.full((1,), 0.1))
        self.base = nn.Parameter(torch.zeros(s))

    def forward(self, streams: Tensor, norm: Tensor) -> Tensor:
        return read_last_streams(streams, self.fn, self.scale, self.base, norm, self.config)


# ---------------------------------------------------------------------------------------------------------------
# Compressed rows and indexer
# ---------------------------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where tokens are, `[N]` each: position in the row, and a number that no other document of the batch has."""

    position: Tensor
    document: Tensor
    #: Rows of the batch.
    rows: int

    def split(self, x: Tensor) -> Tensor:
        """`[N, …]` or `[B · C, …]` by rows of the batch."""
        return x.unflatten(0, (self.rows, -1))


@part
def pool_windows(h: Tensor, kv: Tensor, gate: Tensor, ape: Tensor, norm: Tensor, table: Tensor, position: Tensor,
                 document: Tensor, eps: float) -> Tensor:
    """One row for each window of `len(ape)` tokens, `[N, E]` to `[N / ratio, D]`, rotated, in at least 32 bits.

    Where matrices are twice as wide as rows, the first half of their outputs is for the window after the token's own.
    Of tokens of several documents only those of the last one count.
    """
    ratio, width = len(ape), len(norm)
    values = wide(linear(h, kv))
    scores = wide(linear(h, gate)).unflatten(0, (-1, ratio)) + wide(ape)
    window = document.unflatten(0, (-1, ratio))
    last = window[:, -1:]
    lanes = [(values.unflatten(0, (-1, ratio))[..., -width:], scores[..., -width:], window)]
    if values.shape[-1] > width:
        before = (values[:, :width].unflatten(0, (-1, ratio)), scores[..., :width])
        values, scores = (F.pad(x[:-1], (0, 0, 0, 0, 1, 0)) for x in before)
        lanes.append((values, scores, F.pad(window[:-1], (0, 0, 1, 0), value=-1)))
    lanes = [(v, s.masked_fill((d != last)[..., None], NEVER)) for v, s, d in lanes]
    peak = lanes[0][1].detach().amax(1, keepdim=True)
    for _, s in lanes[1:]:
        peak = torch.maximum(peak, s.detach().amax(1, keepdim=True))
    shares = [(s - peak).exp() for _, s in lanes]
    pooled = sum((share * v).sum(1) for share, (v, _) in zip(shares, lanes)) / sum(share.sum(1) for share in shares)
    return rotate(rms_norm(pooled, eps, norm), table, position[::ratio])


@part
def finish_rows(rows: Tensor, rotated: int, dtype: torch.dtype) -> Tensor:
    return round_row(rows, rotated).to(dtype)


@part
def finish_index(rows: Tensor, hadamard: Tensor, dtype: torch.dtype) -> Tensor:
    return round_index(rows, hadamard, dtype).to(dtype)


@part
def index_queries(query: Tensor, q_b: Tensor, heads: int, table: Tensor, position: Tensor) -> Tensor:
    return rotate(linear(query, q_b).unflatten(-1, (heads, -1)), table, position)


@part
def index_scores(queries: Tensor, rows: Tensor, h: Tensor, proj: Tensor) -> Tensor:
    """`[B, T, IH, ID]` queries, `[B, C, ID]` rows: scores `[B, T, C]`."""
    heads, width = queries.shape[2:]
    scores = wide(queries.flatten(1, 2) @ rows.transpose(1, 2)).unflatten(1, (-1, heads))
    weights = wide(linear(h, proj)) * (heads * width) ** -0.5
    return (weights[..., None] * scores.relu()).sum(2)


class Compressor(nn.Module):
    """Pools each window of `ratio` tokens into one row; with ratio 4 the window before takes part."""

    def __init__(self, config: ModelConfig, ratio: int, width: int):
        super().__init__()
        self.config = config
        columns = 2 * width if ratio == 4 else width
        self.kv = matrix(columns, config.width)
        self.gate = matrix(columns, config.width, 0.3)
        self.ape = nn.Parameter(torch.randn(ratio, columns) * 0.1)
        self.norm = nn.Parameter(torch.ones(width))

    def forward(self, h: Tensor, table: Tensor, place: Place) -> Tensor:
        return pool_windows(h, self.kv, self.gate, self.ape, self.norm, table, place.position, place.document,
                            self.config.eps)


class Indexer(nn.Module):
    """Scores compressed rows for each query. It learns from the attention, never the other way round."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.q_b = matrix(config.index_heads * config.index_width, config.query_rank)
        self.proj = matrix(config.index_heads, config.width)
        self.compressor = Compressor(config, 4, config.index_width)
        self.register_buffer("hadamard", hadamard_matrix(config.index_width), persistent=False)

    def forward(self, h: Tensor, query: Tensor, table: Tensor, place: Place, rounding: bool) -> Tensor:
        """Scores `[B, T, C]`."""
        queries = index_queries(query, self.q_b, self.config.index_heads, table, place.position)
        rows = self.compressor(h, table, place)
        if rounding:
            queries, rows = (finish_index(x, self.hadamard, h.dtype) for x in (queries, rows))
        else:
            queries, rows = queries.to(h.dtype), rows.to(h.dtype)
        return index_scores(place.split(queries), place.split(rows), place.split(h), self.proj)


# ---------------------------------------------------------------------------------------------------------------
# Attention
# ---------------------------------------------------------------------------------------------------------------


@part
def project(h: Tensor, q_a: Tensor, q_a_norm: Tensor, q_b: Tensor, kv: Tensor, kv_norm: Tensor, heads: int,
            table: Tensor, position: Tensor, eps: float, rounding: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Low-rank query `[N, Q]`, queries `[N, H, D]` with the factor of the softmax in them, keys `[N, D]`."""
    query = rms_norm(linear(h, q_a), eps, q_a_norm)
    q = rms_norm(wide(linear(query, q_b).unflatten(-1, (heads, -1))), eps)
    q = rotate(q, table, position) * q.shape[-1] ** -0.5
    key = rotate(rms_norm(wide(linear(h, kv)), eps, kv_norm), table, position)
    if rounding:
        key = round_row(key, table.shape[-1])
    return query, q.to(h.dtype), key.to(h.dtype)


def with_block_before(x: Tensor, window: int, empty: float = 0) -> Tensor:
    """`[N, …]` in blocks of `window`, each after the block before it, `[N / window, 2 window, …]`."""
    blocks = x.unflatten(0, (-1, window))
    before = F.pad(blocks[:-1], (0, 0) * (x.ndim - 1) + (0, 0, 1, 0), value=empty)
    return torch.cat((before, blocks), 1)


def near_scores(q: Tensor, keys: Tensor, document: Tensor, window: int) -> Tensor:
    """Scores of the window's keys, `[N, H, 2 window]`."""
    scores = wide(q.unflatten(0, (-1, window)).flatten(1, 2) @ keys.transpose(1, 2))
    query = torch.arange(window, device=q.device)[:, None]
    key = torch.arange(2 * window, device=q.device)
    same = document.unflatten(0, (-1, window))[:, :, None] == with_block_before(document, window, -1)[:, None]
    seen = (key > query) & (key <= query + window) & same
    return scores.unflatten(1, (window, -1)).masked_fill(~seen[:, :, None], NEVER).flatten(0, 1)


def near_values(scores: Tensor, total: Tensor, keys: Tensor) -> Tensor:
    share = (scores - total[..., None]).exp().to(keys.dtype)
    window, heads = keys.shape[1] // 2, scores.shape[1]
    return (share.unflatten(0, (-1, window)).flatten(1, 2) @ keys).unflatten(1, (window, heads)).flatten(0, 1)


@part
def attend_near(q: Tensor, key: Tensor, document: Tensor, sinks: Tensor, window: int) -> Tensor:
    """Sliding window only, `[N, H, D]`."""
    keys = with_block_before(key, window)
    scores = near_scores(q, keys, document, window)
    total = torch.logaddexp(scores.logsumexp(-1), wide(sinks))
    return near_values(scores, total, keys)


@part
def visible_rows(position: Tensor, document: Tensor, ratio: int) -> Tensor:
    """Which compressed row a query sees, `[B, T, C]`: its window must be closed, in the query's document."""
    closing = slice(ratio - 1, None, ratio)
    return ((position[:, :, None] >= position[:, None, closing])
            & (document[:, :, None] == document[:, None, closing]))


@part
def choose(scores: Tensor, visible: Tensor, top_k: int) -> Tensor:
    """The `top_k` visible rows of highest score of each query; among equal scores the lower index."""
    scores = scores.detach().masked_fill(~visible, NEVER)
    least = scores.topk(top_k, sorted=False).values.amin(-1, keepdim=True)
    above, equal = scores > least, scores == least
    room = top_k - above.sum(-1, keepdim=True)
    return visible & (above | (equal & (equal.cumsum(-1) <= room)))


@part
def attend(q: Tensor, key: Tensor, rows: Tensor, chosen: Tensor, document: Tensor, sinks: Tensor,
           window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sliding window and chosen rows, `[N, H, D]`; also the scores of all rows and the logarithm of the denominator."""
    keys = with_block_before(key, window)
    near = near_scores(q, keys, document, window)
    far = (q.unflatten(0, (len(rows), -1)).flatten(1, 2) @ rows.transpose(1, 2)).unflatten(1, (-1, q.shape[1]))
    seen = wide(far).masked_fill(~chosen[:, :, None], NEVER)
    total = torch.logaddexp(torch.logaddexp(near.logsumexp(-1), wide(sinks)), seen.logsumexp(-1).flatten(0, 1))
    share = (seen - total.view(seen.shape[:-1])[..., None]).exp().to(q.dtype)
    out = near_values(near, total, keys) + (share.flatten(1, 2) @ rows).view(q.shape)
    return out, far.detach(), total.detach()


@part
def distillation(scores: Tensor, far: Tensor, total: Tensor, visible: Tensor) -> Tensor:
    """How far the softmax of the indexer's scores is from the heads' attention to the rows (KL divergence).

    Rows that were not chosen count as well, with the share they would have had: that is how they get in.
    """
    mass = (wide(far) - total.view(far.shape[:-1])[..., None]).exp().sum(2).masked_fill(~visible, 0.0)
    mass = mass / mass.sum(-1, keepdim=True).clamp_min(1e-30)
    guess = scores.masked_fill(~visible, NEVER).log_softmax(-1)
    return (mass * (mass.clamp_min(1e-30).log() - guess)).sum(-1).mean()


@part
def merge_heads(out: Tensor, output_a: Tensor, output_b: Tensor, table: Tensor, position: Tensor) -> Tensor:
    """Undoes the rotation and projects groups of heads, then all, to `[N, E]`."""
    out = rotate(out, table, position, inverse=True).to(out.dtype).flatten(1)
    groups, rank, _ = output_a.shape
    low = torch.einsum("ngi,goi->ngo", out.unflatten(1, (groups, -1)), output_a.to(out.dtype))
    return linear(low.reshape(len(out), groups * rank), output_b)


class Attention(nn.Module):
    """Sliding window plus compressed rows over one latent that is both key and value of all heads."""

    def __init__(self, config: ModelConfig, ratio: int):
        super().__init__()
        self.config, self.ratio = config, ratio
        all_heads = config.heads * config.head_width
        self.q_a = matrix(config.query_rank, config.width)
        self.q_a_norm = nn.Parameter(torch.ones(config.query_rank))
        self.q_b = matrix(all_heads, config.query_rank)
        self.kv = matrix(config.head_width, config.width)
        self.kv_norm = nn.Parameter(torch.ones(config.head_width))
        self.sinks = nn.Parameter(torch.zeros(config.heads))
        self.output_a = matrix(config.output_rank, all_heads // config.groups, 1.0, config.groups)
        self.output_b = matrix(config.width, config.groups * config.output_rank, 0.3)
        self.compressor = Compressor(config, ratio, config.head_width) if ratio else None
        self.indexer = Indexer(config) if ratio == 4 else None

    def forward(self, h: Tensor, table: Tensor, place: Place, mode: Mode) -> tuple[Tensor, Tensor | None]:
        """Output `[N, E]` and the indexer's loss."""
        config, index_loss = self.config, None
        query, q, key = project(h, self.q_a, self.q_a_norm, self.q_b, self.kv, self.kv_norm, config.heads, table,
                                place.position, config.eps, mode.rounding)
        if self.ratio:
            rows = self.compressor(h, table, place)
            rows = finish_rows(rows, config.rotated, h.dtype) if mode.rounding else rows.to(h.dtype)
            rows = place.split(rows)
            chosen = visible = visible_rows(place.split(place.position), place.split(place.document), self.ratio)
            truncates = mode.top_k is not None and rows.shape[1] > mode.top_k
            if self.indexer is not None and (mode.losses or truncates):
                scores = self.indexer(h.detach(), query.detach(), table, place, mode.rounding)
                if truncates:
                    chosen = choose(scores, visible, mode.top_k)
            out, far, total = attend(q, key, rows, chosen, place.document, self.sinks, config.window)
            if self.indexer is not None and mode.losses:
                index_loss = distillation(scores, far, total, visible)
        else:
            out = attend_near(q, key, place.document, self.sinks, config.window)
        return merge_heads(out, self.output_a, self.output_b, table, place.position), index_loss


# ---------------------------------------------------------------------------------------------------------------
# Experts
# ---------------------------------------------------------------------------------------------------------------


def expert_table(config: ModelConfig) -> Tensor:
    """Experts of each token in hash-routed layers, `[V, NU]`: every set of experts equally often, in random order."""
    random = torch.Generator().manual_seed(config.hash_seed)
    sets = torch.tensor(list(combinations(range(config.experts), config.experts_used)))
    repeats = -(-config.vocab // len(sets))
    return sets.repeat(repeats, 1)[torch.randperm(config.vocab, generator=random)]


def affinity_of(h: Tensor, router: Tensor) -> Tensor:
    return F.softplus(linear(wide(h), wide(router)), threshold=20).sqrt()


def weigh(affinity: Tensor, chosen: Tensor, scale: float) -> Tensor:
    """Weights of the chosen experts and, last, of the shared one, `[N, NE + 1]`."""
    weights = affinity * chosen
    weights = scale * weights / weights.sum(-1, keepdim=True).clamp_min(2.0**-14)
    return F.pad(weights, (0, 1), value=1.0)


@part
def route_by_token(h: Tensor, router: Tensor, table: Tensor, ids: Tensor, scale: float) -> Tensor:
    experts = torch.arange(len(router), device=h.device)
    chosen = (table[ids][..., None] == experts).any(-2)
    return weigh(affinity_of(h, router), chosen, scale)


@part
def route(h: Tensor, router: Tensor, bias: Tensor, used: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the experts, which are chosen (0 or 1), and their share of the affinity."""
    affinity = affinity_of(h, router)
    experts = torch.arange(len(router), device=h.device)
    score = affinity.detach() + wide(bias)
    mine, other = score[..., :, None], score[..., None, :]
    # Equal scores go to the lower expert.
    ahead = (other > mine) | ((other == mine) & (experts < experts[:, None]))
    chosen = (ahead.sum(-1) < used).to(affinity.dtype)
    return weigh(affinity, chosen, scale), chosen, affinity / affinity.sum(-1, keepdim=True)


@part
def experts(h: Tensor, weights: Tensor, gate: Tensor, up: Tensor, down: Tensor, clamp: float) -> Tensor:
    """All experts as one wide layer, the weights applied in its middle."""
    g = wide(linear(h, gate.flatten(0, 1))).unflatten(-1, (len(gate), -1)).clamp(max=clamp)
    u = wide(linear(h, up.flatten(0, 1))).unflatten(-1, (len(up), -1)).clamp(-clamp, clamp)
    middle = (F.silu(g) * u * weights[..., None]).to(h.dtype)
    return linear(middle.flatten(1), down.transpose(0, 1).flatten(1))


@part
def balance(chosen: Tensor, share: Tensor, used: int) -> tuple[Tensor, Tensor]:
    """Load of each expert, and a loss: of each row, the tokens that an expert got times the affinity it was given."""
    got = chosen.mean(1)
    return got.mean(0), (got * share.mean(1)).sum(-1).mean() * (chosen.shape[-1] / used)


class FeedForward(nn.Module):
    """Routed experts and, as the last of the stack, the shared one."""

    def __init__(self, config: ModelConfig, hashed: bool):
        super().__init__()
        self.config = config
        self.router = matrix(config.experts, config.width)
        self.gate = matrix(config.expert_width, config.width, 1.0, config.experts + 1)
        self.up = matrix(config.expert_width, config.width, 1.0, config.experts + 1)
        self.down = matrix(config.width, config.expert_width, 0.3, config.experts + 1)
        self.register_buffer("table", expert_table(config) if hashed else None)
        self.register_buffer("bias", None if hashed else torch.zeros(config.experts))

    def forward(self, h: Tensor, ids: Tensor, place: Place, mode: Mode) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Output `[N, E]`; where routing is learned also the load of each expert and the balance loss."""
        config, load, loss = self.config, None, None
        if self.table is not None:
            weights = route_by_token(h, self.router, self.table, ids, config.route_scale)
        else:
            weights, chosen, share = route(h, self.router, self.bias, config.experts_used, config.route_scale)
            if mode.losses:
                load, loss = balance(place.split(chosen), place.split(share), config.experts_used)
        return experts(h, weights, self.gate, self.up, self.down, config.clamp), load, loss


# ---------------------------------------------------------------------------------------------------------------
# The whole
# ---------------------------------------------------------------------------------------------------------------


class Notes:
    """What layers say beside their output, in the order of layers."""

    def __init__(self) -> None:
        self.index_losses: list[Tensor] = []
        self.balance_losses: list[Tensor] = []
        #: Share of the tokens that chose each expert, of layers with learned routing.
        self.loads: list[Tensor] = []


class Block(nn.Module):
    """One layer: attention, then experts, each between its hyper-connection."""

    def __init__(self, config: ModelConfig, layer: int, ratio: int, hashed: bool):
        super().__init__()
        self.attention_hc = HyperConnection(config, 2 * layer)
        self.attention_norm = nn.Parameter(torch.ones(config.width))
        self.attention = Attention(config, ratio)
        self.ffn_hc = HyperConnection(config, 2 * layer + 1)
        self.ffn_norm = nn.Parameter(torch.ones(config.width))
        self.ffn = FeedForward(config, hashed)

    def forward(self, streams: Tensor, table: Tensor, ids: Tensor, place: Place, mode: Mode, notes: Notes) -> Tensor:
        h, post, mix = self.attention_hc(streams, self.attention_norm)
        y, index_loss = self.attention(h, table, place, mode)
        streams = write_streams(streams, y, post, mix)
        h, post, mix = self.ffn_hc(streams, self.ffn_norm)
        y, load, balance_loss = self.ffn(h, ids, place, mode)
        if index_loss is not None:
            notes.index_losses.append(index_loss)
        if load is not None:
            notes.loads.append(load)
            notes.balance_losses.append(balance_loss)
        return write_streams(streams, y, post, mix)


@part
def join_next(streams: Tensor, embedded: Tensor, enorm: Tensor, hnorm: Tensor, e_proj: Tensor, h_proj: Tensor,
              eps: float) -> Tensor:
    told = linear(rms_norm(embedded, eps, enorm), e_proj)
    return told[:, None] + linear(rms_norm(streams, eps, hnorm), h_proj)


class MultiToken(nn.Module):
    """Predicts the token after the next from the streams and the next token; embedding and output are the model's."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.e_proj = matrix(config.width, config.width)
        self.h_proj = matrix(config.width, config.width)
        self.enorm = nn.Parameter(torch.ones(config.width))
        self.hnorm = nn.Parameter(torch.ones(config.width))
        self.norm = nn.Parameter(torch.ones(config.width))
        self.block = Block(config, config.layers, 0, hashed=False)
        self.head = StreamHead(config)

    def forward(self, streams: Tensor, embedded: Tensor, table: Tensor, ids: Tensor, place: Place, mode: Mode,
                notes: Notes) -> Tensor:
        """What the output matrix is applied to, `[N, E]`; `embedded` and `ids` are those of the next tokens."""
        joined = join_next(streams, embedded, self.enorm, self.hnorm, self.e_proj, self.h_proj, self.config.eps)
        return self.head(self.block(joined, table, ids, place, mode, notes), self.norm)


class Losses(NamedTuple):
    """Means over a batch."""

    main: Tensor
    #: Of the token after the next.
    mtp: Tensor
    index: Tensor
    balance: Tensor
    #: `[routed layers, NE]`, in the order of `Model.routed`.
    load: Tensor


@part
def cross_entropy(x: Tensor, output: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    return (F.cross_entropy(wide(linear(x, output)), targets, reduction="none") * weight).sum()


class Model(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.randn(config.vocab, config.width) * 0.5)
        self.blocks = nn.ModuleList(
            Block(config, layer, ratio, layer < config.hash_layers) for layer, ratio in enumerate(config.ratios)
        )
        self.head = StreamHead(config)
        self.norm = nn.Parameter(torch.ones(config.width))
        self.output = nn.Parameter(torch.randn(config.vocab, config.width) * 0.02)
        self.mtp = MultiToken(config) if config.mtp else None
        # Float64 whatever the weights are, so that a model made exact later is exact here too.
        self.register_buffer("rope", rope_table(config, False), persistent=False)
        self.register_buffer("compressed_rope", rope_table(config, True), persistent=False)

    @property
    def routed(self) -> list[FeedForward]:
        """The feed-forward parts whose routing is learned."""
        blocks = [*self.blocks] + ([self.mtp.block] if self.mtp is not None else [])
        return [block.ffn for block in blocks if block.ffn.table is None]

    def place(self, ids: Tensor, isolate: bool) -> Place:
        rows, length = ids.shape
        position = torch.arange(length, device=ids.device).repeat(rows)
        document = torch.arange(rows, device=ids.device)[:, None] * (length + 1)
        documents = document + ((ids == 0).cumsum(1) if isolate else torch.zeros_like(ids))
        return Place(position, documents.flatten(), rows)

    def tables(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Rotary factors of layers without and with compressed rows."""
        dtype = torch.promote_types(dtype, torch.float32)
        return self.rope.to(dtype), self.compressed_rope.to(dtype)

    def trunk(self, embedded: Tensor, ids: Tensor, place: Place, mode: Mode, notes: Notes) -> Tensor:
        """Streams after the last layer, `[N, S, E]`."""
        streams = embedded[:, None].repeat(1, self.config.streams, 1)
        plain, compressed = self.tables(embedded.dtype)
        for block, ratio in zip(self.blocks, self.config.ratios):
            streams = block(streams, compressed if ratio else plain, ids, place, mode, notes)
        return streams

    def padded(self, ids: Tensor) -> Tensor:
        """Full windows; what is added comes after everything else and is seen by nothing."""
        return F.pad(ids, (0, -ids.shape[1] % self.config.window))

    def forward(self, ids: Tensor, dtype: torch.dtype = torch.float32, mode: Mode = Mode()) -> Tensor:
        """Logits `[B, T, V]`."""
        padded = self.padded(ids)
        place = self.place(padded, isolate=False)
        streams = self.trunk(self.embedding[padded.flatten()].to(dtype), padded.flatten(), place, mode, Notes())
        return place.split(linear(self.head(streams, self.norm), self.output))[:, : ids.shape[1]]

    def draft(self, ids: Tensor, dtype: torch.dtype = torch.float32, mode: Mode = Mode()) -> Tensor:
        """Logits of the multi-token block `[B, T - 1, V]`: at p, of token p + 2 given all up to p + 1."""
        known, following = self.padded(ids[:, :-1]), self.padded(ids[:, 1:]).flatten()
        place = self.place(known, isolate=False)
        streams = self.trunk(self.embedding[known.flatten()].to(dtype), known.flatten(), place, mode, Notes())
        x = self.mtp(streams, self.embedding[following].to(dtype), self.tables(dtype)[0], following, place, mode, Notes())
        return place.split(linear(x, self.output))[:, : ids.shape[1] - 1]

    def losses(self, ids: Tensor, weight: Tensor, dtype: torch.dtype, mode: Mode, mtp: bool, isolate: bool,
               chunk: int = 16_384) -> Losses:
        """`ids` and `weight` are `[B, T + 1]`; `weight` says how much predicting that token counts."""
        if (ids.shape[1] - 1) % self.config.window:
            raise ValueError(f"rows for training must be multiples of {self.config.window} tokens")
        notes, place = Notes(), self.place(ids[:, :-1], isolate)
        embedded = self.embedding[ids].to(dtype)
        now, following = ids[:, :-1].flatten(), ids[:, 1:].flatten()
        streams = self.trunk(embedded[:, :-1].flatten(0, 1), now, place, mode, notes)
        main = self.token_loss(self.head(streams, self.norm), following, weight[:, 1:].flatten(), chunk)
        mtp_loss = torch.zeros_like(main)
        if mtp:
            told = embedded[:, 1:].flatten(0, 1)
            x = self.mtp(streams, told, self.tables(dtype)[0], following, place, mode, notes)
            # The last position has no token after the next, and the last of a document has one of another document.
            weight = weight[:, 2:] * (ids[:, 1:-1] != 0)
            targets, weight = F.pad(ids[:, 2:], (0, 1)).flatten(), F.pad(weight, (0, 1)).flatten()
            mtp_loss = self.token_loss(x, targets, weight, chunk)
        zero = main.new_zeros(())
        return Losses(main, mtp_loss, sum(notes.index_losses, zero), sum(notes.balance_losses, zero),
                      torch.stack(notes.loads) if notes.loads else zero)

    def token_loss(self, x: Tensor, targets: Tensor, weight: Tensor, chunk: int) -> Tensor:
        """Weighted mean. Logits exist for `chunk` tokens at a time; the backward pass computes them again."""
        weight = weight.to(torch.promote_types(x.dtype, torch.float32))
        pieces = zip(x.split(chunk), targets.split(chunk), weight.split(chunk))
        total = sum(checkpoint(cross_entropy, x, self.output, t, w, use_reentrant=False) for x, t, w in pieces)
        return total / weight.sum().clamp_min(1e-6)
