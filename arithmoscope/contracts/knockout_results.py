"""What is found with components once they are known: knock-outs and transfers, with their controls."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.knockout_terms import KnockMetric
from arithmoscope.contracts.results import (
    SCHEMA_VERSION,
    DroppedPair,
    Grid,
    ModelFacts,
    PathPatchingResult,
    Provenance,
    Row,
)
from arithmoscope.contracts.specs import KnockoutSpec, TransferSpec
from arithmoscope.contracts.tuning_results import FineTuneResult


class KnockCurve(Wire):
    """A metric's mean over the pairs with k = 0, 1, ... components out.

    ``ci``: 95 % percentile bootstrap over distinct questions. ``control``: mean over the random draws, and the 95 %
    bootstrap interval of that mean; ``draws``: 95 % of the draws lie between them. ``p_value``: (1 + draws that hurt at
    least as much) / (1 + draws). A cell is None where no number exists (no draws, one question).
    """

    unit: str
    mean: Row
    ci_low: Row
    ci_high: Row
    control: Row
    control_low: Row
    control_high: Row
    draws_low: Row
    draws_high: Row
    p_value: Row


class KnockChecks(Wire):
    """``noise_floor``: largest |logit with nothing out - logit of the plain run|. ``spot_check_error``: largest
    |difference| in logits to one hooked forward pass a pair, over ``spot_check_points`` points of the curve on
    ``spot_check_pairs`` pairs."""

    noise_floor: float
    spot_check_points: int
    spot_check_pairs: int
    spot_check_error: float


class KnockoutResult(Wire):
    """``GET /api/experiments/{id}/result`` of a knock-out.

    ``shared_questions``: of the ``n_pairs`` pairs, those that ask about operands that the analysis asked about.
    ``elbow``: with how many out most of the fall in accuracy is over: at the point furthest below the line from the
    first to the last, or, where less than half of the fall is over there, at the first with half of it; None where the
    last point is not below the first. ``unmatched``: drawn components that are of another layer, or were chosen
    themselves, as there were no others.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["knockout"] = "knockout"
    spec: KnockoutSpec
    parent: str
    model: ModelFacts
    complete: bool
    components: tuple[str, ...]
    controls: tuple[tuple[str, ...], ...]
    unmatched: int
    n_asked: int
    n_distinct: int
    n_pairs: int
    shared_questions: int
    notes: tuple[str, ...]
    dropped: tuple[DroppedPair, ...]
    curves: dict[KnockMetric, KnockCurve]
    elbow: int | None
    checks: KnockChecks
    provenance: Provenance


class TransferSet(Wire):
    """One set of prompts: what it is called and how many pairs it has. A control has no arithmetic in it."""

    name: str
    pairs: int
    is_control: bool


class TransferMatrix(Wire):
    """One measure, as [found][evaluated]: with the selection out, its 95 % bootstrap interval over questions, and with
    random components out (mean over draws, 95 % of them). ``plain``: by evaluated set, with nothing out."""

    unit: str
    plain: Row
    value: Grid
    ci_low: Grid
    ci_high: Grid
    control: Grid
    draws_low: Grid
    draws_high: Grid


class TransferResult(Wire):
    """``GET /api/experiments/{id}/result`` of a transfer. ``selections``: by set of ``found_on``, most negative first.
    ``jaccard`` and ``rank_correlation`` (Spearman, of all components' mean effects) are [found][found]."""

    schema_version: Literal[1] = SCHEMA_VERSION
    experiment_id: str
    kind: Literal["transfer"] = "transfer"
    spec: TransferSpec
    model: ModelFacts
    complete: bool
    found_on: tuple[TransferSet, ...]
    evaluated_on: tuple[TransferSet, ...]
    selections: tuple[tuple[str, ...], ...]
    jaccard: Grid
    rank_correlation: Grid
    accuracy: TransferMatrix
    probability: TransferMatrix
    notes: tuple[str, ...]
    provenance: Provenance


ExperimentResult = Annotated[
    PathPatchingResult | KnockoutResult | TransferResult | FineTuneResult, Field(discriminator="kind")
]
