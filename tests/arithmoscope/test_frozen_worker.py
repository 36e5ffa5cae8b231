"""A worker frozen in the middle of a write does not block others for long, and a busy store does not block Ctrl-C."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.serve.processes import Child
from arithmoscope.serve.watchdog import BackgroundCall, Watchdog
from arithmoscope.store import Store
from benchmarks.patience import patience

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))
from store_helpers import Clock, files_no_larger_than, spec_of  # pyright: ignore[reportMissingImports]

HOLDS = """
import pathlib, sqlite3, sys, time
folder = pathlib.Path(sys.argv[1])
while not (folder / "hold").exists():
    time.sleep(0.02)
connection = sqlite3.connect(folder / "a.db", isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
(folder / "held").touch()
time.sleep(60)
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'a.db'}", "memory://", clock=clock) as store:
        yield store


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Child]:
    """A process that starts a write and never finishes it once the file ``hold`` exists."""
    argv = [sys.executable, "-c", HOLDS, str(tmp_path)]
    child = Child("broker", lambda: {"argv": argv}, tmp_path / "log")
    child.start()
    yield child
    child.wait(time.monotonic())


@pytest.mark.parametrize("in_a_write", [True, False])
def test_a_silent_worker_is_killed_and_the_store_goes_on(
    store: Store, worker: Child, clock: Clock, tmp_path: Path, in_a_write: bool
) -> None:
    watchdog = Watchdog(store, "w", worker)
    watchdog.check()
    assert watchdog.kill_if_frozen() is None, "it starts"
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=True))
    watchdog.check()
    clock.now += 15
    watchdog.check()
    assert watchdog.kill_if_frozen() is None, "it may be busy"
    if in_a_write:
        (tmp_path / "hold").touch()
        deadline = time.monotonic() + 10 * patience()
        while not (tmp_path / "held").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    clock.now += 10
    watchdog.check()
    assert "frozen" in (watchdog.kill_if_frozen() or "")
    assert watchdog.kill_if_frozen() is None
    time.sleep(0.1)
    assert "signal 9" in (worker.poll() or "")
    assert store.submit(spec_of(), key="k")[1]


def test_a_worker_silenced_by_a_full_disk_is_left_alone(store: Store, worker: Child, clock: Clock) -> None:
    watchdog = Watchdog(store, "w", worker)
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=True))
    watchdog.check()
    clock.now += 60
    with files_no_larger_than(4096):
        watchdog.check()
    assert watchdog.kill_if_frozen() is None
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=True))
    watchdog.check()
    assert watchdog.kill_if_frozen() is None


def test_a_background_call_is_awaited_for_a_bounded_time_and_never_runs_twice_at_once() -> None:
    begun, go_on = [], threading.Event()

    def act() -> None:
        begun.append(1)
        assert go_on.wait(10 * patience())
        if len(begun) == 2:
            raise Refusal("store_unavailable", "The disk is full.")

    call = BackgroundCall(act, timeout_s=0.1)
    for _ in range(3):
        with pytest.raises(Refusal, match="not answered yet"):
            call()
    go_on.set()
    time.sleep(0.1)
    call()
    assert begun == [1]
    with pytest.raises(Refusal, match="full"):
        call()
    assert begun == [1, 1]
