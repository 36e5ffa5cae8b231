"""Transfer: effects of the components selected on one set of prompts on other sets.

What it measures. On each set of ``found_on`` all components are patched (path patching), and the ``top_k`` most
negative heads are selected. On each set of ``evaluated_on`` each selection is knocked out as a whole, and
likewise as many random components of the same layers:

    matrix[found, evaluated] = accuracy, or probability of the answer, with the selection knocked out

Also given: the intact model's values, those with random components knocked out, and the agreement of the selections:

    jaccard[f, g]  = |top_f & top_g| / |top_f | top_g|
    rank[f, g]     = Spearman's rank correlation of the mean effects of all components

Sets without arithmetic are the negative control: a drop there is not due to the calculation.

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 5
(one selection, applied to other data sets).

Exact, as patching and knock-out are. Sets that share operands raise Refusal unless ``same_operands`` is set: on the
questions that it was found on a selection looks better than it is.

Cost. Path patching on each set of ``found_on``; on each set of ``evaluated_on`` one row per selection and draw.

When it misleads. The rank correlation is over all components, most of which do nothing anywhere. The accuracy of a set
that the model hardly answers cannot drop: read the probability, and the intact model's row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments, whole_number
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_CONTROLS, Ablation
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.terms import DEFAULT_METRIC, Effect, Metric
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.interventions.head_sets import mean_effects, measure_column, most_negative, sets_of
from arithmoscope.engine.measures.rank_correlation import spearman
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult
from arithmoscope.prompts import EncodedPair
from arithmoscope.prompts.sets.operand_split import shared_operands

Sets = Mapping[str, Sequence[PromptPair]]
_FORMAT = "transfer"


@dataclass(frozen=True, eq=False)
class Transfer(TensorResult):
    """Transfer matrices; the first axis is the set that a selection was found on, the second the evaluated set.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        found_on: Names of the sets that heads were selected on.
        evaluated_on: Names of the sets that they were knocked out on.
        selections: The heads selected on each set, most negative first.
        metric: The metric that heads were ranked by.
        ablation: The replacement of knocked-out outputs.
        effects: Mean effect of every component on each set of ``found_on``, in the metric's unit.
        jaccard: Overlap of the selections [found, found].
        rank_correlation: Spearman's correlation of ``effects`` [found, found].
        accuracy: Share of pairs whose top token is the answer [found, evaluated]; ``accuracy_low`` and
            ``accuracy_high``: 95 % percentile bootstrap over questions.
        probability: Mean probability of the answer, with the same intervals.
        plain_accuracy: Accuracy of the intact model [evaluated]; likewise ``plain_probability``.
        control_accuracy: Accuracy with random components knocked out, the mean over the draws; ``..._low`` and
            ``..._high`` contain 95 % of the draws. Likewise ``control_probability``.
        found_pairs: Sizes of the sets of ``found_on``.
        pairs: Sizes of the sets of ``evaluated_on``.

    Example:
        >>> first, second = am.split_operands(pairs)
        >>> matrix = am.transfer(model, {"first": first}, {"second": second}, top_k=2, metric="logit", controls=2)
        >>> matrix.save("transfer.safetensors")
        >>> am.Transfer.load("transfer.safetensors").evaluated_on
        ('second',)
    """

    file_format = "arithmoscope.transfer.1"
    noun = "transfer"

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


@check_arguments(top_k=Range(1), controls=Range(0, MAX_CONTROLS), memory=Range(1))
def transfer(
    model: LoadedModel,
    found_on: Sets,
    evaluated_on: Sets,
    *,
    top_k: int = 10,
    effect: Effect = "through_mlps",
    metric: Metric = DEFAULT_METRIC,
    ablation: Ablation = "mean",
    controls: int = 20,
    seed: int = 0,
    same_operands: bool = False,
    mean_over: Sets | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Transfer:
    """Selects heads on each set of ``found_on`` and knocks them out, at END, on each set of ``evaluated_on``.

    One selection applied to other data sets (Zhang et al., 2024, section 5), for several of each.

    Args:
        model: The model to analyse.
        found_on: Sets by name; the heads with the most negative mean effect on each are selected.
        evaluated_on: Sets by name that each selection is knocked out on.
        top_k: Number of heads per selection; fewer if fewer have a negative effect.
        effect: Effect that heads are selected by, as in `path_patching`.
        metric: Metric that heads are ranked by.
        ablation: Replacement of knocked-out outputs, as in `knockout`.
        controls: Number of draws of random components per selection.
        seed: Seed of the draws.
        same_operands: Allow a set of ``found_on`` and one of ``evaluated_on`` to share operands.
        mean_over: For the ablation ``"mean"``: pairs to average over, by the evaluated set's name; None, or
            a missing name, for the evaluated set itself.
        memory: Memory budget in bytes, excluding the model; None for the device's free memory.
        progress: Called with (sets done, sets in total).

    Returns:
        Accuracy and probability [found, evaluated] with intervals, those of the intact model [evaluated] and of the
        controls, and the agreement of the selections [found, found].

    Raises:
        Refusal: ``bad_request`` for sets that share operands, an unknown option or ``top_k`` out of range;
            ``no_prompts`` for an empty set; otherwise as `path_patching`, naming the set.

    Example:
        >>> first, second = am.split_operands(pairs)
        >>> matrix = am.transfer(model, {"first": first}, {"second": second}, top_k=2, metric="logit", controls=2)
        >>> matrix.accuracy.shape  # [found, evaluated]
        torch.Size([1, 1])
    """
    if not found_on or not evaluated_on:
        raise Refusal("no_prompts", "There is no set to select components on, or none to knock them out on.")
    heads, layers = model.layout.heads, model.layout.layers
    whole_number("top_k", top_k, Range(1, layers * heads))
    if mean_over is not None and (ablation != "mean" or not set(mean_over) <= set(evaluated_on)):
        raise Refusal(
            "bad_request",
            "mean_over names sets that are not mean-ablated.",
            "Name evaluated sets in it, and choose the ablation 'mean'.",
        )
    if not same_operands:
        _check_operands(found_on, evaluated_on)
    found_pairs = {name: _encoded(model, name, pairs) for name, pairs in found_on.items()}
    evaluated = {name: _encoded(model, name, pairs) for name, pairs in evaluated_on.items()}
    mean_pairs = {name: _encoded(model, name, pairs) for name, pairs in (mean_over or {}).items()}
    done, total = 0, len(found_pairs) + len(evaluated)
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
    for name, pairs in evaluated.items():
        column = measure_column(model, pairs, sets, len(selections), ablation, seed, memory, over=mean_pairs.get(name))
        columns.append(column)
        done += 1
        if progress is not None:
            progress(done, total)
    return assembled(
        model,
        metric=metric,
        ablation=ablation,
        found_on={name: len(pairs) for name, pairs in found_pairs.items()},
        evaluated_on={name: len(pairs) for name, pairs in evaluated.items()},
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
    """The result, from the measurements of each set: `mean_effects` and `most_negative` of each set of ``found_on``,
    `measure_column` of each of ``evaluated_on``. These two give the number of pairs by set."""
    matrices = {key: torch.stack([column[key] for column in columns], dim=-1) for key in columns[0]}
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
        **matrices,
    )


def _encoded(model: LoadedModel, name: str, pairs: Sequence[PromptPair]) -> list[EncodedPair]:
    try:
        encoded = encode_all(model, pairs)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"Set {name!r}: {refusal.detail}", refusal.way_out) from refusal
    if not encoded:
        raise Refusal("no_prompts", f"The set {name!r} is empty.")
    return encoded


def _check_operands(found_on: Sets, evaluated_on: Sets) -> None:
    for name, found in found_on.items():
        for other, evaluated in evaluated_on.items():
            if shared := shared_operands(found, evaluated):
                raise Refusal(
                    "bad_request",
                    f"The sets {name!r} (found on) and {other!r} (evaluated on) share operands: "
                    f"{shared[0][:60]!r} and {len(shared) - 1} more.",
                    "Split them with arithmoscope.split_operands, or pass same_operands=True.",
                )


def _pairwise(items: Sequence[Any], measure: Callable[[Any, Any], float]) -> Float[Tensor, "found found"]:
    return torch.tensor([[measure(a, b) for b in items] for a in items], dtype=torch.float64)


def _agreement(a: Float[Tensor, " component"], b: Float[Tensor, " component"]) -> float:
    """Spearman's correlation; NaN if one of them was not measured."""
    return float("nan") if bool(a.isnan().any() or b.isnan().any()) else spearman(a, b)


def _jaccard(a: Sequence[Component], b: Sequence[Component]) -> float:
    """Size of the intersection over the union; NaN if both are empty."""
    return len({*a} & {*b}) / len({*a, *b}) if a or b else float("nan")
