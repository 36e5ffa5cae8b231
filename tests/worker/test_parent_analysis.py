"""Jobs on a finished analysis: they run on its model and read its stored files."""

from __future__ import annotations

from job_helpers import Bench
from outputs import output
from store_helpers import finish  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.kinds.knockout import KnockoutSpec


def submit_child(bench: Bench, parent: str) -> str:
    spec = KnockoutSpec(kind="knockout", parent=parent)
    return bench.store.submit(spec, key="of it", model="tiny", parent=parent)[0].id


def test_a_knockout_runs_on_its_parent_s_model_and_reads_its_files(bench: Bench) -> None:
    parent = bench.submit()
    finish(bench.store, parent)
    seen: list[object] = []
    bench.run = lambda model, spec, _id, *, parent, **_: (
        seen.extend([model, spec.kind, parent("result.json")]) or output(result_json=b"{}")
    )
    experiment_id = submit_child(bench, parent)
    bench.jobs.run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "succeeded"
    assert seen == ["the model tiny", "knockout", b"{}"]


def test_a_knockout_whose_parent_was_deleted_while_it_waited_fails_and_says_so(bench: Bench) -> None:
    parent = bench.submit()
    finish(bench.store, parent)
    bench.run = lambda *_, parent, **__: output(result_json=parent("result.json"))
    experiment_id = submit_child(bench, parent)
    bench.store.delete(parent)
    bench.jobs.run(experiment_id, 1)
    experiment = bench.store.experiment(experiment_id)
    assert experiment.state == "failed"
    assert experiment.error is not None
    assert "has been deleted" in experiment.error.detail
    assert "Restore it" in experiment.error.way_out


def test_a_knockout_whose_parent_is_rerun_meanwhile_fails_naming_the_parent(bench: Bench) -> None:
    parent = bench.submit()
    claim = bench.store.claim(parent, 1, owner="w", lease_s=60)
    assert claim is not None
    bench.store.mark_cancelled(claim, {"result.json": b"{}"})

    def run(*_, parent, **__):
        bench.store.retry(of)
        return output(result_json=parent("result.json"))

    of, bench.run = parent, run
    experiment_id = submit_child(bench, parent)
    bench.jobs.run(experiment_id, 1)
    error = bench.store.experiment(experiment_id).error
    assert error is not None
    assert error.type.endswith("not_finished")
    assert "The parent analysis" in error.detail


def test_a_file_that_the_parent_never_had_is_reported_as_missing(bench: Bench) -> None:
    parent = bench.submit()
    finish(bench.store, parent)
    bench.run = lambda *_, parent, **__: output(result_json=parent("arrays.npz"))
    experiment_id = submit_child(bench, parent)
    bench.jobs.run(experiment_id, 1)
    error = bench.store.experiment(experiment_id).error
    assert error is not None
    assert error.type.endswith("no_result")
