"""What happens to experiments while it happens: read once, however many look on.

One pump for all readers. It reads the streams of the watched experiments in one call, glances at their rows in
another, and keeps of each experiment the last events, written as they are sent. A reader keeps a place and nothing
else, so that a slow one costs no memory: who falls behind what is kept reads the stream again from its place.

The row is the truth. The broker's stream is quicker and richer, but it may expire, be emptied or be unreachable;
then the row is what is told, and a reader always gets the final state.
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

from starlette.concurrency import run_in_threadpool

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import FINAL_STATES, Progress, State, StateChange
from arithmoscope.store import AsyncEventLog, Event, EventsDown
from arithmoscope.store.events import CUMULATIVE, parse_event_id
from arithmoscope.store.rows import ExperimentStatus

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How often the rows are looked at; and where there is no stream to hear from.
LOOK_S = 1.0
LOOK_WITHOUT_BROKER_S = 0.5
# A read of the streams waits so long for news, then it asks for those that have begun to be watched since, too.
BLOCK_MS = 200
# Between two reads that found something: readers get what came meanwhile in one piece.
PACE_S = 0.05
# A stopped broker accepts connections and answers nothing; a read that takes this long counts as broken.
STUCK_S = 3.0
# So long after the stream fell silent, what moves in the row is told: the worker cannot reach the broker.
SILENT_S = 2.0
KEPT_EVENTS = 256
_READ_AT_ONCE = 200
# Readers who come at the same moment ask the broker in turn, so that its connections are not all used up.
_JOIN_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class _Told:
    """An event as it is sent; ``id`` is its place in the stream, None for what the row said."""

    number: int
    id: str | None
    name: str
    frame: bytes


@dataclass(slots=True, eq=False)
class _Channel:
    """A watched experiment. ``read_to``: the pump has told all up to this id; it is not read before ``joined``."""

    id: str
    row: ExperimentStatus
    told: dict[str, Any]
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    kept: deque[_Told] = field(default_factory=deque)
    number: int = 0
    lost: int = 0
    joined: bool = False
    read_to: str | None = None
    heard_at: float = float("-inf")
    moved_at: float = float("-inf")
    ended: State | None = None
    readers: int = 0

    def tell(self, name: str, data: Mapping[str, Any], event_id: str | None) -> None:
        if name in CUMULATIVE:
            self.kept = deque(told for told in self.kept if told.name != name)
        self.number += 1
        self.kept.append(_Told(self.number, event_id, name, _frame(name, data, event_id)))
        while len(self.kept) > KEPT_EVENTS:
            self.lost = self.kept.popleft().number
        if name == "progress":
            self.told = dict(data)

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Live:
    """``glances(ids)`` reads rows, those that are gone left out. ``events`` is None without a broker.

    It belongs to one event loop: `close` is called in it.
    """

    def __init__(
        self, glances: Callable[[Sequence[str]], dict[str, ExperimentStatus]], events: AsyncEventLog | None
    ) -> None:
        self._glances = glances
        self._events = events
        self._channels: dict[str, _Channel] = {}
        self._look = asyncio.Event()
        self._someone = asyncio.Event()
        self._joining = asyncio.Semaphore(_JOIN_AT_ONCE)
        self._up = events is not None
        self._asked_at = float("-inf")
        self._tasks: list[asyncio.Task[None]] = []
        self._readers = 0

    @property
    def readers(self) -> int:
        """How many look on now."""
        return self._readers

    @property
    def watched(self) -> int:
        """How many experiments they look on."""
        return len(self._channels)

    async def close(self) -> None:
        """End the pump. Readers that are left wait for nothing: the server ends them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def follow(
        self, experiment_id: str, row: ExperimentStatus, last_event_id: str | None
    ) -> AsyncGenerator[bytes, None]:
        """The frames of an experiment whose row was just looked at, from an event on; the state is the last."""
        self._readers += 1
        try:
            place = await self._known(experiment_id, last_event_id)
            if row.state in FINAL_STATES:
                said = await self._after(experiment_id, place) or []
                yield b"".join(_frames(said)) + _state(row.state, said[-1].id if said else place)
                return
            channel = self._join(experiment_id, row)
            try:
                async for frame in self._follow(channel, place):
                    yield frame
            finally:
                self._leave(channel)
        finally:
            self._readers -= 1

    async def _follow(self, channel: _Channel, place: str | None) -> AsyncIterator[bytes]:
        begins = place is None
        number = channel.number
        # What the stream holds already comes first: it is older than whatever the row says.
        said = await self._after(channel.id, place)
        place = said[-1].id if said else place
        if not channel.joined:
            channel.joined, channel.read_to = True, place
        frame = b"".join(_frames(said or []))
        # One that waits again has more in its stream than it has done: those events are of an earlier attempt.
        waits = channel.row.state == "queued"
        if channel.ended is None and (waits or (not said and (said is None or begins))):
            frame += _frame("progress", _plain(channel.row.progress), None)
        while True:
            changed = channel.changed
            if number < channel.lost:  # fell behind what is kept
                lost, newest = channel.lost, channel.number
                said = await self._after(channel.id, place)
                # Without a broker what is kept is told; what is lost, is lost.
                number = lost if said is None else newest
                place = said[-1].id if said else place
                frame += b"".join(_frames(said or []))
            news = [told for told in channel.kept if told.number > number and _is_after(told.id, place)]
            number = channel.number
            place = next((told.id for told in reversed(news) if told.id is not None), place)
            frame += b"".join(told.frame for told in news)
            if channel.ended is not None:
                yield frame + _state(channel.ended, channel.read_to or place)
                return
            if frame:
                yield frame
                frame = b""
            await changed.wait()

    def _join(self, experiment_id: str, row: ExperimentStatus) -> _Channel:
        channel = self._channels.get(experiment_id)
        if channel is None:
            channel = self._channels[experiment_id] = _Channel(experiment_id, row, _plain(row.progress))
        channel.row = row
        channel.readers += 1
        self._someone.set()
        if not self._tasks:
            pumps = [self._watch_rows, *([self._read_streams] if self._events is not None else [])]
            self._tasks = [asyncio.create_task(_for_ever(pump)) for pump in pumps]
        return channel

    def _leave(self, channel: _Channel) -> None:
        channel.readers -= 1
        if channel.readers == 0 and self._channels.get(channel.id) is channel:
            del self._channels[channel.id]
        if not self._channels:
            self._someone.clear()

    async def _watch_rows(self) -> None:
        await self._someone.wait()
        self._look.clear()
        watched = {channel: channel.row for channel in self._channels.values()}
        try:
            rows = await run_in_threadpool(self._glances, [channel.id for channel in watched])
        except Refusal as error:  # readers stay: the store may come back
            logger.warning("the rows of watched experiments cannot be read: %s", error)
        else:
            for channel in watched:
                row = rows.get(channel.id)
                if row is not None and row.state not in FINAL_STATES:
                    self._see(channel, row)
            ends: dict[_Channel, State] = {
                channel: end for channel in watched if (end := _end_of(rows.get(channel.id)))
            }
            await self._end(ends, watched)
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self._up else LOOK_WITHOUT_BROKER_S):
                await self._look.wait()

    def _see(self, channel: _Channel, row: ExperimentStatus) -> None:
        """Tell what the row says where the stream does not say it."""
        if row.progress != channel.row.progress:
            channel.moved_at = asyncio.get_running_loop().time()
        channel.row = row
        silent = not self._up or row.state == "queued" or channel.moved_at - channel.heard_at > SILENT_S
        if silent and _differ(_plain(row.progress), channel.told):
            channel.tell("progress", _plain(row.progress), None)
            channel.wake()

    async def _end(self, ended: Mapping[_Channel, State], seen: Mapping[_Channel, ExperimentStatus]) -> None:
        # All that was said of them was said before their rows were written: this read finds the rest.
        joined = {channel.id: channel.read_to for channel in ended if channel.joined}
        if joined and self._up:
            await self._read(joined, 0, None)
        for channel, state in ended.items():
            if channel.row is not seen[channel]:  # a reader has come with another row: it may run again
                self._look.set()
                continue
            if self._channels.get(channel.id) is channel:
                del self._channels[channel.id]  # it may be run again: whoever comes now looks anew
            channel.ended = state
            channel.wake()
        if not self._channels:
            self._someone.clear()

    async def _read_streams(self) -> None:
        await self._someone.wait()
        joined = {channel.id: channel.read_to for channel in self._channels.values() if channel.joined}
        heard = bool(joined) and await self._read(joined, BLOCK_MS, _READ_AT_ONCE)
        if heard or not joined:
            await asyncio.sleep(PACE_S)
        elif not self._up:
            await asyncio.sleep(LOOK_WITHOUT_BROKER_S)

    async def _read(self, after: Mapping[str, str | None], block_ms: int, limit: int | None) -> bool:
        """Tell what the streams say; whether they said anything."""
        found = await self._ask(lambda events: events.read_many(after, block_ms, limit=limit), block_ms / 1000)
        for experiment_id, said in (found or {}).items():
            channel = self._channels.get(experiment_id)
            if channel is None:
                continue
            channel.heard_at = asyncio.get_running_loop().time()
            for event in said:
                if not _is_after(event.id, channel.read_to):
                    continue  # two reads met
                channel.read_to = event.id
                # The row says the state: an event of an earlier attempt may still be in the stream.
                if event.event == "state":
                    self._look.set()
                else:
                    channel.tell(event.event, event.data, event.id)
            channel.wake()
        return bool(found)

    async def _known(self, experiment_id: str, last_event_id: str | None) -> str | None:
        """Where a reader who comes back left off; None for the beginning."""
        if last_event_id is None or parse_event_id(last_event_id) is None:
            return None
        known = await self._at_join(lambda events: _boxed(events.resume_point(experiment_id, last_event_id)))
        return last_event_id if known is None else known[0]

    async def _after(self, experiment_id: str, place: str | None) -> list[Event] | None:
        """The events after a place; None when there is no broker to ask."""
        return await self._at_join(lambda events: events.read(experiment_id, place, 0))

    async def _at_join(self, question: Callable[[AsyncEventLog], Awaitable[T]]) -> T | None:
        async with self._joining:
            if not self._up and asyncio.get_running_loop().time() - self._asked_at < STUCK_S:
                return None  # known to be down: nobody waits for it again
            return await self._ask(question, 0.0)

    async def _ask(self, question: Callable[[AsyncEventLog], Awaitable[T]], patience_s: float) -> T | None:
        """What the broker answers; None when it does not."""
        if self._events is None:
            return None
        try:
            async with asyncio.timeout(patience_s + STUCK_S):
                answer = await question(self._events)
        except (EventsDown, TimeoutError):
            self._up, self._asked_at = False, asyncio.get_running_loop().time()
            return None
        self._up = True
        return answer


async def _boxed(answer: Awaitable[T]) -> tuple[T]:
    return (await answer,)


async def _for_ever(pump: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await pump()
        except Exception:  # the pump must outlive whatever it meets, or no reader ever hears anything again
            logger.exception("the live events stumbled; they go on")
            await asyncio.sleep(LOOK_S)


def _end_of(row: ExperimentStatus | None) -> State | None:
    """The state that is the last word; None while there is more to come. What was deleted will not run."""
    if row is None:
        return "cancelled"
    return row.state if row.state in FINAL_STATES else None


def _plain(progress: Progress) -> dict[str, Any]:
    return progress.model_dump(mode="json")


def _differ(new: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether it is worth telling: the guess how long one will wait changes with every second that passes."""
    guess, before = new.get("eta_s"), told.get("eta_s")
    if new.get("stage") == "queued" and guess is not None and before is not None:
        near = abs(guess - before) < max(2.0, before / 10)
        return {**new, "eta_s": None} != {**told, "eta_s": None} or not near
    return dict(new) != dict(told)


def _is_after(event_id: str | None, place: str | None) -> bool:
    here, there = parse_event_id(event_id), parse_event_id(place)
    return here is None or there is None or here > there


def _frames(said: Sequence[Event]) -> Iterator[bytes]:
    return (_frame(each.event, each.data, each.id) for each in said if each.event != "state")


def _state(state: State, event_id: str | None) -> bytes:
    return _frame("state", StateChange(state=state).model_dump(), event_id)


def _frame(name: str, data: Mapping[str, Any], event_id: str | None) -> bytes:
    """As server-sent events are written. No part holds a line's end: an id is a stream's, JSON escapes it."""
    head = f"id: {event_id}\n" if event_id is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
