"""Path patching of the tuned model: every component's effect before, after, and the difference.

Both models run on the same pairs, wrongly answered ones included, so that they can be compared pair by pair. The
competing number is each model's own: the best other number in its own reference run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.results import MetricResult
from arithmoscope.contracts.terms import Effect, Metric
from arithmoscope.contracts.tuning_results import Repatched
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, retry_on_oom
from arithmoscope.engine.interventions.patching import PatchedPairs, Patching, patch_pairs
from arithmoscope.engine.measures.metrics import METRICS, summarise
from arithmoscope.engine.methods.path_patching import plan_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.results.analysis_files import metric_result
from arithmoscope.prompts import EncodedPair

PAIRS = 32
_EFFECT: Effect = "through_mlps"
_METRIC: Metric = "logit_difference"


def pairs_to_patch(model: LoadedModel, questions: Sequence[PromptPair], at_most: int = PAIRS) -> list[EncodedPair]:
    """The first questions that have a counterfactual, each at its answer's first token."""
    encoded: list[EncodedPair] = []
    for pair in questions:
        if len(encoded) == at_most:
            break
        if pair.counterfactual != pair.reference:
            try:
                encoded += encode_all(model, [pair], "first")
            except Refusal:  # after the counterfactual the answer begins with another token
                continue
    return encoded


def repatch(
    before: LoadedModel,
    after: LoadedModel,
    pairs: Sequence[EncodedPair],
    *,
    report: Callable[[float], None] = lambda _fraction: None,
) -> Repatched:
    """Effects on the logit difference in both models. ``report(fraction)`` may raise.

    Cost: that of path patching the pairs twice.
    """
    patching = Patching(_EFFECT)
    plan = plan_of(before, pairs, patching)
    effects = []
    for half, model in enumerate((before, after)):

        def measure(plan: Plan, model: LoadedModel = model, half: int = half) -> PatchedPairs:
            return patch_pairs(
                model, pairs, patching, None, plan, report=lambda fraction: report((half + fraction) / 2)
            )

        measured, plan = retry_on_oom(plan, measure)
        if measured.effects is None:
            raise ValueError("there are no pairs to patch")
        heads, mlps = measured.effects.values(_METRIC)
        effects.append(torch.cat([heads, mlps[..., None]], dim=-1))
    questions = [pair.question for pair in pairs]

    def summary(values: torch.Tensor) -> MetricResult:
        return metric_result(METRICS[_METRIC].unit, summarise(values, questions))

    first, second = effects
    return Repatched(
        effect=_EFFECT,
        n_pairs=len(pairs),
        before=summary(first),
        after=summary(second),
        difference=summary(second - first),
    )
