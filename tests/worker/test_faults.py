"""Workers that are stopped, killed, frozen, or lose their broker: every job ends, with the right numbers."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis
from arithmoscope_worker.config import WorkerConfig
from store_helpers import Valkey, spec_of  # pyright: ignore[reportMissingImports]
from worker_trees import CHUNKS, SLOW, Tree, wait_until

from arithmoscope.store import Store
from arithmoscope.store.dispatch import Dispatcher
from arithmoscope.store.outbox import Outbox
from benchmarks.patience import patience

Submit = Callable[..., str]

UNDISTURBED = b"0;1;4;9;16;25;"


@pytest.fixture
def config(urls: tuple[str, str], tmp_path: Path, valkey: Valkey) -> WorkerConfig:
    models_dir = tmp_path / "models"
    models_dir.mkdir()
    return WorkerConfig(
        redis_url=valkey.url,
        database_url=urls[0],
        artifacts_url=urls[1],
        models_dir=models_dir,
        name="w",
        lease_s=3.0,
        heartbeat_s=0.3,
    )


@pytest.fixture
def submit(store: Store, valkey: Valkey) -> Iterator[Submit]:
    """Submits an experiment as the API does, with a running outbox."""
    dispatcher = Dispatcher(valkey.url)
    outbox = Outbox(store, dispatcher.send, marker=dispatcher, every_s=0.1)
    outbox.start()
    submitted = []

    def submit(question: str = "3 + 5 =") -> str:
        experiment, _ = store.submit(spec_of(question), key=str(len(submitted)))
        submitted.append(experiment.id)
        outbox.nudge()
        return experiment.id

    yield submit
    outbox.stop()
    dispatcher.close()


def worker(config: WorkerConfig) -> Tree:
    return Tree(config, config.models_dir.parent / "worker.log")


def computed(config: WorkerConfig) -> list[str]:
    path = config.models_dir / "computed"
    return path.read_text().split() if path.exists() else []


def wait_for_chunks(store: Store, experiment_id: str, chunks: int) -> None:
    wait_until(lambda: len(store.chunks(experiment_id)) >= chunks, f"{chunks} chunks are not there")


def assert_ends_well(store: Store, config: WorkerConfig, experiment_id: str) -> None:
    wait_until(lambda: store.experiment(experiment_id).state not in ("queued", "running"), "it has not ended")
    experiment = store.experiment(experiment_id)
    assert (experiment.state, experiment.error) == ("succeeded", None)
    assert store.read_artifact(experiment_id, "result.json") == UNDISTURBED
    # At most the chunk in progress at the fault is computed twice.
    assert len(computed(config)) <= CHUNKS + 1


def test_a_killed_child_is_replaced_and_its_job_continues(store: Store, config: WorkerConfig, submit: Submit) -> None:
    with worker(config) as tree:
        experiment_id = submit()
        wait_for_chunks(store, experiment_id, 2)
        tree.child().kill()
        assert_ends_well(store, config, experiment_id)
        assert tree.process.poll() is None


def test_a_killed_worker_leaves_no_child_and_its_successor_continues(
    store: Store, config: WorkerConfig, submit: Submit
) -> None:
    with worker(config) as tree:
        experiment_id = submit()
        wait_for_chunks(store, experiment_id, 2)
        child = tree.child()
        tree.process.kill()
        tree.process.wait()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "a child is left", 2)
    with worker(config):
        assert_ends_well(store, config, experiment_id)


def test_a_frozen_worker_that_wakes_up_changes_nothing(store: Store, config: WorkerConfig, submit: Submit) -> None:
    with worker(config) as frozen:
        experiment_id = submit()
        wait_for_chunks(store, experiment_id, 2)
        child = frozen.child()
        child.suspend()
        frozen.process.send_signal(signal.SIGSTOP)
        with worker(replace(config, name="other")):
            assert_ends_well(store, config, experiment_id)
            ended = store.experiment(experiment_id)
            child.resume()
            frozen.process.send_signal(signal.SIGCONT)
            time.sleep(1)
            assert store.experiment(experiment_id) == ended
            assert store.read_artifact(experiment_id, "result.json") == UNDISTURBED
            later = [submit(), submit()]
            for each in later:
                wait_until(lambda each=each: store.experiment(each).state == "succeeded", "a later job has not ended")


def test_a_worker_that_is_told_to_stop_stops_soon_and_loses_nothing(
    store: Store, config: WorkerConfig, submit: Submit
) -> None:
    with worker(config) as tree:
        experiment_id = submit()
        wait_for_chunks(store, experiment_id, 2)
        wait_until(lambda: [(each.id, each.busy) for each in store.workers()] == [("w", True)], "it is not busy", 2)
        started = time.monotonic()
        assert tree.stop() == 0
        assert time.monotonic() - started < 8 * patience()
        assert store.experiment(experiment_id).state == "queued"
        assert store.workers() == []
    with worker(config):
        assert_ends_well(store, config, experiment_id)
    assert len(computed(config)) == CHUNKS


def test_a_job_outlives_its_broker_and_the_next_one_runs_on_a_new_one(
    store: Store, config: WorkerConfig, submit: Submit, valkey: Valkey
) -> None:
    with worker(config):
        first = submit()
        wait_for_chunks(store, first, 1)
        valkey.kill()
        second = submit()
        wait_for_chunks(store, first, 3)
        valkey.start()
        assert_ends_well(store, config, first)
        wait_until(lambda: store.experiment(second).state == "succeeded", "the second has not ended")
    assert len(computed(config)) == 2 * CHUNKS


def test_an_emptied_broker_delays_and_loses_nothing(
    store: Store, config: WorkerConfig, submit: Submit, valkey: Valkey
) -> None:
    with worker(config):
        first, second = submit(), submit()
        wait_for_chunks(store, first, 1)
        with redis.Redis.from_url(valkey.url) as client:
            client.flushall()
        assert_ends_well(store, config, first)
        wait_until(lambda: store.experiment(second).state == "succeeded", "the second has not ended")


def test_a_cancel_reaches_a_running_job_and_its_partial_result_is_kept(
    store: Store, config: WorkerConfig, submit: Submit
) -> None:
    with worker(config):
        experiment_id = submit()
        wait_for_chunks(store, experiment_id, 2)
        store.request_cancel(experiment_id)
        started = time.monotonic()
        wait_until(lambda: store.experiment(experiment_id).state == "cancelled", "it is not cancelled")
        assert time.monotonic() - started < 2 * patience()
        assert UNDISTURBED.startswith(store.read_artifact(experiment_id, "result.json"))
        assert store.retry(experiment_id).state == "queued"
        assert_ends_well(store, config, experiment_id)


def test_a_job_that_kills_every_worker_fails_with_a_reason(store: Store, config: WorkerConfig, submit: Submit) -> None:
    with worker(config) as tree:
        experiment_id = submit(SLOW)
        for _ in range(3):
            wait_until(lambda: store.experiment(experiment_id).state == "running", "it does not run")
            tree.child().kill()
            wait_until(lambda: store.experiment(experiment_id).state != "running", "its loss is not noticed")
        experiment = store.experiment(experiment_id)
        assert experiment.state == "failed"
        assert experiment.error is not None
        assert experiment.error.type.endswith(":worker_lost")


def test_a_worker_that_cannot_be_interrupted_stops_soon_too(store: Store, config: WorkerConfig, submit: Submit) -> None:
    with worker(config) as tree:
        experiment_id = submit(SLOW)
        wait_until(lambda: store.experiment(experiment_id).state == "running", "it does not run")
        started = time.monotonic()
        tree.stop()
        assert time.monotonic() - started < 8 * patience()
        assert store.experiment(experiment_id).state == "queued"


def test_a_worker_stops_soon_without_a_broker(store: Store, config: WorkerConfig, valkey: Valkey) -> None:
    valkey.kill()
    with worker(config) as tree:
        wait_until(lambda: len(store.workers()) == 1, "the worker does not beat")
        started = time.monotonic()
        tree.stop()
        assert time.monotonic() - started < 8 * patience()
