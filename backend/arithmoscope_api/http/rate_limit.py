"""Rate limit on writes, per token, or per address where there are no tokens.

Requests are counted before any of their content is read, so that rejected ones count too. Reads are not counted.
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
from arithmoscope_api.http.problems import RetryLater, problem_response

_SETTLE_S = 1e-6
_READS = frozenset({"GET", "HEAD", "OPTIONS"})


class WriteCounter:
    """Counts writes per client within a fixed window. ``rate`` such as ``6000/minute``; ``0`` means no limit."""

    def __init__(self, rate: str, jumps: ClockWatch | None = None) -> None:
        self._item: RateLimitItem | None = None if rate == "0" else parse(rate)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        # Reset once per change of the system clock: counts of the old time would last for as long as the clock jumped.
        self._jumps = jumps or ClockWatch(settles_s=_SETTLE_S)

    def count(self, client: str) -> None:
        """Counts one write.

        Raises:
            RetryLater: The client exceeds the limit (``too_many_requests``); ``after_s`` is when its window ends.
        """
        if not self._jumps.settled():
            self._limiter.storage.reset()
        if self._item is None or self._limiter.hit(self._item, client):
            return
        window = self._limiter.get_window_stats(self._item, client)
        raise RetryLater(
            "too_many_requests",
            f"You sent more than {self._item.amount} requests within one {self._item.GRANULARITY.name}.",
            after_s=max(1, math.ceil(window.reset_time - time.time())),
        )


class RateLimit:
    """Middleware that counts every request that is not a read, by token or else by address.

    Responds with ``too_many_requests`` (429) and ``Retry-After`` beyond the limit.
    """

    def __init__(self, app: ASGIApp, counter: WriteCounter) -> None:
        self.app = app
        self.counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http" and scope["method"] not in _READS:
                self.counter.count(scope["state"]["asked_by"] or address_of(scope.get("client")))
        except RetryLater as refusal:
            headers = {"Retry-After": str(refusal.after_s)}
            await problem_response(refusal.details(), headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
