"""Every request from outside all doors: counted for the metrics, and the writes and accidents a line in the log.

A request is known by its route's template, never by its address, which is the sender's to choose: a flood of made-up
addresses must not become a flood of metrics. The query is never logged: it may hold a token.
"""

from __future__ import annotations

import json
import logging
import re
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts import log_context as trace
from arithmoscope.contracts.errors import PROBLEMS

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXPERIMENT = re.compile(r"/api/experiments/([A-Za-z0-9_-]{1,64})(?:/|$)")
_PROBLEM = "application/problem+json"
# Of a refusal's body: its type stands at the front.
_MAX_PROBLEM_BYTES = 64_000


class Requests:
    """What was asked, in numbers. Of one application: nothing is shared with others in the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answered = Counter(
            "arithmoscope_http_requests",
            "Requests by route, method and status; page: its files; none: no such address, or refused at the door",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "arithmoscope_http_request_duration_seconds",
            "From a request's arrival to the last byte of its answer; event streams left out",
            ("route", "method"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refused = Counter("arithmoscope_refusals", "Refusals by their code", ("code",), registry=self.registry)

    def count(self, route: str, method: str, status: int, seconds: float | None, refusal: str | None) -> None:
        """``seconds`` is None for what goes on as long as somebody listens."""
        self.answered.labels(route, method, str(status)).inc()
        if seconds is not None:
            self.seconds.labels(route, method).observe(seconds)
        if refusal is not None:
            self.refused.labels(refusal).inc()


class Observed:
    """Counts what the application answers, and says in the log what was written or went wrong."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        started = time.perf_counter()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        about = _EXPERIMENT.match(path)
        # A request has a context of its own, which ends with it: the server's own lines of it are meant too.
        trace.experiment_id.set(about[1] if about else None)
        try:
            await self.app(scope, receive, answer.send)
        finally:
            seconds = time.perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = _route(scope, path)
            streams = answer.media_type == "text/event-stream"
            self.requests.count(route, method, answer.status, None if streams else seconds, answer.refusal())
            # Whoever may not come in may not fill the log either: the metrics count them.
            let_in = scope.get("state", {}).get("let_in", True) and answer.status != 429
            if let_in and (method not in _READS or answer.status >= 500):
                level = logging.ERROR if answer.status == 500 else logging.INFO
                logger.log(level, "%s %s: %d in %.3f s", method, route, answer.status, seconds)


class _Answer:
    """Passes the answer on and remembers what it was."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._body = b""
        # Nothing was answered: the connection went away, or the server answers for us.
        self.status = 500
        self.media_type = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.media_type = Headers(raw=message["headers"]).get("content-type", "").partition(";")[0]
        elif self.media_type == _PROBLEM and len(self._body) < _MAX_PROBLEM_BYTES:
            self._body += message.get("body", b"")
        await self._send(message)

    def refusal(self) -> str | None:
        """The code of the refusal that was answered, if it was one."""
        if self.media_type != _PROBLEM:
            return None
        try:
            code = str(json.loads(self._body)["type"]).rpartition(":")[2]
        except (ValueError, KeyError):
            return None
        return code if code in PROBLEMS else None


def _route(scope: Scope, path: str) -> str:
    route = getattr(scope.get("route"), "path", None)
    if isinstance(route, str):
        return route
    return "none" if path.startswith("/api") else "page"
