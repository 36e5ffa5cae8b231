"""The page's chapters on what is left without components, and where else they matter."""

from __future__ import annotations

from typing import Any

from arithmoscope.replication.decision_rules import LEAST_PAIRS
from arithmoscope.replication.formatting import ends, number, of_operands, table_of, words
from arithmoscope.replication.plain_numbers import Numbers


def knockouts(numbers: Numbers) -> str:
    file, rows = numbers["model"]["file"], []
    for row in numbers["knockouts"]:
        k = len(row["components"])
        for metric, form in (("accuracy", ".1%"), ("probability", ".3f"), ("logit_difference", "+.2f")):
            curve = row["curves"][metric]
            rows.append(
                (
                    row["name"] if metric == "accuracy" else "",
                    of_operands(row),
                    words(metric),
                    number(curve["mean"][0], form),
                    f"{number(curve['mean'][k], form)} {ends(curve['low'][k], curve['high'][k], form)}",
                    f"{number(curve['control'][k], form)} {ends(curve['draws_low'][k], curve['draws_high'][k], form)}",
                    number(curve["p_value"][k], ".2g"),
                )
            )
    header = ("taken out", "n", "", "nothing out", "the top 10 out", "10 random out", "p")
    first = numbers["knockouts"][0]
    unmatched = "; ".join(
        f"{row['unmatched']} of {row['draws'] * len(row['components'])} ({row['name']})"
        for row in numbers["knockouts"]
        if row["unmatched"]
    )
    others = f" Of other layers than those that they stand for: {unmatched}." if unmatched else ""
    return f"""## What is left without them

Judged on operands that they were not found on, at the last position. `mean` puts in what a component writes on average
over the other side's prompts of the same wording; `zero` nothing; `resample` what it wrote on another prompt.
{_left_out(first)}p counts the random draws that hurt at least as much, itself included: with {first["draws"]} draws it
is at least {1 / (1 + first["draws"]):.2g}. Random components are of the same layers and kinds where there are others;
an MLP is alone in its layer.{others}
Elbow of the probability curve with heads out by mean ablation: k = {first["elbow"]}.

{table_of(header, rows)}

![The top heads taken out one after the other]({file}/knockout-heads.svg)

![The top heads and MLPs taken out one after the other]({file}/knockout-any.svg)"""


def _left_out(row: Numbers) -> str:
    n = row["left_out"]
    return f"{n} pairs are left out: too few others of their form and length to take a mean over.\n" if n else ""


def _no_verdict(row: Numbers) -> str:
    return f" Fewer than {LEAST_PAIRS} pairs: no verdict." if row["pairs"] < LEAST_PAIRS else ""


def written(numbers: Numbers) -> str:
    row, title = numbers["written"], "## Whole answers, written out"
    if row is None:
        return f"{title}\n\nNot measured: this model's two-digit sums cannot be asked that way."
    form = ".1%"
    table = table_of(
        ("n", "nothing out", "the top 10 heads out", "10 random heads out", "p"),
        [
            (
                of_operands(row),
                number(row["plain"], form),
                f"{number(row['mean'], form)} {ends(row['low'], row['high'], form)}",
                f"{number(row['control'], form)} {ends(row['draws_low'], row['draws_high'], form)}",
                number(row["p_value"], ".2g"),
            )
        ],
    )
    return f"""{title}

Two-digit sums, wrong ones included, n = {of_operands(row)}: share of answers that greedy decoding writes exactly.
{_left_out(row)}Heads found on one-digit sums are out by mean ablation at every position but the first
token, and at all that is written. With them out, for example: {row["example"]}.{_no_verdict(row)}

{table}"""


def powers(numbers: Numbers) -> str:
    row, title = numbers["powers"], "## Powers, with five heads of addition out"
    if row is None:
        return f"{title}\n\nNot measured: too few powers can be asked."
    k, lines = len(row["components"]), []
    for metric, form in (("accuracy", ".1%"), ("probability", ".3f")):
        curve = row["curves"][metric]
        lines.append(
            (
                metric,
                of_operands(row),
                number(curve["mean"][0], form),
                f"{number(curve['mean'][k], form)} {ends(curve['low'][k], curve['high'][k], form)}",
                f"{number(curve['control'][k], form)} {ends(curve['draws_low'][k], curve['draws_high'][k], form)}",
            )
        )
    out = ", ".join(row["components"])
    table = table_of(("", "n", "nothing out", f"{k} heads out", f"{k} random out"), lines)
    said = f"{row['right']} of {row['asked']} powers are answered rightly, n = {of_operands(row)}."
    return f"{title}\n\n{out}, by mean ablation; {said}{_no_verdict(row)}\n\n{_left_out(row)}\n{table}"


def carried(numbers: Numbers) -> str:
    table, file = numbers["transfer"], numbers["model"]["file"]
    found = table["sets"].index(numbers["addition"]["name"]) if numbers["addition"]["name"] in table["sets"] else None
    rows = []
    if found is not None:
        for at, name in enumerate(table["sets"]):
            rows.append(_transferred(table, found, at, name))
    header = (
        "knocked out on",
        "n",
        "accuracy",
        "heads of addition out",
        "random",
        "probability",
        "heads of addition out",
        "random",
        "shared",
        "rank",
    )
    weights = ", ".join(
        f"{name} {'n/a' if count is None else count} (n = {pairs} ({operands}))"
        for name, count, pairs, operands in zip(
            table["sets"], table["heads_for_half"], table["found_pairs"], table["found_operands"], strict=True
        )
    )
    return f"""## Do they carry over?

On each of {len(table["sets"])} sets the ten heads that hurt most (logit difference) are found on one half of the
operands; each selection is knocked out at the last position on the other half of every set, by mean
ablation over that side's prompts, beside random draws: {table["draws"]} of addition's selection, {table["few_draws"]}
of the others'. The row of addition; "shared" of its ten heads with that set's own, "rank" the correlation of all
components' effects. {_halves(table)}The whole matrix is in the JSON file.

{table_of(header, rows)}

![Probability left by every selection on every set, less that of random heads]({file}/transfer.svg)

![Rank correlation of effects between sets]({file}/overlap.svg)

The fewest heads that carry half of all that hurts, over heads whose interval is below 0 (none is counted where wrong
answers are kept, or operands are too few): {weights}."""


def _halves(table: Numbers) -> str:
    row = table["halves"]
    if row is None:
        return ""
    one, two = (f"{n} ({operands})" for n, operands in zip(row["pairs"], row["operands"], strict=True))
    return (
        f"Found on one half of addition's operands and on the other (n = {one} and {two}), {row['shared']} of ten "
        f"heads are the same, rank correlation {number(row['rank_correlation'], '+.2f')}: no two sets can be "
        "expected to agree more.\n"
    )


def _transferred(table: Numbers, found: int, at: int, name: str) -> tuple[Any, ...]:
    n = of_operands({"pairs": table["pairs"][at], "operands": table["operands"][at]})
    cells: list[Any] = [name + (" (control)" if name in table["controls"] else ""), n]
    for metric, form in (("accuracy", ".0%"), ("probability", ".2f")):
        row = table[metric]
        cells.append(number(row["plain"][at], form))
        cells.append(
            f"{number(row['value'][found][at], form)} {ends(row['low'][found][at], row['high'][found][at], form)}"
        )
        draws = ends(row["draws_low"][found][at], row["draws_high"][found][at], form)
        cells.append(f"{number(row['control'][found][at], form)} {draws}")
    return (*cells, table["shared"][found][at], number(table["rank_correlation"][found][at], "+.2f"))


def controls(numbers: Numbers) -> str:
    table = numbers["transfer"]
    name = numbers["addition"]["name"]
    if name not in table["sets"] or not table["controls"]:
        return ""
    found, row = table["sets"].index(name), table["probability"]
    falls = []
    for each in table["controls"]:
        at = table["sets"].index(each)
        outside = row["draws_low"][found][at] is not None and row["value"][found][at] < row["draws_low"][found][at]
        where = "below 95 % of the random draws" if outside else "within the random draws, or above"
        n = of_operands({"pairs": table["pairs"][at], "operands": table["operands"][at]})
        here = {name: row[name][found][at] for name in ("value", "low", "high", "control", "draws_low", "draws_high")}
        left = f"{number(here['value'], '.2f')} {ends(here['low'], here['high'], '.2f')}"
        random = f"{number(here['control'], '.2f')} {ends(here['draws_low'], here['draws_high'], '.2f')}"
        falls.append(f"- {each}: {number(row['plain'][at], '.2f')} -> {left}; random {random}; n = {n}: {where}")
    lines = "\n".join(falls)
    return f"""## The negative control

Probability of the answer to questions without arithmetic, with the heads of addition out. What falls here, too, was not
the calculation:

{lines}"""
