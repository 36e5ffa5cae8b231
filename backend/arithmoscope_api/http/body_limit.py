"""Request body limits: plain JSON (or a file on upload paths), complete, in time, and small.

A body may have at most 16 MiB, chunked or not, and must arrive within 30 seconds. Compressed bodies are rejected, so
that nothing expands beyond the bytes sent. JSON must be unambiguous: no duplicate keys, no NaN or Infinity.
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
# Of all requests together, while their bodies are read and processed.
MAX_HELD_BYTES = 16 * MAX_BODY_BYTES
BODY_WITHIN_S = 30.0
JSON = frozenset({"application/json"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# Bodies above this size are checked in a thread, off the event loop. Parsed, they may take thirty times their size in
# memory, so only a few are processed at once and the others wait.
_LARGE_BYTES = 64 * 1024
_MAX_CONCURRENT_LARGE = 2


class BodyLimit:
    """Middleware that rejects unacceptable request bodies before they reach a route.

    Args:
        app: The application that receives the accepted, complete bodies.
        files: Path suffixes with the media types that they accept instead of JSON.

    Responds with ``not_json``, ``not_a_table``, ``encoded_body``, ``body_too_large``, ``too_slow``, ``too_busy`` or
    ``bad_request``.
    """

    max_bytes = MAX_BODY_BYTES
    max_held = MAX_HELD_BYTES
    within_s = BODY_WITHIN_S

    def __init__(self, app: ASGIApp, *, files: Mapping[str, frozenset[str]] | None = None) -> None:
        self.app = app
        self.files = files or {}
        self._held = 0
        self._large = asyncio.Semaphore(_MAX_CONCURRENT_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _METHODS_WITH_BODY:
            await self.app(scope, receive, send)
            return
        body = bytearray()
        large_slot = AsyncExitStack()

        async def send_and_release(message: Message) -> None:
            # From here on the client sets the pace: a slow reader must not block other large bodies.
            await large_slot.aclose()
            await send(message)

        try:
            accepted = self._accepted_types(scope)
            self._check_headers(Headers(scope=scope), accepted)
            complete = await self._read(receive, body)
            async with large_slot:
                if len(body) > _LARGE_BYTES:
                    await large_slot.enter_async_context(self._large)
                if accepted == JSON:
                    await _reject_ambiguous_json(body)
                await self.app(scope, _replay(bytes(body) if complete else None, receive), send_and_release)
        except _Rejected as rejected:
            await problem_response(rejected.refusal.details(), rejected.headers)(scope, receive, send)
        finally:
            self._held -= len(body)

    def _accepted_types(self, scope: Scope) -> frozenset[str]:
        return next((types for suffix, types in self.files.items() if scope["path"].endswith(suffix)), JSON)

    def _check_headers(self, headers: Headers, accepted: frozenset[str]) -> None:
        encodings = headers.get("content-encoding", "").strip().lower()
        if encodings not in ("", "identity"):
            raise _Rejected(Refusal("encoded_body", f"The body has the Content-Encoding {encodings[:80]!r}."))
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 20 or int(length) > self.max_bytes):
            raise self._too_large()
        has_body = length.lstrip("0") != "" or "transfer-encoding" in headers
        media_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if has_body and media_type not in accepted:
            detail = f"The body has the type {media_type[:80]!r}." if media_type else "The body has no Content-Type."
            raise _Rejected(Refusal("not_json" if accepted == JSON else "not_a_table", detail))

    async def _read(self, receive: Receive, body: bytearray) -> bool:
        """Reads all chunks into ``body``. Returns False if the client disconnected first."""
        try:
            async with asyncio.timeout(self.within_s):
                while True:
                    message = await receive()
                    chunk = message.get("body", b"")
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > self.max_bytes:
                        raise self._too_large()
                    if self._held > self.max_held:
                        raise _Rejected(Refusal("too_busy", "Too many large requests arrived at once."), RETRY_AFTER)
                    if message["type"] != "http.request":
                        return False
                    if not message.get("more_body", False):
                        return True
        except TimeoutError:
            detail = f"The body did not arrive within {self.within_s:g} seconds."
            raise _Rejected(Refusal("too_slow", detail), {"Connection": "close"}) from None

    def _too_large(self) -> _Rejected:
        return _Rejected(Refusal("body_too_large", f"The body is larger than {self.max_bytes // 2**20} MiB."))


class _Rejected(Exception):
    """A rejected body with the headers of its response. Internal to this module."""

    def __init__(self, refusal: Refusal, headers: dict[str, str] | None = None) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal
        self.headers = headers


async def _reject_ambiguous_json(body: bytearray) -> None:
    ambiguity = await run_in_threadpool(_ambiguity, body) if len(body) > _LARGE_BYTES else _ambiguity(body)
    if ambiguity is not None:
        raise _Rejected(Refusal("bad_request", ambiguity))


class _AmbiguousJson(ValueError):
    """JSON that parsers read differently. Internal to this module."""


def _ambiguity(body: bytearray) -> str | None:
    """A sentence on the first part of the JSON that parsers read differently. Invalid JSON is left to the route."""
    try:
        json.loads(body, object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant)
    except _AmbiguousJson as error:
        return str(error)
    except (ValueError, RecursionError):
        return None
    return None


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> None:
    keys = set()
    for key, _ in pairs:
        if key in keys:
            raise _AmbiguousJson(f"The key {key[:60]!r} occurs twice.")
        keys.add(key)


def _reject_constant(name: str) -> None:
    raise _AmbiguousJson(f"{name} is not a JSON number.")


def _replay(body: bytes | None, receive: Receive) -> Receive:
    first: Message = {"type": "http.disconnect"} if body is None else {"type": "http.request", "body": body}
    pending = [first]

    async def receive_again() -> Message:
        return pending.pop() if pending else await receive()

    return receive_again
