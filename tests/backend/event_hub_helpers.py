"""An event hub over a store, the worker's side of it, and a broker that tests can stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import redis
from api_helpers import Sse, sse
from arithmoscope_api.event_hub import EventHub

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.serve import broker
from arithmoscope.store import AsyncEventLog, Claim, EventLog, Store
from arithmoscope.store.rows import ExperimentStatus


class Bench:
    """An event hub over a store, and the worker's side of it."""

    def __init__(self, store: Store, redis_url: str | None) -> None:
        self.store = store
        self.read_sizes: list[int] = []
        self.publisher = EventLog(redis_url) if redis_url else None
        self.events = AsyncEventLog(redis_url) if redis_url else None
        self.hub = EventHub(self.read_statuses, self.events)
        self.broken = False
        self.after_read: Callable[[], None] | None = None

    def read_statuses(self, ids: Sequence[str]) -> dict[str, ExperimentStatus]:
        self.read_sizes.append(len(ids))
        if self.broken:
            raise Refusal("store_unavailable", "The database does not answer.")
        rows = self.store.experiment_statuses(ids)
        if self.after_read is not None:
            self.after_read()
        return rows

    def joined(self) -> bool:
        """Whether the hub reads the stream of every watched experiment."""
        return all(channel.joined for channel in self.hub._channels.values())

    def submit(self, key: str = "k") -> str:
        pairs = [{"reference": "3 + 5 ="}]
        spec = PathPatchingSpec.model_validate(
            {"kind": "path_patching", "model": "tiny", "prompts": {"source": "custom", "shots": 0, "pairs": pairs}}
        )
        return self.store.submit(spec, key=key)[0].id

    def begin(self, experiment_id: str, attempt: int = 1) -> Claim:
        claim = self.store.claim(experiment_id, attempt, owner="w", lease_s=60)
        assert claim is not None
        return claim

    def publish_progress(self, experiment_id: str, done: int) -> None:
        assert self.publisher is not None
        self.publisher.publish(experiment_id, "progress", {"done": done})

    def follow(self, experiment_id: str, after: str | None = None) -> AsyncGenerator[bytes, None]:
        return self.hub.follow(experiment_id, self.store.experiment_status(experiment_id), after)

    async def read(self, experiment_id: str, after: str | None = None) -> list[Sse]:
        return sse(b"".join([frame async for frame in self.follow(experiment_id, after)]).decode())


@asynccontextmanager
async def bench(store: Store, redis_url: str | None) -> AsyncIterator[Bench]:
    hub_bench = Bench(store, redis_url)
    yield hub_bench
    await hub_bench.hub.close()
    if hub_bench.events is not None and hub_bench.publisher is not None:
        await hub_bench.events.close()
        hub_bench.publisher.close()


@contextmanager
def own_broker(folder: Path) -> Iterator[tuple[str, int]]:
    """A broker to be stopped and emptied; its address and its process."""
    with broker.socket_path(folder) as path:
        process = subprocess.Popen(broker.arguments(folder, path), stdout=subprocess.DEVNULL)
        url = f"unix://{path}"
        with redis.Redis.from_url(url) as client:
            for _ in range(100):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.05)
        try:
            yield url, process.pid
        finally:
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            process.wait(5)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(120):  # it ends what would never end; a busy machine is slow
            await body()

    asyncio.run(within())


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.01)


def done(read: list[Sse]) -> list[int]:
    return [each.data["done"] for each in read if each.event == "progress"]
