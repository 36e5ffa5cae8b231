"""Measures pairs in chunks: when memory runs out, earlier chunks are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from arithmoscope.engine.forward.batching import Plan, retry_on_oom


def run_in_chunks(groups: Iterable[Sequence[int]], plan: Plan, measure: Callable[[Sequence[int], Plan], int]) -> Plan:
    """Calls ``measure(rows, plan)`` until all groups are done. Each call measures the first of the remaining rows of
    a group, as many as the plan allows, and returns their number. Returns the last plan: once halved, a plan stays
    halved.

    Raises:
        Refusal: ``out_of_memory`` if memory runs out under the smallest plan.
    """
    for rows in groups:
        start = 0
        while start < len(rows):
            remaining = rows[start:]
            measured, plan = retry_on_oom(plan, lambda plan, remaining=remaining: measure(remaining, plan))
            start += measured
    return plan
