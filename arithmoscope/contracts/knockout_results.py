"""Results of knockouts and transfers, with their random controls; the union of all result types."""

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
    """Mean of a metric over the pairs with the first k = 0, 1, ... components knocked out.

    ``ci``: 95 % percentile bootstrap over distinct questions. ``control``: mean over the random draws, with the 95 %
    bootstrap interval of that mean. ``draws``: the range that holds 95 % of the draws. ``p_value``: (1 + draws that
    hurt at least as much) / (1 + draws). A cell is None where no number exists (no draws, one question).
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
    """Numerical checks of a knockout, in logits.

    ``noise_floor``: largest |logit with nothing knocked out - logit of the plain run|. ``spot_check_error``: largest
    |difference| to one hooked forward pass per pair, over ``spot_check_points`` points of the curve on
    ``spot_check_pairs`` pairs.
    """

    noise_floor: float
    spot_check_points: int
    spot_check_pairs: int
    spot_check_error: float


class KnockoutResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for a knockout.

    ``shared_questions``: how many of the ``n_pairs`` pairs have operands that the analysis used, too. ``elbow``: number
    of components after which most of the fall in accuracy has happened: the point furthest below the line from the
    first to the last point or, if less than half of the fall has happened there, the first point with half of it; None
    if the last point is not below the first. ``unmatched``: random components drawn from another layer, or from the
    chosen components themselves, because no others were left.
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
    """One prompt set of a transfer: name and number of pairs. A control contains no arithmetic."""

    name: str
    pairs: int
    is_control: bool


class TransferMatrix(Wire):
    """One metric as [found][evaluated].

    ``value``: with the selected components knocked out; ``ci``: its 95 % bootstrap interval over questions.
    ``control``: with random components knocked out, mean over the draws; ``draws``: the range that holds 95 % of them.
    ``plain``: with nothing knocked out, by evaluated set.
    """

    unit: str
    plain: Row
    value: Grid
    ci_low: Grid
    ci_high: Grid
    control: Grid
    draws_low: Grid
    draws_high: Grid


class TransferResult(Wire):
    """Answer of ``GET /api/experiments/{id}/result`` for a transfer.

    ``selections``: the components found on each set of ``found_on``, most negative effect first. ``jaccard``
    (similarity of the selections) and ``rank_correlation`` (Spearman, of all components' mean effects) are
    [found][found].
    """

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
