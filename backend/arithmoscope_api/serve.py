"""The API as a process: opens the store, listens, and ends in time with open event streams."""

from __future__ import annotations

import socket
import sys

import uvicorn

from arithmoscope.store import Store
from arithmoscope_api.app import create_app
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.connections import Connection, connections_that_fit
from arithmoscope_api.http.security import MAX_HEAD_BYTES

# Event streams end when they are told to; a download in progress has this long.
GRACE_S = 3
# Reading a large question takes a thread a moment; the event loop, which everyone else waits for, gets its turn
# sooner than Python's usual 5 ms, several times a request.
SWITCH_S = 0.0005


def run(config: ApiConfig, listening: socket.socket | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C, on a socket that already listens or on the configured address."""
    sys.setswitchinterval(SWITCH_S)

    class Here(Connection):
        max_connections = connections_that_fit()

    with Store.open(config.database_url, config.artifacts_url, budget=config.store_budget) as store:
        server_of(config, store, Here).run(sockets=[listening] if listening is not None else None)


def server_of(config: ApiConfig, store: Store, connection: type[Connection]) -> uvicorn.Server:
    """The server that speaks to its clients through connections of this kind."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config, store),
            http=connection,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            host=config.host,
            port=config.port,
            log_config=None,  # the front door says where lines go and what they look like
            log_level="warning",
            access_log=False,
            server_header=False,
            # Said here, so that uvicorn neither believes this machine by itself nor reads its own variable.
            proxy_headers=bool(config.trusted_proxies),
            forwarded_allow_ips=list(config.trusted_proxies),
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
        )
    )
