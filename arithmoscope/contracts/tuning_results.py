"""What a fine-tuning did: what was trained, how it went, and what the model can do before and after it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.results import SCHEMA_VERSION, MetricResult, ModelFacts, Provenance
from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_terms import Ending, Group, HeadPart, Outcome


class Interval(Wire):
    """A mean and its 95 % percentile bootstrap interval over distinct questions (10 000 draws, seed 0); no interval
    for one question."""

    mean: float
    low: float | None
    high: float | None


class Split(Wire):
    """The three sets by their number of pairs. ``shared``: operands that two of them ask about; the run refuses any
    but 0. ``examples``: a question of each."""

    train: int
    validation: int
    test: int
    shared: int
    examples: tuple[str, ...]


class Tunable(Wire):
    """What is trained. ``components``: the drawn ones where the tuner is ``random``. ``touched``: heads that were not
    chosen and change all the same. ``share`` of the model's ``parameters``; ``optimiser_bytes``: two moments each."""

    components: tuple[str, ...]
    tune: tuple[HeadPart, ...]
    touched: tuple[str, ...]
    trained: int
    parameters: int
    share: float
    lowest: int
    optimiser_bytes: int


class TuningPreview(Wire):
    """``POST /api/tuning/preview``: what a fine-tuning would train, of which questions; nothing is computed.

    For ``random`` the ``components`` are those to be drawn instead of; for ``lora`` ``trained`` is what the rank is
    chosen to come near to.
    """

    tunable: Tunable
    split: Split
    notes: tuple[str, ...] = ()


class Validation(Wire):
    """The validation questions after so many steps. ``accuracy``: share of whole answers that are right; ``loss``: mean
    over their answers' tokens, in nats."""

    step: int
    accuracy: float
    loss: float


class TrainingCurve(Wire):
    """Steps by their number from 1, at most 500 of them evenly spread, the first and the last included, each with the
    mean loss (nats an answer token) of its batch. Also the data of an SSE ``training`` event."""

    steps: tuple[int, ...]
    losses: tuple[float, ...]
    validation: tuple[Validation, ...]


class Judged(Wire):
    """One set of questions, before and after. An answer is right where each of its tokens is the model's first choice,
    those before it given.

    ``change``: after - before, its interval over the same questions. ``fixed``: wrong, then right; ``broken``: right,
    then wrong. ``log_probability``: of the whole answer, mean over questions, in nats. ``divergence``: mean over
    questions of KL(before || after) of the answer's first token, in nats.
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
    """One held-out question: what the model says where its answer should be, before and after, up to the first token
    that is wrong."""

    reference: str
    answer: str
    before: str
    after: str
    outcome: Outcome


class Neutral(Wire):
    """Plain text without arithmetic, written for this: ``before`` and ``after`` are its perplexity, ``ratio`` after to
    before; ``divergence``: mean over tokens of KL(before || after) of the next token, in nats. Intervals over
    passages."""

    passages: int
    tokens: int
    before: Interval
    after: Interval
    ratio: Interval
    divergence: Interval


class Repatched(Wire):
    """Path patching of the same pairs before and after: effects on the logit difference, in logits, of wrongly answered
    pairs, too. ``difference``: after - before, pair by pair."""

    effect: str
    n_pairs: int
    before: MetricResult
    after: MetricResult
    difference: MetricResult


class Evaluation(Wire):
    """Before and after. ``held_out``: the test questions as a whole; ``sets``: by operation, digits and style of them,
    then other arithmetic, then what has none. ``prompts``: the first held-out questions, at most 500."""

    held_out: Judged
    sets: tuple[Judged, ...]
    neutral: Neutral
    prompts: tuple[JudgedPrompt, ...]
    repatched: Repatched | None


class FineTuneResult(Wire):
    """``GET /api/experiments/{id}/result`` of a fine-tuning.

    ``kept``: after how many steps the weights are that it gives. Where it was cancelled, or ended on a loss that is no
    number (``problem``), they are the last good ones, and a cancelled one is not evaluated. ``tuned``: the id that the
    tuned model has in the catalogue, ``deltas_bytes`` the size of what is kept of it. ``seconds_per_step``: median.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["fine_tune"] = "fine_tune"
    spec: FineTuneSpec
    model: ModelFacts
    complete: bool
    tunable: Tunable
    split: Split
    ended: Ending
    kept: int
    problem: str | None
    curve: TrainingCurve
    seconds_per_step: float | None
    evaluation: Evaluation | None
    tuned: str | None
    deltas_bytes: int
    deltas_sha256: str
    notes: tuple[str, ...] = Field(default=())
    provenance: Provenance
