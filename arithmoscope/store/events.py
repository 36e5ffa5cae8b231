"""The passing stream of an experiment's events: ``progress``, ``partial``, ``training`` and, always last, ``state``.

One Redis stream per experiment, capped and expiring. A stream id is an event's id, so a reader that lost the
connection goes on where it was. Nothing depends on it: a broken Redis costs the live view, never a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast
from urllib.parse import quote

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

EventName = Literal["progress", "partial", "training", "state"]
# Each says all that those before it said: the newest is enough, and they may be large.
CUMULATIVE: frozenset[str] = frozenset({"partial", "training"})

MAX_EVENTS = 1_000
KEPT_S = 3_600
# After the last word the row says it all: a broker in memory does not keep what nobody reads any more.
KEPT_AFTER_END_S = 60
# After a failure, so long nothing is sent: a job must not wait for a dead Redis again and again.
_PAUSE_S = 2.0
_STREAM_ID = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)
_LARGEST = 2**64 - 1
_BEGINNING = "0"


class EventsDown(Exception):
    """The event stream cannot be read now. The experiment's row still tells how far it is."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``id`` is what ``read`` takes as ``after``."""

    id: str
    event: EventName
    data: dict[str, Any]


class EventLog:
    """Publishes from threads: what a worker says. Never raises for a broken Redis."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis.Redis.from_url(
            client_url(redis_url), socket_timeout=1.0, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 1)
        )
        self._clock = clock
        self._silent_until = 0.0
        # The newest one: of which experiment, what, and its id.
        self._latest: tuple[str, EventName, Any] | None = None

    def publish(self, experiment_id: str, event: EventName, data: dict[str, Any]) -> None:
        if self._clock() < self._silent_until:
            return
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.xadd(_key(experiment_id), _fields(event, data), maxlen=MAX_EVENTS, approximate=True)
                pipe.expire(_key(experiment_id), KEPT_AFTER_END_S if event == "state" else KEPT_S)
                if event in CUMULATIVE and self._latest and self._latest[:2] == (experiment_id, event):
                    pipe.xdel(_key(experiment_id), self._latest[2])
                added = pipe.execute()[0]
            if event in CUMULATIVE:
                self._latest = (experiment_id, event, added)
        except redis.RedisError as error:
            logger.warning("event %s of %s is not published: %s", event, experiment_id, error)
            self._silent_until = self._clock() + _PAUSE_S

    def clear(self, experiment_id: str) -> None:
        """Forgets what was said of an earlier attempt (before a retry)."""
        try:
            self._redis.delete(_key(experiment_id))
        except redis.RedisError as error:
            logger.warning("events of %s are not cleared: %s", experiment_id, error)

    def close(self) -> None:
        self._redis.close()


class AsyncEventLog:
    """Reads from an event loop: what the API streams."""

    def __init__(self, redis_url: str) -> None:
        # A blocking read must not be cut off by the client's own timeout: the server ends it.
        self._redis = redis.asyncio.Redis.from_url(
            client_url(redis_url), socket_timeout=None, socket_connect_timeout=0.5
        )

    async def read(self, experiment_id: str, after: str | None, block_ms: int) -> list[Event]:
        """The events after an id (None: from the beginning); waits up to ``block_ms`` for the first, if any.

        Raises `EventsDown` when Redis does not answer.
        """
        found = await self.read_many({experiment_id: after}, block_ms)
        return found.get(experiment_id, [])

    async def read_many(
        self, after: Mapping[str, str | None], block_ms: int, *, limit: int | None = None
    ) -> dict[str, list[Event]]:
        """The same of many experiments at once: one connection waits for the first event of any.

        At most ``limit`` events of each. Raises `EventsDown` when Redis does not answer.
        """
        starts: dict[Any, Any] = {
            _key(experiment_id): _BEGINNING if event_id is None or place_of(event_id) is None else event_id
            for experiment_id, event_id in after.items()
        }
        try:
            found = await self._redis.xread(starts, count=limit, block=block_ms if block_ms > 0 else None)
        except (redis.RedisError, OSError) as error:
            raise EventsDown(str(error)) from error
        return _by_experiment(found)

    async def known(self, experiment_id: str, event_id: str | None) -> str | None:
        """The id if it may be one of this stream, to read on after it; None: read from the beginning.

        Raises `EventsDown` when Redis does not answer.
        """
        place = place_of(event_id)
        if place is None:
            return None
        try:
            newest = cast(list[Any], await self._redis.xrevrange(_key(experiment_id), count=1))
        except (redis.RedisError, OSError) as error:
            raise EventsDown(str(error)) from error
        last = place_of(_text(newest[0][0])) if newest else None
        return event_id if last is not None and place <= last else None

    async def is_up(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                return bool(await cast(Any, self._redis.ping()))
        except (redis.RedisError, OSError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()


def client_url(redis_url: str) -> str:
    """A ``redis_url`` for libraries, which decode what stands in it: ours has a socket's path as the path is.

    A query (``?db=1``) may follow the path: it holds no ``/``.
    """
    scheme, _, place = redis_url.partition("://")
    if scheme != "unix" or not place.startswith("/"):
        return redis_url
    path, mark, query = place.rpartition("?")
    if not mark or "/" in query:
        path, query = place, ""
    return f"unix://{quote(path)}" + (f"?{query}" if query else "")


_PREFIX = "arithmoscope:events:"


def _key(experiment_id: str) -> str:
    return _PREFIX + experiment_id


def place_of(event_id: str | None) -> tuple[int, int] | None:
    """An id as Redis orders it; None when it is none."""
    if event_id is None or not _STREAM_ID.fullmatch(event_id):
        return None
    time_ms, _, number = event_id.partition("-")
    place = int(time_ms), int(number or 0)
    return place if max(place) <= _LARGEST else None


def _fields(event: EventName, data: dict[str, Any]) -> dict[Any, Any]:
    return {"event": event, "data": json.dumps(data, separators=(",", ":"), allow_nan=False)}


def _by_experiment(found: Any) -> dict[str, list[Event]]:
    # RESP2 answers [[key, entries], ...], RESP3 {key: [entries], ...}.
    streams: Iterable[Any] = (
        ((key, entries[0]) for key, entries in found.items()) if isinstance(found, dict) else found or ()
    )
    return {_text(key).removeprefix(_PREFIX): [_event(*entry) for entry in entries] for key, entries in streams}


def _event(name: bytes | str, fields: Mapping[bytes, bytes]) -> Event:
    return Event(_text(name), cast(EventName, _text(fields[b"event"])), json.loads(fields[b"data"]))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
