"""Concurrency limit: excess requests are rejected immediately, so that accepted ones are served well.

Event streams have their own, lower limit, so that readers connected for hours leave capacity for ordinary
requests. Probes always pass: a busy server is not a dead one.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.access_control import is_probe
from arithmoscope_api.http.problems import problem_response

MAX_REQUESTS = 1_500
MAX_STREAMS = 1_000
RETRY_AFTER = {"Retry-After": "5"}


class ConcurrencyLimit:
    """Middleware that responds with ``too_busy`` (503) while too many requests or event streams are open."""

    max_requests = MAX_REQUESTS
    max_streams = MAX_STREAMS

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.requests = 0
        self.streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_probe(scope):
            await self.app(scope, receive, send)
            return
        is_stream = scope["path"].endswith("/events")
        if self.requests >= self.max_requests or (is_stream and self.streams >= self.max_streams):
            open_now = f"{self.streams} event streams" if is_stream else f"{self.requests} requests"
            refusal = Refusal("too_busy", f"{open_now} are already open.")
            await problem_response(refusal.details(), RETRY_AFTER)(scope, receive, send)
            return
        self.requests += 1
        self.streams += is_stream
        try:
            await self.app(scope, receive, send)
        finally:
            self.requests -= 1
            self.streams -= is_stream
