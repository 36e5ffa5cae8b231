"""The load, in a process of its own: readers of event streams, and requests at a steady rate whatever the server does.

``python -m benchmarks.soak.traffic`` reads its instructions as JSON on stdin and writes its measurements as JSON on
stdout. A request's latency counts from the moment when it should have been sent: a server that stalls delays the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.soak.questions import long_question
from benchmarks.soak.wire import Reply, Wire

# Of a finished experiment; of all, what a page asks for again and again.
PATHS = ("/api/experiments/{}/result", "/api/experiments/{}/components.csv", "/api/experiments/{}", "/api/experiments")
_CACHED = 2
# Readers of a finished experiment come back after a while, as people open pages.
_BACK_AFTER_S = 2.0
_FINISHED_SHARE = 0.2
_WAITING = 6
# A server ends connections that say nothing for five seconds: one that is about to be ended is not used.
_KEPT_S = 3.0
_REQUEST_S = 30.0
_STREAM_S = 120.0


@dataclass(frozen=True)
class Told:
    """``finished``: ids of experiments that have results; ``first_seed``: of what keeps the worker busy."""

    host: str
    port: int
    seconds: float
    readers: int
    rate: float
    finished: list[str]
    first_seed: int = 1_000_000
    pairs: int = 128


@dataclass
class Seen:
    """Latencies in seconds by kind of request; streams that were read to their end, and their events."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    n_errors: int = 0
    streams: int = 0
    events: int = 0
    most_open: int = 0
    submitted: int = 0
    ended: int = 0
    late_s: float = 0.0

    def wrong(self, what: str) -> None:
        self.n_errors += 1
        if len(self.errors) < 50:
            self.errors.append(what)


class Traffic:
    """All of it, over one event loop."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.seen = Seen()
        self._unfinished: dict[str, float] = {}
        self._finished = list(told.finished)
        self._bodies: dict[str, str] = {}
        self._idle: list[tuple[Wire, float]] = []
        self._open = 0
        self._random = random.Random(0)
        self._until = 0.0

    async def run(self) -> Seen:
        self._until = math.inf
        feeding = asyncio.create_task(self._feed())
        await asyncio.sleep(1.0)  # something to read about
        self._until = time.monotonic() + self.told.seconds
        readers = [asyncio.create_task(self._read(number)) for number in range(self.told.readers)]
        await self._request_steadily()
        self._until = 0.0
        await asyncio.gather(feeding, *readers)
        for wire, _ in self._idle:
            wire.close()
        return self.seen

    async def _request_steadily(self) -> None:
        began, asked, number = time.monotonic(), set[asyncio.Task[None]](), 0
        while (due := began + number / self.told.rate) < self._until:
            now = time.monotonic()
            if due > now:
                await asyncio.sleep(due - now)
            # How late this generator itself was: were it much, the latencies would be its own.
            self.seen.late_s = max(self.seen.late_s, time.monotonic() - due)
            task = asyncio.create_task(self._request(number, due))
            asked.add(task)
            task.add_done_callback(asked.discard)
            number += 1
        await asyncio.gather(*asked)

    async def _request(self, number: int, due: float) -> None:
        kind = PATHS[number % len(PATHS)]
        path = kind.format(self.told.finished[number // len(PATHS) % len(self.told.finished)])
        try:
            async with asyncio.timeout(_REQUEST_S), self._wire() as wire:
                reply = await wire.get(path)
        except (OSError, EOFError, TimeoutError) as error:
            self.seen.wrong(f"{path}: {type(error).__name__} {error}")
            return
        self.seen.latencies.setdefault(kind, []).append(time.monotonic() - due)
        self._check(path, reply, same=number % len(PATHS) < _CACHED)

    def _check(self, path: str, reply: Reply, *, same: bool) -> None:
        if reply.status != 200:
            self.seen.wrong(f"{path}: {reply.status} {reply.body[:200]!r}")
        elif same:
            digest = hashlib.sha256(reply.body).hexdigest()
            if self._bodies.setdefault(path, digest) != digest:
                self.seen.wrong(f"{path}: another body than before")

    async def _read(self, number: int) -> None:
        while time.monotonic() < self._until:
            about = self._choice(number)
            try:
                async with asyncio.timeout(_STREAM_S):
                    wire = await Wire.open(self.told.host, self.told.port)
                    self._open += 1
                    self.seen.most_open = max(self.seen.most_open, self._open)
                    try:
                        await self._read_one(wire, about)
                    finally:
                        self._open -= 1
                        wire.close()
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.seen.wrong(f"events of {about}: {type(error).__name__} {error}")
            if about not in self._unfinished:
                # People look at what came, and not all equally long, before they turn to another.
                pause = self._random.uniform(0.0, 2 * _BACK_AFTER_S)
                await asyncio.sleep(min(pause, max(0.0, self._until - time.monotonic())))

    def _choice(self, number: int) -> str:
        if self._unfinished and number >= self.told.readers * _FINISHED_SHARE:
            return self._random.choice(list(self._unfinished))
        return self._random.choice(self._finished)

    async def _read_one(self, wire: Wire, about: str) -> None:
        status, pieces = await wire.stream(f"/api/experiments/{about}/events")
        if status != 200:
            self.seen.wrong(f"events of {about}: {status}")
            return
        story = Story()
        async for piece in pieces:
            story.take(piece)
        for problem in story.problems():
            self.seen.wrong(f"events of {about}: {problem}")
        self.seen.streams += 1
        self.seen.events += story.n
        if self._unfinished.pop(about, None) is not None:
            self.seen.ended += 1
            self._finished.append(about)
            del self._finished[: max(0, len(self._finished) - 50)]

    async def _feed(self) -> None:
        """Keeps some experiments waiting, so that the worker computes all the time."""
        while time.monotonic() < self._until:
            if len(self._unfinished) < _WAITING:
                question = long_question(self.told.first_seed + self.seen.submitted, self.told.pairs)
                self.seen.submitted += 1
                try:
                    async with asyncio.timeout(_REQUEST_S), self._wire() as wire:
                        reply = await wire.post("/api/experiments", question)
                    if reply.status not in (200, 202):
                        self.seen.wrong(f"submit: {reply.status} {reply.body[:200]!r}")
                    else:
                        self._unfinished[json.loads(reply.body)["id"]] = time.monotonic()
                except (OSError, EOFError, TimeoutError) as error:
                    self.seen.wrong(f"submit: {type(error).__name__} {error}")
            else:
                await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def _wire(self) -> AsyncIterator[Wire]:
        """A connection that is kept for the next request; one that broke is not."""
        wire: Wire | None = None
        while wire is None and self._idle:
            kept, since = self._idle.pop()
            if time.monotonic() - since < _KEPT_S:
                wire = kept
            else:
                kept.close()
        wire = wire or await Wire.open(self.told.host, self.told.port)
        try:
            yield wire
        except BaseException:
            wire.close()
            raise
        self._idle.append((wire, time.monotonic()))


class Story:
    """One event stream as a reader gets it, from its beginning to its end."""

    def __init__(self) -> None:
        self.n = 0
        self._rest = b""
        self._names: Counter[str] = Counter()
        self._last: tuple[str, Any] = ("", None)
        self._ids: list[tuple[int, ...]] = []
        self._progress: dict[str, Any] = {}

    def take(self, piece: bytes) -> None:
        *whole, self._rest = (self._rest + piece).split(b"\n\n")
        for block in whole:
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line and line[0] != ":")
            if "data" not in fields:
                continue  # a heartbeat
            self.n += 1
            name, data = fields["event"], json.loads(fields["data"])
            self._names[name] += 1
            self._last = name, data
            if name == "progress":
                self._progress = data
            if "id" in fields and name != "state":
                self._ids.append(tuple(map(int, fields["id"].split("-"))))

    def problems(self) -> list[str]:
        """What is wrong with it, in words; nothing when a reader was told all."""
        found = []
        if self._rest.strip():
            found.append(f"it breaks off in {self._rest[:80]!r}")
        if self._last[0] != "state" or self._names["state"] != 1:
            found.append(f"it ends with {self._last} after {dict(self._names)}")
        elif self._last[1] != {"state": "succeeded"}:
            found.append(f"it ends with {self._last[1]}")
        if self._ids != sorted(set(self._ids)):
            found.append("its events are not in order, or come twice")
        if self._names["partial"] and self._progress.get("done") != self._progress.get("total"):
            found.append(f"its last progress is {self._progress}")
        return found


def main(say: Callable[[str], object] = sys.stdout.write) -> None:
    """What was seen, as JSON."""
    say(json.dumps(asdict(asyncio.run(Traffic(Told(**json.loads(sys.stdin.read()))).run()))))


if __name__ == "__main__":
    main()
