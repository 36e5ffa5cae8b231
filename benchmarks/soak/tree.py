"""A real ``arithmoscope serve`` on its own data folder, its child processes, and its restart after a fault."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks.patience import patience

T = TypeVar("T")

# Requests on this machine must not go through a proxy from the environment.
STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SHIM = Path(__file__).parent / "shim"
_PRINTED = re.compile(r"Arithmoscope runs at (http://127\.0\.0\.1:\d+)/ \(Ctrl-C stops it\)\n")


class Serve:
    """A ``serve`` on its own port (0: any free one); its data is in ``folder/data``."""

    def __init__(
        self,
        folder: Path,
        models: Path | None = None,
        command: list[str] | None = None,
        *,
        port: int = 0,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.data = folder / "data"
        self.err = folder / "stderr"
        environment = {**_own_settings(), "ARITHMOSCOPE_MODELS_DIR": str(models or folder / "models"), **(more or {})}
        command = command or [sys.executable, "-m", "arithmoscope"]
        with self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [*command, "serve", "--port", str(port), "--data-dir", str(self.data)],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=environment,
                cwd=folder,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        address = _PRINTED.fullmatch(line)
        if address is None:
            self.process.kill()
            self.process.wait()
            self.rest_of_output()
            raise StartFailed(f"{line!r} {self.stderr_text()[-2000:]}")
        self.address = address[1]

    def stderr_text(self) -> str:
        """Everything it wrote to stderr, across restarts."""
        return self.err.read_text(encoding="utf-8", errors="replace")

    def open(self, path: str, body: Any = None, timeout_s: float = 15) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        return STRAIGHT.open(request, timeout=timeout_s * patience())

    def get(self, path: str) -> Any:
        with self.open(path) as answer:
            return json.load(answer)

    def submit(self, reference: str = "3 + 5 =", **spec: Any) -> str:
        prompts = {"source": "custom", "shots": 0, "pairs": [{"reference": reference}]}
        body = {"kind": "path_patching", "model": "tiny", "prompts": prompts, **spec}
        with self.open("/api/experiments", body) as answer:
            return json.load(answer)["id"]

    def rest_of_output(self) -> str:
        """Everything printed after the address, once the process has ended."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            return stdout.read()

    def family(self) -> dict[int, str]:
        return family(self.process.pid)

    def child(self, part: str) -> int | None:
        """The process id of a part; the broker is a server with another name."""
        name = "valkey-server" if part == "broker" else f"arithmoscope.serve.child {part}"
        pids = [pid for pid, command in family(self.process.pid, deep=False).items() if name in command]
        return pids[0] if pids else None

    def computing(self) -> int | None:
        """The process that computes: the worker's child."""
        worker = self.child("worker")
        return None if worker is None else next(iter(family(worker)), None)

    def stop(self, within_s: float = 10.0, by: signal.Signals = signal.SIGTERM) -> float:
        """Sends a signal; returns the seconds until it stopped. Raises `StopTimedOut` if that takes too long."""
        start = time.monotonic()
        self.process.send_signal(by)
        try:
            self.process.wait(within_s * patience())
        except subprocess.TimeoutExpired:
            raise StopTimedOut(f"serve does not stop within {within_s:g} s of {by.name}") from None
        finally:
            self.end()
        return time.monotonic() - start

    def end(self) -> None:
        """Kills everything that is left of it."""
        left = list(self.family())
        self.process.kill()
        self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ValueError):  # already read
            self.rest_of_output()


class StopTimedOut(AssertionError):
    """A serve did not stop in time."""


class StartFailed(RuntimeError):
    """A serve ended, or printed something else, before it printed its address."""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def second_worker(serve: Serve, models: Path, log: Path, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Another worker on the same database and broker, as an operator adds one: ``arithmoscope worker``."""
    environment = {
        **_own_settings(),
        "ARITHMOSCOPE_MODELS_DIR": str(models),
        "ARITHMOSCOPE_REDIS_URL": f"unix://{serve.data / 'redis.sock'}",
        "ARITHMOSCOPE_DATABASE_URL": f"sqlite:///{serve.data / 'arithmoscope.db'}",
        "ARITHMOSCOPE_ARTIFACTS_URL": (serve.data / "artifacts").as_uri(),
        **more,
    }
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "arithmoscope", "worker"],
            stdout=out,
            stderr=out,
            env=environment,
            cwd=serve.data.parent,
        )


def two_serves(serve: Serve) -> tuple[int, str, str]:
    """Starts a second serve on the same folder: its exit code, stdout and stderr."""
    command = [sys.executable, "-m", "arithmoscope", "serve", "--port", "0", "--data-dir", str(serve.data)]
    second = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_own_settings(), timeout=60 * patience()
    )
    return second.returncode, second.stdout, second.stderr


def _own_settings() -> dict[str, str]:
    """The environment without a developer's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}


def family(root: int, *, deep: bool = True) -> dict[int, str]:
    """All descendants of a process (or its direct children), by id, with their command lines."""
    processes: dict[int, str] = {}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(root).children(recursive=deep):
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    processes[process.pid] = " ".join(process.cmdline())
    return processes


def alive(pids: list[int]) -> list[int]:
    """Those that still run."""
    running = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
    return running


def eventually(what: Callable[[], Any], within_s: float = 15.0, every_s: float = 0.05) -> Any:
    """The first true value of ``what()``, or its last value when the time is up, which is longer on a busy machine. A
    failed read counts as false.
    """
    start = time.monotonic()
    while True:
        try:
            value = what()
        except (OSError, ValueError):
            value = None
        if value or time.monotonic() > start + within_s * patience():
            return value
        time.sleep(every_s)  # other processes change what is asked: nothing here could be awaited


def settled(look: Callable[[], T], done: Callable[[T], bool], standstill_s: float, every_s: float = 0.2) -> T | None:
    """Looks until ``done`` or until nothing has changed for ``standstill_s``; returns what it saw last, or None.

    How long work takes depends on what else the machine does; only a standstill says that it does not end. A failed
    look sees nothing new.
    """
    seen, changed_at = None, time.monotonic()
    while True:
        with suppress(OSError, ValueError):
            now = look()
            if now != seen:
                seen, changed_at = now, time.monotonic()
            if done(now):
                return now
        if time.monotonic() - changed_at > standstill_s * patience():
            return seen
        time.sleep(every_s)  # other processes change what is asked: nothing here could be awaited


def clock_environment(folder: Path) -> dict[str, str]:
    """Environment of a tree whose clock `shift_clock` can move."""
    path = os.pathsep.join([str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "SOAK_CLOCK": str(folder / "clock"), "OMP_NUM_THREADS": "1"}


def shift_clock(folder: Path, seconds: float) -> None:
    """Shifts the clock of every process of the tree by that many seconds, within a twentieth of a second."""
    fresh = folder / "clock.new"
    fresh.write_text(str(seconds), encoding="utf-8")
    fresh.replace(folder / "clock")
