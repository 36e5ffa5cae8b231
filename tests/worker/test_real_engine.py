"""The main job from its row to its artifacts: a real broker, a real Celery worker, the real engine on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from arithmoscope_worker.config import WorkerConfig
from job_helpers import Bench
from store_helpers import Valkey, spec_of  # pyright: ignore[reportMissingImports]
from worker_trees import Tree, wait_until

from arithmoscope import PromptPair, load_model, path_patching
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.store import EventLog, Store
from arithmoscope.store.dispatch import Dispatcher
from arithmoscope.store.outbox import Outbox
from arithmoscope.store.tensor_slices import read_slice
from arithmoscope.store.views import STORED_ATTENTION, attention_view
from benchmarks.patience import patience

QUESTIONS = ("2 + 3 =", "3 + 5 =", "1 + 6 =")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tiny import tiny_model  # pyright: ignore[reportMissingImports]

    folder = tmp_path_factory.mktemp("models")
    model = tiny_model("LlamaForCausalLM", dtype=torch.float32)
    model.hf.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    return folder


@pytest.fixture
def tree(urls: tuple[str, str], models_dir: Path, broker_of_all: Valkey, tmp_path: Path) -> Iterator[Tree]:
    config = WorkerConfig(
        redis_url=broker_of_all.url,
        database_url=urls[0],
        artifacts_url=urls[1],
        models_dir=models_dir,
        name="real",
        device="cpu",
        heartbeat_s=0.3,
    )
    with Tree(config, tmp_path / "worker.log", real=True) as tree:
        yield tree


def test_the_main_job_end_to_end(
    store: Store, tree: Tree, models_dir: Path, broker_of_all: Valkey, tmp_path: Path
) -> None:
    dispatcher, events = Dispatcher(broker_of_all.url), EventLog(broker_of_all.url)
    outbox = Outbox(store, dispatcher.send, events.publish)
    outbox.start()
    bench = Bench(store, events, broker_of_all.url)
    wait_until(lambda: store.model("tiny").revision not in ("", "one"), "the model is not registered")
    assert json.loads(store.tokenizer_json("tiny"))["model"]["type"] == "WordLevel"

    experiment, _ = store.submit(spec_of(*QUESTIONS), key="cold")
    outbox.nudge()
    wait_until(lambda: store.experiment(experiment.id).state in ("succeeded", "failed"), "it has not ended", 90)
    stored = store.experiment(experiment.id)
    assert (stored.state, stored.error) == ("succeeded", None)
    wait_until(lambda: "tiny" in store.workers()[0].models, "the worker does not say what it holds", 5)
    assert store.workers()[0].device == "cpu"

    again, _ = store.submit(spec_of(*QUESTIONS), key="warm")
    started = time.monotonic()
    outbox.nudge()
    wait_until(lambda: bool(bench.events_of(again.id)), "it says nothing", 5)
    # The promise is 0.3 s after a submit with a warm worker; a busy test machine may need more.
    assert time.monotonic() - started < 1.0 * patience()
    wait_until(lambda: store.experiment(again.id).state == "succeeded", "it has not ended")
    stages = [each.data["stage"] for each in bench.events_of(again.id) if each.event == "progress"]
    assert stages == sorted(stages, key=["loading_model", "pairs", "saving"].index)
    assert set(stages) == {"loading_model", "pairs", "saving"}
    assert [each.event for each in bench.events_of(again.id)][-1] == "state"
    assert "partial" in [each.event for each in bench.events_of(again.id)]

    assert_numbers_are_the_engines(store, experiment.id, models_dir)
    assert_attention_is_added_when_asked_for(store, dispatcher, experiment.id)
    outbox.stop()
    dispatcher.close()
    events.close()
    assert tree.stop() == 0
    assert "torch in the parent: False" in (tmp_path / "worker.log").read_text()


def assert_attention_is_added_when_asked_for(store: Store, dispatcher: Dispatcher, experiment_id: str) -> None:
    dispatcher.request_view(experiment_id, "attention.1")
    name = attention_view(1).file
    wait_until(lambda: name in store.artifact_names(experiment_id), "no attention comes", 20)
    with (
        store.open_artifact(experiment_id, name) as added,
        store.open_artifact(experiment_id, STORED_ATTENTION) as first,
    ):
        for layer in range(3):
            assert read_slice(added, "prompt.1", layer) == read_slice(first, "prompt.1", layer)
    dispatcher.request_view(experiment_id, "attention.99")
    wait_until(
        lambda: attention_view(99).problem in store.artifact_names(experiment_id), "no word of what is wrong", 20
    )
    assert json.loads(store.read_artifact(experiment_id, attention_view(99).problem))["type"].endswith("out_of_range")


def assert_numbers_are_the_engines(store: Store, experiment_id: str, models_dir: Path) -> None:
    result = PathPatchingResult.model_validate_json(store.read_artifact(experiment_id, "result.json"))
    assert (result.experiment_id, result.complete, len(result.pairs)) == (experiment_id, True, 3)
    model = load_model("tiny", models_dir=models_dir, device="cpu")
    pairs = [
        PromptPair(question, question.replace("+", "@"), answer)
        for question, answer in zip(QUESTIONS, "587", strict=True)
    ]
    effects = path_patching(model, pairs, effect="through_mlps")
    means = result.metrics["logit"].heads.mean
    assert [cell for row in means for cell in row] == pytest.approx(
        effects.heads.mean(0).flatten().tolist(), rel=1e-3, abs=1e-4
    )


def test_the_parent_of_a_worker_needs_no_torch() -> None:
    code = (
        "import sys, arithmoscope_worker.app, arithmoscope_worker.registration\n"
        "assert not {'torch', 'transformers', 'fastapi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
