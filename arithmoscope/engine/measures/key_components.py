"""Key components: those whose effect is significantly negative, with the false discovery rate controlled.

A component's effect varies from question to question, so its mean may differ from 0 by chance, and among hundreds of
components some means always do. For each component, over distinct questions q with sums s_q and n_q pairs:

    mean = sum s_q / sum n_q        t = mean / se        se = sqrt(sum (s_q - mean n_q)^2) / sum n_q

`p_values` compares t with its bootstrap distribution: questions drawn with replacement, t* = (mean* - mean) / se*,
one-sided p = (1 + number of t* <= t) / (1 + draws). The studentised bootstrap is used because effects are skewed and
questions few: percentile intervals are then too narrow (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapters 12 and 16). The two-sided p-value is twice the smaller one. A component is key if its effect differs from 0 and
is negative (removing it hurts the answer): where effects have a long upper tail, one-sided tests alone pass too many.

`false_discoveries` then bounds the share of false positives among the key components (Benjamini and Hochberg, 1995).
This is valid for independent and for positively dependent tests; components measured on the same questions mostly are
the latter. Simulated with 100 skewed effects that share their questions, 80 of them 0: at a rate of 10 %, the share is
9 % from 40 questions on, and up to 11 % with 20 questions.

Limitations. Key means different from 0, not large. With hundreds of questions nearly every effect differs from 0;
consult the effect's size, a threshold and the knock-out as well. Fewer than ten questions support no such statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments, refuse
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import PAPER_THRESHOLD, KeyRule
from arithmoscope.contracts.terms import DEFAULT_METRIC, Metric
from arithmoscope.engine.measures.metrics import MeasuredEffects

Side = Literal["less", "greater", "two"]

LEAST_QUESTIONS = 10
_DRAWS = 10_000
_MAX_DRAWS = 200_000
_BYTES = 64 * 2**20


@dataclass(frozen=True)
class KeyComponents:
    """The key components by one rule.

    Attributes:
        rule: The rule: ``"fdr"``, ``"threshold"`` or ``"top_k"``.
        metric: The metric of the effects.
        components: The key components, the one whose removal hurts most first.
        heads: Number of heads among them.
        fraction_of_heads: Share of the model's heads.
        questions: Number of distinct questions.
        p_values: p-value of every component [layer, head + 1], the MLP last; NaN for fewer than ten questions.
        passes: The largest p-value that passes, 0 if none does; None for other rules than ``"fdr"``.
    """

    rule: KeyRule
    metric: str
    components: tuple[Component, ...]
    heads: int
    fraction_of_heads: float
    questions: int
    p_values: Float[Tensor, "layer component"]
    passes: float | None


@check_arguments(rate=Range(0, 1, inside=True), top_k=Range(1))
def key_components(
    effects: MeasuredEffects,
    *,
    rule: KeyRule = "fdr",
    metric: Metric = DEFAULT_METRIC,
    rate: float = 0.05,
    threshold: float = PAPER_THRESHOLD,
    top_k: int = 10,
    kind: Literal["head", "any"] = "any",
    seed: int = 0,
) -> KeyComponents:
    """The components whose removal hurts the answer, by one of three rules.

    Args:
        effects: Effects on a set of pairs; pairs whose metric is undefined are left out.
        rule: ``"fdr"``: the mean effect differs from 0 by a studentised bootstrap over distinct questions, at a false
            discovery rate of at most ``rate`` (Benjamini and Hochberg, 1995), and is negative. ``"threshold"``: the
            mean effect is below ``threshold``. ``"top_k"``: the ``top_k`` most negative mean effects.
        metric: The metric of the effects.
        rate: False discovery rate for ``"fdr"``, between 0 and 1.
        threshold: Threshold in the metric's unit (Zhang et al., 2024: -5 percent of the reference logit).
        top_k: Number of components for ``"top_k"``; fewer if fewer are negative.
        kind: ``"head"`` leaves MLPs out, of the tests, too.
        seed: Seed of the bootstrap.

    Returns:
        The components, most negative first, with the p-values [layer, head + 1] of all.

    Raises:
        Refusal: ``bad_request`` for an unknown rule, a number out of range, or ``"fdr"`` on fewer than ten distinct
            questions; ``no_prompts`` if the metric is defined for no pair.

    Example:
        >>> effects = am.path_patching(model, pairs)
        >>> key = am.key_components(effects, rule="top_k", metric="logit", top_k=3)
        >>> len(key.components) <= 3
        True
    """
    heads, mlps = effects.values(metric)
    values = torch.cat([heads, mlps[..., None]], dim=-1).double()
    layers, width = values.shape[1:]
    flat = values.flatten(1)
    keep = flat.isnan().any(1).logical_not()
    questions = [q for q, kept in zip(effects.questions, keep.tolist(), strict=True) if kept]
    flat = flat[keep]
    if not len(flat):
        raise Refusal("no_prompts", f"No pair has a defined {metric}.")
    candidates = torch.ones(layers, width, dtype=torch.bool)
    candidates[:, -1] = kind == "any"
    candidates = candidates.flatten()
    mean = flat.mean(0)
    p = torch.full_like(mean, torch.nan)
    if len(set(questions)) >= LEAST_QUESTIONS:
        p[candidates] = p_values(flat[:, candidates], questions, seed=seed)
    passes = None
    if rule == "fdr":
        if len(set(questions)) < LEAST_QUESTIONS:
            raise Refusal(
                "bad_request",
                f"{len(set(questions))} distinct questions are too few to control false discoveries.",
                f"Use at least {LEAST_QUESTIONS}, or choose the rule 'top_k'.",
            )
        chosen = torch.zeros_like(candidates)
        chosen[candidates] = false_discoveries(p[candidates], rate)
        passes = float(p[chosen].max()) if bool(chosen.any()) else 0.0
        chosen &= mean < 0
    elif rule == "threshold":
        chosen = candidates & (mean < threshold)
    else:
        order = torch.where(candidates, mean, torch.inf).argsort(stable=True)[:top_k]
        chosen = torch.zeros_like(candidates)
        chosen[order] = mean[order] < 0
        chosen &= candidates
    every_component = all_components(layers, width - 1)
    order = [int(index) for index in mean.argsort(stable=True) if bool(chosen[index])]
    key = tuple(every_component[index] for index in order)
    n_heads = sum(component.kind == "head" for component in key)
    return KeyComponents(
        rule=rule,
        metric=metric,
        components=key,
        heads=n_heads,
        fraction_of_heads=n_heads / (layers * (width - 1)),
        questions=len(set(questions)),
        p_values=p.view(layers, width),
        passes=passes,
    )


def p_values(
    values: Float[Tensor, "pair component"],
    questions: Sequence[str],
    *,
    side: Side = "two",
    draws: int | None = None,
    seed: int = 0,
) -> Float[Tensor, " component"]:
    """P-values of each component's mean being different from 0 (``two``), below it (``less``) or above it
    (``greater``), by the studentised bootstrap over distinct questions. 1 where all values are 0.

    ``draws`` defaults to a number at which a single component with the smallest possible p-value passes Benjamini and
    Hochberg's test at 5 %.
    """
    rows = values.double().numpy()
    _, group = np.unique(np.asarray(questions), return_inverse=True)
    n, columns = int(group.max()) + 1, rows.shape[1]
    sums = np.zeros((n, columns))
    np.add.at(sums, group, rows)
    sizes = np.bincount(group, minlength=n).astype(float)
    draws = draws or min(_MAX_DRAWS, max(_DRAWS, ceil(2 * columns / 0.05)))
    mean = sums.sum(0) / sizes.sum()
    t = _ratio(mean, np.sqrt(((sums - mean * sizes[:, None]) ** 2).sum(0)) / sizes.sum())
    # Centring at the mean makes the bootstrap distribution that of the null hypothesis.
    centred = sums - mean * sizes[:, None]
    squares, crossed = centred**2, centred * sizes[:, None]
    below, above = np.zeros(columns), np.zeros(columns)
    rng = np.random.default_rng(seed)
    step = max(1, _BYTES // (8 * max(n, columns)))
    for start in range(0, draws, step):
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(step, draws - start)).astype(float)
        total = (times @ sizes)[:, None]
        shift = (times @ centred) / total
        spread = times @ squares - 2 * shift * (times @ crossed) + shift**2 * (times @ sizes**2)[:, None]
        t_star = _ratio(shift, np.sqrt(np.maximum(spread, 0)) / total)
        below += (t_star <= t).sum(0)
        above += (t_star >= t).sum(0)
    less, greater = (1 + below) / (1 + draws), (1 + above) / (1 + draws)
    p = {"less": less, "greater": greater, "two": np.minimum(1.0, 2 * np.minimum(less, greater))}[side]
    return torch.from_numpy(np.where((rows == 0).all(0), 1.0, p))


def _ratio(mean: np.ndarray, error: np.ndarray) -> np.ndarray:
    """``mean / error``; infinite where only the error is 0, 0 where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean == 0, 0.0, mean / error)


def false_discoveries(p: Float[Tensor, " test"], rate: float = 0.05) -> Bool[Tensor, " test"]:
    """Tests that pass Benjamini and Hochberg's procedure: with the p-values in ascending order, all up to the last i
    with p_i <= rate i / m. The expected share of false positives among them is at most ``rate``."""
    if not 0 < rate < 1:
        raise Refusal("bad_request", f"The rate is {rate}; it must be between 0 and 1.", "Choose another rate.")
    m = len(p)
    ordered, order = p.sort(stable=True)
    passing = ordered <= rate * torch.arange(1, m + 1, dtype=p.dtype) / m
    last = int(passing.nonzero().max()) + 1 if bool(passing.any()) else 0
    passed = torch.zeros(m, dtype=torch.bool)
    passed[order[:last]] = True
    return passed


def adjusted_p_values(p: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """Benjamini and Hochberg's adjusted p-values: the smallest false discovery rate at which each test passes."""
    m = len(p)
    ordered, order = p.sort(stable=True)
    scaled = ordered * m / torch.arange(1, m + 1, dtype=p.dtype)
    least = scaled.flip(0).cummin(0).values.flip(0).clamp(max=1.0)
    return torch.empty_like(p).scatter(0, order, least)


def _curve(value: Any) -> Tensor:
    """The values of a curve, from a tensor, an array or a list."""
    try:
        curve = torch.as_tensor(value, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        curve = torch.empty(0, 0)
    if curve.ndim != 1 or not bool(curve.isfinite().all()):
        allowed = "a finite number for each k, in a tensor, an array or a list"
        raise refuse("curve", value, allowed, "Pass for example knockout.curve('accuracy').mean.")
    return curve


@check_arguments(curve=_curve)
def elbow(curve: Float[Tensor, " k"]) -> int:
    """The bend of a falling curve: for a knock-out, the number of components after which most of the drop is over.

    It is the k whose point lies furthest below the straight line from the first to the last point (Kneedle's rule
    without smoothing; Satopaa et al., 2011), the first among equals.

    Args:
        curve: Values for k = 0, 1, ..., such as ``Knockout.curve("accuracy").mean``; a tensor, an array or a list.

    Returns:
        The k of the bend; 0 if no point lies below the line, or there are fewer than three points.

    Raises:
        Refusal: ``bad_request`` if the curve is not a list of finite numbers.

    Example:
        >>> am.elbow(torch.tensor([1.0, 0.2, 0.1, 0.0]))
        1
    """
    if len(curve) < 3:
        return 0
    along = torch.linspace(0, 1, len(curve), dtype=torch.float64)
    below = curve[0] + (curve[-1] - curve[0]) * along - curve
    k = int(below.argmax())
    return k if float(below[k]) > 1e-9 * max(1e-300, float(curve.abs().max())) else 0
