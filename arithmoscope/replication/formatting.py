"""Numbers and tables as the page writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arithmoscope.replication.plain_numbers import Numbers


def words(metric: str) -> str:
    return {"relative_logit": "percent of the answer's logit (the paper's)"}.get(metric, metric.replace("_", " "))


def bracket(row: Numbers, form: str) -> str:
    return ends(row["low"], row["high"], form)


def ends(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f"[{format(low, form)}, {format(high, form)}]"


def of_operands(row: Numbers) -> str:
    """Pairs, and in brackets the sets of operands that they are about."""
    return f"{row['pairs']} ({row['operands']})"


def number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def signed(value: float | None) -> str:
    return number(value, "+.2f")


def table_of(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).strip().replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def tokens_of(tokens: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"`{shown_token(token)}` {mean:+.2f}" for token, mean in tokens)


def shown_token(token: str) -> str:
    """A token in a cell: visible, and without what ends a cell or a code span."""
    shown = token.strip() or repr(token)[1:-1]
    return shown.replace("`", "'").replace("\n", "\\n")
