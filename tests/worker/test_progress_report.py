"""The rate of a running job's progress reports."""

from __future__ import annotations

import pytest
from arithmoscope_worker.progress_report import ProgressReporter
from job_helpers import Bench
from store_helpers import Clock  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.results import Partial
from arithmoscope.store import LeaseLost


def test_progress_is_reported_at_most_ten_times_a_second_and_the_first_and_last_always(bench: Bench) -> None:
    experiment_id, clock = bench.submit(), Clock()
    claim = bench.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    report = ProgressReporter(bench.store, bench.events, claim, clock=clock)
    report.progress(Progress(stage="loading_model"))
    for layer in range(1000):
        clock.now += 0.001
        report.progress(Progress(stage="pairs", done=0, total=8, layer=layer, layers=1000))
        report.partial(Partial(n_pairs=layer, metrics={}))
    report.flush()
    updates = [each.data for each in bench.events_of(experiment_id) if each.event == "progress"]
    assert updates[0]["stage"] == "loading_model"
    assert updates[1]["layer"] == 0
    assert updates[-1]["layer"] == 999
    assert 10 <= len(updates) <= 14
    assert [each.data["n_pairs"] for each in bench.events_of(experiment_id) if each.event == "partial"] == [999]
    assert bench.store.experiment(experiment_id).progress.layer == 999


def test_a_report_of_a_lost_job_stops_it(bench: Bench) -> None:
    experiment_id = bench.submit()
    claim = bench.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    report = ProgressReporter(bench.store, bench.events, claim)
    bench.store.reap(owner="w")
    with pytest.raises(LeaseLost):
        report.progress(Progress(stage="loading_model"))
