"""Which seed is shipped. Written before any of the seeds was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.adder.exam import Row

SEEDS = (0, 1, 2, 3)
LEAST_RIGHT = 0.98
RULE = (
    "The lowest seed is shipped whose model, without worked examples, answers at least 98 % of all held-out sums and "
    "at least 98 % of all held-out differences up to 99 (plain wordings), and every question of every control topic "
    "(plain wording)."
)


def meets(rows: Sequence[Row]) -> bool:
    """True if a model may be shipped."""
    asked = [row for row in rows if row.shots == 0]
    sums = [
        row
        for row in asked
        if row.part == "plain wordings" and row.held_out and row.name in ("add, up to 99", "subtract, up to 99")
    ]
    controls = [row for row in asked if row.part == "controls"]
    if len(sums) != 2 or len(controls) != 4:
        raise ValueError("the rule does not find its rows")
    return all(row.share >= LEAST_RIGHT for row in sums) and all(row.right == row.n for row in controls)


def shipped_seed(trained: Mapping[int, Sequence[Row]]) -> int | None:
    """The seed that the rule chooses, None if no model meets it."""
    return min((seed for seed, rows in trained.items() if meets(rows)), default=None)
