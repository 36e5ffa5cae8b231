"""Changes of a model's parameters as data: new values at some places, or a product that is added."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arithmoscope.engine.tuning.weight_slices import Ranges


@dataclass(frozen=True, eq=False)
class Values:
    """New values at some places of a parameter, along one axis. A bias that the model lacked is given whole."""

    weight: str
    axis: int
    ranges: Ranges
    values: Tensor


@dataclass(frozen=True, eq=False)
class Product:
    """``scale`` times ``writes`` times ``reads`` ([written, rank], [rank, read]), added to a weight; ``transposed`` if
    the weight is stored as [read, written].
    """

    weight: str
    reads: Tensor
    writes: Tensor
    scale: float
    transposed: bool


Change = Values | Product


@torch.no_grad()
def add(weight: Tensor, product: Product) -> None:
    """Adds a product to a weight in place: computed in float32 or wider, rounded once."""
    wide = torch.promote_types(weight.dtype, torch.float32)
    added = product.scale * (product.writes.to(weight.device, wide) @ product.reads.to(weight.device, wide))
    weight.copy_(weight.to(wide) + (added.T if product.transposed else added))


def tensors_of(change: Change) -> dict[str, Tensor]:
    """The tensors of a change, by field name."""
    return {name: value for name, value in vars(change).items() if isinstance(value, Tensor)}
