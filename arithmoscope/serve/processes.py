"""The children of a ``serve``: started, watched, started again when they die, and stopped together.

Each is the head of its own process group, so that a terminal's Ctrl-C reaches the parent alone, and so that
nothing a child started outlives it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.serve.logs import last_message, rotate_in_place

# Waits before a dead child is started again; one that lived for a while starts from the beginning.
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 15.0, 30.0)
# Who is killed was healthy, and what it worked on must go on within ten seconds, however often it happens.
KILLED_S = 2.0
_HEALTHY_S = 60.0


class Child:
    """One part. ``told`` gives what it is told at every start.

    ``died`` is called at each unasked end with their number, and again before the next start until it succeeds.
    """

    def __init__(
        self,
        part: str,
        told: Callable[[], dict[str, Any]],
        log: Path,
        *,
        keeps: tuple[int, ...] = (),
        died: Callable[[int], None] = lambda _deaths: None,
    ) -> None:
        self.part = part
        self.log = log
        self._told = told
        self._keeps = keeps
        self._died = died
        self._running: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._untold: int | None = None  # the death that `died` has not heard of yet
        self.deaths = 0

    @property
    def pid(self) -> int | None:
        return None if self._running is None else self._running.pid

    def start(self) -> None:
        """Start the process and tell it what to do. Its output goes to the log."""
        line = json.dumps({**self._told(), "parent": os.getpid()}) + "\n"
        rotate_in_place(self.log)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                # -P: a file in the folder where we were started, such as a store.py, must not replace ours.
                [sys.executable, "-P", "-m", "arithmoscope.serve.child", self.part],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=self._keeps,
                process_group=0,
            )
        self._running = child
        self._started = time.monotonic()
        if child.stdin is None:
            raise RuntimeError("a child without stdin has no lifeline")
        with suppress(BrokenPipeError):  # it died at once; the next look finds it
            child.stdin.write(line.encode())
            child.stdin.flush()

    def look(self) -> str | None:
        """Start it again if it died and its wait is over. One line for people when something happened."""
        rotate_in_place(self.log)
        if self._running is None:
            return self._come_back() if time.monotonic() >= self._next_start else None
        code = self._running.poll()
        if code is None:
            return None
        self._bury()
        if time.monotonic() - self._started > _HEALTHY_S:
            self.deaths = 0
        wait = self._wait_longer(KILLED_S if code == -signal.SIGKILL else BACKOFF_S[-1])
        self._untold = self.deaths
        with suppress(OSError, Refusal):  # it is told again before the next start
            self._tell()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        why = self.last_log_message() if code == 2 else f"see {self.log}"
        return f"The {self.part} ended ({how}) and starts again in {wait:g} s: {why}"

    def _come_back(self) -> str | None:
        """A full disk or a store that does not answer passes: what fails here is tried again, later and later."""
        try:
            self._tell()
            self.start()
        except (OSError, Refusal) as error:
            return f"The {self.part} cannot start now and is tried again in {self._wait_longer():g} s: {error}"
        return None

    def _tell(self) -> None:
        if self._untold is not None:
            self._died(self._untold)
            self._untold = None

    def _wait_longer(self, at_most: float = BACKOFF_S[-1]) -> float:
        wait = min(BACKOFF_S[min(self.deaths, len(BACKOFF_S) - 1)], at_most)
        self.deaths += 1
        self._next_start = time.monotonic() + wait
        return wait

    def last_log_message(self) -> str:
        """What the last line of the log says."""
        if not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return last_message(lines[0])[:300] if lines else ""

    def ask_to_stop(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and all it started; the next look finds it dead."""
        if self._running is not None and self._running.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, signal.SIGKILL)

    def wait(self, until: float) -> None:
        """Wait for the end until a monotonic time, then end it and all it started."""
        if self._running is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(max(0.0, until - time.monotonic()))
        self._bury()

    def _bury(self) -> None:
        """End what is left of the process's group."""
        if self._running is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nothing is left
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._running = None
