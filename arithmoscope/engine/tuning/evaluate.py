"""Evaluation of a tuned model against the model before it: the trained task, other arithmetic, prompts without
arithmetic.

Both models are in memory and run side by side, so nothing about the untuned model needs to be stored. Intervals are
percentile bootstraps over distinct questions, of the change pair by pair.

When it misleads. The sets besides the held-out one are small and drawn with solved examples before each question: a
model that got worse at text without examples shows it on the plain text rather than there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompt_terms import MAX_PAIRS
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.tuning_results import Evaluation, Interval, Judged, JudgedPrompt, Repatched
from arithmoscope.contracts.tuning_terms import Group, Outcome
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.comparison import Comparison, compare_answers
from arithmoscope.engine.tuning.evaluation_sets import FACETS, QUESTIONS, evaluation_questions, facets_of
from arithmoscope.engine.tuning.perplexity import compare_on_text
from arithmoscope.engine.tuning.repatching import pairs_to_patch, repatch
from arithmoscope.engine.tuning.training_examples import examples_of
from arithmoscope.prompts.language.question_operands import question_only
from arithmoscope.prompts.sets.neutral_text import PASSAGES

HELD_OUT = "held out"
# Held-out questions that are shown individually.
SHOWN = 500


@dataclass(frozen=True)
class EvaluatedSet:
    """A prompt set with both models' answers; ``comparison`` is in the order of ``pairs``."""

    name: str
    group: Group
    pairs: tuple[PromptPair, ...]
    comparison: Comparison

    def outcome(self, row: int) -> Outcome:
        """Outcome of one question: fixed, broken, right or wrong."""
        return _OUTCOMES[bool(self.comparison.before.right[row]), bool(self.comparison.after.right[row])]


@dataclass(frozen=True)
class EvaluationOutput:
    """A model's evaluation before and after tuning.

    Attributes:
        evaluation: Accuracies, changes, neutral text and path patching, before and after.
        sets: The sets with both models' answers to every question.
        notes: Sentences about the evaluation, for example that a set could not be measured.
    """

    evaluation: Evaluation
    sets: tuple[EvaluatedSet, ...]
    notes: tuple[str, ...]


_OUTCOMES: dict[tuple[bool, bool], Outcome] = {
    (False, True): "fixed",
    (True, False): "broken",
    (True, True): "right",
    (False, False): "wrong",
}


@check_arguments(questions=Range(1, MAX_PAIRS))
def evaluate(
    before: LoadedModel,
    after: LoadedModel,
    test: Sequence[PromptPair],
    trained: Sequence[PromptPair],
    *,
    questions: int = QUESTIONS,
    check_stop: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
) -> EvaluationOutput:
    """Compares a model before and after tuning: held-out questions, other arithmetic, and prompts without arithmetic.

    Args:
        before: The model before tuning.
        after: The tuned model, such as ``FineTuned.model``.
        test: Held-out questions.
        trained: Questions that were trained on; they are left out of the other sets.
        questions: Number of questions of each other set.
        check_stop: Called between batches; may raise to stop.
        progress: Called with (done, total) in questions, text passages and patched pairs.

    Returns:
        Accuracy and change of each set with 95 % intervals, log probabilities (nats) of neutral text, path patching
        before and after where the test set allows it, and notes.

    Raises:
        Refusal: ``no_prompts`` for an empty ``test``; ``not_finite`` if the tuned model computes NaN or infinity;
            ``out_of_memory``.

    Example:
        >>> train, test = am.split_operands(pairs, share=0.7)
        >>> tuned = am.fine_tune(model, ["L1H2"], train, steps=2, learning_rate=1e-3, batch_size=4)
        >>> result = am.evaluate(model, tuned.model, test, train, questions=4)
        >>> result.evaluation.held_out.n == len(test)
        True
    """
    if not test:
        raise Refusal("no_prompts", "The list of held-out pairs (test) is empty.")
    others, notes = evaluation_questions(before, trained, chat=test[0].chat, questions=questions)
    patched = pairs_to_patch(before, test)
    total = len(test) + sum(len(pairs) for _, pairs in others) + len(PASSAGES) + len(patched)
    done = 0

    def report_total(newly_done: int) -> None:
        check_stop()
        if progress is not None:
            progress(done + newly_done, total)

    evaluated: list[EvaluatedSet] = []
    sets: list[tuple[str, Group, tuple[PromptPair, ...]]] = [
        (HELD_OUT, "held_out", tuple(test)),
        *((other.name, other.group, tuple(pairs)) for other, pairs in others),
    ]
    for name, group, pairs in sets:
        comparison = compare_answers(
            before, after, examples_of(before, pairs), check_stop=check_stop, report=report_total
        )
        evaluated.append(EvaluatedSet(name, group, pairs, _finite(comparison, after)))
        done += len(pairs)
    plain_text = compare_on_text(before, after, check_stop=check_stop, report=report_total)
    done += len(PASSAGES)
    path_patching: Repatched | None = None
    if patched:
        try:
            path_patching = repatch(
                before, after, patched, report=lambda fraction: report_total(int(fraction * len(patched)))
            )
        except Refusal as refusal:
            notes.append(f"Path patching was not repeated: {refusal.detail}")
    else:
        notes.append("Path patching was not repeated: no held-out question has a counterfactual.")
    held_out = evaluated[0]
    evaluation = Evaluation(
        held_out=summarise_set(held_out, range(len(test))),
        sets=(*_by_facet(held_out), *(summarise_set(each, range(len(each.pairs))) for each in evaluated[1:])),
        neutral=plain_text,
        prompts=tuple(_judged_prompt(held_out, row) for row in range(min(SHOWN, len(test)))),
        repatched=path_patching,
    )
    return EvaluationOutput(evaluation, tuple(evaluated), tuple(notes))


def summarise_set(questions: EvaluatedSet, rows: Sequence[int], name: str | None = None) -> Judged:
    """Accuracy and change of some questions of a set, before and after."""
    selected = torch.tensor([*rows])
    one, other = questions.comparison.before, questions.comparison.after
    right = torch.stack([one.right[selected], other.right[selected]], dim=1).double()
    values = torch.cat([right, right[:, 1:] - right[:, :1]], dim=1)
    low, high = interval_of(values, [question_only(questions.pairs[row].reference) for row in rows])
    before, after, change = (
        Interval(mean=mean, low=_finite_or_none(lower), high=_finite_or_none(upper))
        for mean, lower, upper in zip(values.mean(0).tolist(), low.tolist(), high.tolist(), strict=True)
    )
    outcomes = [questions.outcome(row) for row in rows]
    return Judged(
        name=name or questions.name,
        group=questions.group,
        n=len(outcomes),
        before=before,
        after=after,
        change=change,
        fixed=outcomes.count("fixed"),
        broken=outcomes.count("broken"),
        right=outcomes.count("right"),
        wrong=outcomes.count("wrong"),
        log_probability_before=float(one.log_probability[selected].mean()),
        log_probability_after=float(other.log_probability[selected].mean()),
        divergence=float(questions.comparison.divergence[selected].mean()),
    )


def _by_facet(held_out: EvaluatedSet) -> list[Judged]:
    """The held-out questions by operation, digits and style."""
    facets = [facets_of(pair) for pair in held_out.pairs]
    summaries = []
    for name in FACETS:
        for value in sorted({each[name] for each in facets}):
            rows = [row for row, each in enumerate(facets) if each[name] == value]
            summaries.append(summarise_set(held_out, rows, value))
    return summaries


def _judged_prompt(questions: EvaluatedSet, row: int) -> JudgedPrompt:
    pair = questions.pairs[row]
    return JudgedPrompt(
        reference=pair.reference,
        answer=pair.answer,
        before=questions.comparison.before.texts[row],
        after=questions.comparison.after.texts[row],
        outcome=questions.outcome(row),
    )


def _finite(comparison: Comparison, after: LoadedModel) -> Comparison:
    numbers = (comparison.before.log_probability, comparison.after.log_probability, comparison.divergence)
    if not all(bool(each.isfinite().all()) for each in numbers):
        raise Refusal("not_finite", f"{after.card.id} gives non-finite numbers for some questions.")
    return comparison


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
