"""What the methods need to know of a model, whatever its family calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Block:
    """One layer: attention writes into the residual stream, then the MLP reads ``mlp_norm`` of it and writes.

    attention   module that returns (output, attention weights)
    heads_out   module whose *input* is the heads' outputs side by side, head h at h*head_dim:(h+1)*head_dim
    by_head     views the projection's weight as [head, head_dim, hidden]
    mlp_norm    norm in front of the MLP; its input is the residual stream between attention and MLP
    mlp         module whose output is what the MLP writes
    """

    attention: nn.Module
    heads_out: nn.Module
    by_head: Callable[[Tensor], Tensor]
    mlp_norm: nn.Module
    mlp: nn.Module

    @property
    def write(self) -> Float[Tensor, "head head_dim hidden"]:
        """What each head's output becomes in the residual stream. A view of the weight as it is now: a model that
        is moved or converted gets new ones."""
        return self.by_head(self.heads_out.weight.detach())  # pyright: ignore[reportCallIssue, reportArgumentType]


@dataclass(frozen=True)
class Anatomy:
    """A model taken apart. ``decoder`` maps token ids to the residual stream after ``final_norm``."""

    decoder: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    unembed: nn.Module
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def unembed_columns(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the unembedding for some token ids, [..., hidden], and their biases if there are any."""
        bias = getattr(self.unembed, "bias", None)
        return self.unembed.weight[ids], None if bias is None else bias[ids]  # pyright: ignore[reportIndexIssue]


def apply_norm(norm: nn.Module, x: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
    """``norm(x)`` in the precision of ``x``, also where the norm's own weights are narrower."""
    if isinstance(norm, nn.LayerNorm):
        weight = None if norm.weight is None else norm.weight.to(x.dtype)
        bias = None if norm.bias is None else norm.bias.to(x.dtype)
        return functional.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
    return norm(x)  # RMS norms compute in float32 and multiply: a wide x stays wide


def apply_narrow(
    module: Callable[[Tensor], Tensor], x: Float[Tensor, "*rows hidden"], dtype: torch.dtype
) -> Float[Tensor, "*rows written"]:
    """``module(x)`` computed in the weights' ``dtype``, given and returned in the precision of ``x``."""
    return module(x.to(dtype)).to(x.dtype)
