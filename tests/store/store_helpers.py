"""Shared helpers of the store and worker tests: specs, a manual clock, a private Valkey server."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import ExperimentSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.serve import broker
from arithmoscope.store import Store
from benchmarks.patience import patience

CARD = ModelCard(
    id="tiny",
    name="Tiny",
    source="folder",
    revision="abc",
    layers=3,
    heads=4,
    kv_heads=2,
    parameters=1000,
    shots=2,
    supported=True,
)
# Tests of SQLite alone; all others hold on every database.
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def spec_of(*questions: str, model: str = "tiny") -> ExperimentSpec:
    pairs = [{"reference": question} for question in questions or ("3 + 5 =",)]
    prompts = {"source": "custom", "shots": 0, "pairs": pairs}
    return PathPatchingSpec.model_validate({"kind": "path_patching", "model": model, "prompts": prompts})


def finish(store: Store, experiment_id: str, attempt: int = 1) -> None:
    claim = store.claim(experiment_id, attempt, owner="w", lease_s=60)
    assert claim is not None
    store.succeed(claim, {"result.json": b"{}"})


def refused(code: str) -> pytest.RaisesExc[Refusal]:
    return pytest.raises(Refusal, check=lambda refusal: refusal.code == code)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Simulates a full disk: the operating system fails every write beyond this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Valkey:
    """A real broker that can be killed and started again; it keeps nothing."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.url = f"unix://{socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(broker.binary()), "--port", "0", "--unixsocket", str(self._socket), "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self._socket.parent)
        deadline = time.monotonic() + 10 * patience()
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def valkey_server(folder: Path) -> Iterator[Valkey]:
    with broker.socket_path(folder) as socket:
        server = Valkey(socket)
        server.start()
        try:
            yield server
        finally:
            server.kill()
