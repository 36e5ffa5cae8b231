"""Transfer: do the components found on one set of prompts matter on another?

What it measures. On each set of ``found_on`` all components are patched (path patching), and the ``top_k`` most
negative heads are kept. On each set of ``evaluated_on`` each of these selections is knocked out, all of it at once, and
so are as many random components of the same layers:

    matrix[found, evaluated] = accuracy, or probability of the answer, with the selection out

Beside it what the set gives with nothing out, what the random draws leave, and how far the selections agree:

    jaccard[f, g]  = |top_f & top_g| / |top_f | top_g|
    rank[f, g]     = Spearman's rank correlation of the mean effects of all components

Sets that are no arithmetic are the negative control: what falls there, too, was not the calculation.

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 5
(one selection, carried to other data sets).

Exact: patching and knock-out are. Found and evaluated on different operands: a selection that knows the questions looks
better than it is, so sets that share operands are refused unless told otherwise.

Cost. Path patching on each set of the first kind; on each of the second kind one row a selection and draw.

When it misleads. The rank correlation is over all components, most of which do nothing anywhere. Accuracy of a set that
the model hardly answers cannot fall: read the probability, and the row with nothing out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.specs import Effect, Metric
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.interventions.ablation import KnockoutOutputs, knock_out_pairs, masks_of
from arithmoscope.engine.interventions.patching import PatchedPairs, Patching, patch_pairs
from arithmoscope.engine.interventions.replacements import check_means, means, resampled
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.measures.rank_correlation import spearman
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, tensor_bytes
from arithmoscope.prompts import EncodedPair
from arithmoscope.prompts.sets.operand_split import shared_operands

Sets = Mapping[str, Sequence[PromptPair]]
_FORMAT = "transfer"


@dataclass(frozen=True, eq=False)
class Transfer:
    """The matrices; the first axis is the set that a selection was found on, the second the one it is knocked out on.

    selections   the components of each set of ``found_on``, the most negative first
    accuracy     share of pairs whose top token is the answer; ``..._low``, ``..._high``: 95 % bootstrap over questions
    probability  of the answer, mean over the pairs, with the same intervals
    plain_...    the same with nothing out, by evaluated set
    control_...  the same with random components out: mean over the draws, and where 95 % of them lie
    effects      mean effect of every component on the sets of ``found_on``, in the metric's unit
    jaccard, rank_correlation  of the selections, and of the effects
    pairs, found_pairs  sizes of the sets
    """

    model: str
    revision: str
    found_on: tuple[str, ...]
    evaluated_on: tuple[str, ...]
    selections: tuple[tuple[str, ...], ...]
    metric: str
    ablation: str
    effects: Float[Tensor, "found component"]
    jaccard: Float[Tensor, "found found"]
    rank_correlation: Float[Tensor, "found found"]
    accuracy: Float[Tensor, "found evaluated"]
    accuracy_low: Float[Tensor, "found evaluated"]
    accuracy_high: Float[Tensor, "found evaluated"]
    probability: Float[Tensor, "found evaluated"]
    probability_low: Float[Tensor, "found evaluated"]
    probability_high: Float[Tensor, "found evaluated"]
    plain_accuracy: Float[Tensor, " evaluated"]
    plain_probability: Float[Tensor, " evaluated"]
    control_accuracy: Float[Tensor, "found evaluated"]
    control_accuracy_low: Float[Tensor, "found evaluated"]
    control_accuracy_high: Float[Tensor, "found evaluated"]
    control_probability: Float[Tensor, "found evaluated"]
    control_probability_low: Float[Tensor, "found evaluated"]
    control_probability_high: Float[Tensor, "found evaluated"]
    found_pairs: Float[Tensor, " found"]
    pairs: Float[Tensor, " evaluated"]

    def to_bytes(self) -> bytes:
        """As safetensors, the words in its metadata."""
        return tensor_bytes(_FORMAT, {field.name: getattr(self, field.name) for field in fields(self)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Transfer:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, _FORMAT)
        for name in ("found_on", "evaluated_on"):
            read[name] = tuple(read[name])
        return cls(**{**read, "selections": tuple(tuple(each) for each in read["selections"])})


def transfer(
    model: LoadedModel,
    found_on: Sets,
    evaluated_on: Sets,
    *,
    top_k: int = 10,
    effect: Effect = "through_mlps",
    metric: Metric | str = "logit_difference",
    ablation: Ablation = "mean",
    controls: int = 20,
    seed: int = 0,
    same_operands: bool = False,
    mean_over: Sets | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Transfer:
    """What the ``top_k`` heads of each set of ``found_on`` do on each set of ``evaluated_on``, at END.

    ``metric``: what heads are ranked by. ``ablation`` ``mean`` is over the reference prompts of ``mean_over``, by
    the evaluated set's name (default: over the set's own). ``same_operands``: let found and evaluated sets ask about
    the same operands. ``progress(done, total)`` counts sets.

    Refuses (``bad_request``) sets that share operands unless told, and (``no_prompts``) empty ones.
    """
    if not found_on or not evaluated_on:
        raise Refusal("no_prompts", "There is no set to find components on, or none to knock them out on.")
    heads, layers = model.layout.heads, model.layout.layers
    if not 1 <= top_k <= layers * heads:
        raise Refusal("bad_request", f"top_k is {top_k}; it is from 1 to {layers * heads}.", "Choose another top_k.")
    if mean_over is not None and (ablation != "mean" or not set(mean_over) <= set(evaluated_on)):
        raise Refusal(
            "bad_request",
            "mean_over is given for sets that no mean is taken for.",
            "Name evaluated sets in it, and choose the ablation 'mean'.",
        )
    if not same_operands:
        _refuse_shared(found_on, evaluated_on)
    found_pairs = {name: _encoded(model, name, pairs) for name, pairs in found_on.items()}
    judged = {name: _encoded(model, name, pairs) for name, pairs in evaluated_on.items()}
    over = {name: _encoded(model, name, pairs) for name, pairs in (mean_over or {}).items()}
    done, total = 0, len(found_pairs) + len(judged)
    effects: list[Tensor] = []
    selections: list[tuple[Component, ...]] = []
    for pairs in found_pairs.values():
        mean_effect = mean_effects(model, pairs, effect, metric, memory)
        effects.append(mean_effect)
        selections.append(most_negative(mean_effect.view(layers, heads + 1), top_k))
        done += 1
        if progress is not None:
            progress(done, total)
    sets = sets_of(model, selections, controls, seed)
    columns: list[dict[str, Tensor]] = []
    for name, pairs in judged.items():
        columns.append(judged_on(model, pairs, sets, len(selections), ablation, seed, memory, over=over.get(name)))
        done += 1
        if progress is not None:
            progress(done, total)
    return assembled(
        model,
        metric=str(metric),
        ablation=ablation,
        found_on={name: len(pairs) for name, pairs in found_pairs.items()},
        evaluated_on={name: len(pairs) for name, pairs in judged.items()},
        selections=selections,
        effects=effects,
        columns=columns,
    )


def assembled(
    model: LoadedModel,
    *,
    metric: str,
    ablation: str,
    found_on: Mapping[str, int],
    evaluated_on: Mapping[str, int],
    selections: Sequence[Sequence[Component]],
    effects: Sequence[Float[Tensor, " component"]],
    columns: Sequence[Mapping[str, Tensor]],
) -> Transfer:
    """The whole of what was measured set by set: `mean_effects` and `most_negative` of each found set, `judged_on` of
    each evaluated one. ``found_on``, ``evaluated_on``: how many pairs each set has."""
    whole = {key: torch.stack([column[key] for column in columns], dim=-1) for key in columns[0]}
    return Transfer(
        model=model.card.id,
        revision=model.card.revision,
        found_on=tuple(found_on),
        evaluated_on=tuple(evaluated_on),
        selections=tuple(tuple(str(component) for component in chosen) for chosen in selections),
        metric=metric,
        ablation=ablation,
        effects=torch.stack(list(effects)),
        jaccard=_pairwise(selections, _jaccard),
        rank_correlation=_pairwise(effects, _agreement),
        found_pairs=torch.tensor(list(found_on.values()), dtype=torch.float64),
        pairs=torch.tensor(list(evaluated_on.values()), dtype=torch.float64),
        **whole,
    )


def _encoded(model: LoadedModel, name: str, pairs: Sequence[PromptPair]) -> list[EncodedPair]:
    try:
        encoded = encode_all(model, pairs)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Set {name!r}: {refusal.detail}", refusal.way_out) from refusal
    if not encoded:
        raise Refusal("no_prompts", f"The set {name!r} is empty.")
    return encoded


def _refuse_shared(found_on: Sets, evaluated_on: Sets) -> None:
    for name, found in found_on.items():
        for other, evaluated in evaluated_on.items():
            if shared := shared_operands(found, evaluated):
                raise Refusal(
                    "bad_request",
                    f"The sets {name!r} (found on) and {other!r} (evaluated on) ask about the same operands: "
                    f"{shared[0][:60]!r} and {len(shared) - 1} more.",
                    "Split them with arithmoscope.split_operands, or say same_operands=True.",
                )


def mean_effects(
    model: LoadedModel,
    pairs: Sequence[EncodedPair],
    effect: Effect,
    metric: Metric | str,
    memory: int | None = None,
    report: Callable[[float], None] = lambda _fraction: None,
) -> Float[Tensor, " component"]:
    """Mean effect of every component, over the pairs whose metric is defined. ``report(fraction)`` may raise, to
    stop."""
    length = max(len(ids) for pair in pairs for ids in (pair.reference_ids, pair.counterfactual_ids))
    asked = Patching(effect, probability=metric == "probability")
    shape = Shape(effect, length, length if model.runs_alone else 1, len(pairs), asked.probability)

    def measure(plan: Plan) -> PatchedPairs:
        return patch_pairs(model, pairs, asked, None, plan, report=report)

    measured, _ = retry_on_oom(plan_for(model, shape, memory), measure)
    found: PatchingEffects | None = measured.effects
    if found is None:
        raise Refusal("none_kept", "No pair was measured.")
    heads, mlps = found.values(metric)
    return torch.cat([heads, mlps[..., None]], dim=-1).flatten(1).double().nanmean(0)


def most_negative(effects: Float[Tensor, "layer component"], k: int) -> tuple[Component, ...]:
    """The k heads whose removal hurts most, in that order; fewer where fewer hurt."""
    heads = effects[:, :-1]
    order = heads.flatten().argsort(stable=True)[:k]
    at = [divmod(int(place), heads.shape[1]) for place in order if float(heads.flatten()[place]) < 0]
    return tuple(Component(layer, head) for layer, head in at)


def sets_of(
    model: LoadedModel, selections: Sequence[Sequence[Component]], controls: int, seed: int
) -> Bool[Tensor, "row layer component"]:
    """The selections, then ``controls`` random draws of each in turn."""
    layers, heads = model.layout.layers, model.layout.heads
    draws = [random_draws(chosen, layers, heads, controls, seed) for chosen in selections]
    rows = [list(chosen) for chosen in selections]
    rows += [list(draw.components) for each in draws for draw in each]
    return masks_of(rows, layers, heads)


def judged_on(
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
    go_on: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """One evaluated set's column of every matrix. ``sets``: as `sets_of` has them; ``over``: what a mean is over
    (default: the pairs). ``report(fraction)`` and ``go_on`` may raise, to stop."""
    over = pairs if over is None else over
    if ablation == "resample":
        pairs = resampled(pairs, "end", seed)
    length = max(len(pair.reference_ids) for pair in (*pairs, *over))
    plan = plan_for(model, Shape("total", length, length if model.runs_alone else 1, len(pairs), True), memory)
    mean = None
    if ablation == "mean":
        check_means(pairs, over, "end")
        mean, plan = retry_on_oom(
            plan, lambda plan: means(model, [pair.reference_ids for pair in over], (), plan, go_on)
        )

    def measure(plan: Plan) -> KnockoutOutputs:
        return knock_out_pairs(model, pairs, sets, ablation, "end", mean, plan, report)

    knocked, _ = retry_on_oom(plan, measure)
    questions = [pair.question for pair in pairs]
    found: dict[str, Tensor] = {}
    for name, values in (("accuracy", knocked.correct.double()), ("probability", knocked.probability.double())):
        chosen, draws = (
            values[1 : 1 + selections],
            values[1 + selections :].mean(1).reshape(selections, (len(sets) - selections) // selections),
        )
        low, high = interval_of(chosen.T, questions)
        found[f"plain_{name}"] = values[0].mean()
        found[name], found[f"{name}_low"], found[f"{name}_high"] = chosen.mean(1), low, high
        nothing = torch.full((selections,), torch.nan, dtype=torch.float64)
        ends = torch.quantile(draws, torch.tensor([0.025, 0.975]).double(), dim=1) if draws.shape[1] else None
        found[f"control_{name}"] = draws.mean(1)
        found[f"control_{name}_low"] = nothing if ends is None else ends[0].clone()
        found[f"control_{name}_high"] = nothing.clone() if ends is None else ends[1].clone()
    return found


def _pairwise(items: Sequence[Any], measure: Callable[[Any, Any], float]) -> Float[Tensor, "found found"]:
    return torch.tensor([[measure(a, b) for b in items] for a in items], dtype=torch.float64)


def _agreement(a: Float[Tensor, " component"], b: Float[Tensor, " component"]) -> float:
    """NaN where one of them was not measured."""
    return float("nan") if bool(a.isnan().any() or b.isnan().any()) else spearman(a, b)


def _jaccard(a: Sequence[Component], b: Sequence[Component]) -> float:
    """Shared of all; NaN where both are empty."""
    return len({*a} & {*b}) / len({*a, *b}) if a or b else float("nan")
