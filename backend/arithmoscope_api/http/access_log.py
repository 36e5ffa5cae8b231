"""Access log and request metrics: every request is counted; writes and server errors are logged.

A request is labelled with its route's template, never its path, which the client chooses: a flood of invented paths
must not become a flood of metrics. The query string is never logged, because it may hold a token.
"""

from __future__ import annotations

import logging
import re
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts import log_context as trace

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EXPERIMENT = re.compile(r"/api/experiments/([A-Za-z0-9_-]{1,64})(?:/|$)")


class RequestMetrics:
    """Prometheus metrics of the requests to one application; its registry is not shared within the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.responses = Counter(
            "arithmoscope_http_requests",
            "Requests by route, method and status; route 'page': static files; 'none': unknown path, or rejected early",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "arithmoscope_http_request_duration_seconds",
            "Time from the arrival of a request to the last byte of its response, event streams excluded",
            ("route", "method"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.refusals = Counter("arithmoscope_refusals", "Refusals by error code", ("code",), registry=self.registry)

    def count(self, route: str, method: str, status: int, seconds: float | None, refusal: str | None) -> None:
        """Counts one response. ``seconds`` is None for event streams, which last as long as the client listens."""
        self.responses.labels(route, method, str(status)).inc()
        if seconds is not None:
            self.seconds.labels(route, method).observe(seconds)
        if refusal is not None:
            self.refusals.labels(refusal).inc()


class AccessLog:
    """Middleware that counts every response and logs writes and server errors."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        response = _ResponseRecorder(send)
        started = time.perf_counter()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        match = _EXPERIMENT.match(path)
        # Each request has its own context, which ends with it: the server's own log lines about it carry the id too.
        trace.experiment_id.set(match[1] if match else None)
        try:
            await self.app(scope, receive, response.send)
        finally:
            seconds = time.perf_counter() - started
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = _route(scope, path)
            streams = response.media_type == "text/event-stream"
            state = scope.get("state", {})
            self.metrics.count(route, method, response.status, None if streams else seconds, state.get("refusal"))
            # Rejected clients must not fill the log either: the metrics count them.
            authorized = state.get("authorized", True) and response.status != 429
            if authorized and (method not in _READS or response.status >= 500):
                level = logging.ERROR if response.status == 500 else logging.INFO
                logger.log(level, "%s %s: %d in %.3f s", method, route, response.status, seconds)


class _ResponseRecorder:
    """Forwards a response and records its status and media type."""

    def __init__(self, send: Send) -> None:
        self._send = send
        # Until a response starts: the connection was lost, or the server responds for the application.
        self.status = 500
        self.media_type = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.media_type = Headers(raw=message["headers"]).get("content-type", "").partition(";")[0]
        await self._send(message)


def _route(scope: Scope, path: str) -> str:
    route = getattr(scope.get("route"), "path", None)
    if isinstance(route, str):
        return route
    return "none" if path.startswith("/api") else "page"
