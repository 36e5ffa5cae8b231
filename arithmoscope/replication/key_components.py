"""Key components by false discovery rate, by the paper's threshold, and by top k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.knockout_terms import PAPER_THRESHOLD
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.terms import Effect, Metric
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.measures.key_components import LEAST_QUESTIONS, adjusted_p_values, key_components, p_values
from arithmoscope.engine.methods.path_patching import path_patching
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.replication.plain_numbers import Numbers, plain

RATE = 0.05
TOP = 10
EFFECT: Effect = "through_mlps"
METRICS: tuple[Metric, ...] = ("relative_logit", "logit_difference")


def effects_on(
    model: LoadedModel, pairs: Sequence[PromptPair], operands: Sequence[str] | None = None
) -> PatchingEffects:
    """The paper's measurement: the last position patched from the prompt without the calculation, MLPs recomputed.
    ``operands``: the operands of each pair, which a bootstrap resamples instead of questions.
    """
    effects = path_patching(model, pairs, effect=EFFECT)
    return effects if operands is None else replace(effects, questions=tuple(operands))


def key_numbers(effects: PatchingEffects) -> Numbers:
    """By metric: counts by every rule, the top components, and every component's mean. ``effects``: with operands in
    place of questions.
    """
    layers, heads = effects.heads.shape[1:]
    numbers: Numbers = {
        "pairs": len(effects),
        "operands": len(set(effects.questions)),
        "layers": layers,
        "heads": layers * heads,
        "noise": float(effects.noise.max()),
        "rate": RATE,
        "threshold": PAPER_THRESHOLD,
        "metrics": {},
    }
    for metric in METRICS:
        numbers["metrics"][metric] = _of_metric(effects, metric)
    both = [numbers["metrics"][metric]["top_heads"] for metric in METRICS]
    numbers["shared_by_both_metrics"] = len({*both[0]} & {*both[1]})
    return plain(numbers)


def _of_metric(effects: PatchingEffects, metric: Metric) -> Numbers:
    summary = effects.summary(metric)
    layers, width = summary.mean.shape
    names = [str(component) for component in all_components(layers, width - 1)]
    mean = summary.mean.flatten()
    values = torch.cat([each if each.dim() == 3 else each[..., None] for each in effects.values(metric)], dim=-1)
    values = values.flatten(1).double()
    defined = values.isnan().any(1).logical_not()
    defined_questions = [question for question, keep in zip(effects.questions, defined.tolist(), strict=True) if keep]
    q = torch.full_like(mean, torch.nan)
    if len(set(defined_questions)) >= LEAST_QUESTIONS:
        q = adjusted_p_values(p_values(values[defined], defined_questions))
    hurts = (q <= RATE) & (mean < 0)
    is_head = torch.tensor([name.startswith("L") for name in names])
    order = mean.argsort(stable=True).tolist()
    below = mean < PAPER_THRESHOLD
    n_heads = int(is_head.sum())
    rows = [
        {
            "component": names[index],
            "mean": float(mean[index]),
            "low": float(summary.ci_low.flatten()[index]),
            "high": float(summary.ci_high.flatten()[index]),
            "q": float(q[index]),
        }
        for index in order
    ]
    return {
        "unit": "percent" if metric == "relative_logit" else "logits",
        "pairs": summary.n_pairs,
        "left_out": summary.left_out,
        "tested": int(q.isfinite().sum()),
        "fdr": int(hurts.sum()),
        "fdr_heads": int((hurts & is_head).sum()),
        "fdr_head_share": int((hurts & is_head).sum()) / n_heads,
        "fdr_names": [names[index] for index in order if bool(hurts[index])],
        "threshold_heads": int((below & is_head).sum()) if metric == "relative_logit" else None,
        "threshold_mlps": int((below & ~is_head).sum()) if metric == "relative_logit" else None,
        "threshold_head_share": int((below & is_head).sum()) / n_heads if metric == "relative_logit" else None,
        "top_heads": [str(each) for each in top(effects, metric, "head")],
        "top_any": [str(each) for each in top(effects, metric, "any")],
        "rows": rows[:20],
        "heads": summary.mean[:, :-1].tolist(),
        "mlps": summary.mean[:, -1].tolist(),
    }


def top(effects: PatchingEffects, metric: Metric, among: str, k: int = TOP) -> tuple[Component, ...]:
    """The ``k`` components whose removal hurts most, among heads or among all components."""
    kind = "head" if among == "head" else "any"
    return key_components(effects, rule="top_k", metric=metric, top_k=k, kind=kind).components
