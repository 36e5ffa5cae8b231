"""What the API is told when it starts. The front door makes it once, from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Everything from outside. Crosses a process: plain values only.

    ``redis_url`` is redis-py's spelling (``redis://`` or ``unix://``), None for a door without live events.
    ``host`` is the address that is bound, ``allowed_hosts`` more names by which the page may be reached.
    ``trusted_proxies`` are addresses or networks whose ``X-Forwarded-For`` and ``-Proto`` are believed.
    Whoever holds one of ``tokens`` is let in; none: whoever reaches the address. ``quota`` is how many unfinished
    experiments one token may have, ``rate_limit`` how many writes, such as ``6000/minute``; 0: any number.
    ``store_budget`` is how many bytes the artifacts may come to.
    ``device`` and ``dtype`` are part of an experiment's key: on another device the question is another one.
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
