"""``components.csv``: one row a component, ascending by its mean effect."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields


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
    """The rows as UTF-8 CSV text: header always, ``\\n`` line ends, ``.`` decimals, no cell a spreadsheet would run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(_safe(value) for value in asdict(row).values())
    return out.getvalue()


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    # Line ends inside a cell confuse readers; a cell that begins with = + - @ is a formula to a spreadsheet.
    text = "".join(character if character.isprintable() else " " for character in value)
    return "'" + text if text.lstrip()[:1] in ("=", "+", "-", "@") else text
