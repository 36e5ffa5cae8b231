"""A worker's inside without Celery: jobs on an engine that a test defines in a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from arithmoscope_worker.engine_port import EnginePort, Output, Run
from arithmoscope_worker.heartbeat import Heartbeat
from arithmoscope_worker.job import JobRunner
from arithmoscope_worker.runtime import Runtime
from outputs import output
from store_helpers import spec_of  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.kinds import KINDS
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import AsyncEventLog, Event, EventLog, Store

CARD = ModelCard(
    id="tiny",
    name="Tiny",
    source="folder",
    revision="one",
    layers=3,
    heads=4,
    kv_heads=2,
    parameters=1000,
    shots=2,
    supported=True,
)


@dataclass
class Bench:
    """``bench.run`` is the engine's run; ``bench.stop`` requests the worker's stop."""

    store: Store
    events: EventLog
    redis_url: str
    lease_s: float = 5.0

    def __post_init__(self) -> None:
        self.run: Callable[..., Output | None] = lambda *_, **__: output(result_json=b"{}")
        self.compute_view: Callable[..., bytes] = lambda *_, **__: b"patterns"
        self.stop = False
        self.left: list[str] = []
        self.loaded: list[str] = []
        runs: dict[str, Run] = dict.fromkeys(KINDS, cast(Run, lambda *a, **k: self.run(*a, **k)))
        engine = EnginePort(
            "cpu",
            self._load,
            runs,
            lambda *args: self.compute_view(*args[:-1], read=args[-1]),
            rebuild_tuned=self._rebuild_tuned,
        )
        self.runtime = Runtime(lambda: engine, max_models=2)
        self.heartbeat = Heartbeat(
            self.store,
            lambda busy: WorkerStatus(id="w", device="cpu", models=self.runtime.models(), busy=busy),
            lease_s=self.lease_s,
            heartbeat_s=0.1,
            stop_requested=lambda: self.stop,
            exit_now=self.left.append,
            grace_s=0.3,
        )
        self.jobs = JobRunner(
            store=self.store,
            events=self.events,
            runtime=self.runtime,
            heartbeat=self.heartbeat,
            owner="w",
            lease_s=self.lease_s,
            stop_requested=lambda: self.stop,
        )

    def _load(self, model_id: str) -> Any:
        self.loaded.append(model_id)
        return f"the model {model_id}"

    def _rebuild_tuned(self, base: Any, card: ModelCard, deltas: bytes) -> Any:
        return f"{base}, with {deltas.decode()}"

    def submit(self, key: str = "k", model: str = "tiny") -> str:
        return self.store.submit(spec_of(model=model), key=key)[0].id

    def events_of(self, experiment_id: str) -> list[Event]:
        """Every event of an experiment, as a reader of the stream gets them."""

        async def reading() -> list[Event]:
            log = AsyncEventLog(self.redis_url)
            try:
                return await log.read(experiment_id, None, 0)
            finally:
                await log.close()

        return asyncio.run(reading())
