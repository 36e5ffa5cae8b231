"""Tests that faults show in latencies, slopes, event streams and the page."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.soak.load import Drain, Posts, Traffic, percentiles
from benchmarks.soak.memory import slope_of
from benchmarks.soak.report import SoakReport, is_flat
from benchmarks.soak.rounds import FaultRun, Round
from benchmarks.soak.traffic import EventStream
from benchmarks.soak.tree import settled
from benchmarks.soak.verdict import Verdict

MIB = 2**20


def test_percentiles_are_observed_values_without_interpolation() -> None:
    latencies = percentiles([number / 1000 for number in range(1, 101)])
    assert latencies == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0, "mean": 50.5}
    assert percentiles([0.007]) == dict.fromkeys(("p50", "p95", "p99", "max", "mean"), 7.0)
    assert percentiles([]) == {}


def test_growing_memory_is_distinguished_from_fluctuating_memory() -> None:
    noise = random.Random(0)
    rocking = [(100 + noise.uniform(-3, 3)) * MIB for _ in range(600)]
    growing = [each + second / 60 * MIB for second, each in enumerate(rocking)]
    flat, grows = slope_of(rocking), slope_of(growing)
    assert flat is not None
    assert grows is not None
    assert (is_flat(flat), is_flat(grows)) == (True, False)
    assert grows.low < 1 < grows.high
    assert flat.low < 0 < flat.high
    assert slope_of(rocking[:100]) is None


def _read(*blocks: str) -> list[str]:
    story = EventStream()
    whole = "".join(f"{block}\n\n" for block in blocks).encode()
    for at in range(0, len(whole), 7):  # in pieces cut at any byte
        story.take(whole[at : at + 7])
    return story.problems()


PROGRESS = 'id: 1-0\nevent: progress\ndata: {"stage":"pairs","done":16,"total":16}'
PARTIAL = 'id: 1-1\nevent: partial\ndata: {"n_pairs":16}'
STATE = 'event: state\ndata: {"state":"succeeded"}'


def test_a_complete_stream_has_no_problems() -> None:
    assert _read(": ping", PROGRESS, PARTIAL, STATE) == []


@pytest.mark.parametrize(
    "blocks",
    [
        (PROGRESS, PARTIAL),
        (STATE, PROGRESS),
        (PROGRESS, STATE, STATE),
        (PROGRESS, PROGRESS, STATE),
        (PARTIAL, PROGRESS, STATE),
        (PROGRESS.replace('"done":16', '"done":15'), PARTIAL, STATE),
        (PROGRESS, STATE.replace("succeeded", "failed")),
    ],
)
def test_a_stream_that_lacks_its_end_its_order_or_its_last_progress_has(blocks: tuple[str, ...]) -> None:
    assert _read(*blocks) != []


def _traffic(p95: float = 20.0, errors: int = 0) -> Traffic:
    return Traffic(
        seconds=600,
        readers=200,
        rate=50,
        requests=30_000,
        latencies_ms={"all": {"p50": 5.0, "p95": p95, "p99": 50.0, "max": 60.0, "mean": 6.0}},
        n_errors=errors,
        errors=["/: 500"] * errors,
        streams=1,
        events=1,
        most_open=200,
        submitted=1,
        ended=1,
        generator_late_ms=1.0,
        memory={"api": slope_of([100.0 * MIB] * 600), "serve": None},
    )


def test_findings_are_clean_only_if_all_is_as_it_must_be(tmp_path: Path) -> None:
    findings = SoakReport(1)
    findings.rounds.append(Round(1, 60.0, Verdict(12), [FaultRun("child killed", 3, 1.5, 2.0)], 1, 2.0, "tmpfs"))
    findings.posts = Posts(50, 1, {202: 1, 200: 49}, 0.5)
    findings.drain = Drain(1000, 0, 0, 990, 10.0, 100.0)
    findings.traffic = _traffic()
    assert findings.is_clean
    findings.write(tmp_path / "page.md", tmp_path / "results.json")
    page = (tmp_path / "page.md").read_text()
    assert "No problems found." in page
    assert "| child killed | kill -9 of the worker's computing child | 1 | 3 | 0 | 0 | 0 | 1.5 s, 1.5 s |" in page

    # A partial run keeps the other part unchanged, with its own date and machine.
    half = SoakReport(2)
    half.keep_load(tmp_path / "results.json")
    assert (half.posts, half.drain, half.traffic) == (findings.posts, findings.drain, findings.traffic)
    assert half.rounds == []
    half.keep_faults(tmp_path / "results.json")
    assert half.rounds == findings.rounds
    assert half.page() == page
    nothing = SoakReport(2)
    nothing.keep_load(tmp_path / "none.json")
    assert nothing.posts is None

    findings.rounds.append(Round(2, 60.0, Verdict(12, lost={"x": "failed"}), [FaultRun("disk full", 3, None, 2.0)]))
    findings.rounds.append(Round(3, 60.0, Verdict(12), [FaultRun("started twice", 3, None, 2.0, error="it ran")]))
    findings.posts = Posts(50, 2, {202: 2, 200: 48}, 0.5)
    findings.drain = Drain(1000, 0, 1, 990, 10.0, 100.0)
    findings.traffic = _traffic(p95=101.0, errors=1)
    assert not findings.is_clean
    assert len(findings.problems_found()) == 6
    assert "No problems found." not in findings.page()


def test_work_that_goes_on_is_waited_for_however_long_and_a_standstill_is_noticed() -> None:
    def never(_seen: int) -> bool:
        return False

    moving = iter(range(10_000))
    assert settled(lambda: next(moving), lambda seen: seen == 30, standstill_s=0.2, every_s=0.01) == 30
    assert settled(lambda: 7, never, standstill_s=0.05, every_s=0.01) == 7
    assert settled(lambda: int("no number"), never, standstill_s=0.05, every_s=0.01) is None
