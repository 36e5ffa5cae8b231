"""Notices when the clock is set: leases, which go by it, are left alone until they have been renewed by it."""

from __future__ import annotations

import time
from collections.abc import Callable

# Clocks are slewed all the time; this is more than that, and less than a lease.
_JUMP_S = 2.0
# Within it every worker that lives has renewed its lease, several times over.
_SETTLES_S = 4.0


class Jumps:
    """Compares the clock that can be set (``wall``) with the one that cannot (``steady``); both in seconds."""

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        settles_s: float = _SETTLES_S,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._settles_s = settles_s
        self._apart = wall() - steady()
        self._settled_at = float("-inf")

    def settled(self) -> bool:
        """False for ``settles_s`` after the clock was set, in either direction."""
        now = self._steady()
        apart = self._wall() - now
        if abs(apart - self._apart) > _JUMP_S:
            self._settled_at = now + self._settles_s
        self._apart = apart
        return now >= self._settled_at
