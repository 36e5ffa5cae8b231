"""The API on a real port, as `serve` runs it, and clients that write to it byte by byte."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.connections import Connection
from arithmoscope_api.serve import make_server

from arithmoscope.store import Store
from benchmarks.patience import patience


@contextmanager
def served(config: ApiConfig, store: Store, connection: type[Connection] = Connection) -> Iterator[int]:
    """Serves the application on a real port; yields the port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        server = make_server(config, store, connection)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until = time.monotonic() + 20 * patience()
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            assert server.started
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20 * patience())
    assert not thread.is_alive()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connected(port: int, timeout: float = 15.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout)


def head(method: str, path: str, *headers: str, host: str = "localhost") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_answer(client: socket.socket) -> Answer | None:
    """The next answer with a Content-Length; None when the connection ends without one."""
    with client.makefile("rb") as stream:
        try:
            first = stream.readline()
            if not first:
                return None
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            return Answer(int(first.split()[1]), headers, stream.read(int(headers.get("content-length", 0))))
        except ConnectionResetError:
            return None


def exchange(port: int, request: bytes) -> Answer | None:
    """Sends one request, byte for byte, and returns its answer."""
    with connected(port) as client:
        client.sendall(request)
        return read_answer(client)
