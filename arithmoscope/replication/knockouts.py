"""Knock-outs: whole curves with random draws as controls, and answers written out in full."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, retry_on_oom
from arithmoscope.engine.interventions.ablation import masks_of
from arithmoscope.engine.interventions.generation import answers_under_knockout, is_answer
from arithmoscope.engine.interventions.replacements import Means
from arithmoscope.engine.measures.key_components import elbow
from arithmoscope.engine.measures.knockout_curves import curve_of
from arithmoscope.engine.measures.knockout_result import Knockout
from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.methods.knockout import knockout, knockout_task
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.replication.plain_numbers import Numbers, plain
from arithmoscope.replication.prompt_sets import operand_sets

METRICS = ("accuracy", "probability", "logit_difference")
# Fewest prompts of a form for a mean.
LEAST_FOR_A_MEAN = 3


def form_of(pair: PromptPair) -> str:
    """A question with its numbers replaced: the form that prompts of one template share."""
    return re.sub(r"\d+", "#", question_text(pair.reference))


def by_form(
    evaluated: Sequence[PromptPair], other: Sequence[PromptPair]
) -> list[tuple[list[PromptPair], list[PromptPair]]]:
    """Pairs of one form with the other side's prompts of that form, over which the mean is taken; forms with too few of
    those are left out.
    """
    forms = dict.fromkeys(form_of(pair) for pair in evaluated)
    groups = [
        ([pair for pair in evaluated if form_of(pair) == form], [pair for pair in other if form_of(pair) == form])
        for form in forms
    ]
    return [(pairs, over) for pairs, over in groups if len(over) >= LEAST_FOR_A_MEAN]


def curve_numbers(
    model: LoadedModel,
    evaluated: Sequence[PromptPair],
    other: Sequence[PromptPair],
    components: Sequence[Component],
    ablation: Ablation,
    draws: int,
) -> Numbers:
    """The whole curve. Mean ablation is over the ``other`` prompts of the same form, which share no operands with the
    ``evaluated`` ones. Raises Refusal (``no_prompts``) if no form has enough of them.
    """
    if ablation == "mean":
        groups = by_form(evaluated, other)
        if not groups:
            raise Refusal("no_prompts", "No form of question has enough prompts to average over.")
        parts = [
            knockout(model, pairs, components, ablation="mean", mean_over=over, controls=draws)
            for pairs, over in groups
        ]
        result = Knockout.concatenate(parts)
        used = [pair for pairs, _ in groups for pair in pairs]
    else:
        result, used = knockout(model, evaluated, components, ablation=ablation, controls=draws), evaluated
    result = replace(result, questions=operand_sets(used))
    return numbers_of(result) | {"left_out": len(evaluated) - len(result)}


def numbers_of(result: Knockout) -> Numbers:
    """A knock-out's curves with their controls; operands take the place of questions."""
    curves = {metric: result.curve(metric) for metric in METRICS}
    return plain(
        {
            "ablation": result.ablation,
            "components": list(result.components),
            "pairs": len(result),
            "operands": len(set(result.questions)),
            "draws": len(result.controls),
            "unmatched": int((~result.matched).sum()),
            "noise": float(result.noise.max()),
            "elbow": elbow(curves["probability"].mean),
            "curves": {
                metric: {
                    name: getattr(curve, name)
                    for name in (
                        "mean",
                        "low",
                        "high",
                        "control",
                        "control_low",
                        "control_high",
                        "draws_low",
                        "draws_high",
                        "p_value",
                    )
                }
                for metric, curve in curves.items()
            },
        }
    )


def written_numbers(
    model: LoadedModel,
    evaluated: Sequence[PromptPair],
    other: Sequence[PromptPair],
    components: Sequence[Component],
    draws: int,
    tokens: int,
) -> Numbers:
    """Whole answers, written by greedy decoding with nothing, all ``components``, or random components knocked out.

    Mean ablation at every position after the prompt's first token, over the other prompts of the same form and length,
    and at every written token.
    """
    layers, heads = model.layout.layers, model.layout.heads
    random = random_draws(components, layers, heads, draws, 0)
    sets = masks_of([[], list(components), *(list(draw.components) for draw in random)], layers, heads)
    exact: list[Tensor] = []
    operands: list[str] = []
    example = ""
    for pairs, over in _equal_lengths(model, evaluated, other):
        task = knockout_task(
            model,
            pairs,
            components,
            ablation="mean",
            positions="after_first",
            mean_over=over,
            controls=0,
            answer_tokens=tokens,
        )

        def write(plan: Plan, pairs: list[EncodedPair] = pairs, mean: Means | None = task.mean) -> Tensor:
            return answers_under_knockout(model, pairs, sets, "mean", "after_first", mean, plan, tokens)

        written, _ = retry_on_oom(task.plan, write)
        texts = [[model.text.decode(ids, skip_special_tokens=True) for ids in row] for row in written.tolist()]
        rows = [[is_answer(text, pair.pair.answer) for text, pair in zip(row, pairs, strict=True)] for row in texts]
        exact.append(torch.tensor(rows))
        operands += operand_sets([pair.pair for pair in pairs])
        example = example or f"{pairs[0].question} {pairs[0].pair.answer}: {texts[1][0].strip()!r}"
    if not exact:
        raise Refusal("no_prompts", "No length of question has enough prompts to average over.")
    values = torch.cat(exact, dim=1).double()
    curve = curve_of(
        "exact_match", "share", values[:2], torch.stack([values[0].expand(draws, -1), values[2:]], 1), operands
    )
    point = {
        name: getattr(curve, name)[1]
        for name in ("mean", "low", "high", "control", "draws_low", "draws_high", "p_value")
    }
    return plain(
        {
            "components": [str(component) for component in components],
            "pairs": values.shape[1],
            "operands": len(set(operands)),
            "draws": draws,
            "left_out": len(evaluated) - values.shape[1],
            "plain": float(curve.mean[0]),
            "example": example,
            **point,
        }
    )


def _equal_lengths(
    model: LoadedModel, evaluated: Sequence[PromptPair], other: Sequence[PromptPair]
) -> list[tuple[list[EncodedPair], list[EncodedPair]]]:
    """Like `by_form`, and of one length in tokens, which replacing position by position needs."""
    groups = []
    for pairs, over in by_form(evaluated, other):
        sides = [encode_all(model, side, "first") for side in (pairs, over)]
        for length in dict.fromkeys(len(each.reference_ids) for each in sides[0]):
            mine, theirs = ([each for each in side if len(each.reference_ids) == length] for side in sides)
            if len({each.reference_ids for each in theirs}) >= LEAST_FOR_A_MEAN:
                groups.append((mine, theirs))
    return groups
