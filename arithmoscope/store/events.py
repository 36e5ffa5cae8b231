"""Event streams of experiments: ``progress``, ``partial``, ``training`` and, always last, ``state``.

One Redis stream per experiment, capped and expiring. The stream id is the event's id, so a reader resumes after a
lost connection. Nothing depends on the streams: without Redis the live view is lost, never a job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import redis

from arithmoscope.store.redis_clients import async_redis_client, redis_client

logger = logging.getLogger(__name__)

EventName = Literal["progress", "partial", "training", "state"]
# Each event supersedes earlier ones of its kind: only the newest is kept, since they may be large.
CUMULATIVE: frozenset[str] = frozenset({"partial", "training"})

MAX_EVENTS = 1_000
KEPT_S = 3_600
# After the final event the row has everything: an in-memory broker need not keep the stream.
KEPT_AFTER_END_S = 60
# No event is sent for this long after a failure: a job must not wait for a dead Redis again and again.
_PAUSE_S = 2.0
_STREAM_ID = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)
_LARGEST = 2**64 - 1
_BEGINNING = "0"

_Text = bytes | str
_Entry = tuple[_Text, dict[bytes, bytes]]
_Resp2Streams = Sequence[tuple[_Text, list[_Entry]]]
_Resp3Streams = dict[_Text, list[list[_Entry]]]


class EventsDown(Exception):
    """The event stream cannot be read at present. The experiment's row still has its progress."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``id`` is accepted by ``read`` as ``after``."""

    id: str
    event: EventName
    data: dict[str, Any]


class EventLog:
    """Publishes a worker's events, from any thread. Never raises for an unavailable Redis."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis_client(redis_url, socket_timeout=1.0, connect_timeout=0.5)
        self._clock = clock
        self._silent_until = 0.0
        # The newest cumulative event: experiment, name, stream id.
        self._latest: tuple[str, EventName, Any] | None = None

    def publish(self, experiment_id: str, event: EventName, data: dict[str, Any]) -> None:
        if self._clock() < self._silent_until:
            return
        try:
            with cast(Any, self._redis).pipeline(transaction=False) as pipe:
                pipe.xadd(_key(experiment_id), _fields(event, data), maxlen=MAX_EVENTS, approximate=True)
                pipe.expire(_key(experiment_id), KEPT_AFTER_END_S if event == "state" else KEPT_S)
                if event in CUMULATIVE and self._latest and self._latest[:2] == (experiment_id, event):
                    pipe.xdel(_key(experiment_id), self._latest[2])
                added = pipe.execute()[0]
            if event in CUMULATIVE:
                self._latest = (experiment_id, event, added)
        except redis.RedisError as error:
            logger.warning("event %s of %s was not published: %s", event, experiment_id, error)
            self._silent_until = self._clock() + _PAUSE_S

    def clear(self, experiment_id: str) -> None:
        """Deletes the events of an earlier attempt (before a retry)."""
        try:
            self._redis.delete(_key(experiment_id))
        except redis.RedisError as error:
            logger.warning("events of %s were not cleared: %s", experiment_id, error)

    def close(self) -> None:
        self._redis.close()


class AsyncEventLog:
    """Reads events in an asyncio event loop, for the API's streams."""

    def __init__(self, redis_url: str) -> None:
        self._redis = async_redis_client(redis_url, connect_timeout=0.5)

    async def read(self, experiment_id: str, after: str | None, block_ms: int) -> list[Event]:
        """Reads the events after an id (None: from the beginning); waits up to ``block_ms`` for the first one.

        Raises `EventsDown` if Redis does not answer.
        """
        events = await self.read_many({experiment_id: after}, block_ms)
        return events.get(experiment_id, [])

    async def read_many(
        self, after: Mapping[str, str | None], block_ms: int, *, limit: int | None = None
    ) -> dict[str, list[Event]]:
        """Reads the events of many experiments: one connection waits for the first event of any.

        Returns at most ``limit`` events of each. Raises `EventsDown` if Redis does not answer.
        """
        starts: dict[Any, Any] = {
            _key(experiment_id): _BEGINNING if event_id is None or parse_event_id(event_id) is None else event_id
            for experiment_id, event_id in after.items()
        }
        try:
            reply = await self._redis.xread(starts, count=limit, block=block_ms if block_ms > 0 else None)
        except (redis.RedisError, OSError) as error:
            raise EventsDown(str(error)) from error
        return _by_experiment(reply)

    async def resume_point(self, experiment_id: str, event_id: str | None) -> str | None:
        """Returns the id if the stream may contain it, to resume after it; None: read from the beginning.

        Raises `EventsDown` if Redis does not answer.
        """
        position = parse_event_id(event_id)
        if position is None:
            return None
        try:
            newest = cast(list[Any], await self._redis.xrevrange(_key(experiment_id), count=1))
        except (redis.RedisError, OSError) as error:
            raise EventsDown(str(error)) from error
        last = parse_event_id(_text(newest[0][0])) if newest else None
        return event_id if last is not None and position <= last else None

    async def is_up(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                return bool(await cast(Any, self._redis).ping())
        except (redis.RedisError, OSError):
            return False

    async def close(self) -> None:
        await self._redis.aclose()


_PREFIX = "arithmoscope:events:"


def _key(experiment_id: str) -> str:
    return _PREFIX + experiment_id


def parse_event_id(event_id: str | None) -> tuple[int, int] | None:
    """Parses a stream id to a pair that sorts as in Redis; None if it is not a stream id."""
    if event_id is None or not _STREAM_ID.fullmatch(event_id):
        return None
    time_ms, _, number = event_id.partition("-")
    parsed = int(time_ms), int(number or 0)
    return parsed if max(parsed) <= _LARGEST else None


def _fields(event: EventName, data: dict[str, Any]) -> dict[Any, Any]:
    return {"event": event, "data": json.dumps(data, separators=(",", ":"), allow_nan=False)}


def _by_experiment(reply: Any) -> dict[str, list[Event]]:
    # RESP2 answers [[key, entries], ...], RESP3 {key: [entries], ...}.
    if isinstance(reply, dict):
        streams = [(key, entries[0]) for key, entries in cast(_Resp3Streams, reply).items()]
    else:
        streams = cast(_Resp2Streams, reply or ())
    return {_text(key).removeprefix(_PREFIX): [_event(*entry) for entry in entries] for key, entries in streams}


def _event(name: _Text, fields: Mapping[bytes, bytes]) -> Event:
    return Event(_text(name), cast(EventName, _text(fields[b"event"])), json.loads(fields[b"data"]))


def _text(value: _Text) -> str:
    return value.decode() if isinstance(value, bytes) else value
