"""Trains the demo model: `python train.py --out FOLDER`.

Runs the stages of `config.py` one after another, resumes from the checkpoint in `--out` when there is one, and stops
cleanly after `--max-seconds`. Matrices are trained with Muon, everything else with AdamW: at this size Muon reaches
the same loss in clearly fewer tokens, and its cost, a few small products a matrix, does not show.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from config import MIXTURES, STAGES, Hyper, ModelConfig, Stage
from model import Mode, Model, compile_parts

# ---------------------------------------------------------------------------------------------------------------
# Optimiser
# ---------------------------------------------------------------------------------------------------------------

#: Last parts of the names of parameters that are matrices between hidden vectors, alone or stacked.
HIDDEN_MATRICES = {"q_a", "q_b", "kv", "gate", "up", "down", "output_a", "output_b", "e_proj", "h_proj"}


def orthogonal(update: Tensor, rounds: int = 5) -> Tensor:
    """Nearly the closest matrix with singular values of one, by Newton-Schulz iteration, `[n, rows, columns]`."""
    x = update.bfloat16() if update.is_cuda else update
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x.mT if tall else x


class Optimiser:
    """Muon for hidden matrices, AdamW for the rest, one learning rate for both."""

    def __init__(self, model: Model, hyper: Hyper):
        self.hyper = hyper
        named = dict(model.named_parameters())
        hidden = {name for name, p in named.items() if name.rsplit(".")[-1] in HIDDEN_MATRICES}
        self.shapes: dict[tuple[int, int], list[nn.Parameter]] = {}
        for name in sorted(hidden):
            self.shapes.setdefault(tuple(named[name].shape[-2:]), []).append(named[name])
        self.momenta = {
            shape: torch.zeros(sum(p.numel() for p in group) // math.prod(shape), *shape, device=group[0].device)
            for shape, group in self.shapes.items()
        }
        rest = {name: p for name, p in named.items() if name not in hidden}
        self.rest = rest
        decayed = [p for p in rest.values() if p.ndim > 1]
        plain = [p for p in rest.values() if p.ndim == 1]
        self.adam = torch.optim.AdamW(
            [dict(params=decayed, weight_decay=hyper.weight_decay), dict(params=plain, weight_decay=0.0)],
            lr=0.0, betas=hyper.betas, eps=1e-10, fused=next(model.parameters()).is_cuda,
        )

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        for shape, group in self.shapes.items():
            if any(p.grad is None for p in group):  # the multi-token block in stages without it
                self._muon(shape, group, [torch.zeros_like(p) if p.grad is None else p.grad for p in group], rate)
            else:
                self._muon(shape, group, [p.grad for p in group], rate)

    def _muon(self, shape: tuple[int, int], group: list[nn.Parameter], grads: list[Tensor], rate: float) -> None:
        grad = torch.cat([g.view(-1, *shape) for g in grads])
        momentum = self.momenta[shape].lerp_(grad, 1 - self.hyper.momentum)
        update = orthogonal(grad.lerp(momentum, self.hyper.momentum)).float()
        # So large that a step moves weights as far as one of AdamW would.
        update *= -rate * 0.2 * math.sqrt(max(shape))
        parts = update.split([p.numel() // math.prod(shape) for p in group])
        torch._foreach_mul_(group, 1 - rate * self.hyper.weight_decay)
        torch._foreach_add_(group, [part.view(p.shape) for part, p in zip(parts, group)])

    def zero_grad(self) -> None:
        for p in [*self.rest.values(), *(p for group in self.shapes.values() for p in group)]:
            p.grad = None

    def state(self) -> dict:
        adam = {name: self.adam.state[p] for name, p in self.rest.items() if p in self.adam.state}
        return {
            "momenta": {shape: pack_rows(m) for shape, m in self.momenta.items()},
            "steps": max((int(s["step"]) for s in adam.values()), default=0),
            "first": {name: pack_rows(s["exp_avg"]) for name, s in adam.items()},
            "second": {name: s["exp_avg_sq"].bfloat16().cpu() for name, s in adam.items()},
        }

    def load(self, state: dict) -> None:
        for shape, packed in state["momenta"].items():
            self.momenta[shape].copy_(unpack_rows(packed))
        for name, second in state["second"].items():
            p = self.rest[name]
            self.adam.state[p] = {
                "step": torch.tensor(float(state["steps"]), device=p.device),
                "exp_avg": unpack_rows(state["first"][name]).to(p.device),
                "exp_avg_sq": second.float().to(p.device),
            }


# ---------------------------------------------------------------------------------------------------------------
# Rounding of weights to the formats of the engine's files
# ---------------------------------------------------------------------------------------------------------------

#: The 256 points of IQ2_XXS as 16-bit words: two bits for each of eight values, 0, 1, 2 for 8, 25, 43. From `gguf`.
IQ2_XXS_GRID = (
    "00000200050008000a00110014002000220028002a00410044005000580061006400800082008a00a20001010401100115014001"
    "840198010002020222028202010404041004210424044004420448046004810484049004a4040005020508052005460569058005"
    "91050906100640068406a406000805080808140828084108440850085208880804094009020a140a011004101010211040106010"
    "84109010951000110811201150115a11801124124512001408142014251449148014181562150016161601180418101840188118"
    "00190519a019511a002002200a204420612080208220292148210022022201240424102440245624002541256425902608282028"
    "9428442a014004401040184021402440404048405640604081408440904000412041614180418541014210424842564268420044"
    "0844204480449944124524450046014804481048404845480049584961498249454a904a00500850115019502050805088500451"
    "4251a4519152905492540a550156545600581158195864584059085a046010604060686000615561186260620064056410651265"
    "84654268008002800a8041808280048118814081118201840484108415844084608400854685948509864086608602880489118a"
    "0490109024904090a19016918091459200942294449451958198209902a050a085a009a100a218a450a804a9"
)


def iq2_xxs_grid(device: torch.device) -> Tensor:
    words = np.frombuffer(bytes.fromhex(IQ2_XXS_GRID), "<u2").astype(np.int64)
    codes = (words[:, None] >> (2 * np.arange(8))) & 3
    return torch.tensor(np.array([8.0, 25.0, 43.0], np.float32)[codes], device=device)


def half(x: Tensor) -> Tensor:
    return x.half().float()


def ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, 0 where `b` is 0."""
    return torch.where(b > 0, a / b.clamp_min(1e-30), 0.0)


def round_q8_0(w: Tensor) -> Tensor:
    """Blocks of 32: 8-bit codes times a scale."""
    blocks = w.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    return (ratio(blocks, scale).round() * half(scale)).view_as(w)


def round_q2_k(w: Tensor) -> Tensor:
    """Blocks of 256: 2-bit codes, a 4-bit scale and a 4-bit minimum for each 16 weights."""
    x = w.reshape(-1, 16, 16)
    low, high = x.amin(-1, keepdim=True).clamp_max(0), x.amax(-1, keepdim=True)
    best = (x.square().sum(-1, keepdim=True), torch.zeros_like(low), torch.zeros_like(low))
    for stretch in torch.arange(-0.9, 1.0, 0.1).tolist():
        codes = (ratio(x - low, high - low) * (3 + stretch)).round().clamp(0, 3)
        # Least squares of x against (code, 1).
        of_c, of_cc, of_x = codes.sum(-1, True), codes.square().sum(-1, True), x.sum(-1, True)
        of_xc = (x * codes).sum(-1, True)
        scale = ratio(16 * of_xc - of_x * of_c, 16 * of_cc - of_c * of_c)
        least = ((of_x - scale * of_c) / 16).clamp_max(0)
        scale = ratio(of_xc - least * of_c, of_cc).clamp_min(0)
        error = (codes * scale + least - x).square().sum(-1, True)
        best = tuple(torch.where(error < best[0], new, old) for new, old in zip((error, scale, -least), best))

    def four_bits(values: Tensor) -> Tensor:
        unit = values.amax(1, keepdim=True) / 15
        return ratio(values, unit).round() * half(unit)

    scale, least = four_bits(best[1]), four_bits(best[2])
    return (ratio(x + least, scale).round().clamp(0, 3) * scale - least).view_as(w)


def round_iq2_xxs(w: Tensor) -> Tensor:
    """Blocks of 256: eight values at a time one of 256 points with an even number of minus signs, 4-bit scales."""
    grid = iq2_xxs_grid(w.device)
    squares = grid.square().sum(1)
    x = w.reshape(-1, 8, 4, 8)
    sign = torch.where(x < 0, -1.0, 1.0)
    # An odd number of minus signs cannot be stored: the smallest value changes sides.
    weakest = torch.nn.functional.one_hot(x.abs().argmin(-1), 8).bool()
    sign = torch.where(weakest & (sign.prod(-1, keepdim=True) < 0), -sign, sign)
    size = x * sign

    def nearest(scale: Tensor) -> Tensor:
        points = (squares - 2 * (ratio(size, scale[..., None, None]).flatten(0, 2) @ grid.T)).argmin(1)
        return grid[points].view_as(size)

    start = size.square().mean((-1, -2)).sqrt() / grid.square().mean().sqrt()
    best, gain = start, torch.full_like(start, -1.0)
    for factor in (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35):
        points = nearest(start * factor)
        along, norm = (points * size).sum((-1, -2)), points.square().sum((-1, -2))
        better = along.square() / norm > gain
        best = torch.where(better, (along / norm).clamp_min(0), best)
        gain = torch.where(better, along.square() / norm, gain)
    unit = half(best.amax(1, keepdim=True) / (15.5 * 0.25)) * 0.25
    scale = unit * ((ratio(best, unit) - 0.5).round().clamp(0, 15) + 0.5)
    return (nearest(scale) * scale[..., None, None] * sign).view_as(w)


def weight_rules(model: Model) -> list[tuple[Tensor, object]]:
    """Views of the weights that the `q2` recipe stores coarsely, each with its rule."""
    rules = [(model.output.data, round_q8_0)]
    for block in model.blocks:
        attention, ffn = block.attention, block.ffn
        for p in (attention.q_a, attention.q_b, attention.kv, attention.output_a, attention.output_b):
            rules.append((p.data, round_q8_0))
        for p, rule in ((ffn.gate, round_iq2_xxs), (ffn.up, round_iq2_xxs), (ffn.down, round_q2_k)):
            rules += [(p.data[:-1], rule), (p.data[-1], round_q8_0)]
    return rules


class WeightRounder:
    """Lets the model compute with rounded weights while the optimiser moves the exact ones.

    The distance to the rounded weights is found every few steps and added in between, where it is nearly right.
    """

    def __init__(self, model: Model, every: int):
        self.rules, self.every, self.age = weight_rules(model), every, 0
        self.kept = [torch.empty_like(w) for w, _ in self.rules]
        self.distance = [torch.empty_like(w) for w, _ in self.rules]

    @contextmanager
    def applied(self, fresh: bool = False) -> Iterator[None]:
        """Within, the weights are rounded. Gradients taken there belong to the exact ones."""
        weights = [w for w, _ in self.rules]
        with torch.no_grad():
            torch._foreach_copy_(self.kept, weights)
            if fresh or self.age % self.every == 0:
                for (w, rule), distance in zip(self.rules, self.distance):
                    torch.sub(rule(w), w, out=distance)
            self.age += 1
            torch._foreach_add_(weights, self.distance)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(weights, self.kept)


# ---------------------------------------------------------------------------------------------------------------
# Checkpoints
# ---------------------------------------------------------------------------------------------------------------

#: Largest part of a checkpoint, so that tools with a limit on files can carry it.
PART_BYTES = 15 << 20


def pack_float(x: Tensor) -> Tensor:
    """The upper three bytes of each float32, rounded: 16 bits of mantissa are more than the files will keep."""
    bits = (x.detach().float().cpu().contiguous().view(torch.int32) + 0x80) >> 8
    return bits.view(torch.uint8).view(*x.shape, 4)[..., :3].contiguous()


def unpack_float(packed: Tensor) -> Tensor:
    full = torch.zeros(*packed.shape[:-1], 4, dtype=torch.uint8)
    full[..., 1:] = packed
    return full.view(torch.float32)[..., 0]


def pack_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """8-bit codes with a scale for each row: enough for a moving average of gradients."""
    x = x.detach().float().cpu()
    scale = x.abs().amax(-1, keepdim=True) / 127
    return ratio(x, scale).round().to(torch.int8), scale


def unpack_rows(packed: tuple[Tensor, Tensor]) -> Tensor:
    return packed[0].float() * packed[1]


def save_checkpoint(folder: Path, model: Model, optimiser: Optimiser | None, progress: dict) -> None:
    """Writes `checkpoint.00`, `.01`, …; without the optimiser it can be exported, not resumed well."""
    weights = {
        name: pack_float(value) if value.is_floating_point() else value.to(torch.int16).cpu()
        for name, value in model.state_dict().items()
    }
    state = {"config": asdict(model.config), "weights": weights, "progress": progress}
    if optimiser is not None:
        state["optimiser"] = optimiser.state()
    stream = io.BytesIO()
    torch.save(state, stream)
    content = stream.getvalue()
    # New parts first under other names: a run that is killed here leaves the old checkpoint.
    parts = [content[at : at + PART_BYTES] for at in range(0, len(content), PART_BYTES)]
    for i, part in enumerate(parts):
        (folder / f"new.{i:02}").write_bytes(part)
    for old in folder.glob("checkpoint.[0-9][0-9]"):
        old.unlink()
    for i in range(len(parts)):
        (folder / f"new.{i:02}").rename(folder / f"checkpoint.{i:02}")


def load_checkpoint(folder: Path, device: str = "cpu") -> tuple[Model, dict]:
    """The model of a checkpoint, and the rest of what it holds."""
    parts = sorted(folder.glob("checkpoint.[0-9][0-9]"))
    if not parts:
        raise FileNotFoundError(f"no checkpoint in {folder}")
    state = torch.load(io.BytesIO(b"".join(part.read_bytes() for part in parts)), weights_only=True)
    config = state["config"]
    model = Model(ModelConfig(**{**config, "ratios": tuple(config["ratios"])}))
    weights = {
        name: unpack_float(value) if value.dtype == torch.uint8 else value.long()
        for name, value in state.pop("weights").items()
    }
    model.load_state_dict(weights)
    return model.to(device), state


# ---------------------------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------------------------


class RandomBatches:
    """Stands in for `batches.Batches` where only speed or mechanics matter."""

    def __init__(self, mixture: dict[str, float], context: int, rows: int, seed: int, workers: int):
        self.random, self.shape = np.random.default_rng(seed), (rows, context + 1)

    def __iter__(self):
        while True:
            ids = self.random.integers(2, 4096, self.shape, dtype=np.uint16)
            ids[:, 0] = 0
            yield ids, np.full(self.shape, 8, np.uint8)


def to_device(batch: tuple[np.ndarray, np.ndarray], device: str) -> tuple[Tensor, Tensor]:
    ids = torch.from_numpy(batch[0].astype(np.int32))
    weight = torch.from_numpy(batch[1].copy())
    if device == "cuda":
        ids, weight = ids.pin_memory(), weight.pin_memory()
    ids, weight = ids.to(device, non_blocking=True), weight.to(device, non_blocking=True)
    return ids.long(), weight.float() / 8


class Feed:
    """Batches on the device, fetched ahead by a thread."""

    def __init__(self, batches, device: str, ahead: int = 4):
        self.device, self.queue, self.open = device, queue.Queue(ahead), True
        self.batches = batches
        self.thread = threading.Thread(target=self._fill, daemon=True)
        self.thread.start()

    def _fill(self) -> None:
        try:
            for batch in self.batches:
                while self.open:
                    try:
                        self.queue.put(batch, timeout=0.2)
                        break
                    except queue.Full:
                        pass
                if not self.open:
                    return
        except BaseException as error:  # handed to the training thread, which raises it
            self.queue.put(error)

    def next(self) -> tuple[Tensor, Tensor]:
        batch = self.queue.get()
        if isinstance(batch, BaseException):
            raise RuntimeError("the data stopped") from batch
        return to_device(batch, self.device)

    def close(self) -> None:
        self.open = False
        self.thread.join(timeout=5)
        close_batches(self.batches)


def close_batches(batches) -> None:
    if hasattr(batches, "close"):
        batches.close()


def validation_batches(source, stage: Stage, hyper: Hyper, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """One batch of each kind that the stage trains on, from a seed that training does not use."""
    held = {}
    for kind in MIXTURES[stage.mixture]:
        batches = source({kind: 1.0}, stage.context, stage.rows, seed=hyper.seed + 900_000_007, workers=2)
        held[kind] = to_device(next(iter(batches)), device)
        close_batches(batches)
    return held


# ---------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------


class Trainer:
    """One model on one device; `step` is one training step of the given stage."""

    def __init__(self, model: Model, hyper: Hyper):
        self.model, self.hyper = model, hyper
        self.device = next(model.parameters()).device.type
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.optimiser = Optimiser(model, hyper)
        self.rounder: WeightRounder | None = None

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self.mode = Mode(rounding=stage.rounding, top_k=stage.top_k, losses=True)
        if stage.quantise_experts not in (None, "q2"):
            raise ValueError(f"no rounding of weights is called {stage.quantise_experts}")
        self.rounder = WeightRounder(self.model, self.hyper.round_every) if stage.quantise_experts else None

    def _objective(self, ids: Tensor, weight: Tensor, mode: Mode, mtp_weight: float) -> tuple[Tensor, Tensor, Tensor]:
        hyper = self.hyper
        losses = self.model.losses(ids, weight, self.dtype, mode, mtp_weight > 0, hyper.isolate)
        total = (losses.main + mtp_weight * losses.mtp + hyper.index_weight * losses.index
                 + hyper.balance_weight * losses.balance)
        parts = torch.stack((losses.main, losses.mtp, losses.index, losses.balance)).detach()
        return total, parts, losses.load

    def _forward(self, ids: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self._objective(ids, weight, self.mode, self.stage.mtp_weight)

    def step(self, ids: Tensor, weight: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """Losses (main, mtp, index, balance) and the load of each expert, still on the device."""
        self.optimiser.zero_grad()
        with self.rounder.applied() if self.rounder is not None else nullcontext():
            total, parts, load = self._forward(ids, weight)
            total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.hyper.clip)
        self.optimiser.step(rate)
        with torch.no_grad():
            even = self.model.config.experts_used / self.model.config.experts
            for ffn, used in zip(self.model.routed, load):
                ffn.bias += self.hyper.bias_step * torch.sign(even - used)
        return parts, load

    def validate(self, held: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Main loss by kind. With gradients on, so that no second program is compiled."""
        rounded = self.rounder.applied(fresh=True) if self.rounder is not None else nullcontext()
        with rounded:
            losses = {kind: self._forward(*batch)[1][0].item() for kind, batch in held.items()}
        return losses


class Log:
    """`log.csv`: one line every few steps, and one for each validation."""

    FIELDS = ("stage", "step", "tokens", "seconds", "rate", "main", "mtp", "index", "balance", "least_load", "kind")

    def __init__(self, path: Path):
        new = not path.exists()
        self.file = path.open("a", newline="")
        self.writer = csv.DictWriter(self.file, self.FIELDS)
        if new:
            self.writer.writeheader()

    def write(self, **fields) -> None:
        self.writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in fields.items()})
        self.file.flush()
        print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in fields.items()), flush=True)


def train(args: argparse.Namespace, stages: tuple[Stage, ...], hyper: Hyper, source) -> None:
    started = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    device = args.device
    progress = {"stage": 0, "tokens_in_stage": 0, "steps": 0, "seconds": 0.0}
    torch.manual_seed(hyper.seed)
    state: dict = {}
    if sorted(args.out.glob("checkpoint.[0-9][0-9]")):
        model, state = load_checkpoint(args.out, device)
        progress = state["progress"]
    else:
        model = Model(ModelConfig()).to(device)
    trainer = Trainer(model, hyper)
    if "optimiser" in state:
        trainer.optimiser.load(state.pop("optimiser"))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters on {device}, from {progress}", flush=True)
    log, total = Log(args.out / "log.csv"), sum(stage.tokens for stage in stages)
    before = progress["seconds"]

    def elapsed() -> float:
        return time.monotonic() - started

    def time_left() -> bool:
        return elapsed() < args.max_seconds and progress["steps"] < args.max_steps

    while progress["stage"] < len(stages) and time_left():
        stage = stages[progress["stage"]]
        earlier = sum(s.tokens for s in stages[: progress["stage"]])
        trainer.enter(stage)
        # Another seed after each resumption: what was trained on does not come again.
        seed = hyper.seed + 1_000_003 * (progress["steps"] + 1)
        feed = Feed(source(MIXTURES[stage.mixture], stage.context, stage.rows, seed=seed, workers=args.workers), device)
        held = validation_batches(source, stage, hyper, device)
        since = progress["steps"]

        def note(parts: Tensor, load: Tensor, rate: float) -> None:
            main, mtp, index, balance = parts.tolist()
            log.write(stage=stage.name, step=progress["steps"], tokens=earlier + progress["tokens_in_stage"],
                      seconds=before + elapsed(), rate=rate, main=main, mtp=mtp, index=index, balance=balance,
                      least_load=load.min().item())
            if not math.isfinite(main):
                raise SystemExit("the loss is not a number; the checkpoint is the last good one")

        def validate() -> None:
            for kind, loss in trainer.validate(held).items():
                log.write(stage=stage.name, step=progress["steps"], tokens=earlier + progress["tokens_in_stage"],
                          seconds=before + elapsed(), main=loss, kind=kind)

        while progress["tokens_in_stage"] < stage.tokens and time_left():
            rate = hyper.schedule.rate(earlier + progress["tokens_in_stage"], total)
            parts, load = trainer.step(*feed.next(), rate)
            progress["steps"] += 1
            progress["tokens_in_stage"] += stage.step_tokens
            if progress["steps"] % args.log_every == 0 or progress["steps"] == since + 1:
                note(parts, load, rate)
            if progress["steps"] % args.validate_every == 0:
                validate()
        note(parts, load, rate)
        validate()
        feed.close()
        if progress["tokens_in_stage"] >= stage.tokens:
            progress["stage"] += 1
            progress["tokens_in_stage"] = 0
        progress["seconds"] = before + elapsed()
        done = progress["stage"] == len(stages)
        save_checkpoint(args.out, model, None if done else trainer.optimiser, progress)
        print(f"saved after stage {stage.name}: {progress}{', all stages done' if done else ''}", flush=True)


def dry_run(args: argparse.Namespace) -> None:
    """Two short commands over miniatures of all stages on random data: mechanics only."""
    stages = tuple(
        replace(stage, context=256, rows=2, tokens=1024, top_k=stage.top_k and 16, mixture="early") for stage in STAGES
    )
    hyper = replace(Hyper(), round_every=2)
    args.log_every = args.validate_every = 2
    args.max_steps = 3
    train(args, stages, hyper, RandomBatches)
    args.max_steps = math.inf
    train(args, stages, hyper, RandomBatches)


# ---------------------------------------------------------------------------------------------------------------
# Speed
# ---------------------------------------------------------------------------------------------------------------


def benchmark(args: argparse.Namespace) -> None:
    """Tokens a second of some shapes, each on its own; `NAME!` also says where the time goes."""
    shapes = {
        "512": Stage("512", 512, 128, 0, "early"),
        "1024": Stage("1024", 1024, 64, 0, "early"),
        "2048": Stage("2048", 2048, 32, 0, "early"),
        "4096": Stage("4096", 4096, 16, 0, "early"),
        "4096-k": Stage("4096-k", 4096, 16, 0, "early", top_k=256, rounding=True),
        "4096-q": Stage("4096-q", 4096, 16, 0, "early", top_k=256, rounding=True, quantise_experts="q2"),
        "512-mtp0": Stage("512-mtp0", 512, 128, 0, "early", mtp_weight=0.0),
        "512-half": Stage("512-half", 512, 64, 0, "early"),
        "512-double": Stage("512-double", 512, 256, 0, "early"),
    }
    table, started = [], time.monotonic()
    for name in args.bench.split(","):
        if time.monotonic() - started > args.max_seconds:
            table.append(f"{name}: no time left")
            continue
        try:
            table.append(measure(shapes[name.rstrip("!")], args, profile=name.endswith("!")))
        except Exception as error:  # one shape that fails must not hide the others
            import traceback

            traceback.print_exc()
            table.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
        print(table[-1], flush=True)
    print("\n".join(table))


def measure(stage: Stage, args: argparse.Namespace, profile: bool) -> str:
    torch.manual_seed(1)
    sync = torch.cuda.synchronize if args.device == "cuda" else lambda: None
    trainer = Trainer(Model(ModelConfig()).to(args.device), Hyper())
    trainer.enter(stage)
    batches = iter(RandomBatches({}, stage.context, stage.rows, 1, 1))
    fixed = [to_device(next(batches), args.device) for _ in range(4)]
    if args.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.monotonic()
    first, _ = trainer.step(*fixed[0], 1e-3)
    sync()
    compiled = time.monotonic() - start
    for i in range(3):
        trainer.step(*fixed[i], 1e-3)
    sync()
    start = time.monotonic()
    for i in range(args.bench_steps):
        last, load = trainer.step(*fixed[i % 4], 1e-3)
    queued = time.monotonic() - start
    sync()
    seconds = (time.monotonic() - start) / args.bench_steps
    memory = torch.cuda.max_memory_allocated() / 2**30 if args.device == "cuda" else 0
    line = (f"{stage.name}: {stage.step_tokens / seconds:,.0f} tokens/s, {seconds * 1e3:.1f} ms a step "
            f"(launching {queued / args.bench_steps * 1e3:.1f}), first step {compiled:.0f} s, {memory:.1f} GiB, "
            f"losses {[round(x, 3) for x in first.tolist()]} to {[round(x, 3) for x in last.tolist()]}")
    if profile:
        from torch.profiler import ProfilerActivity, profile as record

        with record(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as run:
            for i in range(3):
                trainer.step(*fixed[i % 4], 1e-3)
            sync()
        events = [e for e in run.key_averages() if e.device_type.name == "CUDA"]
        events.sort(key=lambda e: -e.self_device_time_total)
        print(f"{stage.name}: device time of a step, ms, calls, kernel")
        for event in events[:45]:
            print(f"{event.self_device_time_total / 3e3:8.2f} {event.count / 3:6.1f}  {event.key[:110]}")
        print(f"{sum(e.self_device_time_total for e in events) / 3e3:8.2f} in all", flush=True)
    return line


def main() -> None:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of checkpoint and log; a checkpoint there is resumed")
    parser.add_argument("--max-seconds", type=float, default=math.inf, help="save and stop after so long")
    parser.add_argument("--max-steps", type=float, default=math.inf, help="save and stop after so many steps in all")
    parser.add_argument("--workers", type=int, default=14, help="processes that make training data")
    parser.add_argument("--log-every", type=int, default=20, help="steps")
    parser.add_argument("--validate-every", type=int, default=500, help="steps")
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="slower, but starts at once")
    parser.add_argument("--dry", action="store_true", help="miniature run on random data, then a resumed one")
    parser.add_argument("--bench", metavar="SHAPES", help="measure speed instead of training, e.g. 512,4096!")
    parser.add_argument("--bench-steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    if cuda and args.compile:
        compile_parts()
    if args.bench:
        benchmark(args)
    elif args.out is None:
        parser.error("--out is needed")
    elif args.dry:
        dry_run(args)
    else:
        from batches import Batches

        train(args, STAGES, Hyper(), Batches)


if __name__ == "__main__":
    main()
