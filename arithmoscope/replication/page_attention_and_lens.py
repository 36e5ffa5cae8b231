"""The page's chapters on attention by role, the answer layer by layer, and what MLPs write."""

from __future__ import annotations

from arithmoscope.replication.formatting import fmt, markdown_table, pairs_and_operands, signed, token_list
from arithmoscope.replication.plain_numbers import Numbers


def roles_chapter(numbers: Numbers) -> str:
    roles, file = numbers["roles"], numbers["model"]["file"]
    names = [name.replace("_", " ") for name in roles["roles"]]
    rows = []
    for row in roles["rows"]:
        rows.append((row["component"], row["class"], *(_mass(row, index) for index in range(len(names)))))
    rows.append(("average head", "", *(fmt(mass, ".2f") for mass in roles["average_head"])))
    counts, among = roles["counts"], roles["counts_among"]
    return f"""## Where the key heads look

The top 10 heads by the paper's metric: the last position's attention mass by token role,
n = {pairs_and_operands(roles)}; in round brackets the mass under randomly assigned roles, then the difference from the
run without the calculation. An operand (operator) head has at least {roles["times"]:g} times the mass of random roles
and of the average head: {among["operand"]} and {among["operator"]} of these {sum(among.values())},
{counts["operand"]} and {counts["operator"]} of all {sum(counts.values())} heads. 95 % intervals are in the JSON file.

{markdown_table(("head", "class", *names), rows)}

![Attention by role]({file}/roles.svg)"""


def _mass(row: Numbers, index: int) -> str:
    mass, baseline, difference = row["mass"][index], row["baseline"][index], row["difference"][index]
    return f"{fmt(mass, '.2f')} ({fmt(baseline, '.2f')}) {fmt(difference, '+.2f')}"


def lens_chapter(numbers: Numbers) -> str:
    lens, file = numbers["lens"], numbers["model"]["file"]
    rows = []
    for name, stages in (
        ("minus the other numbers' curves", lens["stages"]),
        ("the paper's curves as they are", lens["raw_stages"]),
    ):
        cells = [_stage(stages, stage) for stage in ("start", "inflection", "end")]
        rows.append((name, *cells, fmt(stages["found"], ".0%")))
    on_top = lens["on_top"]
    # The same pairs as the roles'; among the lens's numbers `operands` is a curve.
    n = pairs_and_operands({"pairs": lens["pairs"], "operands": numbers["roles"]["operands"]})
    return f"""## How the answer emerges

n = {n}; {lens["layers"]} layers.
Heads bring the operands (cosine of each MLP's input with the operands' rows of the unembedding), MLPs write the answer
(cosine of each MLP's output with the answer's row). The layers, with 95 % intervals from bootstrap draws over sets of
operands, and the share of draws in which the rule finds the stages:

{markdown_table(("curves", "start", "inflection", "end", "found"), rows)}

The second panel shows which kind of number ranks first among the hundred likeliest tokens, over the {on_top["pairs"]}
pairs in which operand, neighbour and answer differ.

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
            token_list(row["promoted_numbers"]),
            token_list(row["suppressed_numbers"]),
            signed(row["answer"]),
            token_list(row["promoted"]),
        )
        for row in numbers["writes"]
    ]
    n = numbers["writes"][0]["pairs"] if numbers["writes"] else 0
    return f"""## What the MLPs write

The five MLPs whose removal hurts most, by logit difference: the change in tokens' logits from the MLP's output, mean
over {n} pairs, minus the mean over the vocabulary. An effect that all prompts share (promoting digits after `=`) is not
about arithmetic; "answer" is the mean for each question's own answer.

{markdown_table(("MLP", "numbers promoted", "numbers suppressed", "answer", "all tokens promoted"), rows)}"""
