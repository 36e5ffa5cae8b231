"""What a worker is told by the front door."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """``name`` is this worker's alone, also across machines: who starts under it takes over what it left."""

    redis_url: str
    database_url: str
    artifacts_url: str
    models_dir: Path
    name: str
    device: str = "auto"
    dtype: str = "float32"
    allow_hub: bool = False
    log_level: str = "INFO"
    # A lease outlives a few missed heartbeats, and a dead worker's job waits no longer than this.
    lease_s: float = 20.0
    beat_s: float = 3.0
    models_in_memory: int = 2
