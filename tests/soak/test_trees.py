"""Two rounds of `make soak` and a small load, by its own code, on real process trees."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.soak.disk import small_disk
from benchmarks.soak.load import drain, post_at_once, run_traffic, warm_tree
from benchmarks.soak.questions import long_question
from benchmarks.soak.rounds import Round, questions_of, run_round, undisturbed
from benchmarks.soak.tree import Serve, clock_environment, shift_clock

SEED = 2
# Ten seconds is the promise for an idle machine, which `make soak` checks. Here other tests run at the same time.
RECOVERS_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> list[Round]:
    """Two concurrent rounds and the undisturbed run that they are compared with: each waits most of the time."""
    folder, questions = tmp_path_factory.mktemp("rounds"), questions_of(30, pairs=80)
    with ThreadPoolExecutor(3) as pool:
        expected = pool.submit(undisturbed, folder / "undisturbed", models_dir, questions)
        running = [
            pool.submit(
                run_round,
                n,
                SEED,
                folder / f"r{n}",
                models_dir,
                questions,
                expected.result,
                _say,
                recovers_within_s=RECOVERS_WITHIN_S,
            )
            for n in (1, 2)
        ]
        return [each.result() for each in running]


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a standstill is noticed within minutes
def test_under_every_fault_nothing_is_lost_nothing_ends_twice_and_no_bit_differs(rounds: list[Round]) -> None:
    for each in rounds:
        assert each.verdict.accepted > 5
        assert (each.verdict.lost, each.verdict.twice, each.verdict.differing) == ({}, {}, {})


@pytest.mark.slow
def test_every_fault_is_met_as_it_should_be_and_a_killed_workers_job_goes_on_soon(
    rounds: list[Round],
) -> None:
    errors = [f"{run.fault}: {run.error}" for each in rounds for run in each.blows if run.error]
    assert errors == []
    for fault in ("worker killed", "child killed"):
        assert [run.recovery_s for each in rounds for run in each.blows if run.fault == fault] != [None, None]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Serve]:
    with warm_tree(tmp_path_factory.mktemp("load") / "tree", models_dir) as serve:
        yield serve


@pytest.mark.slow
def test_fifty_identical_questions_in_one_moment_make_one_experiment(loaded: Serve) -> None:
    posts = post_at_once(loaded, long_question(1), 50)
    assert (posts.experiments, posts.statuses) == (1, {202: 1, 200: 49})


@pytest.mark.slow
def test_a_hundred_questions_drain_with_none_lost_and_none_done_twice(loaded: Serve) -> None:
    report = drain(loaded, 100, 240)
    assert (report.lost, report.twice) == (0, 0)


@pytest.mark.slow
def test_many_readers_and_requests_get_all_they_ask_for_while_the_worker_computes(loaded: Serve) -> None:
    report = run_traffic(loaded, 5.0, finished_ones=3)
    assert report.errors == []
    assert report.requests >= 240  # one every 20 ms
    assert report.streams >= report.readers == report.most_open == 200
    assert report.latencies_ms["all"]["p95"] < 10_000  # the promise is 100 on an idle machine


def test_a_full_disk_is_full_and_can_be_freed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if disk.means != "tmpfs":
            pytest.skip("no tmpfs can be mounted here: the rounds limit the length of files instead")
        disk.fill([os.getpid()])
        with pytest.raises(OSError, match="No space left"), (tmp_path / "disk" / "more").open("wb") as file:
            file.write(b"x" * 100_000)
        disk.free()
        (tmp_path / "disk" / "more").write_bytes(b"x" * 100_000)
    assert not (tmp_path / "disk").exists()


def test_a_tree_started_with_another_time_has_it(tmp_path: Path) -> None:
    shift_clock(tmp_path, 3600.0)
    environment = {**os.environ, **clock_environment(tmp_path)}
    command = [sys.executable, "-P", "-c", "import time; print(time.time())"]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert 3590 < float(completed.stdout) - time.time() < 3610
