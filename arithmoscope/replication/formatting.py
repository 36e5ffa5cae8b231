"""Formatting of numbers and tables on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arithmoscope.replication.plain_numbers import Numbers


def metric_label(metric: str) -> str:
    return {"relative_logit": "percent of the answer's logit (the paper's)"}.get(metric, metric.replace("_", " "))


def row_interval(row: Numbers, form: str) -> str:
    return interval(row["low"], row["high"], form)


def interval(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f"[{format(low, form)}, {format(high, form)}]"


def pairs_and_operands(row: Numbers) -> str:
    """Number of pairs, and in brackets the number of sets of operands they are about."""
    return f"{row['pairs']} ({row['operands']})"


def fmt(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def signed(value: float | None) -> str:
    return fmt(value, "+.2f")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def token_list(tokens: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"`{visible_token(token)}` {mean:+.2f}" for token, mean in tokens)


def visible_token(token: str) -> str:
    """A token for a table cell: visible, and without characters that end a cell or a code span."""
    shown = token.strip() or repr(token)[1:-1]
    return shown.replace("`", "'").replace("\n", "\\n")
