"""Configuration of the API process, made from the settings by the command that starts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Everything that the API takes from outside. It is passed to another process: plain values only.

    Attributes:
        database_url: SQLAlchemy URL of the experiments.
        artifacts_url: fsspec URL of the artifacts.
        redis_url: URL of the broker as redis-py spells it (``redis://`` or ``unix://``); None: no broker, so that
            experiments are stored and stay queued, and live events come from the rows alone.
        host: The address that is bound.
        port: The port that is bound.
        root_path: The path under which a proxy serves the application, without a trailing slash.
        tokens: Accepted tokens; none: everyone who reaches the address has access.
        quota: Unfinished experiments per token; 0: no limit.
        store_budget: Disk quota of the artifacts in bytes; None: no limit.
        rate_limit: Writes per token or address, such as ``6000/minute``; ``0``: no limit.
        allowed_hosts: More host names under which the page may be reached.
        trusted_proxies: Addresses or networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
        device: Device of the workers; part of an experiment's key, as is ``dtype``: on another device the same spec
            is another experiment.
        dtype: Data type of the weights.
        page_dir: Folder of the built page; None: no page.
    """

    database_url: str
    artifacts_url: str
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    root_path: str = ""
    tokens: tuple[str, ...] = ()
    quota: int = 5000
    store_budget: int | None = None
    rate_limit: str = "6000/minute"
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "float32"
    page_dir: Path | None = None
