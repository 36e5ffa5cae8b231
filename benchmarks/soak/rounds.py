"""A round: a fresh data folder, every fault once in an order of its own, and then the verdict."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Store
from benchmarks.soak.disk import small_disk
from benchmarks.soak.faults import FAULTS, Fault
from benchmarks.soak.judge import Answer, Verdict, comparable, is_compared, judge
from benchmarks.soak.questions import Question, long_question
from benchmarks.soak.scene import Scene
from benchmarks.soak.tree import DidNotStart, Serve, TookTooLong, alive, clock_environment, eventually

ENDS_WITHIN_S = 180.0
RECOVERS_WITHIN_S = 10.0

Say = Callable[[str], None]
Undisturbed = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Blow:
    """One fault of a round. ``met``: experiments that were unfinished or asked while it lasted; ``wrong`` are those of
    them that were lost, ended twice or differ. ``error``: what it should not have found."""

    fault: str
    met: int
    recovery_s: float | None
    seconds: float
    wrong: dict[str, list[str]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True)
class Round:
    """``stop_s``: how long the clean stop at its end took. ``disk``: how the disk was filled."""

    number: int
    seconds: float
    verdict: Verdict
    blows: list[Blow] = field(default_factory=list)
    turned_away: int = 0
    stop_s: float | None = None
    disk: str = ""

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not any(blow.error for blow in self.blows)


def questions_of(count: int, pairs: int = 128) -> dict[str, Question]:
    """Distinct questions by name."""
    return {f"q{seed}": long_question(seed, pairs) for seed in range(count)}


def undisturbed(folder: Path, models: Path, questions: Mapping[str, Question]) -> dict[str, dict[str, str]]:
    """Every question's files, by a tree to which nothing happens."""
    folder.mkdir(parents=True)
    serve = Serve(folder, models, more=clock_environment(folder))
    try:
        asked = {}
        for name, question in questions.items():
            with serve.open("/api/experiments", question) as answer:
                asked[json.load(answer)["id"]] = name
        return {asked[found]: files for found, files in _ended(serve, asked).items()}
    finally:
        serve.end()
        shutil.rmtree(folder, ignore_errors=True)


def _ended(serve: Serve, asked: Mapping[str, str]) -> dict[str, dict[str, str]]:
    def all_ended() -> bool:
        return all(serve.get(f"/api/experiments/{name}")["state"] == "succeeded" for name in asked)

    if not eventually(all_ended, 60 + 10 * len(asked), 0.5):
        raise AssertionError("the undisturbed run does not end")
    return {name: files_of(serve.data, name) for name in asked}


def files_of(data: Path, experiment_id: str) -> dict[str, str]:
    """The stored files by name, each by what must not differ in it. One that is gone or damaged has no name here."""
    found = {}
    with Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri()) as store:
        for name in store.artifact_names(experiment_id):
            if is_compared(name):
                try:
                    found[name] = comparable(name, store.read_artifact(experiment_id, name))
                except Refusal as refusal:
                    found[name] = f"unreadable: {refusal.detail}"
    return found


def run_round(
    number: int,
    seed: int,
    folder: Path,
    models: Path,
    questions: Mapping[str, Question],
    expected: Callable[[], Undisturbed],
    say: Say,
    faults: Sequence[Fault] = FAULTS,
) -> Round:
    """Strikes with every fault, in a random order and at random moments of running work, and judges.

    ``expected`` gives the undisturbed files when they are asked for: at the end. The folder is kept when something
    was wrong.
    """
    began = time.monotonic()
    rng = random.Random(f"{seed}/{number}")
    order = rng.sample(list(faults), len(faults))
    blows: list[tuple[Blow, set[str]]] = []
    with small_disk(folder) as disk:
        scene = Scene(number, folder, models, disk, rng.sample(sorted(questions.items()), len(questions)), rng)
        try:
            for fault in order:
                blows.append(_strike(scene, fault))
                said = blows[-1][0]
                after = "" if said.recovery_s is None else f", taken up again after {said.recovery_s:.1f} s"
                say(f"  {fault.name} ({said.seconds:.1f} s{after}){': ' + said.error if said.error else ''}")
            answers = _answers(scene)
            verdict = judge(answers, expected())
            stop_s, last = _clean_stop(scene)
            blows.append((last, set()))
        finally:
            scene.end()
        found = Round(
            number,
            round(time.monotonic() - began, 1),
            verdict,
            [replace(blow, wrong=_wrong_of(met, verdict)) for blow, met in blows],
            scene.turned_away,
            stop_s,
            disk.means,
        )
        if not found.is_clean:
            kept = folder.with_name(f"{folder.name}-kept")
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("ballast", "*.sock"))
            say(f"  kept for a look: {kept}")
    return found


def _strike(scene: Scene, fault: Fault) -> tuple[Blow, set[str]]:
    began = time.monotonic()
    before, accepted = {row.id for row in scene.unfinished()}, set(scene.accepted)
    recovery_s, error = None, None
    try:
        recovery_s = fault.strike(scene).recovery_s
        if scene.rng.random() < 0.5:
            scene.ask_again()
    except (AssertionError, DidNotStart) as wrong:
        error = str(wrong)
    met = before | {row.id for row in scene.unfinished()} | (scene.accepted.keys() - accepted)
    if fault.recovers and recovery_s is not None and recovery_s > RECOVERS_WITHIN_S and error is None:
        error = f"taken up again after {recovery_s:.1f} s only"
    rounded = None if recovery_s is None else round(recovery_s, 2)
    return Blow(fault.name, len(met), rounded, round(time.monotonic() - began, 1), error=error), met


def _wrong_of(met: set[str], verdict: Verdict) -> dict[str, list[str]]:
    kinds = {"lost": verdict.lost, "twice": verdict.twice, "differing": verdict.differing}
    return {kind: sorted(met & names.keys()) for kind, names in kinds.items()}


def _answers(scene: Scene) -> dict[str, Answer]:
    """Every accepted experiment, when all have ended or the time for it is over."""
    eventually(lambda: not scene.unfinished(), ENDS_WITHIN_S, 0.2)
    rows, finishes = scene.ledger.rows(), scene.ledger.finishes()
    answers = {}
    for experiment_id, question in scene.accepted.items():
        row = rows.get(experiment_id)
        state = "gone" if row is None else row.state
        files = files_of(scene.serve.data, experiment_id) if state == "succeeded" else {}
        answers[experiment_id] = Answer(question, state, finishes.get(experiment_id, 0), files)
    return answers


def _clean_stop(scene: Scene) -> tuple[float | None, Blow]:
    """Stops the tree as a service does: within ten seconds, and nothing of it may be left."""
    children, seconds, error = list(scene.serve.family()), None, None
    try:
        seconds = round(scene.serve.stop(), 2)
    except TookTooLong as late:
        error = str(late)
    if error is None and alive(children):
        error = f"alive after a clean stop: {alive(children)}"
    return seconds, Blow("stopped at the end", 0, None, seconds or 0.0, error=error)
