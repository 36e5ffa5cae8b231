"""Gradients of chosen rows or columns of a weight, without the rest of it.

A projection computes y = x W'. The gradient of the whole W is dL/dW = dy' x; for the rows of some outputs it is the
product of those columns of dy with x, for the columns of some inputs the product of dy with those columns of x. So no
tensor of the weight's size is needed: the weight stays frozen, the model's own forward pass runs unchanged, and a tap
on the projection's output passes its gradient on and also computes that of the tuned slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from arithmoscope.engine.tuning.weight_slices import WeightSlice, read_slice


class _Tap(torch.autograd.Function):
    """Identity in the forward pass; its backward pass also computes the gradient of ``values``, which the output does
    not visibly depend on.
    """

    @staticmethod
    def forward(
        ctx: Any, written: Tensor, read: Tensor, values: Tensor, piece: WeightSlice, transposed: bool
    ) -> Tensor:
        ctx.piece, ctx.transposed, ctx.dtype = piece, transposed, values.dtype
        if piece.leaf == "weight":
            ctx.save_for_backward(read if piece.side == "writes" else read_slice(read, -1, piece.ranges))
        return written.clone()  # not a view: Falcon adds to its MLP's output in place

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None, None]:  # pyright: ignore
        return gradient, None, _gradient(ctx, gradient).to(ctx.dtype), None, None


def _gradient(ctx: Any, gradient: Tensor) -> Tensor:
    piece: WeightSlice = ctx.piece
    written = gradient.flatten(0, -2)
    if piece.side == "writes" and piece.ranges != ((0, written.shape[-1]),):
        written = read_slice(written, -1, piece.ranges)
    if piece.leaf == "bias":
        return written.sum(0, dtype=ctx.dtype)
    read = ctx.saved_tensors[0].flatten(0, -2)
    return read.T @ written if ctx.transposed else written.T @ read


@contextmanager
def tapped(hf: nn.Module, slices: Sequence[WeightSlice], values: Sequence[Tensor]) -> Iterator[None]:
    """Within the block a backward pass through ``hf`` computes the gradients of ``values``, the numbers of ``slices``.
    The model's output is unchanged; its weights must already hold these numbers.
    """
    with ExitStack() as stack:
        for piece, value in zip(slices, values, strict=True):
            module = hf.get_submodule(piece.module)

            def tap(
                module: nn.Module,
                args: tuple[Tensor, ...],
                written: Tensor,
                piece: WeightSlice = piece,
                value: Tensor = value,
            ) -> Any:
                if not torch.is_grad_enabled():
                    return None
                return _Tap.apply(written, args[0], value, piece, isinstance(module, Conv1D))

            stack.callback(module.register_forward_hook(tap).remove)
        yield
