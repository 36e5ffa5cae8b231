"""Family-independent view of a model: its blocks, norms, projections and unembedding under fixed names."""

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
    """One layer. In a sequential block, attention writes into the residual stream before the MLP reads it; in a
    ``parallel`` block, both read the stream as it was before the layer.

    attention       module that returns (output, attention weights)
    heads_out       output projection; its *input* is the concatenated heads, head h at h*head_dim:(h+1)*head_dim
    by_head         views the projection matrix [head * head_dim, hidden] as [head, head_dim, hidden]
    attention_norm  norm before attention, if any
    mlp             the MLP itself
    mlp_norm        norm before the MLP, if any
    head_norm       norm over the sum that all heads of the layer write, if any
    mlp_post        norm over the MLP's output, if any
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
    def mlp_input(self) -> nn.Module:
        """The module whose *input* is the residual stream that the MLP reads."""
        return self.mlp_norm or self.mlp

    @property
    def attention_output(self) -> nn.Module:
        """The module whose *output* all heads together add to the residual stream."""
        return self.head_norm or self.heads_out

    @property
    def mlp_output(self) -> nn.Module:
        """The module whose *output* the MLP adds to the residual stream."""
        return self.mlp_post or self.mlp

    def mlp_write(self, stream: Float[Tensor, "*rows hidden"], dtype: torch.dtype) -> Float[Tensor, "*rows hidden"]:
        """The MLP's contribution to the stream, norms included, after reading ``stream``; matrix products in the
        weights' ``dtype``.

        Computed on the block's device; input and output are on the device of ``stream``.
        """
        x = stream.to(self.device)
        normed = x if self.mlp_norm is None else apply_norm(self.mlp_norm, x)
        output = apply_narrow(self.mlp, normed, dtype)
        if self.mlp_post is not None:
            output = apply_norm(self.mlp_post, output)
        return output.to(stream.device)

    def head_writes(
        self,
        delta: Float[Tensor, "head pair head_dim"],
        reference: Float[Tensor, "pair head head_dim"],
        dtype: torch.dtype,
    ) -> Float[Tensor, "head pair hidden"]:
        """The change of the residual stream when one head's output changes by ``delta``, all others as in the
        reference.

        Heads are not additive under a norm that they share: the norm is recomputed for each head. Computed on the
        block's device; input and output are on the device of ``delta``.
        """
        projected = torch.bmm(delta.to(self.device), self.write.to(delta.dtype))
        return self._after_head_norm(projected, reference, dtype).to(delta.device)

    def head_write(
        self,
        head: int,
        delta: Float[Tensor, "row pair head_dim"],
        reference: Float[Tensor, "pair head head_dim"],
        dtype: torch.dtype,
    ) -> Float[Tensor, "row pair hidden"]:
        """Like `head_writes`, for several changes of one head, one per row."""
        projected = delta.to(self.device) @ self.write[head].to(delta.dtype)
        return self._after_head_norm(projected, reference, dtype).to(delta.device)

    def _after_head_norm(self, projected: Tensor, reference: Tensor, dtype: torch.dtype) -> Tensor:
        if self.head_norm is None:
            return projected
        all_heads = apply_narrow(self.heads_out, reference.to(self.device).flatten(1), dtype)
        return apply_norm(self.head_norm, all_heads + projected) - apply_norm(self.head_norm, all_heads)

    @property
    def write(self) -> Float[Tensor, "head head_dim hidden"]:
        """Each head's slice of the output projection, on the block's device. A view of the current weight: moving or
        converting the model makes it stale."""
        return self.by_head(matrix_of(self.heads_out))

    @property
    def device(self) -> torch.device:
        """The block's device. A model may be spread over several devices, in whole blocks."""
        return self.heads_out.weight.device  # pyright: ignore[reportReturnType]


@dataclass(frozen=True)
class Layout:
    """A model's parts. ``decoder`` maps token ids to the residual stream after ``final_norm``."""

    decoder: nn.Module
    blocks: tuple[Block, ...]
    final_norm: nn.Module
    unembed: nn.Module
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    float32_attention: bool = False  # attention computes in float32 regardless of the weights' dtype
    softcap: float | None = None  # logits are softcap * tanh(logits / softcap)

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def capped(self, logits: Tensor) -> Tensor:
        """Logits after the model's soft cap, if it has one."""
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def unembed_columns(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """The unembedding's rows for token ids, [..., hidden], and their biases if there are any."""
        bias = getattr(self.unembed, "bias", None)
        return self.unembed.weight[ids], None if bias is None else bias[ids]  # pyright: ignore[reportIndexIssue]


def matrix_of(projection: nn.Module) -> Float[Tensor, "input output"]:
    """A projection's matrix, without its bias; dequantised if the weight is stored in 8 bits."""
    weight: Any = projection.weight
    weight = weight.detach()
    if hasattr(weight, "__tensor_flatten__"):
        return weight.dequantize().T
    if weight.is_floating_point():
        return weight if isinstance(projection, Conv1D) else weight.T
    # Only the module knows how its weight is packed: apply it to each unit vector, and to zero for the bias.
    width: Any = projection.in_features
    units = torch.eye(width + 1, width, device=weight.device)
    with torch.no_grad():
        *rows, bias = projection(units)
    return torch.stack(rows) - bias


def is_packed(projection: nn.Module) -> bool:
    """True if a projection's weight is quantised: torchao's are tensor subclasses, those of others are integers."""
    weight: Any = projection.weight
    return hasattr(weight, "__tensor_flatten__") or not weight.is_floating_point()


def apply_norm(norm: nn.Module, x: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows hidden"]:
    """``norm(x)`` in the precision of ``x``, even if the norm's weights are narrower or on another device."""
    weight: Any = getattr(norm, "weight", None)
    moved = x if weight is None else x.to(weight.device)
    if isinstance(norm, nn.LayerNorm):
        weight = None if norm.weight is None else norm.weight.to(x.dtype)
        bias = None if norm.bias is None else norm.bias.to(x.dtype)
        return functional.layer_norm(moved, norm.normalized_shape, weight, bias, norm.eps).to(x.device)
    return norm(moved).to(x.device)  # RMS norms compute in float32 and multiply: a wide x stays wide


def apply_narrow(
    module: Callable[[Tensor], Tensor], x: Float[Tensor, "*rows hidden"], dtype: torch.dtype
) -> Float[Tensor, "*rows output"]:
    """``module(x)`` computed in the weights' ``dtype``; input and output have the precision of ``x``."""
    return module(x.to(dtype)).to(x.dtype)
