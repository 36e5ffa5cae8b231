"""Gradients of some rows or columns of a weight, without the rest of it.

A projection computes y = x W'. The gradient of all of W is dL/dW = dy' x; that of some outputs' rows is the product of
these columns of dy with x, that of some inputs' columns the product of dy with these columns of x. So nothing of the
weight's size need be made: the weight itself stays frozen, the model's own forward pass runs as it is, and a tap on the
projection's output hands its gradient on unchanged and computes that of the tuned part beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from arithmoscope.engine.tuning.parts import Part, taken


class _Tap(torch.autograd.Function):
    """Its input, and on the way back the gradient of ``values``, which its output does not depend on in the open."""

    @staticmethod
    def forward(ctx: Any, written: Tensor, read: Tensor, values: Tensor, part: Part, transposed: bool) -> Tensor:
        ctx.part, ctx.transposed, ctx.dtype = part, transposed, values.dtype
        if part.leaf == "weight":
            ctx.save_for_backward(read if part.side == "writes" else taken(read, -1, part.ranges))
        return written.clone()  # not a view of it: Falcon adds to what its MLP wrote, in place

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None, None]:  # pyright: ignore
        return gradient, None, _gradient(ctx, gradient).to(ctx.dtype), None, None


def _gradient(ctx: Any, gradient: Tensor) -> Tensor:
    part: Part = ctx.part
    wrote = gradient.flatten(0, -2)
    if part.side == "writes" and part.ranges != ((0, wrote.shape[-1]),):
        wrote = taken(wrote, -1, part.ranges)
    if part.leaf == "bias":
        return wrote.sum(0, dtype=ctx.dtype)
    read = ctx.saved_tensors[0].flatten(0, -2)
    return read.T @ wrote if ctx.transposed else wrote.T @ read


@contextmanager
def tapped(hf: nn.Module, parts: Sequence[Part], values: Sequence[Tensor]) -> Iterator[None]:
    """Within the block a backward pass through ``hf`` computes the gradients of ``values``, the numbers that
    ``parts`` name. What the model computes is not changed; its weights must hold these numbers already."""
    with ExitStack() as stack:
        for part, value in zip(parts, values, strict=True):
            module = hf.get_submodule(part.module)

            def tap(
                module: nn.Module, args: tuple[Tensor, ...], written: Tensor, part: Part = part, value: Tensor = value
            ) -> Any:
                if not torch.is_grad_enabled():
                    return None
                return _Tap.apply(written, args[0], value, part, isinstance(module, Conv1D))

            stack.callback(module.register_forward_hook(tap).remove)
        yield
