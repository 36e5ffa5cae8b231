"""The life of a job, on a real store and a real event stream."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from arithmoscope_worker.problems import problem_of
from job_helpers import CARD, Bench
from outputs import output
from store_helpers import Valkey, files_no_larger_than  # pyright: ignore[reportMissingImports]

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.results import Partial
from arithmoscope.store import EventLog
from benchmarks.patience import patience


def test_a_job_succeeds_and_reports_progress_from_first_to_last(bench: Bench) -> None:
    def run(model, spec, experiment_id, *, parent, saved_chunks, save_chunk, on_progress, on_partial, should_stop):
        assert (model, spec.model, parent, saved_chunks) == ("the model tiny", "tiny", None, {})
        assert bench.store.experiment(experiment_id).state == "running"
        for done in range(3):
            assert not should_stop()
            save_chunk(done, f"chunk {done}".encode())
            on_progress(Progress(stage="pairs", done=done + 1, total=3))
            on_partial(Partial(n_pairs=done + 1, metrics={}))
        assert bench.store.chunks(experiment_id) == {n: f"chunk {n}".encode() for n in range(3)}
        on_progress(Progress(stage="saving", done=3, total=3))
        return output(result_json=b"{}", arrays_npz=b"numbers")

    bench.run = run
    job_id = bench.submit()
    bench.jobs.run(job_id, 1)
    experiment = bench.store.experiment(job_id)
    assert (experiment.state, experiment.error) == ("succeeded", None)
    assert experiment.progress == Progress(stage="done", done=3, total=3)
    assert bench.store.read_artifact(job_id, "arrays.npz") == b"numbers"
    events = bench.events_of(job_id)
    stages = [each.data["stage"] for each in events if each.event == "progress"]
    assert stages[0] == "loading_model"
    assert stages[1] == "pairs"
    assert stages[-1] == "saving"
    assert [each.data["n_pairs"] for each in events if each.event == "partial"] == [3], "the newest is kept"
    assert (events[-1].event, events[-1].data) == ("state", {"state": "succeeded"})


def test_a_message_that_comes_twice_runs_once(bench: Bench) -> None:
    runs = []
    bench.run = lambda *_, **__: runs.append(1) or output(result_json=b"{}")
    experiment_id = bench.submit()
    for attempt in (1, 1, 2):
        bench.jobs.run(experiment_id, attempt)
    bench.jobs.run("nothing", 1)
    assert runs == [1]


def test_a_refusal_of_the_engine_is_what_the_asker_reads(bench: Bench) -> None:
    refusal = Refusal("none_kept", "None of the 3 prompts is answered rightly.")

    def run(*_, **__):
        raise refusal

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    experiment = bench.store.experiment(experiment_id)
    assert (experiment.state, experiment.error) == ("failed", refusal.details())
    assert bench.events_of(experiment_id)[-1].data == {"state": "failed"}


def test_an_exception_is_reported_without_its_traceback_and_logged_with_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def run(*_, **__):
        raise KeyError("a secret path")

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    error = bench.store.experiment(experiment_id).error
    assert error is not None
    assert error.type == "urn:arithmoscope:problem:internal"
    assert "secret" not in error.model_dump_json()
    assert "Traceback" not in error.model_dump_json()
    assert "a secret path" in caplog.text
    assert "Traceback" in caplog.text


def test_torch_without_memory_is_out_of_memory_and_not_a_broken_program() -> None:
    import torch

    with pytest.raises(RuntimeError) as failure:
        torch.empty(2**50)
    for error in (failure.value, torch.OutOfMemoryError("CUDA out of memory."), MemoryError()):
        assert problem_of(error).type.endswith(":out_of_memory")
    assert problem_of(RuntimeError("sizes differ")).type.endswith(":internal")


def test_a_model_that_is_not_registered_fails_the_job(bench: Bench) -> None:
    experiment_id = bench.submit(model="../elsewhere")
    bench.jobs.run(experiment_id, 1)
    error = bench.store.experiment(experiment_id).error
    assert error is not None
    assert error.type.endswith(":unknown_model")


def test_a_job_runs_though_the_models_cannot_be_looked_at(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def refresh() -> None:
        raise AttributeError("a folder that says nonsense")

    experiment_id = bench.submit()
    replace(bench.jobs, refresh=refresh).run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "succeeded"
    assert "a folder that says nonsense" in caplog.text


@pytest.mark.parametrize("chunks", [0, 2])
def test_a_cancelled_job_keeps_the_result_over_what_was_finished(bench: Bench, chunks: int) -> None:
    cancelled = threading.Event()

    def run(*_, save_chunk, should_stop, **__):
        for number in range(chunks):
            save_chunk(number, b"x")
        threading.Timer(0.05, lambda: (bench.store.request_cancel(experiment_id), cancelled.set())).start()
        deadline = time.monotonic() + 10 * patience()
        while not should_stop() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cancelled.is_set()
        return output(complete=False, result_json=b"partial") if chunks else None

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    experiment = bench.store.experiment(experiment_id)
    assert (experiment.state, experiment.cancel_requested, experiment.error) == ("cancelled", True, None)
    assert bench.store.artifact_names(experiment_id) == (("result.json",) if chunks else ())
    assert bench.events_of(experiment_id)[-1].data == {"state": "cancelled"}


def test_a_cancel_that_comes_after_the_last_pair_is_a_success(bench: Bench) -> None:
    def run(*_, should_stop, **__):
        bench.store.request_cancel(experiment_id)
        assert should_stop()
        return output(complete=True, result_json=b"{}")

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "succeeded"


def test_a_job_that_has_gone_to_another_worker_is_left_alone(bench: Bench) -> None:
    def run(*_, should_stop, **__):
        assert bench.store.reap(owner="w") == [(experiment_id, "queued")]
        assert bench.store.claim(experiment_id, 2, owner="other", lease_s=60) is not None
        deadline = time.monotonic() + 10 * patience()
        while time.monotonic() < deadline:
            should_stop()  # raises as soon as the heartbeat has noticed
            time.sleep(0.01)
        return output(result_json=b"stale")

    bench.run = run
    experiment_id = bench.submit()
    started = time.monotonic()
    bench.jobs.run(experiment_id, 1)
    assert time.monotonic() - started < 5 * patience()
    assert bench.store.experiment(experiment_id).state == "running"
    assert "state" not in [each.event for each in bench.events_of(experiment_id)]


def test_a_worker_that_is_told_to_stop_gives_the_job_back_and_the_next_one_continues(bench: Bench) -> None:
    seen = []

    def run(*_, saved_chunks, save_chunk, on_progress, should_stop, **__):
        seen.append(dict(saved_chunks))
        for number in range(3):
            if number not in saved_chunks:
                save_chunk(number, f"chunk {number}".encode())
            bench.stop = len(seen) == 1
            on_progress(Progress(stage="pairs", done=number + 1, total=3))
        return output(result_json=b"{}")

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "queued"
    assert "state" not in [each.event for each in bench.events_of(experiment_id)]
    bench.stop = False
    bench.jobs.run(experiment_id, 2)
    assert bench.store.experiment(experiment_id).state == "succeeded"
    assert seen == [{}, {0: b"chunk 0"}]


def test_a_cancelled_job_whose_worker_must_stop_at_once_is_cancelled_and_says_so(bench: Bench) -> None:
    def run(*_, should_stop, **__):
        bench.store.request_cancel(experiment_id)
        bench.stop = True
        should_stop()

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "cancelled"
    assert bench.events_of(experiment_id)[-1].data == {"state": "cancelled"}


def test_a_job_that_breaks_while_the_disk_is_full_says_so_when_there_is_room(bench: Bench) -> None:
    running, full = threading.Event(), threading.Event()

    def run(*_, **__):
        running.set()
        assert full.wait(10 * patience())
        raise Refusal("none_kept", "None of the 3 prompts is answered rightly.")

    bench.run = run
    experiment_id = bench.submit()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(bench.jobs.run, experiment_id, 1)
        assert running.wait(10 * patience())
        with files_no_larger_than(4096):
            full.set()
            with pytest.raises(TimeoutError):
                job.result(1.2)
            assert bench.store.experiment(experiment_id).state == "running"
        job.result(20)
    assert bench.store.experiment(experiment_id).state == "failed"


def test_what_a_lost_worker_had_begun_goes_on_before_anything_new(bench: Bench) -> None:
    order = []

    def run(_model, _spec, experiment_id, **_):
        order.append(experiment_id)
        return output(result_json=b"{}")

    bench.run = run
    begun, new = bench.submit("begun"), bench.submit("new")
    assert bench.store.claim(begun, 1, owner="dead", lease_s=60) is not None
    bench.store.reap(owner="dead")
    bench.jobs.run(new, 1)
    bench.jobs.run(begun, 2)
    assert order == [begun, new]
    assert {bench.store.experiment(each).state for each in order} == {"succeeded"}


def test_a_full_disk_delays_a_job_and_loses_nothing_of_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    computed = []

    def run(*_, saved_chunks, save_chunk, **__):
        for number in range(3):
            computed.append(number)
            save_chunk(number, bytes([number]) * 1_000_000)
        assert saved_chunks == {}
        return output(result_json=b"x" * 1_000_000)

    bench.run = run
    experiment_id = bench.submit()
    with ThreadPoolExecutor(1) as pool:
        with files_no_larger_than(700_000):
            job = pool.submit(bench.jobs.run, experiment_id, 1)
            with pytest.raises(TimeoutError):
                job.result(1.2)
            assert (bench.store.experiment(experiment_id).state, computed) == ("running", [0])
        job.result(20)
    assert (bench.store.experiment(experiment_id).state, computed) == ("succeeded", [0, 1, 2])
    assert len([line for line in caplog.messages if "waiting for the store" in line]) == 1


def test_a_full_disk_does_not_keep_a_worker_from_stopping(bench: Bench) -> None:
    def run(*_, save_chunk, **__):
        save_chunk(0, b"x" * 1_000_000)
        raise AssertionError("it was saved")

    bench.run = run
    experiment_id = bench.submit()
    with ThreadPoolExecutor(1) as pool, files_no_larger_than(700_000):
        job = pool.submit(bench.jobs.run, experiment_id, 1)
        with pytest.raises(TimeoutError):
            job.result(0.7)
        bench.stop = True
        job.result(5)
    assert bench.store.experiment(experiment_id).state == "queued"


def test_a_job_that_cannot_be_interrupted_is_given_back_before_the_process_ends(bench: Bench) -> None:
    def run(*_, **__):
        bench.stop = True
        deadline = time.monotonic() + 10 * patience()
        while not bench.left and time.monotonic() < deadline:
            time.sleep(0.05)
        assert bench.store.experiment(experiment_id).state == "queued"
        return output(result_json=b"late")

    bench.run = run
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    assert bench.left
    assert bench.store.experiment(experiment_id).state == "queued"
    assert bench.store.artifact_names(experiment_id) == ()


def test_the_lease_is_renewed_as_long_as_the_job_runs(bench: Bench) -> None:
    def run(*_, **__):
        claim_until = time.monotonic() + bench.lease_s + 0.5
        while time.monotonic() < claim_until:
            time.sleep(0.1)
            assert bench.store.reap() == []
        return output(result_json=b"{}")

    bench.lease_s = 1.0
    bench.__post_init__()
    bench.run = run
    bench.heartbeat.start()
    experiment_id = bench.submit()
    bench.jobs.run(experiment_id, 1)
    bench.heartbeat.stop()
    assert bench.store.experiment(experiment_id).state == "succeeded"


def test_a_worker_reports_whether_it_is_busy_and_its_loaded_models(bench: Bench) -> None:
    def statuses() -> list[tuple[bool, tuple[str, ...]]]:
        return [(each.busy, each.models) for each in bench.store.workers()]

    def wait_for(busy: bool) -> None:
        deadline = time.monotonic() + 10 * patience()
        while statuses() != [(busy, ("tiny",))] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert statuses() == [(busy, ("tiny",))]

    def run(*_, **__):
        wait_for(busy=True)
        return output(result_json=b"{}")

    bench.run = run
    bench.jobs.run(bench.submit(), 1)
    wait_for(busy=False)


def test_a_job_needs_no_event_stream(bench: Bench, valkey: Valkey) -> None:
    events = EventLog(valkey.url)
    valkey.kill()
    experiment_id = bench.submit()
    replace(bench.jobs, events=events).run(experiment_id, 1)
    assert bench.store.experiment(experiment_id).state == "succeeded"
    events.close()


def test_a_changed_chat_template_brings_the_model_into_memory_anew(bench: Bench) -> None:
    models: list[object] = []
    bench.run = lambda model, *_, **__: models.append(model) or output(result_json=b"{}")
    frame = ChatFrame(before="", reply="", next="", after="")
    for key, chat in (("a", frame), ("b", frame), ("c", frame.model_copy(update={"after": "A:"})), ("d", None)):
        bench.store.register_model(CARD, None, chat)
        bench.jobs.run(bench.submit(key), 1)
    assert models[0] is models[1]
    assert len({id(model) for model in models}) == 3
    assert bench.runtime.models() == ("tiny",)
