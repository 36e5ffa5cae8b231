"""The API as a process: opens the store, listens, and ends in time with open event streams."""

from __future__ import annotations

import socket

import uvicorn

from backend.app import create_app
from backend.config import ApiConfig
from store import Store

# Event streams end when they are told to; a download in progress has this long.
GRACE_S = 3


def run(config: ApiConfig, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, on a socket that already listens or on the configured address."""
    with Store.open(config.database_url, config.artifacts_url) as store:
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(config, store),
                host=config.host,
                port=config.port,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        server.run(sockets=[listening] if listening is not None else None)
