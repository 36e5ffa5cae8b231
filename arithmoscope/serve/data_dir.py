"""The data folder of one ``serve``: made, found writable, and locked against a second one."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.wiring import new_worker_name

_LOCK = "lock"
_NAME = "worker-name"
_ROOM_BYTES = 32 * 1024 * 1024


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder. Refuses one that another ``serve`` holds, that cannot be written, or that is full."""
    _make(folder)
    with (folder / _LOCK).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read(80).strip()
            raise Refusal("data_dir_in_use", f"{folder} is used by {holder or 'another process'}.") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
        yield


def worker_name(folder: Path) -> str:
    """The name of this folder's worker, the same at every start: it takes over what it left."""
    file = folder / _NAME
    # An empty one is left by who found no room to write it.
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        file.write_text(new_worker_name(), encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        room = os.statvfs(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Refusal("store_unavailable", f"The disk of {folder} is full.") from error
        said = error.strerror or str(error)
        way_out = "Choose a folder that you may write to, with --data-dir or ARITHMOSCOPE_DATA_DIR."
        raise Refusal("store_unavailable", f"{folder} cannot be written: {said}.", way_out) from error
    free = room.f_bavail * room.f_frsize
    if free < _ROOM_BYTES:
        raise Refusal("store_unavailable", f"The disk of {folder} has {free // 1_000_000} MB left.")
