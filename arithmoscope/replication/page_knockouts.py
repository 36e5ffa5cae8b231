"""The page's chapters on knock-outs and on transfer."""

from __future__ import annotations

from typing import Any

from arithmoscope.replication.decision_rules import LEAST_PAIRS
from arithmoscope.replication.formatting import (
    fmt,
    interval,
    markdown_table,
    metric_label,
    pairs_and_operands,
)
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
                    pairs_and_operands(row),
                    metric_label(metric),
                    fmt(curve["mean"][0], form),
                    f"{fmt(curve['mean'][k], form)} {interval(curve['low'][k], curve['high'][k], form)}",
                    f"{fmt(curve['control'][k], form)} {interval(curve['draws_low'][k], curve['draws_high'][k], form)}",
                    fmt(curve["p_value"][k], ".2g"),
                )
            )
    header = ("knocked out", "n", "", "nothing", "the top 10", "10 random", "p")
    first = numbers["knockouts"][0]
    unmatched = "; ".join(
        f"{row['unmatched']} of {row['draws'] * len(row['components'])} ({row['name']})"
        for row in numbers["knockouts"]
        if row["unmatched"]
    )
    others = f" Drawn from other layers than the components they replace: {unmatched}." if unmatched else ""
    return f"""## What is left with them knocked out

Evaluated on operands that the components were not found on, at the last position. `mean` replaces a component's
output with its mean over the other side's prompts of the same wording, `zero` with zero, `resample` with its output on
another prompt.
{_left_out(first)}p is the share of random draws that hurt at least as much, the top 10 themselves included: with
{first["draws"]} draws it is at least {1 / (1 + first["draws"]):.2g}. Random components come from the same layers and
are of the same kinds where there are others; an MLP is the only one in its layer.{others}
Elbow of the probability curve with heads mean-ablated: k = {first["elbow"]}.

{markdown_table(header, rows)}

![The top heads knocked out one after another]({file}/knockout-heads.svg)

![The top heads and MLPs knocked out one after another]({file}/knockout-any.svg)"""


def _left_out(row: Numbers) -> str:
    n = row["left_out"]
    return f"{n} pairs are left out: too few other prompts of their form and length for a mean.\n" if n else ""


def _no_verdict(row: Numbers) -> str:
    return f" Fewer than {LEAST_PAIRS} pairs: no verdict." if row["pairs"] < LEAST_PAIRS else ""


def written(numbers: Numbers) -> str:
    row, title = numbers["written"], "## Whole answers, written out"
    if row is None:
        return f"{title}\n\nNot measured: this model's two-digit sums cannot be measured that way."
    form = ".1%"
    table = markdown_table(
        ("n", "nothing knocked out", "the top 10 heads", "10 random heads", "p"),
        [
            (
                pairs_and_operands(row),
                fmt(row["plain"], form),
                f"{fmt(row['mean'], form)} {interval(row['low'], row['high'], form)}",
                f"{fmt(row['control'], form)} {interval(row['draws_low'], row['draws_high'], form)}",
                fmt(row["p_value"], ".2g"),
            )
        ],
    )
    return f"""{title}

Two-digit sums, wrongly answered ones included, n = {pairs_and_operands(row)}: the share of answers that greedy decoding
writes exactly.
{_left_out(row)}Heads found on one-digit sums are mean-ablated at every position after the first token, and at every
written token. With them knocked out, for example: {row["example"]}.{_no_verdict(row)}

{table}"""


def powers(numbers: Numbers) -> str:
    row, title = numbers["powers"], "## Powers, with five heads of addition knocked out"
    if row is None:
        return f"{title}\n\nNot measured: the model can answer too few powers."
    k, lines = len(row["components"]), []
    for metric, form in (("accuracy", ".1%"), ("probability", ".3f")):
        curve = row["curves"][metric]
        lines.append(
            (
                metric,
                pairs_and_operands(row),
                fmt(curve["mean"][0], form),
                f"{fmt(curve['mean'][k], form)} {interval(curve['low'][k], curve['high'][k], form)}",
                f"{fmt(curve['control'][k], form)} {interval(curve['draws_low'][k], curve['draws_high'][k], form)}",
            )
        )
    out = ", ".join(row["components"])
    table = markdown_table(("", "n", "nothing knocked out", f"{k} heads", f"{k} random heads"), lines)
    answered = f"{row['right']} of {row['asked']} powers are answered correctly, n = {pairs_and_operands(row)}."
    return f"{title}\n\n{out}, mean-ablated; {answered}{_no_verdict(row)}\n\n{_left_out(row)}\n{table}"


def carried(numbers: Numbers) -> str:
    table, file = numbers["transfer"], numbers["model"]["file"]
    addition = (
        table["sets"].index(numbers["addition"]["name"]) if numbers["addition"]["name"] in table["sets"] else None
    )
    rows = []
    if addition is not None:
        for index, name in enumerate(table["sets"]):
            rows.append(_transferred(table, addition, index, name))
    header = (
        "evaluated on",
        "n",
        "accuracy",
        "without heads of addition",
        "random",
        "probability",
        "without heads of addition",
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
    return f"""## Do they transfer?

On each of {len(table["sets"])} sets the ten heads whose removal hurts most (logit difference) are found on one half of
the operands; each selection is mean-ablated at the last position on the other half of every set, over that side's
prompts, with random draws as controls: {table["draws"]} for addition's selection, {table["few_draws"]} for each
of the others. The table is the row of addition: "shared" is how many of its ten heads are also among that set's own,
"rank" is the rank correlation of all components' effects. {_halves(table)}The whole matrix is in the JSON file.

{markdown_table(header, rows)}

![Probability left by every selection on every set, minus that left by random heads]({file}/transfer.svg)

![Rank correlation of effects between sets]({file}/overlap.svg)

The fewest heads that carry half of the total negative effect, over heads whose interval is below 0 (n/a where wrong
answers are kept, or operands are too few): {weights}."""


def _halves(table: Numbers) -> str:
    row = table["halves"]
    if row is None:
        return ""
    one, two = (f"{n} ({operands})" for n, operands in zip(row["pairs"], row["operands"], strict=True))
    return (
        f"The selections from the two halves of addition's operands (n = {one} and {two}) share {row['shared']} of ten "
        f"heads, rank correlation {fmt(row['rank_correlation'], '+.2f')}: no two sets can be "
        "expected to agree more.\n"
    )


def _transferred(table: Numbers, addition: int, index: int, name: str) -> tuple[Any, ...]:
    n = pairs_and_operands({"pairs": table["pairs"][index], "operands": table["operands"][index]})
    cells: list[Any] = [name + (" (control)" if name in table["controls"] else ""), n]
    for metric, form in (("accuracy", ".0%"), ("probability", ".2f")):
        row = table[metric]
        cells.append(fmt(row["plain"][index], form))
        cells.append(
            f"{fmt(row['value'][addition][index], form)} "
            f"{interval(row['low'][addition][index], row['high'][addition][index], form)}"
        )
        draws = interval(row["draws_low"][addition][index], row["draws_high"][addition][index], form)
        cells.append(f"{fmt(row['control'][addition][index], form)} {draws}")
    return (*cells, table["shared"][addition][index], fmt(table["rank_correlation"][addition][index], "+.2f"))


def controls(numbers: Numbers) -> str:
    table = numbers["transfer"]
    name = numbers["addition"]["name"]
    if name not in table["sets"] or not table["controls"]:
        return ""
    addition, row = table["sets"].index(name), table["probability"]
    falls = []
    for each in table["controls"]:
        index = table["sets"].index(each)
        outside = (
            row["draws_low"][addition][index] is not None
            and row["value"][addition][index] < row["draws_low"][addition][index]
        )
        where = "below 95 % of the random draws" if outside else "within the random draws, or above"
        n = pairs_and_operands({"pairs": table["pairs"][index], "operands": table["operands"][index]})
        here = {
            name: row[name][addition][index] for name in ("value", "low", "high", "control", "draws_low", "draws_high")
        }
        left = f"{fmt(here['value'], '.2f')} {interval(here['low'], here['high'], '.2f')}"
        random = f"{fmt(here['control'], '.2f')} {interval(here['draws_low'], here['draws_high'], '.2f')}"
        falls.append(f"- {each}: {fmt(row['plain'][index], '.2f')} -> {left}; random {random}; n = {n}: {where}")
    lines = "\n".join(falls)
    return f"""## The negative control

Probability of the answer to questions without arithmetic, with the heads of addition knocked out. Where it
falls here, too, the effect is not specific to the calculation:

{lines}"""
