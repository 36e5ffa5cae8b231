"""The page's chapters on where heads look, how the answer comes up, and what MLPs write."""

from __future__ import annotations

from arithmoscope.replication.formatting import number, of_operands, signed, table_of, tokens_of
from arithmoscope.replication.plain_numbers import Numbers


def roles_chapter(numbers: Numbers) -> str:
    roles, file = numbers["roles"], numbers["model"]["file"]
    names = [name.replace("_", " ") for name in roles["roles"]]
    rows = []
    for row in roles["rows"]:
        rows.append((row["component"], row["class"], *(_mass(row, at) for at in range(len(names)))))
    rows.append(("average head", "", *(number(mass, ".2f") for mass in roles["average_head"])))
    counts, among = roles["counts"], roles["counts_among"]
    return f"""## Where the key heads look

The top 10 heads by the paper's metric: mass of the last position's attention by the part that tokens play,
n = {of_operands(roles)}; in round brackets what the mass would be if roles were dealt at random, then the
difference to the run without the calculation. An operand (operator) head has at least {roles["times"]:g} times the
mass of random roles and of the average head:
{among["operand"]} and {among["operator"]} of these {sum(among.values())}, {counts["operand"]} and
{counts["operator"]} of all {sum(counts.values())} heads. 95 % intervals are in the JSON file.

{table_of(("head", "class", *names), rows)}

![Attention by role]({file}/roles.svg)"""


def _mass(row: Numbers, at: int) -> str:
    mass, baseline, difference = row["mass"][at], row["baseline"][at], row["difference"][at]
    return f"{number(mass, '.2f')} ({number(baseline, '.2f')}) {number(difference, '+.2f')}"


def lens_chapter(numbers: Numbers) -> str:
    lens, file = numbers["lens"], numbers["model"]["file"]
    rows = []
    for name, stages in (
        ("less the other numbers' curves", lens["stages"]),
        ("the paper's curves as they are", lens["raw_stages"]),
    ):
        cells = [_stage(stages, stage) for stage in ("start", "inflection", "end")]
        rows.append((name, *cells, number(stages["found"], ".0%")))
    on_top = lens["on_top"]
    # The same pairs as the roles'; among the lens's numbers `operands` is a curve.
    n = of_operands({"pairs": lens["pairs"], "operands": numbers["roles"]["operands"]})
    return f"""## How the answer comes up

n = {n}; {lens["layers"]} layers.
Heads bring the operands (what each MLP reads, cosine with the operands' rows of the unembedding), MLPs write the
answer (what each MLP writes, cosine with the answer's row). Layers, with 95 % intervals over draws of the sets of
operands, and the share of draws in which the rule finds them:

{table_of(("curves", "start", "inflection", "end", "found"), rows)}

The second figure: what the best number among the hundred likeliest tokens is, over the
{on_top["pairs"]} pairs in which operand, neighbour and answer differ.

![Cosine curves, the best number, and the probability of the answer by layer]({file}/lens.svg)"""


def _stage(stages: Numbers, name: str) -> str:
    if stages[name] is None:
        return "none"
    low, high = stages[f"{name}_interval"]
    return f"{stages[name]} [{low:g}, {high:g}]"


def writes_chapter(numbers: Numbers) -> str:
    rows = [
        (
            row["component"],
            tokens_of(row["promoted_numbers"]),
            tokens_of(row["suppressed_numbers"]),
            signed(row["answer"]),
            tokens_of(row["promoted"]),
        )
        for row in numbers["writes"]
    ]
    n = numbers["writes"][0]["pairs"] if numbers["writes"] else 0
    return f"""## What the MLPs write

The five MLPs whose removal hurts most, by logit difference: change of tokens' logits by what the MLP writes,
mean over {n} pairs, less the mean over the vocabulary. What all prompts share (promoting digits after `=`) is not about
arithmetic; "answer" is the mean for each question's own answer.

{table_of(("MLP", "numbers promoted", "numbers suppressed", "answer", "all tokens promoted"), rows)}"""
