"""Checks of a knockout."""

from __future__ import annotations

from arithmoscope.checks.prompt_reader import (
    Analysis,
    PromptReader,
    refuse_missing_components,
    refuse_single_prompt,
)
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import KnockoutSpec, PathPatchingSpec
from arithmoscope.contracts.kinds.knockout import GENERATION_EXCLUSIONS
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.options import refuse_excluded
from arithmoscope.contracts.prompts import PromptsSpec
from arithmoscope.contracts.terms import DEFAULT_TOP_K
from arithmoscope.prompts.sets.operand_split import operands_of
from arithmoscope.prompts.tokens.length_checks import refuse_cut_answers

# Upper limit of one knockout: a day of a small model's work, far longer than a user would wait.
MAX_ROWS = 20_000_000


def check_options(spec: KnockoutSpec, analysed: PathPatchingSpec) -> None:
    """Raises Refusal if answers cannot be generated on these prompts. Needs no model."""
    options = {**dict(spec), "answer": (spec.prompts or analysed.prompts).answer}
    refuse_excluded(GENERATION_EXCLUSIONS, options, {"answer_tokens": None})


def check_spec(spec: KnockoutSpec, card: ModelCard, analysis: Analysis | None, _dtype: str) -> None:
    """Raises Refusal if the model's weights are not those analysed, if it lacks a component, if the analysis has not
    computed the metric, or if answers cannot be generated."""
    analysed = _analysis_of(analysis)
    if analysed.revision != card.revision:
        raise Refusal("model_changed", f"The weights of {card.name} have changed since the parent's result.")
    refuse_missing_components(card, spec.components or ())
    if spec.components is None and spec.metric == "probability" and "probability" not in analysed.spec.metrics:
        raise Refusal(
            "metric_not_computed", "The parent did not compute the probability, so components cannot be ranked by it."
        )
    check_options(spec, analysed.spec)


def sets_read(spec: KnockoutSpec, analysis: Analysis | None) -> tuple[PromptsSpec, ...]:
    """The measured prompts, and those of the analysis if the two must share no operands."""
    analysed = _analysis_of(analysis).spec.prompts
    measured = spec.prompts or analysed
    return (measured, analysed) if spec.disjoint else (measured,)


def check_prompts(spec: KnockoutSpec, analysis: Analysis | None, reader: PromptReader) -> None:
    """Raises Refusal if no prompt is left, if an answer is longer than the generated one, if the curve would take too
    long, or if a prompt has no other to be replaced by."""
    analysed = _analysis_of(analysis).spec.prompts
    pairs = reader.pairs(spec.prompts or analysed)
    if spec.disjoint:
        used = {operands_of(pair.pair) for pair in reader.pairs(analysed)}
        pairs = tuple(pair for pair in pairs if operands_of(pair.pair) not in used)
        if not pairs:
            raise Refusal(
                "no_prompts",
                "The analysis already used the operands of every one of these prompts.",
                "Choose prompts with other operands, or turn 'disjoint' off.",
            )
    if spec.answer_tokens is not None:
        refuse_cut_answers(pairs, spec.answer_tokens)
    _refuse_too_many_rows(spec, len(pairs))
    # With its own prompts and at END, the mean is over the prompts of the analysis.
    if not (spec.ablation == "mean" and spec.positions == "end" and spec.prompts is not None):
        refuse_single_prompt(pairs, spec.ablation, spec.positions, "The set")


def _analysis_of(analysis: Analysis | None) -> Analysis:
    if analysis is None:
        raise ValueError("a knockout needs a parent analysis")
    return analysis


def _refuse_too_many_rows(spec: KnockoutSpec, pairs: int) -> None:
    """Raises Refusal above `MAX_ROWS`: each point of the curve, and of each random draw, is one row per pair."""
    points = 1 + len(spec.components or range(spec.top_k or DEFAULT_TOP_K))
    if pairs * points * (1 + spec.controls) > MAX_ROWS:
        raise Refusal(
            "impossible_options",
            f"{pairs} pairs, {points} points and {spec.controls} random draws are more than {MAX_ROWS} rows.",
            "Use fewer pairs, components or controls.",
        )
