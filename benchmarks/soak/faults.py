"""The table of faults. Each strikes at a random moment while work is running, and is over when its function returns.

Every fault leaves a running tree for the next one, possibly with work left to do.
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
from benchmarks.soak.scenario import Scenario
from benchmarks.soak.tree import alive, eventually, second_worker, shift_clock, two_serves

HOUR_S = 3600.0
# A lease lasts some seconds and is checked every second.
_LEASE_ENDS_WITHIN_S = 40.0
CLEAN_STOP_S = 10.0
NOTHING_LEFT_AFTER_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """``recovery_s``: from the loss of a worker to the next claim of its job; None if no job was lost."""

    recovery_s: float | None = None


@dataclass(frozen=True)
class Fault:
    """``description``: what is done, for the report. ``recovers``: a worker is killed, and its job must resume within
    ten seconds.
    """

    name: str
    description: str
    strike: Callable[[Scenario], Outcome]
    recovers: bool = False


def _pid(scenario: Scenario, find: Callable[[], int | None], what: str) -> int:
    pid = eventually(find, 30)
    if pid is None:
        raise AssertionError(f"there is no {what}: {scenario.serve.stderr_text()[-500:]}")
    return int(pid)


def _kill(pid: int) -> float:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def _kill_child(scenario: Scenario) -> Outcome:
    held = scenario.await_running_work()
    struck_at = _kill(_pid(scenario, scenario.serve.computing, "computing child"))
    return Outcome(scenario.seconds_until_reclaimed(_lost(scenario, held), struck_at))


def _kill_worker(scenario: Scenario) -> Outcome:
    held = scenario.await_running_work()
    struck_at = _kill(_pid(scenario, lambda: scenario.serve.child("worker"), "worker"))
    return Outcome(scenario.seconds_until_reclaimed(_lost(scenario, held), struck_at))


def _kill_supervisor(scenario: Scenario) -> Outcome:
    held = scenario.await_running_work()
    children = list(scenario.serve.family())
    scenario.serve.process.kill()
    struck_at = time.monotonic()
    scenario.serve.process.wait()
    scenario.serve.rest_of_output()
    # Restarted immediately, as a service manager does: remains of the old tree may still be there.
    scenario.start()
    left = eventually(lambda: not alive(children), max(0.0, struck_at + NOTHING_LEFT_AFTER_S - time.monotonic()))
    if not left:
        raise AssertionError(f"alive {NOTHING_LEFT_AFTER_S:g} s after kill -9 of serve: {alive(children)}")
    return Outcome(scenario.seconds_until_reclaimed(_lost(scenario, held), struck_at))


def _kill_broker(scenario: Scenario) -> Outcome:
    scenario.await_running_work()
    _kill(_pid(scenario, lambda: scenario.serve.child("broker"), "broker"))
    if scenario.variant("broker killed") % 2 == 0:
        scenario.submit()  # the broker is down during this submit
    return Outcome()


def _kill_api(scenario: Scenario) -> Outcome:
    scenario.await_running_work()
    _kill(_pid(scenario, lambda: scenario.serve.child("api"), "API"))
    scenario.resubmit()
    return Outcome()


def _freeze_worker(scenario: Scenario) -> Outcome:
    """In every other round a second worker is present, which takes over the job while the first is frozen."""
    other, with_second = None, scenario.variant("worker frozen") % 2 == 1
    try:
        if with_second:
            other = second_worker(scenario.serve, scenario.models, scenario.folder / "second.log", scenario.environment)
            if not eventually(lambda: len(scenario.ledger.workers_seen_at()) > 1, 60):
                raise AssertionError("the second worker does not start")
        scenario.await_running_work()
        parent = _pid(scenario, lambda: scenario.serve.child("worker"), "worker")
        pids = [parent, _pid(scenario, scenario.serve.computing, "computing child")]
        name = (scenario.serve.data / "worker-name").read_text().strip()
        struck_at = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        held = [row for row in scenario.running() if row.owner == name]
        try:
            reaped = eventually(lambda: _all_reaped(scenario, held), _LEASE_ENDS_WITHIN_S)
            time.sleep(scenario.rng.uniform(0.0, 2.0))  # it wakes up at a random moment of the new owner's work
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        if not reaped:
            raise AssertionError(f"the lease of a frozen worker does not expire: {held}")
        return Outcome(scenario.seconds_until_reclaimed(held, struck_at))
    finally:
        if other is not None:
            _stop_second(other)


def _all_reaped(scenario: Scenario, held: list[Row]) -> bool:
    rows = scenario.ledger.rows()
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


def _empty_broker(scenario: Scenario) -> Outcome:
    scenario.await_running_work(waiting=3)
    with redis.Redis.from_url(f"unix://{scenario.serve.data / 'redis.sock'}") as client:
        client.flushall()
    scenario.await_work()
    return Outcome()


def _freeze_broker(scenario: Scenario) -> Outcome:
    """The broker accepts connections and never answers: the hardest way of being down."""
    scenario.await_running_work()
    broker = _pid(scenario, lambda: scenario.serve.child("broker"), "broker")
    os.kill(broker, signal.SIGSTOP)
    try:
        scenario.submit()
        time.sleep(scenario.rng.uniform(0.5, 3.0))  # for this long it does not answer
    finally:
        with suppress(ProcessLookupError):
            os.kill(broker, signal.SIGCONT)
    return Outcome()


def _fill_disk(scenario: Scenario) -> Outcome:
    scenario.await_running_work(waiting=3)
    pids = [scenario.serve.process.pid, *scenario.serve.family()]
    scenario.disk.fill(pids)
    try:
        scenario.try_submit()
        time.sleep(scenario.rng.uniform(1.0, 4.0))  # for this long the disk is full
        scenario.try_submit()
    finally:
        scenario.disk.free()
    return Outcome()


def _shift_clock(scenario: Scenario, seconds: float) -> Outcome:
    scenario.await_running_work()
    scenario.clock_s += seconds
    shift_clock(scenario.folder, scenario.clock_s)
    time.sleep(0.2)  # the processes read the clock file every 50 ms
    if scenario.questions_left:
        offset = scenario.ledger.created_at(scenario.submit()) - time.time() - scenario.clock_s
        if abs(offset) > 60:
            raise AssertionError(f"the API's clock did not move: it is off by {offset:g} s")

    name = (scenario.serve.data / "worker-name").read_text().strip()

    def worker_follows() -> bool:
        seen_at = scenario.ledger.workers_seen_at().get(name)
        return seen_at is not None and abs(seen_at - time.time() - scenario.clock_s) < 60

    if not eventually(worker_follows, 30):
        raise AssertionError(f"the worker's clock did not move: {scenario.ledger.workers_seen_at()}")
    return Outcome()


def _start_twice(scenario: Scenario) -> Outcome:
    scenario.await_running_work()
    code, out, err = two_serves(scenario.serve)
    if (code, out, err.count("\n")) != (2, "", 1) or "--data-dir" not in err:
        raise AssertionError(f"a second serve on the folder returned {code}, {out!r}, {err!r}")
    return Outcome()


def _stop_and_start(scenario: Scenario) -> Outcome:
    held = scenario.await_running_work()
    start = time.monotonic()
    scenario.serve.stop(CLEAN_STOP_S, signal.SIGTERM if scenario.variant("stopped") % 2 == 0 else signal.SIGINT)
    scenario.start()
    return Outcome(scenario.seconds_until_reclaimed(_lost(scenario, held), start))


def _lost(scenario: Scenario, held: list[Row]) -> list[Row]:
    """The experiments that were running and had not ended when the fault struck."""
    rows = scenario.ledger.rows()
    return [row for row in held if rows[row.id].state in ("queued", "running")]


FAULTS: tuple[Fault, ...] = (
    Fault("child killed", "kill -9 of the worker's computing child", _kill_child, recovers=True),
    Fault("worker killed", "kill -9 of the worker", _kill_worker, recovers=True),
    Fault("serve killed", "kill -9 of serve itself, restarted at once", _kill_supervisor),
    Fault("stopped", "SIGTERM or Ctrl-C: stops within 10 s, then restarted", _stop_and_start),
    Fault("broker killed", "kill -9 of the broker; every other time with a submit while it is down", _kill_broker),
    Fault("API killed", "kill -9 of the API, with a submit at once", _kill_api),
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
