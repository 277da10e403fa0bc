"""Sinkhorn normalisation of the hyper-connections' mixing matrices, as one operator."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # without a GPU nothing needs it
    triton = None

# All rounds only scale rows and columns, so the result is `r[i] · C[i][j] · c[j]` with C the first softmax, and a
# round is `c[j] ← c[j] / (c[j] · Σ_i r[i] C[i][j] + eps)`, then the same for r. The forty half rounds on four by four
# numbers would be forty kernels in eager PyTorch and thousands of nodes in a compiled graph. They are one operator
# here, with one kernel forward and one backward on a GPU.


@torch.library.custom_op("demo::sinkhorn", mutates_args=())
def sinkhorn(logits: Tensor, rounds: int, eps: float) -> Tensor:
    """Nearly doubly stochastic matrices from `[..., S, S]`: softmax and one column pass, then row and column passes."""
    start, rows, columns = _scalings(logits, rounds, eps)
    return rows[-1][..., :, None] * start * columns[-1][..., None, :]


@torch.library.custom_op("demo::sinkhorn_backward", mutates_args=())
def sinkhorn_backward(logits: Tensor, grad: Tensor, rounds: int, eps: float) -> Tensor:
    """Gradient for the logits."""
    start, rows, columns = _scalings(logits, rounds, eps)
    r, c = rows[-1], columns[-1]
    of_r = (grad * start * c[..., None, :]).sum(-1)
    of_c = (grad * start * r[..., :, None]).sum(-2)
    of_start = grad * r[..., :, None] * c[..., None, :]
    for step in reversed(range(rounds)):
        # c = b / (b k + eps) with b the columns before, k_j = Σ_i r_i start_ij.
        r, c, before = rows[step], columns[step], columns[step - 1] if step else torch.ones_like(c)
        of_k = -c * c * of_c
        of_c = of_c * eps * (c / before).square()
        of_start = of_start + r[..., :, None] * of_k[..., None, :]
        of_r = of_r + (start * of_k[..., None, :]).sum(-1)
        if step:
            c, previous = before, rows[step - 1]
            of_k = -r * r * of_r
            of_r = of_r * eps * (r / previous).square()
            of_start = of_start + of_k[..., :, None] * c[..., None, :]
            of_c = of_c + (start * of_k[..., :, None]).sum(-2)
    share = start - eps
    return share * (of_start - (share * of_start).sum(-1, keepdim=True))


def _scalings(logits: Tensor, rounds: int, eps: float) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The softmax, and the row and column factors after each round."""
    start = logits.softmax(-1) + eps
    r, c = torch.ones_like(start[..., 0]), torch.ones_like(start[..., 0, :])
    rows, columns = [], []
    for step in range(rounds):
        if step:
            r = r / (r * (start * c[..., None, :]).sum(-1) + eps)
        c = c / (c * (start * r[..., :, None]).sum(-2) + eps)
        rows.append(r)
        columns.append(c)
    return start, rows, columns


@sinkhorn.register_fake
def _(logits: Tensor, rounds: int, eps: float) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


@sinkhorn_backward.register_fake
def _(logits: Tensor, grad: Tensor, rounds: int, eps: float) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _remember(ctx, inputs, output) -> None:
    logits, ctx.rounds, ctx.eps = inputs
    ctx.save_for_backward(logits)


def _gradient(ctx, grad: Tensor):
    return sinkhorn_backward(ctx.saved_tensors[0], grad, ctx.rounds, ctx.eps), None, None


sinkhorn.register_autograd(_gradient, setup_context=_remember)

if triton is not None:

    @triton.jit
    def _load_start(logits, at, inside, eps):
        a = tl.load(logits + at, inside, other=0.0)
        a = tl.exp(a - tl.max(a, 2, keep_dims=True))
        return a / tl.sum(a, 2, keep_dims=True) + eps

    @triton.jit
    def _offsets(count, S: tl.constexpr, BLOCK: tl.constexpr):
        token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None, None]
        at = token * (S * S) + tl.arange(0, S)[None, :, None] * S + tl.arange(0, S)[None, None, :]
        return at, token < count

    @triton.jit
    def _sinkhorn_kernel(logits, out, count, eps, ROUNDS: tl.constexpr, S: tl.constexpr, BLOCK: tl.constexpr):
        at, inside = _offsets(count, S, BLOCK)
        start = _load_start(logits, at, inside, eps)
        c = 1 / (tl.sum(start, 1, keep_dims=True) + eps)
        r = tl.sum(start, 2, keep_dims=True) * 0 + 1
        for _ in range(ROUNDS - 1):
            r = r / (r * tl.sum(start * c, 2, keep_dims=True) + eps)
            c = c / (c * tl.sum(start * r, 1, keep_dims=True) + eps)
        tl.store(out + at, r * start * c, inside)

    @triton.jit
    def _sinkhorn_backward_kernel(logits, grad, out, count, eps, ROUNDS: tl.constexpr, S: tl.constexpr,
                                  BLOCK: tl.constexpr):
        at, inside = _offsets(count, S, BLOCK)
        start = _load_start(logits, at, inside, eps)
        r = tl.sum(start, 2, keep_dims=True) * 0 + 1
        c = 1 / (tl.sum(start, 1, keep_dims=True) + eps)
        rows, columns = (r,), (c,)
        for _ in tl.static_range(ROUNDS - 1):
            r = r / (r * tl.sum(start * c, 2, keep_dims=True) + eps)
            c = c / (c * tl.sum(start * r, 1, keep_dims=True) + eps)
            rows, columns = rows + (r,), columns + (c,)
        g = tl.load(grad + at, inside, other=0.0)
        of_r = tl.sum(g * start * c, 2, keep_dims=True)
        of_c = tl.sum(g * start * r, 1, keep_dims=True)
        of_start = g * r * c
        for back in tl.static_range(ROUNDS - 1):
            r, c, before = rows[ROUNDS - 1 - back], columns[ROUNDS - 1 - back], columns[ROUNDS - 2 - back]
            of_k = -c * c * of_c
            of_c = of_c * eps * (c / before) * (c / before)
            of_start += r * of_k
            of_r += tl.sum(start * of_k, 2, keep_dims=True)
            previous = rows[ROUNDS - 2 - back]
            of_k = -r * r * of_r
            of_r = of_r * eps * (r / previous) * (r / previous)
            of_start += of_k * before
            of_c += tl.sum(start * of_k, 1, keep_dims=True)
        c = columns[0]
        of_start += -c * c * of_c
        share = start - eps
        tl.store(out + at, share * (of_start - tl.sum(share * of_start, 2, keep_dims=True)), inside)

    @sinkhorn.register_kernel("cuda")
    def _(logits: Tensor, rounds: int, eps: float) -> Tensor:
        logits = logits.contiguous()
        out, count, s = torch.empty_like(logits), logits.shape[:-2].numel(), logits.shape[-1]
        _sinkhorn_kernel[(triton.cdiv(count, 64),)](logits, out, count, eps, rounds, s, 64)
        return out

    @sinkhorn_backward.register_kernel("cuda")
    def _(logits: Tensor, grad: Tensor, rounds: int, eps: float) -> Tensor:
        logits, grad = logits.contiguous(), grad.contiguous()
        out, count, s = torch.empty_like(logits), logits.shape[:-2].numel(), logits.shape[-1]
        _sinkhorn_backward_kernel[(triton.cdiv(count, 64),)](logits, grad, out, count, eps, rounds, s, 64)
        return out
