"""Reports of the server about itself: health, workers, queue, store, failures."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.experiments import State
from arithmoscope.contracts.kinds import Kind


class WorkerStatus(Wire):
    """A live worker: its device, the models in its memory, and whether it is busy."""

    id: str
    device: str
    models: tuple[str, ...]
    busy: bool


class Health(Wire):
    """Answer of ``GET /api/health``."""

    status: Literal["ok", "degraded"]
    version: str
    broker: Literal["ok", "down"]
    store: Literal["ok", "down"]
    workers: tuple[WorkerStatus, ...]
    running: int
    waiting: int


class WorkerReport(WorkerStatus):
    """A worker on the System page: its current experiment, and the seconds since its last heartbeat (``seen_s``)."""

    experiment: str | None
    seen_s: float


class QueueReport(Wire):
    """Numbers of waiting and running experiments. ``oldest_wait_s``: how long the oldest of the waiting ones has been
    queued, in seconds."""

    waiting: int
    running: int
    oldest_wait_s: float | None


class StoreReport(Wire):
    """Contents of the store; sizes in bytes. ``budget_bytes`` (disk quota) and ``free_bytes`` (of the disk) are None if
    unknown."""

    experiments: dict[State, int]
    deleted: int
    artifact_bytes: int
    budget_bytes: int | None
    free_bytes: int | None


class Duration(Wire):
    """Running time of experiments of one kind on one model, from start to end: moving average over ``n`` of them."""

    kind: Kind
    model: str
    mean_s: float
    n: int


class Failure(Wire):
    """A recently failed experiment."""

    experiment: str
    at: datetime
    title: str
    detail: str


class SystemReport(Wire):
    """Answer of ``GET /api/system``: the System page. ``quota``: limit on unfinished experiments per token."""

    version: str
    started_at: datetime
    broker: Literal["ok", "down"]
    queue: QueueReport
    workers: tuple[WorkerReport, ...]
    store: StoreReport
    durations: tuple[Duration, ...]
    failures: tuple[Failure, ...]
    live_readers: int
    quota: int
