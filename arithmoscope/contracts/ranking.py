"""``components.csv``: one row per component, in ascending order of mean effect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from arithmoscope.contracts.csv_cells import csv_text


@dataclass(frozen=True, slots=True)
class RankingRow:
    """A row of ``components.csv``; empty cells are None. Effects are in the metric's unit."""

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
    """The rows as CSV text, in the format of `arithmoscope.contracts.csv_cells.csv_text`."""
    return csv_text(COLUMNS, (asdict(row).values() for row in rows))
