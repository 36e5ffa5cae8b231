"""The API as a process: opens the store, listens, and shuts down in time even with open event streams."""

from __future__ import annotations

import socket
import sys

import uvicorn

from arithmoscope.store import Store
from arithmoscope_api.app import create_app
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.access_control import MAX_HEAD_BYTES
from arithmoscope_api.http.connections import Connection, connection_limit

# Event streams end immediately on shutdown; a download in progress has this long.
GRACE_S = 3
# The interpreter's thread switch interval. Parsing a large spec keeps a thread busy; the event loop, on which all other
# requests wait, gets the interpreter back sooner than after Python's default of 5 ms, several times a request.
SWITCH_S = 0.0005


def run(config: ApiConfig, listening: socket.socket | None = None) -> None:
    """Serves until SIGTERM or Ctrl-C, on a listening socket if one is passed, else on the configured address."""
    sys.setswitchinterval(SWITCH_S)

    class LimitedConnection(Connection):
        max_connections = connection_limit()

    with Store.open(config.database_url, config.artifacts_url, budget=config.store_budget) as store:
        make_server(config, store, LimitedConnection).run(sockets=[listening] if listening is not None else None)


def make_server(config: ApiConfig, store: Store, connection: type[Connection]) -> uvicorn.Server:
    """A uvicorn server of the application with this connection class."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config, store),
            http=connection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            host=config.host,
            port=config.port,
            log_config=None,  # the starting command configures logging
            log_level="warning",
            access_log=False,
            server_header=False,
            # Explicit, because uvicorn would trust this machine by default and read FORWARDED_ALLOW_IPS.
            proxy_headers=bool(config.trusted_proxies),
            forwarded_allow_ips=list(config.trusted_proxies),
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
    )
