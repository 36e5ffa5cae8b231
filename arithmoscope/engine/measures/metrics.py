"""Metrics of an effect, and bootstrap intervals of its mean.

A metric is a row of `METRICS`: a unit and a function from effects to values per pair and component.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.terms import Metric

Values = tuple[Float[Tensor, "pair layer head"], Float[Tensor, "pair layer"]]

# Below this |reference logit|, a percentage of it is meaningless; such pairs are excluded and counted.
SMALLEST_REFERENCE = 1.0
BOOTSTRAP_DRAWS = 10_000
_BOOTSTRAP_BYTES = 64 * 2**20


@runtime_checkable
class MeasuredEffects(Protocol):
    """Measured effects, either fresh (`PatchingEffects`) or read back from the store."""

    @property
    def heads(self) -> Float[Tensor, "pair layer head"]: ...
    @property
    def mlps(self) -> Float[Tensor, "pair layer"]: ...
    @property
    def competitor_heads(self) -> Float[Tensor, "pair layer head"]: ...
    @property
    def competitor_mlps(self) -> Float[Tensor, "pair layer"]: ...
    @property
    def probability_heads(self) -> Float[Tensor, "pair layer head"] | None: ...
    @property
    def probability_mlps(self) -> Float[Tensor, "pair layer"] | None: ...
    @property
    def reference(self) -> Float[Tensor, " pair"]: ...
    @property
    def questions(self) -> tuple[str, ...]: ...
    def values(self, metric: Metric) -> Values: ...


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A metric: its unit and its values per pair and component."""

    unit: str
    values: Callable[[MeasuredEffects], Values]


def _logit(effects: MeasuredEffects) -> Values:
    return effects.heads, effects.mlps


def _relative_logit(effects: MeasuredEffects) -> Values:
    size = effects.reference.abs()
    size = torch.where(size < SMALLEST_REFERENCE, torch.nan, size)
    return 100 * effects.heads / size[:, None, None], 100 * effects.mlps / size[:, None]


def _logit_difference(effects: MeasuredEffects) -> Values:
    return effects.heads - effects.competitor_heads, effects.mlps - effects.competitor_mlps


def _probability(effects: MeasuredEffects) -> Values:
    if effects.probability_heads is None or effects.probability_mlps is None:
        raise Refusal("metric_not_computed", "Probabilities were not computed in this run.")
    return effects.probability_heads, effects.probability_mlps


METRICS: dict[Metric, MetricRow] = {
    "logit": MetricRow("logits", _logit),
    "relative_logit": MetricRow("percent of |reference logit|", _relative_logit),
    "logit_difference": MetricRow("logits", _logit_difference),
    "probability": MetricRow("probability", _probability),
}


def metric_values(effects: MeasuredEffects, metric: Metric | str) -> Values:
    """Effects in the metric's unit; NaN where the metric is undefined for a pair.

    Raises:
        Refusal: ``metric_not_computed`` if the metric does not exist or was not computed.
    """
    row = METRICS.get(cast(Metric, metric))
    if row is None:
        raise Refusal("metric_not_computed", f"Unknown metric {metric!r}; the options are {', '.join(METRICS)}.")
    return row.values(effects)


@dataclass(frozen=True, slots=True)
class EffectSummary:
    """Statistics of every component over the pairs, in the metric's unit; NaN where undefined.

    Attributes:
        n_pairs: Number of pairs with a defined metric.
        left_out: Number of pairs without.
        mean: Mean effect [layer, head + 1], the MLP last in each row.
        std: Standard deviation (ddof 1).
        ci_low: Lower end of the 95 % percentile bootstrap interval over distinct questions.
        ci_high: Its upper end.
    """

    n_pairs: int
    left_out: int
    mean: Float[Tensor, "layer component"]
    std: Float[Tensor, "layer component"]
    ci_low: Float[Tensor, "layer component"]
    ci_high: Float[Tensor, "layer component"]


def summarise(values: Float[Tensor, "pair layer component"], questions: Sequence[str]) -> EffectSummary:
    """Statistics over the pairs whose values are defined.

    The interval is a percentile bootstrap over distinct questions (repeats of a question are drawn together), 10 000
    draws, seed 0. The deviation needs two pairs, the interval two distinct questions.
    """
    shape = values.shape[1:]
    flat = values.reshape(len(questions), -1).double().numpy()
    defined = np.logical_not(np.isnan(flat).any(axis=1))
    flat = flat[defined]
    kept = [q for q, keep in zip(questions, defined.tolist(), strict=True) if keep]
    undefined = np.full(flat.shape[1], np.nan)
    mean = flat.mean(axis=0) if len(flat) else undefined
    std = flat.std(axis=0, ddof=1) if len(flat) > 1 else undefined
    low, high = bootstrap_interval(flat, kept) if len(set(kept)) > 1 else (undefined, undefined)
    tensors = [torch.from_numpy(np.ascontiguousarray(a)).view(shape) for a in (mean, std, low, high)]
    return EffectSummary(len(flat), len(questions) - len(flat), *tensors)


def bootstrap_interval(values: np.ndarray, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of the mean of ``values`` [pair, component], resampling distinct questions."""
    _, group = np.unique(np.asarray(questions), return_inverse=True)
    n = int(group.max()) + 1
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group, minlength=n).astype(float)
    rng = np.random.default_rng(0)
    step = max(1, _BOOTSTRAP_BYTES // (8 * n))
    means = []
    for start in range(0, BOOTSTRAP_DRAWS, step):
        # n draws with replacement, as counts per question
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(step, BOOTSTRAP_DRAWS - start)).astype(float)
        means.append((times @ sums) / (times @ sizes)[:, None])
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def question_draws(questions: Sequence[str], draws: int, seed: int = 0) -> Float[Tensor, "draw pair"]:
    """Bootstrap weights: how often each pair is drawn when distinct questions are drawn with replacement."""
    _, group = np.unique(np.asarray(questions), return_inverse=True)
    n = int(group.max()) + 1
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)
    return torch.from_numpy(times[:, group])
