"""An API and workers as separate processes, connected by PostgreSQL, a Redis with a password, and an S3 store."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.patience import patience

_STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Installation:
    """``environment`` holds the variables of each part; logs go to ``folder``."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self._folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith(("ARITHMOSCOPE_", "AWS_"))}
        self._environment = {**own, **environment, "OMP_NUM_THREADS": "1"}

    @contextmanager
    def part(self, *command: str, log_name: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """``arithmoscope COMMAND``, ended with the block."""
        with (self._folder / f"{log_name or command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "arithmoscope", *command],
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
            )
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()

    @contextmanager
    def api(self) -> Iterator[subprocess.Popen[bytes]]:
        with self.part("api", "--port", str(self._port)) as process:
            deadline = time.monotonic() + 60 * patience()
            while True:
                with suppress(OSError):
                    self.read("/api/ready")
                    break
                assert process.poll() is None, self.log("api")
                assert time.monotonic() < deadline, self.log("api")
                time.sleep(0.05)
            yield process

    def log(self, part: str) -> str:
        return (self._folder / f"{part}.log").read_text()[-30_000:]

    def read(self, path: str, body: Any = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        address = f"http://127.0.0.1:{self._port}{path}"
        with _STRAIGHT.open(
            urllib.request.Request(address, data, {"Content-Type": "application/json"}), timeout=15 * patience()
        ) as it:
            return it.read()

    def get(self, path: str, body: Any = None) -> Any:
        return json.loads(self.read(path, body))

    def status(self, path: str) -> int:
        try:
            self.read(path)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        return 200
