"""Results of fine-tuning: parameters trained, training curve, and evaluation before and after."""

from __future__ import annotations

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.results import MetricResult
from arithmoscope.contracts.tuning_terms import Group, HeadPart, Outcome


class Interval(Wire):
    """A mean with its 95 % percentile bootstrap interval over distinct questions (10 000 draws, seed 0); no interval
    for a single question."""

    mean: float
    low: float | None
    high: float | None


class Split(Wire):
    """Number of pairs in each of the three sets. ``shared``: operands that occur in two of them; a run needs 0.
    ``examples``: one question of each set."""

    train: int
    validation: int
    test: int
    shared: int
    examples: tuple[str, ...]


class Tunable(Wire):
    """Parameters trained.

    ``components``: the randomly drawn ones if the tuner is ``random``. ``touched``: heads that were not chosen but
    share parameters with chosen ones, and so change, too. ``trained``: number of trained parameters, ``share``: their
    share of the model's ``parameters``. ``lowest``: the first layer that trains. ``optimiser_bytes``: memory of the
    optimiser, two moments per parameter.
    """

    components: tuple[str, ...]
    tune: tuple[HeadPart, ...]
    touched: tuple[str, ...]
    trained: int
    parameters: int
    share: float
    lowest: int
    optimiser_bytes: int


class TuningPreview(Wire):
    """Answer of ``POST /api/tuning/preview``: the parameters and questions of a fine-tuning; runs no model.

    With the tuner ``random``, ``components`` are the chosen ones, for which the run draws substitutes. With ``lora``,
    ``trained`` is the number of parameters that the rank is chosen to match.
    """

    tunable: Tunable
    split: Split
    notes: tuple[str, ...] = ()


class Validation(Wire):
    """Validation after ``step`` steps. ``accuracy``: share of right whole answers; ``loss``: mean over the answers'
    tokens, in nats."""

    step: int
    accuracy: float
    loss: float


class TrainingCurve(Wire):
    """Training loss by step, in nats per answer token, mean over the step's batch.

    ``steps`` count from 1: at most 500, evenly spread, the first and the last included. Also the data of the SSE event
    ``training``.
    """

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    validation: tuple[Validation, ...]


class Judged(Wire):
    """Accuracy on one question set before and after training.

    An answer is right if each of its tokens is the model's top token, given the answer's tokens before it. ``change``:
    after - before, with its interval over the same questions. ``fixed``: wrong before, right after; ``broken``: right
    before, wrong after; ``right`` and ``wrong``: both times. ``log_probability``: of the whole answer, mean over
    questions, in nats. ``divergence``: KL(before || after) at the answer's first token, mean over questions, in nats.
    """

    name: str
    group: Group
    n: int
    before: Interval
    after: Interval
    change: Interval
    fixed: int
    broken: int
    right: int
    wrong: int
    log_probability_before: float
    log_probability_after: float
    divergence: float


class JudgedPrompt(Wire):
    """One held-out question with the model's answers before and after training, each cut after its first wrong
    token."""

    reference: str
    answer: str
    before: str
    after: str
    outcome: Outcome


class Neutral(Wire):
    """Plain text without arithmetic, written for this control.

    ``before`` and ``after``: perplexity; ``ratio``: after / before. ``divergence``: KL(before || after) of the next
    token, mean over tokens, in nats. Intervals are over passages.
    """

    passages: int
    tokens: int
    before: Interval
    after: Interval
    ratio: Interval
    divergence: Interval


class Repatched(Wire):
    """Path patching of the same pairs before and after training: effects on the logit difference, in logits, wrongly
    answered pairs included. ``difference``: after - before, pair by pair."""

    effect: str
    n_pairs: int
    before: MetricResult
    after: MetricResult
    difference: MetricResult


class Evaluation(Wire):
    """Evaluation before and after training.

    ``held_out``: all test questions. ``sets``: the test questions by operation, digits and style, then other
    arithmetic, then controls without arithmetic. ``prompts``: the first held-out questions, at most 500.
    """

    held_out: Judged
    sets: tuple[Judged, ...]
    neutral: Neutral
    prompts: tuple[JudgedPrompt, ...]
    repatched: Repatched | None
