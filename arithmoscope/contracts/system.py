"""What the server says of itself."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from arithmoscope.contracts.base import Wire
from arithmoscope.contracts.experiments import State
from arithmoscope.contracts.specs import Kind


class WorkerStatus(Wire):
    """A worker seen within its heartbeat: where it computes, what it holds in memory, whether it is busy."""

    id: str
    device: str
    models: tuple[str, ...]
    busy: bool


class Health(Wire):
    """``GET /api/health``."""

    status: Literal["ok", "degraded"]
    version: str
    broker: Literal["ok", "down"]
    store: Literal["ok", "down"]
    workers: tuple[WorkerStatus, ...]
    running: int
    waiting: int


class WorkerReport(WorkerStatus):
    """A worker as the System page shows it: what it works on, and how long ago it was heard of."""

    experiment: str | None
    seen_s: float


class QueueReport(Wire):
    """What waits and runs. ``oldest_wait_s``: since the first of those that wait was queued."""

    waiting: int
    running: int
    oldest_wait_s: float | None


class StoreReport(Wire):
    """What is kept, in bytes. ``budget_bytes`` and ``free_bytes`` (of the disk) are None where none is known."""

    experiments: dict[State, int]
    deleted: int
    artifact_bytes: int
    budget_bytes: int | None
    free_bytes: int | None


class Duration(Wire):
    """How long experiments of a kind took on a model: a moving average over ``n`` of them, from start to end."""

    kind: Kind
    model: str
    mean_s: float
    n: int


class Failure(Wire):
    """An experiment that failed lately."""

    experiment: str
    at: datetime
    title: str
    detail: str


class SystemReport(Wire):
    """``GET /api/system``: what the System page shows. ``quota``: unfinished experiments that one token may have."""

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
