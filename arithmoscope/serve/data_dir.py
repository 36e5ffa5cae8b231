"""The data folder of one ``serve``: created, checked to be writable, and locked against a second process."""

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
_MIN_FREE_BYTES = 32 * 1024 * 1024


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder. Raises Refusal if another ``serve`` holds it, or if it is not writable or full."""
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
    """The name of this folder's worker, stable across restarts, so that it takes over the jobs held under it."""
    file = folder / _NAME
    # An empty file remains if the disk was full when it was written.
    if not file.is_file() or not file.read_text(encoding="utf-8").strip():
        file.write_text(new_worker_name(), encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
        disk = os.statvfs(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Refusal("store_unavailable", f"The disk of {folder} is full.") from error
        reason = error.strerror or str(error)
        way_out = "Choose a folder that you may write to, with --data-dir or ARITHMOSCOPE_DATA_DIR."
        raise Refusal("store_unavailable", f"{folder} cannot be written: {reason}.", way_out) from error
    free = disk.f_bavail * disk.f_frsize
    if free < _MIN_FREE_BYTES:
        raise Refusal("store_unavailable", f"The disk of {folder} has {free // 1_000_000} MB left.")
