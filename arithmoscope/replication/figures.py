"""The report's figures, drawn from its numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

from arithmoscope.replication.plain_numbers import Numbers
from arithmoscope.replication.prompt_sets import ADDITION
from arithmoscope.replication.svg import Line, Panel, grid, panels

_MEASURES = (("accuracy", "share of pairs"), ("probability", "of the answer"), ("logit_difference", "logits"))


def figures_of(numbers: Numbers) -> dict[str, str]:
    """SVG by file name."""
    return {
        "heads.svg": _heads(numbers),
        "knockout-heads.svg": _knockout(numbers, "heads"),
        "knockout-any.svg": _knockout(numbers, "heads and MLPs"),
        "transfer.svg": _transfer(numbers),
        "overlap.svg": _overlap(numbers),
        "roles.svg": _roles(numbers),
        "lens.svg": _lens(numbers),
    }


def _heads(numbers: Numbers) -> str:
    row = numbers["key"]["metrics"]["relative_logit"]
    values = [[*heads, mlp] for heads, mlp in zip(row["heads"], row["mlps"], strict=True)]
    by_head = [list(column) for column in zip(*values, strict=True)]
    largest = max((abs(value) for column in by_head for value in column if value is not None), default=1.0)
    names = [*(f"head {head}" for head in range(len(by_head) - 1)), "MLP"]
    title = f"Effect on the answer's logit, percent (white: 0; blue: removal hurts, down to {-largest:.1f})"
    layers = [str(layer) for layer in range(len(values))]
    return grid(title, by_head, names, layers, low=-largest, high=largest, middle=0, cell=(22, 18), side=70)


def _knockout(numbers: Numbers, which: str) -> str:
    rows = [row for row in numbers["knockouts"] if row["name"].startswith(f"{which}, logit")]
    shown = []
    for measure, y_label in _MEASURES:
        lines = []
        for row in rows:
            curve = row["curves"][measure]
            lines.append(Line(f"{row['ablation']}", curve["mean"], curve["low"], curve["high"]))
        for row in rows[:1]:
            curve = row["curves"][measure]
            name = f"random, {row['ablation']}"
            lines.append(Line(name, curve["control"], curve["draws_low"], curve["draws_high"], dashed=True))
        shown.append(Panel(measure.replace("_", " "), lines, f"{which} knocked out", y_label))
    return panels(f"Knock-out of the top {which}", shown, width=330)


def _transfer(numbers: Numbers) -> str:
    table = numbers["transfer"]
    row = table["probability"]
    change = [
        [_difference(value, control) for value, control in zip(values, controls, strict=True)]
        for values, controls in zip(row["value"], row["control"], strict=True)
    ]
    title = "Probability of the answer with the row's top 10 heads knocked out, minus that with random heads"
    return _matrix(title, change, table["sets"], table["sets"], -0.5, 0.5)


def _overlap(numbers: Numbers) -> str:
    table = numbers["transfer"]
    title = "Rank correlation of all components' effects, between sets"
    return _matrix(title, table["rank_correlation"], table["sets"], table["sets"], -1.0, 1.0)


def _matrix(
    title: str, values: Sequence[Sequence[float | None]], rows: list[str], columns: list[str], low: float, high: float
) -> str:
    return grid(title, values, rows, columns, low=low, high=high, middle=0.0, numbers="+.2f")


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _roles(numbers: Numbers) -> str:
    roles = numbers["roles"]
    rows = [(f"{row['component']} ({row['class']})", row["mass"]) for row in roles["rows"]]
    rows.append(("average head", roles["average_head"]))
    names = [name.replace("_", " ") for name in roles["roles"]]
    title = "Share of attention at END by token role"
    values = [mass for _, mass in rows]
    return grid(
        title, values, [name for name, _ in rows], names, low=0.0, high=1.0, numbers=".2f", cell=(60, 20), above=110
    )


def _lens(numbers: Numbers) -> str:
    lens = numbers["lens"]
    stages = lens["stages"]
    marks = [(stages[name], name) for name in ("start", "inflection", "end") if stages[name] is not None]
    curves = Panel(
        "Cosines by layer",
        [
            Line("read: operands", lens["operands"]),
            Line("read: others", lens["operands_other"], dashed=True),
            Line("written: answer", lens["answer"]),
            Line("written: others", lens["answer_other"], dashed=True),
        ],
        "layer",
        "mean over pairs",
        marks,
    )
    kinds = lens["on_top"]["kinds"]
    tops = [Line(kind, share) for kind, share in zip(kinds, lens["on_top"]["share"], strict=True)]
    return panels(
        f"How the answer emerges, {ADDITION}",
        [
            curves,
            Panel("Best number among the top tokens", tops, "stage (0: the embedding)", "share of questions"),
            Panel("Probability of the answer", [Line("lens", lens["probability"])], "stage (0: the embedding)", "mean"),
        ],
        width=360,
    )
