"""Tests of the child processes of ``serve``: their imports, and the failures that the supervisor survives."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from serve_tree import eventually

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.data_dir import worker_name
from arithmoscope.serve.processes import Child
from arithmoscope.serve.supervisor import _stop_signals
from benchmarks.patience import patience


def test_what_fails_after_a_death_is_tried_again_and_does_not_end_the_parent(tmp_path: Path) -> None:
    failures: list[Exception] = [
        OSError(30, "Read-only file system"),
        Refusal("store_unavailable", "The disk is full."),
    ]
    heard: list[int] = []

    def died(deaths: int) -> None:
        heard.append(deaths)
        if failures:
            raise failures.pop()

    child = Child("broker", lambda: {"argv": ["/bin/sleep", "60"]}, tmp_path / "log", on_death=died)
    child.start()
    try:
        assert child.pid is not None
        first = child.pid
        _kill(first)
        lines = []
        until = time.monotonic() + 15 * patience()
        while child.pid in (None, first) and time.monotonic() < until:
            lines.append(child.poll())
            time.sleep(0.02)
        text = "\n".join(line for line in lines if line)
        assert child.pid not in (None, first)
        assert heard == [1, 1, 1]
        assert "ended (signal 9)" in text
        assert "next attempt is in 1 s: [Errno 30] Read-only file system" in text
    finally:
        child.terminate()
        child.wait(time.monotonic() + 2)


@pytest.mark.parametrize(("dies", "longest"), [("kill -9 $$", "2"), ("exit 1", "30")], ids=["killed", "broken"])
def test_a_killed_process_restarts_soon_and_a_crashing_one_with_a_delay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str, longest: str
) -> None:
    now = [0.0]
    monkeypatch.setattr("arithmoscope.serve.processes.time.monotonic", lambda: now[0])
    child = Child("broker", lambda: {"argv": ["/bin/sh", "-c", dies]}, tmp_path / "log")
    child.start()
    lines: list[str] = []
    until = time.time() + 60
    while len(lines) < 6 and time.time() < until:
        lines += [line for line in [child.poll()] if line]
        if child.pid is None:  # only waiting takes time here
            now[0] += 0.05
        time.sleep(0.001)
    waits = [line.partition("restarts in ")[2].partition(" s")[0] for line in lines]
    assert waits == [wait if float(wait) < float(longest) else longest for wait in ("0.2", "1", "2", "5", "15", "30")]


def test_a_log_that_cannot_be_written_delays_a_start_and_no_more(tmp_path: Path) -> None:
    child = Child("broker", lambda: {"argv": ["/bin/sleep", "60"]}, tmp_path / "logs" / "log")
    line = child.poll()
    assert line is not None
    assert "cannot start now" in line
    (tmp_path / "logs").mkdir()
    assert eventually(lambda: child.poll() or child.pid)
    child.terminate()
    child.wait(time.monotonic() + 2)


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_serve_under_nohup_stays_when_the_terminal_closes(before: signal.Handlers) -> None:
    handler = signal.signal(signal.SIGHUP, before)
    try:
        with _stop_signals():
            assert (signal.getsignal(signal.SIGHUP) is signal.SIG_IGN) == (before is signal.SIG_IGN)
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, handler)


def test_a_worker_keeps_its_name_even_if_the_disk_was_full_at_first(tmp_path: Path) -> None:
    (tmp_path / "worker-name").touch()
    name = worker_name(tmp_path)
    assert name
    assert worker_name(tmp_path) == name


def _kill(pid: int) -> None:
    subprocess.run(["kill", "-9", str(pid)], check=True)
    time.sleep(0.1)
