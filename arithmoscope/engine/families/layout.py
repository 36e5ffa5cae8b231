"""What the methods need to know of a model, whatever its family calls it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class Block:
    """One layer. In a sequential block attention writes into the residual stream, then the MLP reads it and writes; in
    a ``parallel`` one both read the stream as it was before the layer.

    attention   module that returns (output, attention weights)
    heads_out   module whose *input* is the heads' outputs side by side, head h at h*head_dim:(h+1)*head_dim
    by_head     views the projection, [heads side by side, hidden], as [head, head_dim, hidden]
    attention_norm  norm in front of attention, if there is one
    mlp         the MLP itself
    mlp_norm    norm in front of the MLP, if there is one
    head_norm   norm over what all heads of the layer write together, if there is one
    mlp_post    norm over what the MLP writes, if there is one
    """

    attention: nn.Module
    heads_out: nn.Module
    by_head: Callable[[Tensor], Tensor]
    mlp: nn.Module
    attention_norm: nn.Module | None = None
    mlp_norm: nn.Module | None = None
    head_norm: nn.Module | None = None
    mlp_post: nn.Module | None = None
    parallel: bool = False

    @property
    def reads(self) -> nn.Module:
        """The module whose input is the residual stream that the MLP reads."""
        return self.mlp_norm or self.mlp

    @property
    def attends(self) -> nn.Module:
        """The module whose output is what all heads together write into the residual stream."""
        return self.head_norm or self.heads_out

    @property
    def writes(self) -> nn.Module:
        """The module whose output is what the MLP writes into the residual stream."""
        return self.mlp_post or self.mlp

    def mlp_write(self, stream: Float[Tensor, "*rows hidden"], dtype: torch.dtype) -> Float[Tensor, "*rows hidden"]:
        """What the MLP with its norms writes after reading ``stream``; its products in the weights' ``dtype``.

        Computed where the block is, given and returned where ``stream`` is.
        """
        here = stream.to(self.device)
        read = here if self.mlp_norm is None else apply_norm(self.mlp_norm, here)
        wrote = apply_narrow(self.mlp, read, dtype)
        if self.mlp_post is not None:
            wrote = apply_norm(self.mlp_post, wrote)
        return wrote.to(stream.device)

    def head_writes(
        self,
        moved: Float[Tensor, "head pair head_dim"],
        reference: Float[Tensor, "pair head head_dim"],
        dtype: torch.dtype,
    ) -> Float[Tensor, "head pair hidden"]:
        """What the residual stream gains when one head's output moves by ``moved``, all others as in the reference.

        Under a norm that all heads share, heads do not add up: it is computed anew for each. Computed where the block
        is, given and returned where ``moved`` is.
        """
        gains = torch.bmm(moved.to(self.device), self.write.to(moved.dtype))
        return self._together(gains, reference, dtype).to(moved.device)

    def head_write(
        self,
        head: int,
        moved: Float[Tensor, "row pair head_dim"],
        reference: Float[Tensor, "pair head head_dim"],
        dtype: torch.dtype,
    ) -> Float[Tensor, "row pair hidden"]:
        """The same for several moves of one head, a row each."""
        gains = moved.to(self.device) @ self.write[head].to(moved.dtype)
        return self._together(gains, reference, dtype).to(moved.device)

    def _together(self, gains: Tensor, reference: Tensor, dtype: torch.dtype) -> Tensor:
        if self.head_norm is None:
            return gains
        together = apply_narrow(self.heads_out, reference.to(self.device).flatten(1), dtype)
        return apply_norm(self.head_norm, together + gains) - apply_norm(self.head_norm, together)

    @property
    def write(self) -> Float[Tensor, "head head_dim hidden"]:
        """What each head's output becomes in the residual stream, on the block's device. A view of the weight as it is
        now: a model that is moved or converted gets new ones."""
        return self.by_head(matrix_of(self.heads_out))

    @property
    def device(self) -> torch.device:
        """Where the block computes. A model may be spread over several devices, whole blocks on each."""
        return self.heads_out.weight.device  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Layout:
    """A model taken apart. ``decoder`` maps token ids to the residual stream after ``final_norm``."""

    decoder: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    unembed: nn.Module
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    float32_attention: bool = False  # attention computes in float32 whatever the weights are
    softcap: float | None = None  # logits become softcap * tanh(logits / softcap)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def capped(self, logits: Tensor) -> Tensor:
        """Logits as the model gives them."""
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def unembed_columns(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Rows of the unembedding for some token ids, [..., hidden], and their biases if there are any."""
        bias = getattr(self.unembed, "bias", None)
        return self.unembed.weight[ids], None if bias is None else bias[ids]  # pyright: ignore[reportIndexIssue]


def matrix_of(projection: nn.Module) -> Float[Tensor, "read written"]:
    """What a projection multiplies its input by, the bias apart, also where its weight is kept in 8 bits."""
    weight: Any = projection.weight
    weight = weight.detach()
    if hasattr(weight, "__tensor_flatten__"):
        return weight.dequantize().T
    if weight.is_floating_point():
        return weight if isinstance(projection, Conv1D) else weight.T
    # Packed in a way that only the module knows: what it makes of each unit vector.
    width: Any = projection.in_features
    units = torch.eye(width + 1, width, device=weight.device)
    with torch.no_grad():
        *rows, nothing = projection(units)
    return torch.stack(rows) - nothing


def is_packed(projection: nn.Module) -> bool:
    """Whether a projection's weight is no plain matrix: torchao's are tensors made of others, others' are integers."""
    weight: Any = projection.weight
    return hasattr(weight, "__tensor_flatten__") or not weight.is_floating_point()


def apply_norm(norm: nn.Module, x: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
    """``norm(x)`` in the precision of ``x``, also where the norm's own weights are narrower or on another device."""
    weight: Any = getattr(norm, "weight", None)
    here = x if weight is None else x.to(weight.device)
    if isinstance(norm, nn.LayerNorm):
        weight = None if norm.weight is None else norm.weight.to(x.dtype)
        bias = None if norm.bias is None else norm.bias.to(x.dtype)
        return functional.layer_norm(here, norm.normalized_shape, weight, bias, norm.eps).to(x.device)
    return norm(here).to(x.device)  # RMS norms compute in float32 and multiply: a wide x stays wide


def apply_narrow(
    module: Callable[[Tensor], Tensor], x: Float[Tensor, "*rows hidden"], dtype: torch.dtype
) -> Float[Tensor, "*rows written"]:
    """``module(x)`` computed in the weights' ``dtype``, given and returned in the precision of ``x``."""
    return module(x.to(dtype)).to(x.dtype)
