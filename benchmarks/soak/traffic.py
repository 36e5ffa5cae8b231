"""The load generator, run in its own process: readers of event streams, and requests at a constant rate.

``python -m benchmarks.soak.traffic`` reads a `TrafficSpec` as JSON on stdin and writes its measurements as JSON on
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

from benchmarks.soak.http_connection import Connection, Reply
from benchmarks.soak.questions import long_question

# Requests for a finished experiment; the last one is the list, which a page requests again and again.
PATHS = ("/api/experiments/{}/result", "/api/experiments/{}/components.csv", "/api/experiments/{}", "/api/experiments")
_CACHED = 2
# Readers of a finished experiment come back after a while, as users open pages.
_BACK_AFTER_S = 2.0
_FINISHED_SHARE = 0.2
_WAITING = 6
# A server closes connections that are idle for five seconds: one about to be closed is not reused.
_KEPT_S = 3.0
_REQUEST_S = 30.0
_STREAM_S = 120.0


@dataclass(frozen=True)
class TrafficSpec:
    """Settings of the load. ``finished``: ids of experiments with results; ``first_seed``: seed of the first question
    that keeps the worker busy.
    """

    host: str
    port: int
    seconds: float
    readers: int
    rate: float
    finished: list[str]
    first_seed: int = 1_000_000
    pairs: int = 128


@dataclass
class Measurements:
    """Latencies in seconds by kind of request; number of streams read to their end, and of their events."""

    latencies: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    n_errors: int = 0
    streams: int = 0
    events: int = 0
    most_open: int = 0
    submitted: int = 0
    ended: int = 0
    late_s: float = 0.0

    def add_error(self, what: str) -> None:
        self.n_errors += 1
        if len(self.errors) < 50:
            self.errors.append(what)


class Traffic:
    """The whole load, on one event loop."""

    def __init__(self, spec: TrafficSpec) -> None:
        self.spec = spec
        self.measured = Measurements()
        self._unfinished: dict[str, float] = {}
        self._finished = list(spec.finished)
        self._bodies: dict[str, str] = {}
        self._idle: list[tuple[Connection, float]] = []
        self._open = 0
        self._random = random.Random(0)
        self._until = 0.0

    async def run(self) -> Measurements:
        self._until = math.inf
        feeding = asyncio.create_task(self._feed())
        await asyncio.sleep(1.0)  # wait for the first experiments
        self._until = time.monotonic() + self.spec.seconds
        readers = [asyncio.create_task(self._read(number)) for number in range(self.spec.readers)]
        await self._request_steadily()
        self._until = 0.0
        await asyncio.gather(feeding, *readers)
        for connection, _ in self._idle:
            connection.close()
        return self.measured

    async def _request_steadily(self) -> None:
        start, tasks, number = time.monotonic(), set[asyncio.Task[None]](), 0
        while (due := start + number / self.spec.rate) < self._until:
            now = time.monotonic()
            if due > now:
                await asyncio.sleep(due - now)
            # Lateness of this generator itself: if it were large, the latencies would be its own.
            self.measured.late_s = max(self.measured.late_s, time.monotonic() - due)
            task = asyncio.create_task(self._request(number, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.gather(*tasks)

    async def _request(self, number: int, due: float) -> None:
        kind = PATHS[number % len(PATHS)]
        path = kind.format(self.spec.finished[number // len(PATHS) % len(self.spec.finished)])
        try:
            async with asyncio.timeout(_REQUEST_S), self._connection() as connection:
                reply = await connection.get(path)
        except (OSError, EOFError, TimeoutError) as error:
            self.measured.add_error(f"{path}: {type(error).__name__} {error}")
            return
        self.measured.latencies.setdefault(kind, []).append(time.monotonic() - due)
        self._check(path, reply, same=number % len(PATHS) < _CACHED)

    def _check(self, path: str, reply: Reply, *, same: bool) -> None:
        if reply.status != 200:
            self.measured.add_error(f"{path}: {reply.status} {reply.body[:200]!r}")
        elif same:
            digest = hashlib.sha256(reply.body).hexdigest()
            if self._bodies.setdefault(path, digest) != digest:
                self.measured.add_error(f"{path}: another body than before")

    async def _read(self, number: int) -> None:
        while time.monotonic() < self._until:
            experiment_id = self._choice(number)
            try:
                async with asyncio.timeout(_STREAM_S):
                    connection = await Connection.open(self.spec.host, self.spec.port)
                    self._open += 1
                    self.measured.most_open = max(self.measured.most_open, self._open)
                    try:
                        await self._read_one(connection, experiment_id)
                    finally:
                        self._open -= 1
                        connection.close()
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.measured.add_error(f"events of {experiment_id}: {type(error).__name__} {error}")
            if experiment_id not in self._unfinished:
                # Users look at what came for different lengths of time before they open another.
                pause = self._random.uniform(0.0, 2 * _BACK_AFTER_S)
                await asyncio.sleep(min(pause, max(0.0, self._until - time.monotonic())))

    def _choice(self, number: int) -> str:
        if self._unfinished and number >= self.spec.readers * _FINISHED_SHARE:
            return self._random.choice(list(self._unfinished))
        return self._random.choice(self._finished)

    async def _read_one(self, connection: Connection, experiment_id: str) -> None:
        status, pieces = await connection.stream(f"/api/experiments/{experiment_id}/events")
        if status != 200:
            self.measured.add_error(f"events of {experiment_id}: {status}")
            return
        stream = EventStream()
        async for piece in pieces:
            stream.take(piece)
        for problem in stream.problems():
            self.measured.add_error(f"events of {experiment_id}: {problem}")
        self.measured.streams += 1
        self.measured.events += stream.n
        if self._unfinished.pop(experiment_id, None) is not None:
            self.measured.ended += 1
            self._finished.append(experiment_id)
            del self._finished[: max(0, len(self._finished) - 50)]

    async def _feed(self) -> None:
        """Keeps several experiments waiting, so that the worker always computes."""
        while time.monotonic() < self._until:
            if len(self._unfinished) < _WAITING:
                question = long_question(self.spec.first_seed + self.measured.submitted, self.spec.pairs)
                self.measured.submitted += 1
                try:
                    async with asyncio.timeout(_REQUEST_S), self._connection() as connection:
                        reply = await connection.post("/api/experiments", question)
                    if reply.status not in (200, 202):
                        self.measured.add_error(f"submit: {reply.status} {reply.body[:200]!r}")
                    else:
                        self._unfinished[json.loads(reply.body)["id"]] = time.monotonic()
                except (OSError, EOFError, TimeoutError) as error:
                    self.measured.add_error(f"submit: {type(error).__name__} {error}")
            else:
                await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection that is kept for the next request, unless it broke."""
        connection: Connection | None = None
        while connection is None and self._idle:
            kept, since = self._idle.pop()
            if time.monotonic() - since < _KEPT_S:
                connection = kept
            else:
                kept.close()
        connection = connection or await Connection.open(self.spec.host, self.spec.port)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append((connection, time.monotonic()))


class EventStream:
    """One event stream as a reader receives it, from start to end."""

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
        """All problems of the stream, in words; none if the reader received everything."""
        problems = []
        if self._rest.strip():
            problems.append(f"it breaks off in {self._rest[:80]!r}")
        if self._last[0] != "state" or self._names["state"] != 1:
            problems.append(f"it ends with {self._last} after {dict(self._names)}")
        elif self._last[1] != {"state": "succeeded"}:
            problems.append(f"it ends with {self._last[1]}")
        if self._ids != sorted(set(self._ids)):
            problems.append("its events are not in order, or come twice")
        if self._names["partial"] and self._progress.get("done") != self._progress.get("total"):
            problems.append(f"its last progress is {self._progress}")
        return problems


def main(log: Callable[[str], object] = sys.stdout.write) -> None:
    """Runs the load and writes its measurements as JSON."""
    log(json.dumps(asdict(asyncio.run(Traffic(TrafficSpec(**json.loads(sys.stdin.read()))).run()))))


if __name__ == "__main__":
    main()
