"""What a request may be before anyone reads it: plain JSON (or a file where one is taken), whole, in time, and small.

At most 16 MiB, also when it comes in chunks; within 30 seconds; never compressed, so that nothing unpacks into more
than was sent; and JSON that every reader reads alike: no key twice, no NaN.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from arithmoscope.contracts.errors import Refusal
from arithmoscope_api.http.concurrency_limit import RETRY_AFTER
from arithmoscope_api.http.problems import problem_response

MAX_BODY_BYTES = 16 * 1024 * 1024
# Of all requests together, while they are read and answered.
MAX_HELD_BYTES = 16 * MAX_BODY_BYTES
BODY_WITHIN_S = 30.0
JSON = frozenset({"application/json"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# A body of this size is looked through beside the event loop. What is read from it may take thirty times its room,
# so few are worked on at once; the others wait.
_LARGE = 64 * 1024
_LARGE_AT_ONCE = 2


class BodyLimits:
    """Refuses what may not be read before it reaches a route: ``not_json``, ``not_a_table``, ``encoded_body``,
    ``body_too_large``, ``too_slow``, ``too_busy``, ``bad_request``.

    ``files``: by the end of a path, the media types that it takes instead of JSON.
    """

    max_bytes = MAX_BODY_BYTES
    max_held = MAX_HELD_BYTES
    within_s = BODY_WITHIN_S

    def __init__(self, app: ASGIApp, *, files: Mapping[str, frozenset[str]] | None = None) -> None:
        self.app = app
        self.files = files or {}
        self._held = 0
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _WITH_BODY:
            await self.app(scope, receive, send)
            return
        body = bytearray()
        turn = AsyncExitStack()

        async def answer(message: Message) -> None:
            # From here on it depends on who reads: a slow reader keeps nobody waiting.
            await turn.aclose()
            await send(message)

        try:
            taken = self._taken(scope)
            self._at_sight(Headers(scope=scope), taken)
            whole = await self._read(receive, body)
            async with turn:
                if len(body) > _LARGE:
                    await turn.enter_async_context(self._large)
                if taken == JSON:
                    await _refuse_loose(body)
                await self.app(scope, _replay(bytes(body) if whole else None, receive), answer)
        except _Refused as refused:
            await problem_response(refused.refusal.details(), refused.headers)(scope, receive, send)
        finally:
            self._held -= len(body)

    def _taken(self, scope: Scope) -> frozenset[str]:
        return next((types for end, types in self.files.items() if scope["path"].endswith(end)), JSON)

    def _at_sight(self, headers: Headers, taken: frozenset[str]) -> None:
        encodings = headers.get("content-encoding", "").strip().lower()
        if encodings not in ("", "identity"):
            raise _Refused(Refusal("encoded_body", f"The body came with Content-Encoding {encodings[:80]!r}."))
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 20 or int(length) > self.max_bytes):
            raise self._too_large()
        has_body = length.lstrip("0") != "" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if has_body and media_type not in taken:
            said = f"The body came as {media_type[:80]!r}." if media_type else "The body came without a content type."
            raise _Refused(Refusal("not_json" if taken == JSON else "not_a_table", said))

    async def _read(self, receive: Receive, body: bytearray) -> bool:
        """Gathers the body, in one piece however many it came in; False when whoever sends it went away."""
        try:
            async with asyncio.timeout(self.within_s):
                while True:
                    message = await receive()
                    more = message.get("body", b"")
                    body += more
                    self._held += len(more)
                    if len(body) > self.max_bytes:
                        raise self._too_large()
                    if self._held > self.max_held:
                        raise _Refused(Refusal("too_busy", "Too many large requests came at once."), RETRY_AFTER)
                    if message["type"] != "http.request":
                        return False
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            said = f"The body was not there after {self.within_s:g} seconds."
            raise _Refused(Refusal("too_slow", said), {"Connection": "close"}) from None

    def _too_large(self) -> _Refused:
        return _Refused(Refusal("body_too_large", f"The body is larger than {self.max_bytes // 2**20} MiB."))


class _Refused(Exception):
    """Never leaves this file."""

    def __init__(self, refusal: Refusal, headers: dict[str, str] | None = None) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.headers = headers


async def _refuse_loose(body: bytearray) -> None:
    said = await run_in_threadpool(_loose, body) if len(body) > _LARGE else _loose(body)
    if said is not None:
        raise _Refused(Refusal("bad_request", said))


class _Loose(ValueError):
    """Never leaves this file."""


def _loose(body: bytearray) -> str | None:
    """What in this JSON readers would differ over. What is no JSON at all is for the route to say."""
    try:
        json.loads(body, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except _Loose as loose:
        return str(loose)
    except (ValueError, RecursionError):
        return None
    return None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise _Loose(f"The key {key[:60]!r} is there twice.")
        keys.add(key)


def _no_constant(name: str) -> None:
    raise _Loose(f"{name} is no JSON number.")


def _replay(body: bytes | None, receive: Receive) -> Receive:
    first: Message = {"type": "http.disconnect"} if body is None else {"type": "http.request", "body": body}
    waiting = [first]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
