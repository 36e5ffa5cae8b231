"""What a request may be before anyone reads it: JSON, and at most 16 MiB, also when it comes in chunks."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.problems import problem_response
from contracts.errors import Refusal

MAX_BODY_BYTES = 16 * 1024 * 1024
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class _TooLarge(Exception):
    """More bytes came than were allowed."""


class BodyLimits:
    """Refuses (``not_json``, ``body_too_large``) before the body reaches a route."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            await self.app(scope, receive, send)
            return
        refusal = self._at_sight(Headers(scope=scope))
        if refusal is not None:
            await problem_response(refusal.details())(scope, receive, send)
            return
        try:
            body = await self._whole(receive)
        except _TooLarge:
            await problem_response(self._too_large().details(), {"Connection": "close"})(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)

    def _at_sight(self, headers: Headers) -> Refusal | None:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.max_bytes:
            return self._too_large()
        has_body = length.lstrip("0") != "" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if has_body and media_type != "application/json":
            said = f"The body came as {media_type[:80]!r}." if media_type else "The body came without a content type."
            return Refusal("not_json", said)
        return None

    async def _whole(self, receive: Receive) -> list[Message]:
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                raise _TooLarge
            if message["type"] != "http.request" or not message.get("more_body", False):
                return messages

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"The body is larger than {self.max_bytes // 2**20} MiB.")


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def again() -> Message:
        for message in waiting:
            return message
        return await receive()

    return again
