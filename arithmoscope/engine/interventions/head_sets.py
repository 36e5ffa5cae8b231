"""Heads found on one set of pairs and knocked out on another: the two steps of a transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation
from arithmoscope.contracts.terms import Effect, Metric
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.interventions.ablation import KnockoutOutputs, knock_out_pairs, masks_of
from arithmoscope.engine.interventions.patching import PatchedPairs, Patching, patch_pairs
from arithmoscope.engine.interventions.replacements import check_means, means, resampled
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair


def mean_effects(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    effect: Effect,
    metric: Metric,
    memory: int | None = None,
    report: Callable[[float], None] = lambda _fraction: None,
) -> Float[Tensor, " component"]:
    """Mean effect of every component over the pairs with a defined metric. ``report(fraction)`` may raise, to stop."""
    length = max(len(ids) for pair in pairs for ids in (pair.reference_ids, pair.counterfactual_ids))
    patching = Patching(effect, probability=metric == "probability")
    shape = Shape(effect, length, length if model.runs_alone else 1, len(pairs), patching.probability)

    def measure(plan: Plan) -> PatchedPairs:
        return patch_pairs(model, pairs, patching, None, plan, report=report)

    measured, _ = retry_on_oom(plan_for(model, shape, memory), measure)
    effects: PatchingEffects | None = measured.effects
    if effects is None:
        raise Refusal("none_kept", "No pair was measured.")
    heads, mlps = effects.values(metric)
    return torch.cat([heads, mlps[..., None]], dim=-1).flatten(1).double().nanmean(0)


def most_negative(effects: Float[Tensor, "layer component"], k: int) -> tuple[Component, ...]:
    """The k heads with the most negative effects, in order; fewer if fewer are negative."""
    heads = effects[:, :-1]
    order = heads.flatten().argsort(stable=True)[:k]
    cells = [divmod(int(place), heads.shape[1]) for place in order if float(heads.flatten()[place]) < 0]
    return tuple(Component(layer, head) for layer, head in cells)


def sets_of(
    model: LoadedModel, selections: Sequence[Sequence[Component]], controls: int, seed: int
) -> Bool[Tensor, "row layer component"]:
    """The selections, then ``controls`` random draws of each."""
    layers, heads = model.layout.layers, model.layout.heads
    draws = [random_draws(chosen, layers, heads, controls, seed) for chosen in selections]
    rows = [list(chosen) for chosen in selections]
    rows += [list(draw.components) for each in draws for draw in each]
    return masks_of(rows, layers, heads)


def measure_column(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    sets: Bool[Tensor, "row layer component"],
    selections: int,
    ablation: Ablation,
    seed: int,
    memory: int | None = None,
    report: Callable[[float], None] = lambda _fraction: None,
    *,
    over: Sequence[EncodedPair] | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """One evaluated set's column of every matrix.

    ``sets``: the rows of `sets_of`. ``over``: the pairs to average over; None for ``pairs``.
    ``report(fraction)``, and ``check_stop`` between batches, may raise, to stop.
    """
    over = pairs if over is None else over
    if ablation == "resample":
        pairs = resampled(pairs, "end", seed)
    length = max(len(pair.reference_ids) for pair in (*pairs, *over))
    plan = plan_for(model, Shape("total", length, length if model.runs_alone else 1, len(pairs), True), memory)
    mean = None
    if ablation == "mean":
        check_means(pairs, over, "end")
        prompts = [pair.reference_ids for pair in over]
        mean, plan = retry_on_oom(plan, lambda plan: means(model, prompts, (), plan, check_stop))

    def measure(plan: Plan) -> KnockoutOutputs:
        return knock_out_pairs(model, pairs, sets, ablation, "end", mean, plan, report)

    knocked, _ = retry_on_oom(plan, measure)
    questions = [pair.question for pair in pairs]
    column: dict[str, Tensor] = {}
    for name, values in (("accuracy", knocked.correct.double()), ("probability", knocked.probability.double())):
        chosen, draws = (
            values[1 : 1 + selections],
            values[1 + selections :].mean(1).reshape(selections, (len(sets) - selections) // selections),
        )
        low, high = interval_of(chosen.T, questions)
        column[f"plain_{name}"] = values[0].mean()
        column[name], column[f"{name}_low"], column[f"{name}_high"] = chosen.mean(1), low, high
        undefined = torch.full((selections,), torch.nan, dtype=torch.float64)
        ends = torch.quantile(draws, torch.tensor([0.025, 0.975]).double(), dim=1) if draws.shape[1] else None
        column[f"control_{name}"] = draws.mean(1)
        column[f"control_{name}_low"] = undefined if ends is None else ends[0].clone()
        column[f"control_{name}_high"] = undefined.clone() if ends is None else ends[1].clone()
    return column
