"""A disk that can be filled: a small tmpfs for the round or, where none can be mounted, a limit on file sizes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, Protocol

import psutil

SIZE_MIB = 256
Means = Literal["tmpfs", "RLIMIT_FSIZE"]


class Disk(Protocol):
    """``means``: the method of filling it, for the report."""

    means: Means

    def fill(self, pids: list[int]) -> None: ...
    def free(self) -> None: ...


class _Tmpfs:
    """Filled by a ballast file, after which no process can write another page."""

    means: Means = "tmpfs"

    def __init__(self, folder: Path) -> None:
        self._ballast = folder / "ballast"

    def fill(self, pids: list[int]) -> None:
        block = b"\0" * 65_536
        with self._ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(block)

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


class _Limit:
    """The API and the worker cannot extend any file (EFBIG); the broker, which the signal would kill, still can."""

    means: Means = "RLIMIT_FSIZE"

    def __init__(self) -> None:
        self._limited: list[tuple[int, tuple[int, int]]] = []

    def fill(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if "valkey-server" in psutil.Process(pid).name():
                    continue
                before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                self._limited.append((pid, before))
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))

    def free(self) -> None:
        for pid, before in self._limited:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        self._limited.clear()


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Creates ``folder`` and, where allowed, mounts a tmpfs there until the end of the block."""
    folder.mkdir(parents=True)
    mounted = _mount(folder)
    try:
        yield _Tmpfs(folder) if mounted else _Limit()
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def with_mounts() -> None:
    """Restarts this program in its own user namespace if only that lets it mount; otherwise does nothing."""
    if os.geteuid() == 0 or sys.platform != "linux" or "SOAK_IN_NAMESPACE" in os.environ:
        return
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, "-Urm", "true"], check=False, capture_output=True).returncode == 0:
        environment = {**os.environ, "SOAK_IN_NAMESPACE": "1"}
        os.execve(unshare, [unshare, "-Urm", sys.executable, "-m", "benchmarks.soak", *sys.argv[1:]], environment)


def _mount(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=0700", "tmpfs", str(folder)]
    with suppress(OSError):
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    return False
