"""The transfer matrix: do the heads of one set matter on another? With control sets that contain no arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.interventions.head_sets import measure_column, most_negative, sets_of
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.key_components import LEAST_QUESTIONS
from arithmoscope.engine.measures.rank_correlation import spearman
from arithmoscope.engine.methods.transfer import Transfer, assembled
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.replication.key_components import TOP, effects_on
from arithmoscope.replication.plain_numbers import Numbers, plain
from arithmoscope.replication.prompt_sets import ADDITION, AnsweredSet

# Share of the total negative effect; the heads that carry it are the heads that a set uses.
SHARE = 0.5
METRIC = "logit_difference"
# Random draws for selections that no claim is about: enough for their mean, too few for their 95 % range.
FEW_DRAWS = 4


def transfer_numbers(
    model: LoadedModel, sets: Sequence[AnsweredSet], draws: int, progress: Callable[[int, int], None] | None = None
) -> Numbers:
    """Heads found on one side of every set, knocked out on the other side of every set, at END.

    All sets are split by operands in the same way, so that no two sides of different sets share any, either. Intervals
    are over sets of operands. The selection of addition has ``draws`` random controls, the others fewer.
    """
    done, total = 0, 2 * len(sets)
    names = [each.name for each in sets]

    def report() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    patched: list[PatchingEffects] = []
    for each in sets:
        patched.append(effects_on(model, each.selection_pairs, each.selection_operands))
        report()
    means = [_mean(effects) for effects in patched]
    selections = [_selection(model, mean) for mean in means]
    main = names.index(ADDITION) if ADDITION in names else None
    columns = []
    for each in sets:
        columns.append(_column(model, each, selections, main, draws))
        report()
    matrix = assembled(
        model,
        metric=METRIC,
        ablation="mean",
        found_on={each.name: len(each.selection_pairs) for each in sets},
        evaluated_on={each.name: len(each.evaluation_pairs) for each in sets},
        selections=selections,
        effects=means,
        columns=columns,
    )
    chosen = [set(selection) for selection in matrix.selections]
    return plain(
        {
            "sets": names,
            "controls": [each.name for each in sets if each.control],
            "top": TOP,
            "draws": draws,
            "few_draws": min(FEW_DRAWS, draws),
            "selections": [list(selection) for selection in matrix.selections],
            "found_pairs": matrix.found_pairs.int(),
            "found_operands": [len(set(each.selection_operands)) for each in sets],
            "pairs": matrix.pairs.int(),
            "operands": [len(set(each.evaluation_operands)) for each in sets],
            "jaccard": matrix.jaccard,
            "shared": [[len(a & b) for b in chosen] for a in chosen],
            "rank_correlation": matrix.rank_correlation,
            "halves": None if main is None else _halves(model, sets[main], means[main]),
            "heads_for_half": [
                None if each.kept_wrong else heads_for_half(effects)
                for each, effects in zip(sets, patched, strict=True)
            ],
            "accuracy": _measure(matrix, "accuracy"),
            "probability": _measure(matrix, "probability"),
        }
    )


def _mean(effects: PatchingEffects) -> Tensor:
    return effects.summary(METRIC).mean.flatten()


def _selection(model: LoadedModel, mean: Tensor) -> tuple[Component, ...]:
    return most_negative(mean.view(model.layout.layers, model.layout.heads + 1), TOP)


def _column(
    model: LoadedModel, each: AnsweredSet, selections: Sequence[Sequence[Component]], main: int | None, draws: int
) -> dict[str, Tensor]:
    """All selections on one set, with random heads in their place as controls."""
    pairs = [
        replace(pair, question=operands)
        for pair, operands in zip(encode_all(model, each.evaluation_pairs), each.evaluation_operands, strict=True)
    ]
    few = sets_of(model, selections, min(FEW_DRAWS, draws), 0)
    column = measure_column(model, pairs, few, len(selections), "mean", 0)
    for name in column:
        if name.startswith("control_") and name.endswith(("_low", "_high")):
            column[name] = torch.full_like(column[name], torch.nan)
    if main is not None:
        alone = measure_column(model, pairs, sets_of(model, [selections[main]], draws, 0), 1, "mean", 0)
        for name in (name for name in column if not name.startswith("plain_")):
            column[name][main] = alone[name][0]
    return column


def _halves(model: LoadedModel, addition: AnsweredSet, mean: Tensor) -> Numbers:
    """Agreement of two halves of one set, found on different operands: an upper bound of what two sets can be expected
    to share.
    """
    other = _mean(effects_on(model, addition.evaluation_pairs))
    one, two = (set(_selection(model, each)) for each in (mean, other))
    return {
        "pairs": [len(addition.selection_pairs), len(addition.evaluation_pairs)],
        "operands": [len(set(addition.selection_operands)), len(set(addition.evaluation_operands))],
        "shared": len(one & two),
        "rank_correlation": None if bool((mean + other).isnan().any()) else spearman(mean, other),
    }


def _measure(matrix: Transfer, name: str) -> Numbers:
    """[found][evaluated]: with the selection, with random heads, and with nothing knocked out."""
    parts = {
        "plain": f"plain_{name}",
        "value": name,
        "low": f"{name}_low",
        "high": f"{name}_high",
        "control": f"control_{name}",
        "draws_low": f"control_{name}_low",
        "draws_high": f"control_{name}_high",
    }
    return {short: getattr(matrix, long) for short, long in parts.items()}


def heads_for_half(effects: PatchingEffects) -> int | None:
    """The fewest heads whose mean effects add up to `SHARE` of those of all heads with an interval below 0: the sum
    over all other heads is noise. None below `LEAST_QUESTIONS` sets of operands, or if no head has such an interval.
    """
    if len(set(effects.questions)) < LEAST_QUESTIONS:
        return None
    summary = effects.summary(METRIC)
    heads, high = summary.mean[:, :-1].flatten(), summary.ci_high[:, :-1].flatten()
    hurting = (-heads[high < 0]).sort(descending=True).values
    if not len(hurting):
        return None
    return int((hurting.cumsum(0) < SHARE * hurting.sum()).sum()) + 1
