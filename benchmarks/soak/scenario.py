"""The scenario of a round: a running tree, the questions submitted to it, and work for a fault to interrupt."""

from __future__ import annotations

import json
import random
import time
import urllib.error
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from arithmoscope.store.leases import MAX_FRUITLESS
from benchmarks.soak.disk import Disk
from benchmarks.soak.ledger import Ledger, Row
from benchmarks.soak.questions import Question
from benchmarks.soak.tree import Serve, StartFailed, clock_environment, eventually, free_port

# A server that does not answer for this long is a failure of ours, not an injected fault.
_ANSWERS_WITHIN_S = 60.0
# A restarted worker imports torch first: seconds, or a minute on a busy machine.
_WORKS_WITHIN_S = 240.0
_STARTS_WITHIN_S = 20.0


@dataclass
class Scenario:
    """One tree, restarted if a fault ended it. ``accepted``: the question of each experiment that got 200 or 202."""

    number: int
    folder: Path
    models: Path
    disk: Disk
    questions: list[tuple[str, Question]]
    rng: random.Random
    serve: Serve = field(init=False)
    ledger: Ledger = field(init=False)
    environment: Mapping[str, str] = field(init=False)
    accepted: dict[str, str] = field(default_factory=dict)
    turned_away: int = 0
    clock_s: float = 0.0
    _submitted: int = 0
    _port: int = 0

    def __post_init__(self) -> None:
        self.environment = clock_environment(self.folder)
        self._port = free_port()
        self.start()
        self.ledger = Ledger(self.serve.data)
        self.ledger.count_finishes()

    def start(self) -> None:
        """(Re)starts the tree, retrying while the old lock or port is still held."""
        until = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self.serve = Serve(self.folder, self.models, port=self._port, more=self.environment)
                return
            except StartFailed:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def variant(self, fault: str) -> int:
        """Number whose parity selects the variant of a fault with two: it alternates by round, starting differently
        per fault.
        """
        return self.number + len(fault)

    @property
    def questions_left(self) -> int:
        return max(0, len(self.questions) - self._submitted)

    def submit(self) -> str:
        """Submits the next distinct question until it is accepted; returns its experiment."""
        name, question = self.questions[self._submitted % len(self.questions)]
        self._submitted += 1
        return self._submit_until_accepted(name, question)

    def resubmit(self) -> str:
        """Submits an earlier question again: it must return the same experiment."""
        experiment_id = self.rng.choice(sorted(self.accepted))
        name = self.accepted[experiment_id]
        resubmitted = self._submit_until_accepted(name, dict(self.questions)[name])
        if resubmitted != experiment_id:
            raise AssertionError(f"{name} was {experiment_id} and is {resubmitted} now")
        return resubmitted

    def try_submit(self) -> str | None:
        """One attempt; None if it was properly rejected or reached no server."""
        name, question = self.questions[self._submitted % len(self.questions)]
        experiment_id = self._try(name, question)
        if experiment_id is not None:
            self._submitted += 1
        return experiment_id

    def running(self) -> list[Row]:
        return [row for row in self.ledger.rows().values() if row.state == "running"]

    def unfinished(self) -> list[Row]:
        return [row for row in self.ledger.rows().values() if row.state in ("queued", "running")]

    def await_running_work(self, waiting: int = 2) -> list[Row]:
        """Ensures that something runs and ``waiting`` more wait, then returns at a random moment of that work.

        Returns the running experiments.
        """
        while len(self.unfinished()) <= waiting:
            if not self.questions_left:
                raise AssertionError("no question is left: the fault would affect nothing")
            self.submit()
        self.await_work()
        time.sleep(self.rng.uniform(0.0, 1.2))
        # A third loss at the same place ends an experiment by design: this must not happen by accident here.
        eventually(lambda: all(row.fruitless < MAX_FRUITLESS for row in self.running()), _WORKS_WITHIN_S, 0.02)
        return self.running()

    def await_work(self) -> None:
        """Waits until a worker computes, or nothing is left to compute."""

        def working() -> bool:
            rows = self.unfinished()
            return not rows or any(row.state == "running" and row.stage == "pairs" for row in rows)

        if not eventually(working, _WORKS_WITHIN_S, 0.02):
            raise AssertionError(f"no worker computes within {_WORKS_WITHIN_S:g} s; unfinished: {self.unfinished()}")

    def seconds_until_reclaimed(self, held: list[Row], since: float, within_s: float = 240.0) -> float | None:
        """Seconds from ``since`` until all these have been claimed again; None if all had ended before then."""
        before = {row.id: row.attempt for row in held}
        lost = dict.fromkeys(before, False)

        def reclaimed() -> bool:
            rows = self.ledger.rows()
            for name, attempt in before.items():
                lost[name] = lost[name] or rows[name].attempt > attempt
            return all(
                row.state not in ("queued", "running") or (row.state == "running" and row.attempt > before[row.id])
                for row in rows.values()
                if row.id in before
            )

        if not eventually(reclaimed, within_s, 0.02):
            raise AssertionError(f"not claimed again within {within_s:g} s: {sorted(before)}")
        return time.monotonic() - since if any(lost.values()) else None

    def _submit_until_accepted(self, name: str, question: Question) -> str:
        until = time.monotonic() + _ANSWERS_WITHIN_S
        while True:
            experiment_id = self._try(name, question)
            if experiment_id is not None:
                return experiment_id
            if time.monotonic() > until:
                raise AssertionError(f"{name} was not accepted within {_ANSWERS_WITHIN_S:g} s")
            time.sleep(0.2)

    def _try(self, name: str, question: Question) -> str | None:
        try:
            with self.serve.open("/api/experiments", question) as answer:
                experiment_id = str(json.load(answer)["id"])
        except urllib.error.HTTPError as error:
            with error:
                problem = json.loads(error.read())
            if error.code not in (503, 507) or "way_out" not in problem:
                raise AssertionError(f"{name} was answered {error.code}: {problem}") from None
        except (OSError, ValueError):  # the server died while answering: the outcome is unknown
            pass
        else:
            self.accepted[experiment_id] = name
            return experiment_id
        self.turned_away += 1
        return None

    def end(self) -> None:
        with suppress(AttributeError):  # it never started
            self.serve.end()
