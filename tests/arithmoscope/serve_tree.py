"""A real ``serve`` on a port of its own, and what lives below it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from store import Store

STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Serve:
    """A ``serve`` on a port of its own."""

    def __init__(self, folder: Path, models: Path | None = None, command: list[str] | None = None) -> None:
        self.data = folder / "data"
        self.err = folder / "stderr"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
        environment |= {"ARITHMOSCOPE_MODELS_DIR": str(models or folder / "models")}
        command = command or [sys.executable, "-m", "arithmoscope.cli"]
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "serve", "--port", "0", "--data-dir", str(self.data)],
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                env=environment,
                cwd=folder,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"Arithmoscope runs at (http://127\.0\.0\.1:\d+)/ \(Ctrl-C stops it\)\n", line)
        assert found, (line, self.err.read_text())
        self.address = found[1]

    def open(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        return STRAIGHT.open(request, timeout=15)

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
        name = "valkey-server" if part == "broker" else f"arithmoscope.child {part}"
        found = [pid for pid, command in family(self.process.pid, deep=False).items() if name in command]
        return found[0] if found else None


def store_of(data: Path) -> Store:
    return Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri())


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
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def eventually(what: Callable[[], Any], within_s: float = 15.0) -> Any:
    until = time.monotonic() + within_s
    while True:
        try:
            found = what()
        except (OSError, ValueError):
            found = None
        if found or time.monotonic() > until:
            return found
        time.sleep(0.05)
