"""HEAD where there is a GET, OPTIONS everywhere, and a refusal that names all methods an address knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.problems import problem_response


class Methods:
    """``paths`` are the templates of the API's addresses, each with its methods in lower case.

    What is at none of them goes ``elsewhere``: no body is read there. Refuses ``method_not_allowed``.
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
                scope["route"] = as_get.get("route")  # whoever counts requests wants to know
        elif scope["method"] in allowed.split(", "):
            await self.app(scope, receive, send)
        else:
            said = f"{scope['method'][:40]} is not possible at {scope['path'][:200]}."
            answer = problem_response(Refusal("method_not_allowed", said).details(), {"Allow": allowed})
            await answer(scope, receive, send)

    def _allowed(self, scope: Scope) -> str | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return next((allowed for pattern, allowed in self.paths if pattern.fullmatch(path)), None)


class _Head:
    """The answer to a GET without its body. What would go on for ever is told that nobody listens."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._answered = False

    async def receive(self) -> Message:
        return {"type": "http.disconnect"} if self._answered else await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(message)
            await self._send({"type": "http.response.body", "body": b""})
            self._answered = True


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))


def _allowed(methods: Iterable[str]) -> str:
    named = {method.upper() for method in methods} | {"OPTIONS"}
    return ", ".join(sorted(named | ({"HEAD"} if "GET" in named else set())))
