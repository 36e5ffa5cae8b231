"""Allowed methods: HEAD for every GET, OPTIONS everywhere, and a 405 that lists the methods of the path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.problems import problem_response


class AllowedMethods:
    """Middleware that answers HEAD and OPTIONS and rejects methods that a path does not support.

    Args:
        app: The application behind the API's paths.
        paths: Path templates of the API, each with its methods in lower case.
        elsewhere: The application for all other paths; request bodies are not read there.

    Responds with ``method_not_allowed`` (405) and an ``Allow`` header.
    """

    def __init__(self, app: ASGIApp, paths: Mapping[str, Iterable[str]], *, elsewhere: ASGIApp) -> None:
        self.app = app
        self.elsewhere = elsewhere
        self.paths = [(_pattern(path), _allowed(methods)) for path, methods in paths.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = self._allowed(scope) if scope["type"] == "http" else None
        if allowed is None:
            await self.elsewhere(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed.encode())]})
            await send({"type": "http.response.body", "body": b""})
        elif scope["method"] == "HEAD" and "GET" in allowed:
            head, as_get = _Head(receive, send), {**scope, "method": "GET"}
            try:
                await self.app(as_get, head.receive, head.send)
            finally:
                scope["route"] = as_get.get("route")  # the access log reads it
        elif scope["method"] in allowed.split(", "):
            await self.app(scope, receive, send)
        else:
            detail = f"{scope['path'][:200]} does not support {scope['method'][:40]}."
            response = problem_response(Refusal("method_not_allowed", detail).details(), {"Allow": allowed})
            await response(scope, receive, send)

    def _allowed(self, scope: Scope) -> str | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return next((allowed for pattern, allowed in self.paths if pattern.fullmatch(path)), None)


class _Head:
    """The response to a GET without its body. A stream sees a disconnect once its headers are sent."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._sent = False

    async def receive(self) -> Message:
        return {"type": "http.disconnect"} if self._sent else await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b""})
            self._sent = True


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))


def _allowed(methods: Iterable[str]) -> str:
    names = {method.upper() for method in methods} | {"OPTIONS"}
    return ", ".join(sorted(names | ({"HEAD"} if "GET" in names else set())))
