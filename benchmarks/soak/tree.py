"""A real ``arithmoscope serve`` on a data folder of its own, what lives below it, and its restart after a fault."""

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
from typing import Any

import psutil

# A proxy of the environment has nothing to do with this machine talking to itself.
STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SHIM = Path(__file__).parent / "shim"
_PRINTED = re.compile(r"Arithmoscope runs at (http://127\.0\.0\.1:\d+)/ \(Ctrl-C stops it\)\n")


class Serve:
    """A ``serve`` on a port of its own (0: any that is free); its data is in ``folder/data``."""

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
        found = _PRINTED.fullmatch(line)
        if found is None:
            self.process.kill()
            self.process.wait()
            self.rest_of_output()
            raise DidNotStart(f"{line!r} {self.said()[-2000:]}")
        self.address = found[1]

    def said(self) -> str:
        """What it wrote on stderr, in all its lives."""
        return self.err.read_text(encoding="utf-8", errors="replace")

    def open(self, path: str, body: Any = None, timeout_s: float = 15) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        return STRAIGHT.open(request, timeout=timeout_s)

    def get(self, path: str) -> Any:
        with self.open(path) as answer:
            return json.load(answer)

    def submit(self, reference: str = "3 + 5 =", **spec: Any) -> str:
        prompts = {"source": "custom", "pairs": [{"reference": reference}]}
        body = {"kind": "path_patching", "model": "tiny", "prompts": prompts, **spec}
        with self.open("/api/experiments", body) as answer:
            return json.load(answer)["id"]

    def rest_of_output(self) -> str:
        """What was printed after the address, once the process has ended."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            return stdout.read()

    def family(self) -> dict[int, str]:
        return family(self.process.pid)

    def child(self, part: str) -> int | None:
        """The process of a part; the broker's is a server of another name."""
        name = "valkey-server" if part == "broker" else f"arithmoscope.serve.child {part}"
        found = [pid for pid, command in family(self.process.pid, deep=False).items() if name in command]
        return found[0] if found else None

    def computing(self) -> int | None:
        """The process that computes: the worker's child."""
        worker = self.child("worker")
        return None if worker is None else next(iter(family(worker)), None)

    def stop(self, within_s: float = 10.0, by: signal.Signals = signal.SIGTERM) -> float:
        """Asks it to end; the seconds that it took. Raises `TookTooLong` when that is longer than allowed."""
        began = time.monotonic()
        self.process.send_signal(by)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise TookTooLong(f"serve does not stop within {within_s:g} s of {by.name}") from None
        finally:
            self.end()
        return time.monotonic() - began

    def end(self) -> None:
        """Whatever is left of it ends now."""
        left = list(self.family())
        self.process.kill()
        self.process.wait()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ValueError):  # read before
            self.rest_of_output()


class TookTooLong(AssertionError):
    """A serve did not stop in time."""


class DidNotStart(RuntimeError):
    """A serve ended, or said something else, before it said where it is."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def second_worker(serve: Serve, models: Path, log: Path, more: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """A worker of its own on the same database and broker, as somebody adds one: ``arithmoscope worker``."""
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
    """Starts a second one on the same folder: its exit code, and what it said on both streams."""
    command = [sys.executable, "-m", "arithmoscope", "serve", "--port", "0", "--data-dir", str(serve.data)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, env=_own_settings(), timeout=60)
    return second.returncode, second.stdout, second.stderr


def _own_settings() -> dict[str, str]:
    """The environment without a developer's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}


def family(root: int, *, deep: bool = True) -> dict[int, str]:
    """Everything below a process (or its own children alone), by id, with its command line."""
    found: dict[int, str] = {}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(root).children(recursive=deep):
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
    return found


def alive(pids: list[int]) -> list[int]:
    """Those that still run."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def eventually(what: Callable[[], Any], within_s: float = 15.0, every_s: float = 0.05) -> Any:
    """The first true answer, or the last one when the time is over. What cannot be read yet counts as no."""
    until = time.monotonic() + within_s
    while True:
        try:
            found = what()
        except (OSError, ValueError):
            found = None
        if found or time.monotonic() > until:
            return found
        time.sleep(every_s)


def clock_environment(folder: Path) -> dict[str, str]:
    """For a tree whose clock `shift_clock` can move."""
    path = os.pathsep.join([str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "SOAK_CLOCK": str(folder / "clock"), "OMP_NUM_THREADS": "1"}


def shift_clock(folder: Path, seconds: float) -> None:
    """Every process of the tree reads the time that much later (or earlier) from the next twentieth second on."""
    fresh = folder / "clock.new"
    fresh.write_text(str(seconds), encoding="utf-8")
    fresh.replace(folder / "clock")
