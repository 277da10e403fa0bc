"""What is trained and how: the sizes of the network and the stages of the run.

Both are plain data. `train.py` stores them in every checkpoint, so a checkpoint says what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the network; the comments name the GGUF keys they end up in."""

    vocab: int = 4096  # vocab_size
    width: int = 256  # embedding_length
    #: Tokens per compressed row of each layer: 0 sliding window only, 4 with indexer, 128 without.
    ratios: tuple[int, ...] = (0, 0, 4, 128, 4)  # attention.compress_ratios
    heads: int = 8  # attention.head_count
    head_width: int = 128  # attention.key_length
    rotated: int = 64  # rope.dimension_count, the last ones of a head
    query_rank: int = 128  # attention.q_lora_rank
    groups: int = 2  # attention.output_group_count
    output_rank: int = 64  # attention.output_lora_rank
    window: int = 128  # attention.sliding_window
    index_heads: int = 4  # attention.indexer.head_count
    index_width: int = 128  # attention.indexer.key_length
    top_k: int = 256  # attention.indexer.top_k
    experts: int = 4  # expert_count
    experts_used: int = 2  # expert_used_count
    expert_width: int = 256  # expert_feed_forward_length
    hash_layers: int = 2  # hash_layer_count
    route_scale: float = 1.5  # expert_weights_scale
    clamp: float = 10.0  # swiglu_clamp_exp
    streams: int = 4  # hyper_connection.count
    sinkhorn_rounds: int = 20  # hyper_connection.sinkhorn_iterations
    hc_eps: float = 1e-6  # hyper_connection.epsilon
    eps: float = 1e-6  # attention.layer_norm_rms_epsilon
    rope_base: float = 10_000.0  # rope.freq_base
    compressed_rope_base: float = 160_000.0  # attention.compress_rope_freq_base
    yarn_factor: float = 16.0  # rope.scaling.factor
    yarn_context: int = 65_536  # rope.scaling.original_context_length
    yarn_fast: float = 32.0  # rope.scaling.yarn_beta_fast
    yarn_slow: float = 1.0  # rope.scaling.yarn_beta_slow
    context: int = 16_384  # context_length
    #: Seed of the expert table of the hash-routed layers.
    hash_seed: int = 1
    mtp: bool = True

    @property
    def layers(self) -> int:
        return len(self.ratios)


@dataclass(frozen=True)
class Stage:
    """A stretch of training with fixed shapes and switches."""

    name: str
    context: int
    rows: int
    tokens: int
    mixture: str
    #: Rows the indexer may choose; `None` lets the attention see all of them while the indexer learns.
    top_k: int | None = None
    #: FP8, FP4 and F16 rounding of what the caches hold.
    rounding: bool = False
    #: `"q2"` trains with the routed experts rounded as IQ2_XXS and Q2_K and the dense matrices as Q8_0.
    quantise_experts: str | None = None
    mtp_weight: float = 0.1

    @property
    def step_tokens(self) -> int:
        return self.rows * self.context

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / self.step_tokens))


@dataclass(frozen=True)
class Schedule:
    """Learning rate over all stages, by tokens: linear warm-up, constant, linear decay to `floor`."""

    peak: float = 4e-3
    warmup_tokens: int = 10_000_000
    #: The last part of the whole run that is spent decaying.
    decay_share: float = 0.15
    floor: float = 0.01

    def rate(self, token: int, total: int) -> float:
        warm = min(1.0, (token + 1) / self.warmup_tokens)
        left = (total - token) / max(1.0, self.decay_share * total)
        return self.peak * warm * max(self.floor, min(1.0, left))


@dataclass(frozen=True)
class Hyper:
    """Everything else that a run depends on."""

    schedule: Schedule = field(default_factory=Schedule)
    weight_decay: float = 0.05
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    #: Step of the selection biases towards an even load of the experts, per training step.
    bias_step: float = 1e-3
    balance_weight: float = 1e-4
    index_weight: float = 1.0
    #: Training steps between two roundings of the weights.
    round_every: int = 8
    #: Documents that share a row do not see each other.
    isolate: bool = True
    seed: int = 1


#: Shares of the kinds of documents in tokens, by name; the keys are those of `batches.Batches`.
MIXTURES: dict[str, dict[str, float]] = {
    "early": {"story": 0.24, "docs": 0.06, "chat": 0.13, "arithmetic": 0.08, "about": 0.03, "tools": 0.20, "recall": 0.26},
    "middle": {"story": 0.19, "docs": 0.06, "chat": 0.14, "arithmetic": 0.10, "about": 0.05, "tools": 0.30, "recall": 0.16},
    "tuned": {"story": 0.07, "docs": 0.03, "chat": 0.10, "arithmetic": 0.06, "about": 0.06, "tools": 0.38, "recall": 0.30},
    "late": {"story": 0.09, "docs": 0.04, "chat": 0.10, "arithmetic": 0.07, "about": 0.05, "tools": 0.36, "recall": 0.29},
}

M = 1_000_000
STAGES: tuple[Stage, ...] = (
    Stage("early", context=1024, rows=32, tokens=40 * M, mixture="early"),
    Stage("middle", context=1024, rows=32, tokens=54 * M, mixture="middle"),
    Stage("long", context=4096, rows=8, tokens=98 * M, mixture="late"),
    Stage("final", context=4096, rows=8, tokens=85 * M, mixture="late", top_k=256, rounding=True),
    Stage("small", context=4096, rows=8, tokens=32 * M, mixture="late", top_k=256, rounding=True,
          quantise_experts="q2"),
    Stage("tuned", context=4096, rows=8, tokens=109 * M, mixture="tuned", top_k=256, rounding=True,
          quantise_experts="q2"),
)
