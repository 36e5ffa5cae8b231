"""Numbers and tables in terminal reports and CSV files."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def number(value: Tensor | float | None, form: str = ".3f") -> str:
    """The number in this format, or "n/a" for None and NaN."""
    finite = None if value is None else none_if_nan(float(value))
    return "n/a" if finite is None else format(finite, form)


def interval(low: Tensor | float | None, high: Tensor | float | None, form: str = ".3f") -> str:
    """ "LOW to HIGH", or "n/a" if there is no interval."""
    return "n/a" if "n/a" in (number(low, form), number(high, form)) else f"{number(low, form)} to {number(high, form)}"


def none_if_nan(value: float) -> float | None:
    return value if value == value else None


def nested_lists(values: Tensor) -> list[list[float | None]]:
    """A matrix as lists for JSON, with None for NaN."""
    return [[none_if_nan(value) for value in row] for row in values.tolist()]


def csv_table(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV text; the first row's keys are the header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
