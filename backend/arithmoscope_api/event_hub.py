"""Event hub: live events of experiments, read once for all readers.

One pump serves all readers. It reads the streams of the watched experiments in one call and their rows in another, and
buffers the latest events of each experiment, already formatted. A reader holds only its position, so that a slow one
costs no memory: a reader that falls behind the buffer reads the stream again from its position.

The row is authoritative. The broker's stream is faster and richer, but it may expire, be emptied or be unreachable;
then events are made from the row, and every reader receives the final state.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import FINAL_STATES, Progress, State, StateChange
from arithmoscope.store import AsyncEventLog, Event, EventsDown
from arithmoscope.store.events import CUMULATIVE, parse_event_id
from arithmoscope.store.rows import ExperimentStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Interval between reads of the rows, with a broker and without.
POLL_S = 1.0
POLL_WITHOUT_BROKER_S = 0.5
# A read of the streams blocks this long for new events; then streams that readers joined meanwhile are included.
BLOCK_MS = 200
# Pause after a read that returned events: readers get those that arrive meanwhile in one piece.
PACE_S = 0.05
# A stopped broker accepts connections and never responds; a read that takes this long counts as failed.
STUCK_S = 3.0
# If the row's progress changes this long after the stream's last event, the row's progress is sent: the worker cannot
# reach the broker.
SILENT_S = 2.0
BUFFERED_EVENTS = 256
_READ_AT_ONCE = 200
# Readers that join at the same moment query the broker in turn, so that its connections are not used up.
_JOIN_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _SentEvent:
    """A formatted event. ``id`` is its position in the stream, None for an event made from the row."""

    number: int
    id: str | None
    name: str
    frame: bytes


@dataclass(slots=True, eq=False)
class _Channel:
    """A watched experiment.

    Attributes:
        id: The experiment.
        row: Its row as last read.
        last_progress: The progress that readers received last.
        changed: Set, and replaced, when there are new events.
        buffer: The latest events.
        number: Number of the newest event, counted from 1.
        dropped: Number of the newest event that is no longer in the buffer.
        joined: True if the pump reads its stream.
        read_to: Id up to which the pump has passed on the stream's events.
        heard_at: Time of the stream's last event.
        moved_at: Time of the row's last change of progress.
        ended: The final state, once known.
        readers: Number of readers.
    """

    id: str
    row: ExperimentStatus
    last_progress: dict[str, Any]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    buffer: deque[_SentEvent] = field(default_factory=deque)
    number: int = 0
    dropped: int = 0
    joined: bool = False
    read_to: str | None = None
    heard_at: float = float("-inf")
    moved_at: float = float("-inf")
    ended: State | None = None
    readers: int = 0

    def add(self, name: str, data: Mapping[str, Any], event_id: str | None) -> None:
        if name in CUMULATIVE:  # only the newest counts
            self.buffer = deque(event for event in self.buffer if event.name != name)
        self.number += 1
        self.buffer.append(_SentEvent(self.number, event_id, name, _frame(name, data, event_id)))
        while len(self.buffer) > BUFFERED_EVENTS:
            self.dropped = self.buffer.popleft().number
        if name == "progress":
            self.last_progress = dict(data)

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class EventHub:
    """Sends the events of experiments to their readers. It belongs to one event loop, in which `close` must be called.

    Args:
        read_rows: Reads the rows of experiments; deleted ones are left out.
        events: The broker's event streams; None without a broker.
    """

    def __init__(
        self, read_rows: Callable[[Sequence[str]], dict[str, ExperimentStatus]], events: AsyncEventLog | None
    ) -> None:
        self._read_rows = read_rows
        self._events = events
        self._channels: dict[str, _Channel] = {}
        self._poll_now = asyncio.Event()
        self._watching = asyncio.Event()
        self._joining = asyncio.Semaphore(_JOIN_AT_ONCE)
        self._up = events is not None
        self._failed_at = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._readers = 0

    @property
    def readers(self) -> int:
        """Number of connected readers."""
        return self._readers

    @property
    def watched(self) -> int:
        """Number of experiments that are watched."""
        return len(self._channels)

    async def close(self) -> None:
        """Stops the pump. Remaining readers receive nothing more; the server closes their connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def follow(
        self, experiment_id: str, row: ExperimentStatus, last_event_id: str | None
    ) -> AsyncGenerator[bytes, None]:
        """Yields an experiment's events as server-sent event frames, the final state last.

        Args:
            experiment_id: The experiment.
            row: Its row, just read.
            last_event_id: The last event that the reader has; None: from the beginning.
        """
        self._readers += 1
        try:
            position = await self._resume_position(experiment_id, last_event_id)
            if row.state in FINAL_STATES:
                events = await self._after(experiment_id, position) or []
                yield b"".join(_frames(events)) + _state(row.state, events[-1].id if events else position)
                return
            channel = self._join(experiment_id, row)
            try:
                async for frame in self._follow(channel, position):
                    yield frame
            finally:
                self._leave(channel)
        finally:
            self._readers -= 1

    async def _follow(self, channel: _Channel, position: str | None) -> AsyncIterator[bytes]:
        from_beginning = position is None
        number = channel.number
        # Events in the stream come first: they are older than the row's progress.
        events = await self._after(channel.id, position)
        position = events[-1].id if events else position
        if not channel.joined:
            channel.joined, channel.read_to = True, position
        frame = b"".join(_frames(events or []))
        # A queued experiment may have been queued again: the events in its stream are of an earlier attempt, ahead of
        # its present progress.
        queued = channel.row.state == "queued"
        if channel.ended is None and (queued or (not events and (events is None or from_beginning))):
            frame += _frame("progress", _to_json(channel.row.progress), None)
        while True:
            changed = channel.changed
            if number < channel.dropped:  # fell behind the buffer
                dropped, newest = channel.dropped, channel.number
                events = await self._after(channel.id, position)
                # Without a broker the buffered events are sent; the dropped ones are lost.
                number = dropped if events is None else newest
                position = events[-1].id if events else position
                frame += b"".join(_frames(events or []))
            new = [event for event in channel.buffer if event.number > number and _is_after(event.id, position)]
            number = channel.number
            position = next((event.id for event in reversed(new) if event.id is not None), position)
            frame += b"".join(event.frame for event in new)
            if channel.ended is not None:
                yield frame + _state(channel.ended, channel.read_to or position)
                return
            if frame:
                yield frame
                frame = b""
            await changed.wait()

    def _join(self, experiment_id: str, row: ExperimentStatus) -> _Channel:
        channel = self._channels.get(experiment_id)
        if channel is None:
            channel = self._channels[experiment_id] = _Channel(experiment_id, row, _to_json(row.progress))
        channel.row = row
        channel.readers += 1
        self._watching.set()
        if not self._tasks:
            pumps = [self._poll_rows, *([self._read_streams] if self._events is not None else [])]
            self._tasks = [asyncio.create_task(_run_forever(pump)) for pump in pumps]
        return channel

    def _leave(self, channel: _Channel) -> None:
        channel.readers -= 1
        if channel.readers == 0 and self._channels.get(channel.id) is channel:
            del self._channels[channel.id]
        if not self._channels:
            self._watching.clear()

    async def _poll_rows(self) -> None:
        await self._watching.wait()
        self._poll_now.clear()
        watched = {channel: channel.row for channel in self._channels.values()}
        try:
            rows = await run_in_threadpool(self._read_rows, [channel.id for channel in watched])
        except Refusal as error:  # readers stay connected: the store may recover
            logger.warning("cannot read the rows of watched experiments: %s", error)
        else:
            for channel in watched:
                row = rows.get(channel.id)
                if row is not None and row.state not in FINAL_STATES:
                    self._update(channel, row)
            ends: dict[_Channel, State] = {
                channel: end for channel in watched if (end := _end_of(rows.get(channel.id)))
            }
            await self._end(ends, watched)
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S if self._up else POLL_WITHOUT_BROKER_S):
                await self._poll_now.wait()

    def _update(self, channel: _Channel, row: ExperimentStatus) -> None:
        """Adopts a newly read row, and sends its progress if the stream does not."""
        if row.progress != channel.row.progress:
            channel.moved_at = asyncio.get_running_loop().time()
        channel.row = row
        silent = not self._up or row.state == "queued" or channel.moved_at - channel.heard_at > SILENT_S
        if silent and _differs(_to_json(row.progress), channel.last_progress):
            channel.add("progress", _to_json(row.progress), None)
            channel.wake()

    async def _end(self, ended: Mapping[_Channel, State], rows: Mapping[_Channel, ExperimentStatus]) -> None:
        # Their events were written before their rows ended: this read returns all the remaining ones.
        joined = {channel.id: channel.read_to for channel in ended if channel.joined}
        if joined and self._up:
            await self._read(joined, 0, None)
        for channel, state in ended.items():
            if channel.row is not rows[channel]:  # a reader joined with another row: it may run again
                self._poll_now.set()
                continue
            if self._channels.get(channel.id) is channel:
                del self._channels[channel.id]  # it may run again: a new reader gets a new channel
            channel.ended = state
            channel.wake()
        if not self._channels:
            self._watching.clear()

    async def _read_streams(self) -> None:
        await self._watching.wait()
        joined = {channel.id: channel.read_to for channel in self._channels.values() if channel.joined}
        any_events = bool(joined) and await self._read(joined, BLOCK_MS, _READ_AT_ONCE)
        if any_events or not joined:
            await asyncio.sleep(PACE_S)
        elif not self._up:
            await asyncio.sleep(POLL_WITHOUT_BROKER_S)

    async def _read(self, after: Mapping[str, str | None], block_ms: int, limit: int | None) -> bool:
        """Passes on new events of the streams. Returns whether there were any."""
        streams = await self._query(lambda events: events.read_many(after, block_ms, limit=limit), block_ms / 1000)
        for experiment_id, events in (streams or {}).items():
            channel = self._channels.get(experiment_id)
            if channel is None:
                continue
            channel.heard_at = asyncio.get_running_loop().time()
            for event in events:
                if not _is_after(event.id, channel.read_to):
                    continue  # two reads overlapped
                channel.read_to = event.id
                # The state is taken from the row: the stream may still hold an event of an earlier attempt.
                if event.event == "state":
                    self._poll_now.set()
                else:
                    channel.add(event.event, event.data, event.id)
            channel.wake()
        return bool(streams)

    async def _resume_position(self, experiment_id: str, last_event_id: str | None) -> str | None:
        """The position at which a returning reader resumes; None for the beginning."""
        if last_event_id is None or parse_event_id(last_event_id) is None:
            return None
        known = await self._query_on_join(lambda events: _boxed(events.resume_point(experiment_id, last_event_id)))
        return last_event_id if known is None else known[0]

    async def _after(self, experiment_id: str, position: str | None) -> list[Event] | None:
        """The events after a position; None if the broker does not respond."""
        return await self._query_on_join(lambda events: events.read(experiment_id, position, 0))

    async def _query_on_join(self, query: Callable[[AsyncEventLog], Awaitable[T]]) -> T | None:
        async with self._joining:
            if not self._up and asyncio.get_running_loop().time() - self._failed_at < STUCK_S:
                return None  # it failed just now: do not wait for it again
            return await self._query(query, 0.0)

    async def _query(self, query: Callable[[AsyncEventLog], Awaitable[T]], block_s: float) -> T | None:
        """The result of a query to the broker; None if it does not respond."""
        if self._events is None:
            return None
        try:
            async with asyncio.timeout(block_s + STUCK_S):
                result = await query(self._events)
        except (EventsDown, TimeoutError):
            self._up, self._failed_at = False, asyncio.get_running_loop().time()
            return None
        self._up = True
        return result


async def _boxed(result: Awaitable[T]) -> tuple[T]:
    """Wraps a result that may be None, to tell it from an unreachable broker."""
    return (await result,)


async def _run_forever(pump: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await pump()
        except Exception:  # the pump must survive every error, or no reader receives events any more
            logger.exception("error in the event hub; it continues")
            await asyncio.sleep(POLL_S)


def _end_of(row: ExperimentStatus | None) -> State | None:
    """The final state of an experiment; None while it is unfinished. A deleted one will not run: cancelled."""
    if row is None:
        return "cancelled"
    return row.state if row.state in FINAL_STATES else None


def _to_json(progress: Progress) -> dict[str, Any]:
    return progress.model_dump(mode="json")


def _differs(new: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """True if a progress is worth sending: the estimated waiting time of a queued experiment changes all the time."""
    eta, sent_eta = new.get("eta_s"), sent.get("eta_s")
    if new.get("stage") == "queued" and eta is not None and sent_eta is not None:
        is_close = abs(eta - sent_eta) < max(2.0, sent_eta / 10)
        return {**new, "eta_s": None} != {**sent, "eta_s": None} or not is_close
    return dict(new) != dict(sent)


def _is_after(event_id: str | None, position: str | None) -> bool:
    event, reference = parse_event_id(event_id), parse_event_id(position)
    return event is None or reference is None or event > reference


def _frames(events: Sequence[Event]) -> Iterator[bytes]:
    return (_frame(event.event, event.data, event.id) for event in events if event.event != "state")


def _state(state: State, event_id: str | None) -> bytes:
    return _frame("state", StateChange(state=state).model_dump(), event_id)


def _frame(name: str, data: Mapping[str, Any], event_id: str | None) -> bytes:
    return ServerSentEvent(json.dumps(data, separators=(",", ":")), event=name, id=event_id, sep="\n").encode()
