"""Rank correlation between two measurements of the components, such as an estimate and exact effects."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of estimated and exact effects over components.

    It is 1 if the estimate ranks them exactly; NaN for fewer than two components or equal values.

    Attributes:
        absolute: Correlation of the mean |effects|.
        signed: Correlation of the mean effects.
        components: Number of components.
        pairs: Number of pairs.
        effect: The exact effect, such as ``"total"``.
        drawn: True if the components are a random sample of the model's.
    """

    absolute: float
    signed: float
    components: int
    pairs: int
    effect: str
    drawn: bool


def correlate_ranks(
    estimate: Float[Tensor, "pair component"], exact: Float[Tensor, "pair component"], effect: str, drawn: bool
) -> RankCorrelation:
    """The rank correlation between an estimate and exact effects, by their means over the same pairs."""
    pairs, components = exact.shape
    return RankCorrelation(
        absolute=spearman(estimate.abs().mean(0), exact.abs().mean(0)),
        signed=spearman(estimate.mean(0), exact.mean(0)),
        components=components,
        pairs=pairs,
        effect=effect,
        drawn=drawn,
    )


def spearman(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> float:
    """Spearman's correlation: Pearson's correlation of the ranks. Ties share the mean of their ranks."""
    x, y = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt())


def _ranks(values: Tensor) -> Tensor:
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    return (last - (count - 1) / 2)[place]


def strongest_components(effects: Float[Tensor, "pair component"], layers: int, heads: int, k: int) -> list[Component]:
    """The ``k`` components with the largest mean |effect|; ties in the model's order."""
    order = effects.abs().mean(0).argsort(descending=True, stable=True)[:k]
    components = all_components(layers, heads)
    return [components[int(index)] for index in order]
