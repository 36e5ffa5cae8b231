"""``components.csv``: one row a component, ascending by its mean effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from arithmoscope.contracts.csv_cells import csv_text


@dataclass(frozen=True, slots=True)
class RankingRow:
    """A row of ``components.csv``; empty cells are None.

    Attributes:
        rank: Rank from 1, ascending by the mean effect.
        component: The component, such as ``"L14H2"``.
        kind: ``"head"`` or ``"mlp"``.
        layer: Its layer, from 0.
        head: Its head, from 0; None for an MLP.
        effect_mean: Mean effect, in the metric's unit.
        effect_std: Standard deviation over the pairs (ddof 1).
        ci_low: Lower end of the 95 % percentile bootstrap interval over distinct questions.
        ci_high: Its upper end.
        n_pairs: Number of pairs with a defined metric.
        metric: The metric.
        effect: The effect: ``"direct"``, ``"through_mlps"`` or ``"total"``.
        experiment_id: The experiment, if any.
        model: The model's id.
        revision: The revision of its weights.
    """

    rank: int
    component: str
    kind: str
    layer: int
    head: int | None
    effect_mean: float | None
    effect_std: float | None
    ci_low: float | None
    ci_high: float | None
    n_pairs: int
    metric: str
    effect: str
    experiment_id: str
    model: str
    revision: str


COLUMNS = tuple(field.name for field in fields(RankingRow))


def to_csv(rows: Iterable[RankingRow]) -> str:
    """The rows as `arithmoscope.contracts.csv_cells.csv_text` writes them."""
    return csv_text(COLUMNS, (asdict(row).values() for row in rows))
