"""Pairs that are measured some at a time: when memory runs out, what was measured before is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from arithmoscope.engine.forward.batching import Plan, retry_on_oom


def run_in_chunks(groups: Iterable[Sequence[int]], plan: Plan, measure: Callable[[Sequence[int], Plan], int]) -> Plan:
    """``measure(rows, plan)`` takes the first of a group's rows, as many as the plan allows, and says how many; it is
    called until all groups are done. Gives the plan that it ended with: a halved one stays for all that follows.

    Refuses (``out_of_memory``) when the smallest plan runs out.
    """
    for rows in groups:
        start = 0
        while start < len(rows):
            rest = rows[start:]
            taken, plan = retry_on_oom(plan, lambda plan, rest=rest: measure(rest, plan))
            start += taken
    return plan
