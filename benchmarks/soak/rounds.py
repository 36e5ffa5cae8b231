"""A round: a fresh data folder, every fault once in its own order, then the verdict."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Store
from benchmarks.soak.disk import small_disk
from benchmarks.soak.faults import FAULTS, Fault
from benchmarks.soak.questions import Question, long_question
from benchmarks.soak.scenario import Scenario
from benchmarks.soak.tree import Serve, StartFailed, StopTimedOut, alive, clock_environment, settled
from benchmarks.soak.verdict import Answer, Verdict, comparable_digest, is_compared, judge

# Work that has not moved for this long does not end. A worker that imports torch on a busy machine is as quiet.
STANDSTILL_S = 180.0
RECOVERS_WITHIN_S = 10.0

Log = Callable[[str], None]
Undisturbed = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class FaultRun:
    """One fault of a round. ``met``: number of experiments unfinished or submitted during it; ``wrong``: those among
    them that were lost, finished twice or differ. ``error``: a violated expectation.
    """

    fault: str
    met: int
    recovery_s: float | None
    seconds: float
    wrong: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Round:
    """The result of a round. ``stop_s``: duration of the clean stop at its end. ``disk``: the method of filling the
    disk.
    """

    number: int
    seconds: float
    verdict: Verdict
    blows: list[FaultRun] = field(default_factory=list)
    turned_away: int = 0
    stop_s: float | None = None
    disk: str = ""

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not any(run.error for run in self.blows)


def questions_of(count: int, pairs: int = 128) -> dict[str, Question]:
    """Distinct questions by name."""
    return {f"q{seed}": long_question(seed, pairs) for seed in range(count)}


def undisturbed(folder: Path, models: Path, questions: Mapping[str, Question]) -> dict[str, dict[str, str]]:
    """Every question's files, from a tree without faults."""
    folder.mkdir(parents=True)
    serve = Serve(folder, models, more=clock_environment(folder))
    try:
        names = {}
        for name, question in questions.items():
            with serve.open("/api/experiments", question) as answer:
                names[json.load(answer)["id"]] = name
        return {names[experiment_id]: files for experiment_id, files in _ended(serve, names).items()}
    finally:
        serve.end()
        shutil.rmtree(folder, ignore_errors=True)


def _ended(serve: Serve, names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    def look() -> dict[str, tuple[str, Any]]:
        rows = {name: serve.get(f"/api/experiments/{name}") for name in names}
        return {name: (row["state"], row["progress"]) for name, row in rows.items()}

    def all_ended(seen: dict[str, tuple[str, Any]]) -> bool:
        return all(state not in ("queued", "running") for state, _ in seen.values())

    states = {name: state for name, (state, _) in (settled(look, all_ended, STANDSTILL_S) or {}).items()}
    if set(states.values()) != {"succeeded"}:
        raise AssertionError(f"the undisturbed run does not finish: {states}; {serve.stderr_text()[-500:]}")
    return {name: files_of(serve.data, name) for name in names}


def files_of(data: Path, experiment_id: str) -> dict[str, str]:
    """The stored files by name, each as a digest of what must not differ. A file that is gone has no entry."""
    digests = {}
    with Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri()) as store:
        for name in store.artifact_names(experiment_id):
            if is_compared(name):
                try:
                    digests[name] = comparable_digest(name, store.read_artifact(experiment_id, name))
                except Refusal as refusal:
                    digests[name] = f"unreadable: {refusal.detail}"
    return digests


def run_round(
    number: int,
    seed: int,
    folder: Path,
    models: Path,
    questions: Mapping[str, Question],
    expected: Callable[[], Undisturbed],
    log: Log,
    faults: Sequence[Fault] = FAULTS,
    recovers_within_s: float = RECOVERS_WITHIN_S,
) -> Round:
    """Strikes with every fault, in random order and at random moments while work is running, and judges the outcome.

    ``expected`` returns the undisturbed files; it is called at the end. The folder is kept if something was wrong.
    ``recovers_within_s``: the promise for an idle machine; tests on a busy one allow more.
    """
    start = time.monotonic()
    rng = random.Random(f"{seed}/{number}")
    order = rng.sample(list(faults), len(faults))
    runs: list[tuple[FaultRun, set[str]]] = []
    with small_disk(folder) as disk:
        scenario = Scenario(number, folder, models, disk, rng.sample(sorted(questions.items()), len(questions)), rng)
        try:
            for fault in order:
                runs.append(_strike(scenario, fault, recovers_within_s))
                run = runs[-1][0]
                recovery = "" if run.recovery_s is None else f", recovered after {run.recovery_s:.1f} s"
                log(f"  {fault.name} ({run.seconds:.1f} s{recovery}){': ' + run.error if run.error else ''}")
            answers = _answers(scenario)
            verdict = judge(answers, expected())
            stop_s, last = _clean_stop(scenario)
            runs.append((last, set()))
        finally:
            scenario.end()
        result = Round(
            number,
            round(time.monotonic() - start, 1),
            verdict,
            [replace(run, wrong=_wrong_of(met, verdict)) for run, met in runs],
            scenario.turned_away,
            stop_s,
            disk.means,
        )
        if not result.is_clean:
            kept = folder.with_name(f"{folder.name}-kept")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("ballast", "*.sock"))
            log(f"  kept for inspection: {kept}")
    return result


def _strike(scenario: Scenario, fault: Fault, recovers_within_s: float) -> tuple[FaultRun, set[str]]:
    start = time.monotonic()
    before, accepted = {row.id for row in scenario.unfinished()}, set(scenario.accepted)
    recovery_s, error = None, None
    try:
        recovery_s = fault.strike(scenario).recovery_s
        if scenario.rng.random() < 0.5:
            scenario.resubmit()
    except (AssertionError, StartFailed) as wrong:
        error = str(wrong)
    met = before | {row.id for row in scenario.unfinished()} | (scenario.accepted.keys() - accepted)
    if fault.recovers and recovery_s is not None and recovery_s > recovers_within_s and error is None:
        error = f"recovered only after {recovery_s:.1f} s"
    rounded = None if recovery_s is None else round(recovery_s, 2)
    return FaultRun(fault.name, len(met), rounded, round(time.monotonic() - start, 1), error=error), met


def _wrong_of(met: set[str], verdict: Verdict) -> dict[str, list[str]]:
    kinds = {"lost": verdict.lost, "twice": verdict.twice, "differing": verdict.differing}
    return {kind: sorted(met & names.keys()) for kind, names in kinds.items()}


def _answers(scenario: Scenario) -> dict[str, Answer]:
    """Every accepted experiment, once all have ended or the time is up."""
    settled(scenario.unfinished, lambda rows: not rows, STANDSTILL_S)
    rows, finishes = scenario.ledger.rows(), scenario.ledger.finishes()
    answers = {}
    for experiment_id, question in scenario.accepted.items():
        row = rows.get(experiment_id)
        state = "gone" if row is None else row.state
        files = files_of(scenario.serve.data, experiment_id) if state == "succeeded" else {}
        answers[experiment_id] = Answer(question, state, finishes.get(experiment_id, 0), files)
    return answers


def _clean_stop(scenario: Scenario) -> tuple[float | None, FaultRun]:
    """Stops the tree as a service manager does: within ten seconds, and with nothing left of it."""
    children, seconds, error = list(scenario.serve.family()), None, None
    try:
        seconds = round(scenario.serve.stop(), 2)
    except StopTimedOut as late:
        error = str(late)
    if error is None and alive(children):
        error = f"alive after a clean stop: {alive(children)}"
    return seconds, FaultRun("stopped at the end", 0, None, seconds or 0.0, error=error)
