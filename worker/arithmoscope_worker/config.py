"""Configuration of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """``name`` is unique to this worker across machines: a restarted worker takes over the jobs held under it."""

    redis_url: str
    database_url: str
    artifacts_url: str
    models_dir: Path
    name: str
    device: str = "auto"
    dtype: Literal["float32", "float64", "float16", "bfloat16", "int8"] = "float32"
    allow_hub: bool = False
    log_level: str = "INFO"
    # A lease survives a few missed heartbeats, and a dead worker's job continues within ten seconds.
    lease_s: float = 7.0
    heartbeat_s: float = 1.5
    models_in_memory: int = 2
