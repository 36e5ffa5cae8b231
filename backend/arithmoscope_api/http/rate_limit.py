"""How often one token, or one address where there are no tokens, may ask for what is written or computed.

Counted before anything of a request is read, so that what is refused counts as well. Reading is not counted.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.types import ASGIApp, Receive, Scope, Send

from arithmoscope.store.clock_watch import ClockWatch
from arithmoscope_api.http.credentials import address_of
from arithmoscope_api.http.problems import TryLater, problem_response

_AT_ONCE_S = 1e-6
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteRate:
    """Counts writes by whom they come from. ``rate`` as in ``6000/minute``; ``0``: no limit."""

    def __init__(self, rate: str, jumps: ClockWatch | None = None) -> None:
        self._item: RateLimitItem | None = None if rate == "0" else parse(rate)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        # Once for each time the clock is set: what was counted by the old one would last for as long as that.
        self._jumps = jumps or ClockWatch(settles_s=_AT_ONCE_S)

    def count(self, who: str) -> None:
        """One more write. Refuses (``too_many_requests``) beyond the limit, and says when the next is welcome."""
        if not self._jumps.settled():
            self._limiter.storage.reset()
        if self._item is None or self._limiter.hit(self._item, who):
            return
        window = self._limiter.get_window_stats(self._item, who)
        raise TryLater(
            "too_many_requests",
            f"More than {self._item.amount} requests came from you within a {self._item.GRANULARITY.name}.",
            after_s=max(1, math.ceil(window.reset_time - time.time())),
        )


class LimitedWrites:
    """Counts every request that is not a read, by its token or else its address. Refuses ``too_many_requests``."""

    def __init__(self, app: ASGIApp, rate: WriteRate) -> None:
        self.app = app
        self.rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http" and scope["method"] not in _READS:
                self.rate.count(scope["state"]["asked_by"] or address_of(scope.get("client")))
        except TryLater as refused:
            headers = {"Retry-After": str(refused.after_s)}
            await problem_response(refused.details(), headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
