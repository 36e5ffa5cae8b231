"""What a model can do before and after it was tuned: what it was tuned for, other arithmetic, and what has none.

Both models are in memory and asked side by side, so nothing of the one before need be kept. Intervals are percentile
bootstraps over distinct questions, of the change pair by pair.

When it misleads. The sets besides the held-out one are small, and drawn with examples before each question: a model
that lost its grip on unprompted text shows it in the neutral text rather than there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.tuning_results import Evaluation, Interval, Judged, JudgedPrompt, Repatched
from arithmoscope.contracts.tuning_terms import Group, Outcome
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.answers import examples_of
from arithmoscope.engine.tuning.evaluation_sets import FACETS, QUESTIONS, facets_of, quizzes_for
from arithmoscope.engine.tuning.plain_text import neutral
from arithmoscope.engine.tuning.repatching import pairs_to_patch, repatched
from arithmoscope.engine.tuning.side_by_side import Verdicts, judge
from arithmoscope.prompts.language.question_operands import asked_of
from arithmoscope.prompts.sets.neutral_text import PASSAGES

HELD_OUT = "held out"
# Held-out questions that are shown one by one.
SHOWN = 500


@dataclass(frozen=True)
class Asked:
    """A set as it was asked and judged; ``verdicts`` in the order of ``pairs``."""

    name: str
    group: Group
    pairs: tuple[PromptPair, ...]
    verdicts: Verdicts

    def outcome(self, row: int) -> Outcome:
        """Of a question: what became of its answer."""
        return _OUTCOMES[bool(self.verdicts.before.right[row]), bool(self.verdicts.after.right[row])]


@dataclass(frozen=True)
class Evaluated:
    """A model's evaluation before and after tuning.

    Attributes:
        evaluation: Accuracies, changes, neutral text and path patching, before and after.
        asked: The sets with both models' answers to every question.
        notes: Sentences about the evaluation, such as what could not be measured.
    """

    evaluation: Evaluation
    asked: tuple[Asked, ...]
    notes: tuple[str, ...]


_OUTCOMES: dict[tuple[bool, bool], Outcome] = {
    (False, True): "fixed",
    (True, False): "broken",
    (True, True): "right",
    (False, False): "wrong",
}


def evaluate(
    before: LoadedModel,
    after: LoadedModel,
    test: Sequence[PromptPair],
    trained: Sequence[PromptPair],
    *,
    questions: int = QUESTIONS,
    check_stop: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
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
        Refusal: ``not_finite`` if the tuned model computes NaN or infinity; ``out_of_memory``.

    Example:
        >>> train, test = am.split_operands(pairs, share=0.7)
        >>> tuned = am.fine_tune(model, ["L1H2"], train, steps=2, learning_rate=1e-3, batch_size=4)
        >>> result = am.evaluate(model, tuned.model, test, train, questions=4)
        >>> result.evaluation.held_out.n == len(test)
        True
    """
    others, notes = quizzes_for(before, trained, chat=test[0].chat, questions=questions)
    patched = pairs_to_patch(before, test)
    total = len(test) + sum(len(pairs) for _, pairs in others) + len(PASSAGES) + len(patched)
    done = 0

    def counted(more: int) -> None:
        check_stop()
        if progress is not None:
            progress(done + more, total)

    asked: list[Asked] = []
    sets: list[tuple[str, Group, tuple[PromptPair, ...]]] = [
        (HELD_OUT, "held_out", tuple(test)),
        *((quiz.name, quiz.group, tuple(pairs)) for quiz, pairs in others),
    ]
    for name, group, pairs in sets:
        verdicts = judge(before, after, examples_of(before, pairs), go_on=check_stop, report=counted)
        asked.append(Asked(name, group, pairs, _finite(verdicts, after)))
        done += len(pairs)
    plain = neutral(before, after, go_on=check_stop, report=counted)
    done += len(PASSAGES)
    maps: Repatched | None = None
    if patched:
        try:
            maps = repatched(before, after, patched, report=lambda fraction: counted(int(fraction * len(patched))))
        except Refusal as refusal:
            notes.append(f"No path patching again: {refusal.detail}")
    else:
        notes.append("No path patching again: no held-out question has a counterfactual.")
    held_out = asked[0]
    evaluation = Evaluation(
        held_out=judged_of(held_out, range(len(test))),
        sets=(*_by_facet(held_out), *(judged_of(each, range(len(each.pairs))) for each in asked[1:])),
        neutral=plain,
        prompts=tuple(_shown(held_out, row) for row in range(min(SHOWN, len(test)))),
        repatched=maps,
    )
    return Evaluated(evaluation, tuple(asked), tuple(notes))


def judged_of(asked: Asked, rows: Sequence[int], name: str | None = None) -> Judged:
    """Some questions of a set, before and after."""
    at = torch.tensor([*rows])
    one, other = asked.verdicts.before, asked.verdicts.after
    right = torch.stack([one.right[at], other.right[at]], dim=1).double()
    values = torch.cat([right, right[:, 1:] - right[:, :1]], dim=1)
    low, high = interval_of(values, [asked_of(asked.pairs[row].reference) for row in rows])
    before, after, change = (
        Interval(mean=mean, low=_or_none(at_least), high=_or_none(at_most))
        for mean, at_least, at_most in zip(values.mean(0).tolist(), low.tolist(), high.tolist(), strict=True)
    )
    outcomes = [asked.outcome(row) for row in rows]
    return Judged(
        name=name or asked.name,
        group=asked.group,
        n=len(outcomes),
        before=before,
        after=after,
        change=change,
        fixed=outcomes.count("fixed"),
        broken=outcomes.count("broken"),
        right=outcomes.count("right"),
        wrong=outcomes.count("wrong"),
        log_probability_before=float(one.log_probability[at].mean()),
        log_probability_after=float(other.log_probability[at].mean()),
        divergence=float(asked.verdicts.divergence[at].mean()),
    )


def _by_facet(held_out: Asked) -> list[Judged]:
    """The held-out questions by operation, by digits and by style."""
    facets = [facets_of(pair) for pair in held_out.pairs]
    found = []
    for name in FACETS:
        for value in sorted({each[name] for each in facets}):
            rows = [row for row, each in enumerate(facets) if each[name] == value]
            found.append(judged_of(held_out, rows, value))
    return found


def _shown(asked: Asked, row: int) -> JudgedPrompt:
    pair = asked.pairs[row]
    return JudgedPrompt(
        reference=pair.reference,
        answer=pair.answer,
        before=asked.verdicts.before.words[row],
        after=asked.verdicts.after.words[row],
        outcome=asked.outcome(row),
    )


def _finite(verdicts: Verdicts, after: LoadedModel) -> Verdicts:
    numbers = (verdicts.before.log_probability, verdicts.after.log_probability, verdicts.divergence)
    if not all(bool(each.isfinite().all()) for each in numbers):
        raise Refusal("not_finite", f"{after.card.id} gives no finite numbers for some questions.")
    return verdicts


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
