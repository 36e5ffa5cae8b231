"""Detects changes of the system clock: leases depend on it and are not reaped until workers have renewed them."""

from __future__ import annotations

import time
from collections.abc import Callable

# Above ordinary slewing of clocks, below the length of a lease.
_JUMP_S = 2.0
# Long enough for every live worker to renew its lease several times.
_SETTLES_S = 4.0


class ClockWatch:
    """Compares the adjustable clock (``wall``) with the monotonic one (``steady``); both in seconds."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        settles_s: float = _SETTLES_S,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._settles_s = settles_s
        self._offset = wall() - steady()
        self._settled_at = float("-inf")

    def settled(self) -> bool:
        """Returns False for ``settles_s`` after the clock was set, in either direction."""
        now = self._steady()
        offset = self._wall() - now
        if abs(offset - self._offset) > _JUMP_S:
            self._settled_at = now + self._settles_s
        self._offset = offset
        return now >= self._settled_at
