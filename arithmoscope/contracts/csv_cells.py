"""CSV text that is safe to open in a spreadsheet: no cell is run as a formula."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """The rows as CSV text: always a header, ``\\n`` line ends, ``.`` decimals, empty cells for None and for non-finite
    numbers, no cell that a spreadsheet would run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(_safe(value) for value in row)
    return out.getvalue()


def _safe(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if not isinstance(value, str):
        return "" if value is None else value
    # Line ends inside a cell confuse readers; a cell that begins with = + - @ is a formula to a spreadsheet.
    text = "".join(character if character.isprintable() else " " for character in value)
    return "'" + text if text.lstrip()[:1] in ("=", "+", "-", "@") else text
