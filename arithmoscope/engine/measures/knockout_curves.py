"""Knock-out curves: a metric as a function of the number of components knocked out, with random controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.engine.measures.metrics import bootstrap_interval


@dataclass(frozen=True)
class KnockoutCurve:
    """A metric's mean over the pairs for k = 0, 1, ... ablated components; NaN where undefined.

    Attributes:
        metric: The metric.
        unit: Its unit, in words.
        mean: Mean over the pairs [k].
        low: Lower end of the 95 % percentile bootstrap interval over distinct questions [k].
        high: Its upper end.
        control: Mean over the random draws [k].
        control_low: Lower end of the 95 % percentile bootstrap interval of that mean over the draws [k].
        control_high: Its upper end.
        draws_low: 2.5th percentile of the draws [k].
        draws_high: 97.5th percentile of the draws [k].
        p_value: (1 + draws that hurt at least as much) / (1 + draws), one-sided [k].
    """

    metric: str
    unit: str
    mean: Float[Tensor, " k"]
    low: Float[Tensor, " k"]
    high: Float[Tensor, " k"]
    control: Float[Tensor, " k"]
    control_low: Float[Tensor, " k"]
    control_high: Float[Tensor, " k"]
    draws_low: Float[Tensor, " k"]
    draws_high: Float[Tensor, " k"]
    p_value: Float[Tensor, " k"]


def curve_of(
    metric: str,
    unit: str,
    chosen: Float[Tensor, "k pair"],
    control: Float[Tensor, "draw k pair"],
    questions: Sequence[str],
) -> KnockoutCurve:
    """The curve of a metric: means and intervals over pairs and over draws."""
    chosen, control = chosen.double(), control.double()
    undefined = torch.full((len(chosen),), torch.nan, dtype=torch.float64)
    low, high = interval_of(chosen.T, questions)
    mean, draws = chosen.mean(1), control.mean(2)
    if not len(draws):
        return KnockoutCurve(metric, unit, mean, low, high, *(undefined,) * 6)
    control_low, control_high = interval_of(draws, [str(draw) for draw in range(len(draws))])
    ends = torch.quantile(draws, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    # Equal means may differ in their last bit.
    as_bad = (draws <= mean + 1e-12).sum(0)
    return KnockoutCurve(
        metric=metric,
        unit=unit,
        mean=mean,
        low=low,
        high=high,
        control=draws.mean(0),
        control_low=control_low,
        control_high=control_high,
        draws_low=ends[0],
        draws_high=ends[1],
        p_value=(1 + as_bad) / (1 + len(draws)),
    )


def interval_of(values: Float[Tensor, "unit k"], units: Sequence[str]) -> tuple[Tensor, Tensor]:
    """95 % percentile bootstrap interval of the means over distinct units; NaN for a single unit."""
    if len(set(units)) < 2:
        undefined = torch.full((values.shape[1],), torch.nan, dtype=torch.float64)
        return undefined, undefined
    low, high = bootstrap_interval(values.double().numpy(), units)
    return torch.from_numpy(np.ascontiguousarray(low)), torch.from_numpy(np.ascontiguousarray(high))
