"""Deadlines that hold on a busy machine as on an idle one."""

from __future__ import annotations

import os


def patience() -> float:
    """How much longer everything takes now than on an idle machine: the processes that want a core, per core.

    A deadline in seconds is a promise for an idle machine. Where other programs run too, it is multiplied by this: with
    three processes for each core, every one of them gets a third of the time.
    """
    cores = os.cpu_count() or 1
    return max(1.0, os.getloadavg()[0] / cores, _running() / cores)


def _running() -> int:
    """Processes that run or want to at this moment: the average follows a sudden load only within a minute."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            return int(file.read().split()[3].split("/")[0])
    except OSError:  # not Linux
        return 0
