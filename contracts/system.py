"""What the server says of itself."""

from __future__ import annotations

from typing import Literal

from contracts.wire import Wire


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
