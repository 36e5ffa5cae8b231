"""Load: identical questions at one moment, a long queue, and readers and requests while the worker computes."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.soak.http_connection import Connection, Reply
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.memory import MemorySampler, Slope, slope_of
from benchmarks.soak.questions import Question, long_question, tiny_question
from benchmarks.soak.traffic import TrafficSpec
from benchmarks.soak.tree import Serve, eventually, family

# Limit of the 95th percentile.
P95_S = 0.1
_ROOT = Path(__file__).resolve().parents[2]
_AT_ONCE = 8


@dataclass(frozen=True)
class Posts:
    """Identical questions sent at one moment: the number of experiments they created, and the HTTP statuses."""

    sent: int
    experiments: int
    statuses: dict[int, int]
    seconds: float

    @property
    def is_one(self) -> bool:
        return self.experiments == 1 and self.statuses == {202: 1, 200: self.sent - 1}


@dataclass(frozen=True)
class Drain:
    """Processing of a queue of distinct questions.

    ``asked``: questions submitted, within ``asking_s`` seconds. ``most_waiting``: length of the queue after the last
    submission. ``seconds``: until the last one ended.
    """

    asked: int
    lost: int
    twice: int
    most_waiting: int
    asking_s: float
    seconds: float

    @property
    def is_clean(self) -> bool:
        return self.lost == 0 and self.twice == 0


@dataclass(frozen=True)
class Traffic:
    """Latencies in milliseconds from the scheduled moment, by kind of request and overall; memory by process."""

    seconds: float
    readers: int
    rate: float
    requests: int
    latencies_ms: dict[str, dict[str, float]]
    n_errors: int
    errors: list[str]
    streams: int
    events: int
    most_open: int
    submitted: int
    ended: int
    generator_late_ms: float
    memory: dict[str, Slope | None]


@contextmanager
def warm_tree(folder: Path, models: Path) -> Iterator[Serve]:
    """A serve whose worker has its model in memory, and whose successes are counted."""
    folder.mkdir(parents=True)
    # Matrices this small are slower on several threads than on one, and much slower on a busy machine.
    serve = Serve(folder, models, more={"OMP_NUM_THREADS": "1"})
    try:
        Ledger(serve.data).count_finishes()
        experiment_id = serve.submit("1 + 1 =")
        if not eventually(lambda: serve.get(f"/api/experiments/{experiment_id}")["state"] == "succeeded", 90, 0.2):
            raise AssertionError("the worker does not finish its first experiment")
        yield serve
    finally:
        serve.end()


def post_at_once(serve: Serve, question: Question, count: int = 50) -> Posts:
    """Opens all connections and sends all but the last byte first; then sends the last bytes together."""
    return asyncio.run(_post_at_once(serve, question, count))


async def _post_at_once(serve: Serve, question: Question, count: int) -> Posts:
    host, port = _host_and_port(serve)
    connections = [await Connection.open(host, port) for _ in range(count)]
    whole = connections[0].post_bytes("/api/experiments", question)
    for connection in connections:
        await connection.send(whole[:-1])
    await asyncio.sleep(0.2)
    start = time.monotonic()

    async def send_rest(connection: Connection) -> Reply:
        await connection.send(whole[-1:])
        return await connection.reply()

    replies = await asyncio.gather(*map(send_rest, connections))
    took = time.monotonic() - start
    for connection in connections:
        connection.close()
    ids = {json.loads(reply.body).get("id") for reply in replies}
    return Posts(count, len(ids), dict(Counter(reply.status for reply in replies)), round(took, 3))


def drain(serve: Serve, count: int, within_s: float) -> Drain:
    """Submits ``count`` distinct tiny questions as fast as possible, and waits for the last to finish."""
    start = time.monotonic()
    ids = asyncio.run(_submit_all(serve, [tiny_question(number) for number in range(1, count + 1)]))
    asking_s = time.monotonic() - start
    ledger = Ledger(serve.data)
    mine = set(ids)

    def waiting() -> int:
        return sum(row.state in ("queued", "running") for name, row in ledger.rows().items() if name in mine)

    most_waiting = waiting()
    eventually(lambda: waiting() == 0, within_s, 0.5)
    seconds = time.monotonic() - start
    rows, finishes = ledger.rows(), ledger.finishes()
    lost = sum(name not in rows or rows[name].state != "succeeded" for name in mine) + count - len(mine)
    twice = sum(finishes.get(name, 0) > 1 for name in mine)
    return Drain(count, lost, twice, most_waiting, round(asking_s, 1), round(seconds, 1))


async def _submit_all(serve: Serve, questions: list[Question]) -> list[str]:
    left, ids = list(reversed(questions)), []

    async def one_after_another() -> None:
        connection = await Connection.open(*_host_and_port(serve))
        while left:
            reply = await connection.post("/api/experiments", left.pop())
            if reply.status not in (200, 202):
                raise AssertionError(f"a question of the long queue was answered {reply.status}: {reply.body!r}")
            ids.append(json.loads(reply.body)["id"])
        connection.close()

    await asyncio.gather(*(one_after_another() for _ in range(_AT_ONCE)))
    return ids


def run_traffic(
    serve: Serve, seconds: float, readers: int = 200, rate: float = 50.0, finished_ones: int = 12
) -> Traffic:
    """The load generator runs in its own process; this one only samples the server's memory meanwhile."""
    finished = []
    for seed in range(finished_ones):
        with serve.open("/api/experiments", long_question(500_000 + seed)) as answer:
            finished.append(json.load(answer)["id"])
    rows = Ledger(serve.data).rows
    if not eventually(lambda: all(rows()[name].state == "succeeded" for name in finished), 600, 0.5):
        raise AssertionError("the experiments to read from do not finish")
    host, port = _host_and_port(serve)
    spec = TrafficSpec(host, port, seconds, readers, rate, finished)
    with MemorySampler(lambda: _parts(serve)) as sampler:
        generator = subprocess.run(
            [sys.executable, "-m", "benchmarks.soak.traffic"],
            input=json.dumps(asdict(spec)),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=_ROOT,
        )
    return _summary(spec, json.loads(generator.stdout), sampler)


def _summary(spec: TrafficSpec, seen: dict[str, Any], sampler: MemorySampler) -> Traffic:
    latencies = {name.removeprefix("/api/experiments") or "/": times for name, times in seen["latencies"].items()}
    all_latencies = [each for times in latencies.values() for each in times]
    return Traffic(
        seconds=spec.seconds,
        readers=spec.readers,
        rate=spec.rate,
        requests=len(all_latencies),
        latencies_ms={
            "all": percentiles(all_latencies),
            **{name: percentiles(times) for name, times in latencies.items()},
        },
        n_errors=seen["n_errors"],
        errors=seen["errors"],
        streams=seen["streams"],
        events=seen["events"],
        most_open=seen["most_open"],
        submitted=seen["submitted"],
        ended=seen["ended"],
        generator_late_ms=round(seen["late_s"] * 1000, 1),
        memory={name: slope_of(samples) for name, samples in sampler.samples.items()},
    )


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the largest, in milliseconds; by nearest rank, so never better than an observed value."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    ranks = {name: ordered[math.ceil(part * len(ordered)) - 1] for name, part in _PERCENTILES.items()}
    return {name: round(value * 1000, 1) for name, value in {**ranks, "max": ordered[-1]}.items()} | {
        "mean": round(statistics.fmean(ordered) * 1000, 1)
    }


_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _parts(serve: Serve) -> dict[str, list[int]]:
    """The processes whose memory is sampled."""
    processes = {"serve": [serve.process.pid]}
    for part in ("api", "worker", "broker"):
        pid = serve.child(part)
        if pid is not None:
            processes[part] = [pid]
    if "worker" in processes:
        processes["worker child"] = list(family(processes["worker"][0]))[:1]
    return processes


def _host_and_port(serve: Serve) -> tuple[str, int]:
    address = urlsplit(serve.address)
    return str(address.hostname), int(address.port or 80)
