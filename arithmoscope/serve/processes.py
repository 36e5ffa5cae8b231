"""The child processes of ``serve``: started, monitored, restarted after a crash, and stopped together.

Each leads its own process group, so that a terminal's Ctrl-C reaches only the parent, and so that nothing a child
started outlives it.
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

# Delays before a dead child is restarted; after a healthy period they start from the beginning.
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 15.0, 30.0)
# Longest delay after SIGKILL: the process was healthy, and its job must continue within ten seconds, always.
KILLED_BACKOFF_S = 2.0
_HEALTHY_S = 60.0


class Child:
    """One child process. ``config`` returns its configuration for each start.

    ``on_death`` is called with the number of deaths after each unexpected end, and again before the next start until it
    succeeds.
    """

    def __init__(
        self,
        part: str,
        config: Callable[[], dict[str, Any]],
        log: Path,
        *,
        pass_fds: tuple[int, ...] = (),
        on_death: Callable[[int], None] = lambda _deaths: None,
    ) -> None:
        self.part = part
        self.log = log
        self._config = config
        self._pass_fds = pass_fds
        self._on_death = on_death
        self._running: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._unreported_death: int | None = None  # not yet handled by `on_death`
        self.deaths = 0

    @property
    def pid(self) -> int | None:
        return None if self._running is None else self._running.pid

    def start(self) -> None:
        """Starts the process and sends its configuration. Its output goes to the log."""
        line = json.dumps({**self._config(), "parent": os.getpid()}) + "\n"
        rotate_in_place(self.log)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                # -P: a file in the current folder, such as a store.py, must not shadow an import.
                [sys.executable, "-P", "-m", "arithmoscope.serve.child", self.part],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=self._pass_fds,
                process_group=0,
            )
        self._running = child
        self._started = time.monotonic()
        if child.stdin is None:
            raise RuntimeError("a child without stdin has no lifeline")
        with suppress(BrokenPipeError):  # it died immediately; the next poll notices
            child.stdin.write(line.encode())
            child.stdin.flush()

    def poll(self) -> str | None:
        """Restarts the process if it died and its delay is over; returns a line for the terminal, if any."""
        rotate_in_place(self.log)
        if self._running is None:
            return self._restart() if time.monotonic() >= self._next_start else None
        code = self._running.poll()
        if code is None:
            return None
        self._kill_group()
        if time.monotonic() - self._started > _HEALTHY_S:
            self.deaths = 0
        delay = self._schedule_restart(KILLED_BACKOFF_S if code == -signal.SIGKILL else BACKOFF_S[-1])
        self._unreported_death = self.deaths
        with suppress(OSError, Refusal):  # it is called again before the next start
            self._report_death()
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        details = self.last_log_message() if code == 2 else f"see {self.log}"
        return f"The {self.part} ended ({cause}) and restarts in {delay:g} s: {details}"

    def _restart(self) -> str | None:
        """Starts the process again; if that fails, as on a full disk, it is retried after a growing delay."""
        try:
            self._report_death()
            self.start()
        except (OSError, Refusal) as error:
            return f"The {self.part} cannot start now; the next attempt is in {self._schedule_restart():g} s: {error}"
        return None

    def _report_death(self) -> None:
        if self._unreported_death is not None:
            self._on_death(self._unreported_death)
            self._unreported_death = None

    def _schedule_restart(self, max_delay: float = BACKOFF_S[-1]) -> float:
        delay = min(BACKOFF_S[min(self.deaths, len(BACKOFF_S) - 1)], max_delay)
        self.deaths += 1
        self._next_start = time.monotonic() + delay
        return delay

    def last_log_message(self) -> str:
        """The message of the log's last line."""
        if not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        return last_message(lines[0])[:300] if lines else ""

    def terminate(self) -> None:
        if self._running is not None and self._running.poll() is None:
            self._running.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the process and everything it started; the next poll notices."""
        if self._running is not None and self._running.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._running.pid, signal.SIGKILL)

    def wait(self, until: float) -> None:
        """Waits for the process until a monotonic time, then kills it and everything it started."""
        if self._running is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._running.wait(max(0.0, until - time.monotonic()))
        self._kill_group()

    def _kill_group(self) -> None:
        """Kills what is left of the process group."""
        if self._running is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # nothing is left
            os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        if self._running.stdin is not None:
            self._running.stdin.close()
        self._running = None
