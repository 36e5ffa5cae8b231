"""What happens to servers, as a table: each fault comes at a random moment of running work and is over when it returns.

The last words of a fault's function are what the next one finds: a tree that is up, though it may have work to do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil
import redis

from benchmarks.soak.ledger import Row
from benchmarks.soak.scene import Scene
from benchmarks.soak.tree import alive, eventually, second_worker, shift_clock, two_serves

HOUR_S = 3600.0
# A lease is some seconds long, and is looked at every second.
_LEASE_ENDS_WITHIN_S = 40.0
CLEAN_STOP_S = 10.0
NOTHING_LEFT_AFTER_S = 2.0


@dataclass(frozen=True)
class Seen:
    """``recovery_s``: from the loss of a worker to the next claim of its job; None where no job was lost."""

    recovery_s: float | None = None


@dataclass(frozen=True)
class Fault:
    """``told``: what is done, for the report. ``recovers``: its recovery is that of a killed worker's job, which has
    to go on within ten seconds."""

    name: str
    told: str
    strike: Callable[[Scene], Seen]
    recovers: bool = False


def _pid(scene: Scene, find: Callable[[], int | None], what: str) -> int:
    pid = eventually(find, 30)
    if pid is None:
        raise AssertionError(f"there is no {what}: {scene.serve.said()[-500:]}")
    return int(pid)


def _kill(pid: int) -> float:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _kill_child(scene: Scene) -> Seen:
    held = scene.in_the_middle()
    struck = _kill(_pid(scene, scene.serve.computing, "computing child"))
    return Seen(scene.taken_up_again(_lost(scene, held), struck))


def _kill_worker(scene: Scene) -> Seen:
    held = scene.in_the_middle()
    struck = _kill(_pid(scene, lambda: scene.serve.child("worker"), "worker"))
    return Seen(scene.taken_up_again(_lost(scene, held), struck))


def _kill_supervisor(scene: Scene) -> Seen:
    held = scene.in_the_middle()
    children = list(scene.serve.family())
    scene.serve.process.kill()
    struck = time.monotonic()
    scene.serve.process.wait()
    scene.serve.rest_of_output()
    # Started again at once, as a service's own supervisor does: what is left of the old one may still be there.
    scene.start()
    left = eventually(lambda: not alive(children), max(0.0, struck + NOTHING_LEFT_AFTER_S - time.monotonic()))
    if not left:
        raise AssertionError(f"alive {NOTHING_LEFT_AFTER_S:g} s after kill -9 of serve: {alive(children)}")
    return Seen(scene.taken_up_again(_lost(scene, held), struck))


def _kill_broker(scene: Scene) -> Seen:
    scene.in_the_middle()
    _kill(_pid(scene, lambda: scene.serve.child("broker"), "broker"))
    if scene.turn("broker killed") % 2 == 0:
        scene.ask()  # it is down at the submit
    return Seen()


def _kill_api(scene: Scene) -> Seen:
    scene.in_the_middle()
    _kill(_pid(scene, lambda: scene.serve.child("api"), "API"))
    scene.ask_again()
    return Seen()


def _freeze_worker(scene: Scene) -> Seen:
    """Every other time another worker is there, which takes the job over while the first is frozen."""
    other, beside = None, scene.turn("worker frozen") % 2 == 1
    try:
        if beside:
            other = second_worker(scene.serve, scene.models, scene.folder / "second.log", scene.environment)
            if not eventually(lambda: len(scene.ledger.workers_seen_at()) > 1, 60):
                raise AssertionError("the second worker does not come up")
        scene.in_the_middle()
        parent = _pid(scene, lambda: scene.serve.child("worker"), "worker")
        pids = [parent, _pid(scene, scene.serve.computing, "computing child")]
        name = (scene.serve.data / "worker-name").read_text().strip()
        struck = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        held = [row for row in scene.running() if row.owner == name]
        try:
            reaped = eventually(lambda: _all_reaped(scene, held), _LEASE_ENDS_WITHIN_S)
            time.sleep(scene.rng.uniform(0.0, 2.0))  # it wakes up at any moment of the work of whoever took over
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        if not reaped:
            raise AssertionError(f"the lease of a frozen worker does not end: {held}")
        return Seen(scene.taken_up_again(held, struck))
    finally:
        if other is not None:
            _stop_second(other)


def _all_reaped(scene: Scene, held: list[Row]) -> bool:
    rows = scene.ledger.rows()
    return all(rows[row.id].attempt > row.attempt for row in held)


def _stop_second(other: subprocess.Popen[bytes]) -> None:
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(other.pid).children(recursive=True)
    other.terminate()
    try:
        other.wait(CLEAN_STOP_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"a worker does not stop within {CLEAN_STOP_S:g} s") from None
    finally:
        other.kill()
        other.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def _empty_broker(scene: Scene) -> Seen:
    scene.in_the_middle(waiting=3)
    with redis.Redis.from_url(f"unix://{scene.serve.data / 'redis.sock'}") as client:
        client.flushall()
    scene.await_work()
    return Seen()


def _freeze_broker(scene: Scene) -> Seen:
    """It takes connections and answers nothing: the hardest way of being down."""
    scene.in_the_middle()
    broker = _pid(scene, lambda: scene.serve.child("broker"), "broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        scene.ask()
        time.sleep(scene.rng.uniform(0.5, 3.0))  # how long it answers nothing
    finally:
        with suppress(ProcessLookupError):
            os.kill(broker, signal.SIGCONT)
    return Seen()


def _fill_disk(scene: Scene) -> Seen:
    scene.in_the_middle(waiting=3)
    pids = [scene.serve.process.pid, *scene.serve.family()]
    scene.disk.fill(pids)
    try:
        scene.ask_once()
        time.sleep(scene.rng.uniform(1.0, 4.0))  # how long the disk stays full
        scene.ask_once()
    finally:
        scene.disk.free()
    return Seen()


def _shift_clock(scene: Scene, seconds: float) -> Seen:
    scene.in_the_middle()
    scene.clock_s += seconds
    shift_clock(scene.folder, scene.clock_s)
    time.sleep(0.2)  # the processes look every 50 ms at the file that says the time
    if scene.questions_left:
        api = scene.ledger.created_at(scene.ask()) - time.time() - scene.clock_s
        if abs(api) > 60:
            raise AssertionError(f"the API's clock did not move: it is {api:g} s from where it should be")

    name = (scene.serve.data / "worker-name").read_text().strip()

    def followed() -> bool:
        seen = scene.ledger.workers_seen_at().get(name)
        return seen is not None and abs(seen - time.time() - scene.clock_s) < 60

    if not eventually(followed, 30):
        raise AssertionError(f"the worker's clock did not move: {scene.ledger.workers_seen_at()}")
    return Seen()


def _start_twice(scene: Scene) -> Seen:
    scene.in_the_middle()
    code, out, err = two_serves(scene.serve)
    if (code, out, err.count("\n")) != (2, "", 1) or "--data-dir" not in err:
        raise AssertionError(f"a second serve on the folder said {code}, {out!r}, {err!r}")
    return Seen()


def _stop_and_start(scene: Scene) -> Seen:
    held = scene.in_the_middle()
    began = time.monotonic()
    scene.serve.stop(CLEAN_STOP_S, signal.SIGTERM if scene.turn("stopped") % 2 == 0 else signal.SIGINT)
    scene.start()
    return Seen(scene.taken_up_again(_lost(scene, held), began))


def _lost(scene: Scene, held: list[Row]) -> list[Row]:
    """Of those that ran, the ones that had not ended when the fault came."""
    rows = scene.ledger.rows()
    return [row for row in held if rows[row.id].state in ("queued", "running")]


FAULTS: tuple[Fault, ...] = (
    Fault("child killed", "kill -9 of the worker's computing child", _kill_child, recovers=True),
    Fault("worker killed", "kill -9 of the worker", _kill_worker, recovers=True),
    Fault("serve killed", "kill -9 of serve itself, started again at once", _kill_supervisor),
    Fault("stopped", "SIGTERM or Ctrl-C: over within 10 s, then started again", _stop_and_start),
    Fault("broker killed", "kill -9 of the broker; every other time a submit finds it down", _kill_broker),
    Fault("API killed", "kill -9 of the API, a submit at once", _kill_api),
    Fault(
        "worker frozen",
        "SIGSTOP of the worker and its child past the lease, then SIGCONT; every other time a second worker takes over",
        _freeze_worker,
    ),
    Fault("broker emptied", "FLUSHALL", _empty_broker),
    Fault("broker frozen at submit", "SIGSTOP of the broker, a submit, SIGCONT up to 3 s later", _freeze_broker),
    Fault("disk full", "the data folder's disk filled for 1 to 4 s, with submits; then freed", _fill_disk),
    Fault("clock +1 h", "the clock of all processes jumps an hour ahead", lambda s: _shift_clock(s, HOUR_S)),
    Fault("clock -1 h", "the clock of all processes jumps an hour back", lambda s: _shift_clock(s, -HOUR_S)),
    Fault("started twice", "a second serve on the data folder: refused in one line", _start_twice),
)
