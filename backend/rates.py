"""How often one token, or one address where there are no tokens, may ask for what is written or computed.

A dependency that the application gives to every router: no route has to remember it. Reading is not counted.
"""

from __future__ import annotations

import math
import time

from fastapi import Request
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from backend.credentials import address_of
from backend.problems import TryLater

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteRate:
    """Counts writes by whom they come from. ``rate`` as in ``6000/minute``; ``0``: no limit."""

    def __init__(self, rate: str) -> None:
        self._item: RateLimitItem | None = None if rate == "0" else parse(rate)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def count(self, who: str) -> None:
        """One more write. Refuses (``too_many_requests``) beyond the limit, and says when the next is welcome."""
        if self._item is None or self._limiter.hit(self._item, who):
            return
        window = self._limiter.get_window_stats(self._item, who)
        raise TryLater(
            "too_many_requests",
            f"More than {self._item.amount} requests came from you within a {self._item.GRANULARITY.name}.",
            after_s=max(1, math.ceil(window.reset_time - time.time())),
        )


async def limit_writes(request: Request) -> None:
    """Counts every request that is not a read, by its token or else its address."""
    if request.method not in _READS:
        rate: WriteRate = request.app.state.write_rate
        rate.count(request.scope["state"]["asked_by"] or address_of(request.scope.get("client")))
