"""What a fault finds: a running tree, questions that were asked of it, and work in the middle of which it comes."""

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
from benchmarks.soak.tree import DidNotStart, Serve, clock_environment, eventually, free_port

# A server that answers nothing for so long is a fault of ours, not one of those that are made.
_ANSWERS_WITHIN_S = 60.0
# A worker that was started anew imports torch first: seconds, or a minute on a machine with other things to do.
_WORKS_WITHIN_S = 240.0
_STARTS_WITHIN_S = 20.0


@dataclass
class Scene:
    """One tree, restarted where a fault ended it. ``accepted``: the question of each that got 200 or 202."""

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
    _asked: int = 0
    _port: int = 0

    def __post_init__(self) -> None:
        self.environment = clock_environment(self.folder)
        self._port = free_port()
        self.start()
        self.ledger = Ledger(self.serve.data)
        self.ledger.count_finishes()

    def start(self) -> None:
        """Starts the tree (again), as whoever finds it dead. The lock or the port may be held for a moment."""
        until = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self.serve = Serve(self.folder, self.models, port=self._port, more=self.environment)
                return
            except DidNotStart:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def turn(self, fault: str) -> int:
        """Of a fault with two forms: even and odd numbers take turns by round, each fault from its own beginning."""
        return self.number + len(fault)

    @property
    def questions_left(self) -> int:
        return max(0, len(self.questions) - self._asked)

    def ask(self) -> str:
        """The next distinct question, until it is accepted; its experiment."""
        name, question = self.questions[self._asked % len(self.questions)]
        self._asked += 1
        return self._ask(name, question)

    def ask_again(self) -> str:
        """A question that was asked before: it must be the same experiment."""
        experiment_id = self.rng.choice(sorted(self.accepted))
        name = self.accepted[experiment_id]
        again = self._ask(name, dict(self.questions)[name])
        if again != experiment_id:
            raise AssertionError(f"{name} was {experiment_id} and is {again} now")
        return again

    def ask_once(self) -> str | None:
        """One try; None when it was turned away in a proper answer or found nobody."""
        name, question = self.questions[self._asked % len(self.questions)]
        found = self._try(name, question)
        if found is not None:
            self._asked += 1
        return found

    def running(self) -> list[Row]:
        return [row for row in self.ledger.rows().values() if row.state == "running"]

    def unfinished(self) -> list[Row]:
        return [row for row in self.ledger.rows().values() if row.state in ("queued", "running")]

    def in_the_middle(self, waiting: int = 2) -> list[Row]:
        """Sees to it that something runs and ``waiting`` more wait, and comes back at a random moment of that work.

        What runs then.
        """
        while len(self.unfinished()) <= waiting:
            if not self.questions_left:
                raise AssertionError("no question is left to ask: the fault would meet nothing")
            self.ask()
        self.await_work()
        time.sleep(self.rng.uniform(0.0, 1.2))
        # A third loss at the same place ends an experiment, as it must: that is no accident to be made here.
        eventually(lambda: all(row.fruitless < MAX_FRUITLESS for row in self.running()), _WORKS_WITHIN_S, 0.02)
        return self.running()

    def await_work(self) -> None:
        """Until somebody computes, or nothing is left to compute."""

        def found() -> bool:
            rows = self.unfinished()
            return not rows or any(row.state == "running" and row.stage == "pairs" for row in rows)

        if not eventually(found, _WORKS_WITHIN_S, 0.02):
            raise AssertionError(f"nobody computes within {_WORKS_WITHIN_S:g} s; unfinished: {self.unfinished()}")

    def taken_up_again(self, held: list[Row], since: float, within_s: float = 240.0) -> float | None:
        """Seconds from ``since`` until all these have been claimed anew; None when all had ended before."""
        before = {row.id: row.attempt for row in held}
        lost = dict.fromkeys(before, False)

        def again() -> bool:
            rows = self.ledger.rows()
            for name, attempt in before.items():
                lost[name] = lost[name] or rows[name].attempt > attempt
            return all(
                row.state not in ("queued", "running") or (row.state == "running" and row.attempt > before[row.id])
                for row in rows.values()
                if row.id in before
            )

        if not eventually(again, within_s, 0.02):
            raise AssertionError(f"not taken up again within {within_s:g} s: {sorted(before)}")
        return time.monotonic() - since if any(lost.values()) else None

    def _ask(self, name: str, question: Question) -> str:
        until = time.monotonic() + _ANSWERS_WITHIN_S
        while True:
            found = self._try(name, question)
            if found is not None:
                return found
            if time.monotonic() > until:
                raise AssertionError(f"{name} was not accepted within {_ANSWERS_WITHIN_S:g} s")
            time.sleep(0.2)

    def _try(self, name: str, question: Question) -> str | None:
        try:
            with self.serve.open("/api/experiments", question) as answer:
                found = str(json.load(answer)["id"])
        except urllib.error.HTTPError as error:
            with error:
                said = json.loads(error.read())
            if error.code not in (503, 507) or "way_out" not in said:
                raise AssertionError(f"{name} was answered {error.code}: {said}") from None
        except (OSError, ValueError):  # the server died while it answered: whoever asked does not know
            pass
        else:
            self.accepted[found] = name
            return found
        self.turned_away += 1
        return None

    def end(self) -> None:
        with suppress(AttributeError):  # it never started
            self.serve.end()
