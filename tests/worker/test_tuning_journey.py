"""A fine-tuning from its spec to the tuned model and its deletion: the API, a broker, a worker, the engine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from arithmoscope_api.config import ApiConfig
from arithmoscope_worker.config import WorkerConfig
from store_helpers import Valkey, valkey_server  # pyright: ignore[reportMissingImports]
from worker_trees import Tree, wait_until

from arithmoscope.contracts.kinds.fine_tune import FineTuneResult, FineTuneSpec
from arithmoscope.store import Store
from benchmarks.patience import patience

sys.path.insert(0, str(Path(__file__).parent.parent / "backend"))

from api_helpers import Api, events  # pyright: ignore[reportMissingImports]

MODEL_ID = "tiny"
PROMPTS = {"source": "template", "operations": ["add"], "operands": [1, 30], "pairs": 60, "shots": 0}
SPEC = {
    "kind": "fine_tune",
    "model": MODEL_ID,
    "components": ["L1H2", "MLP1"],
    "prompts": PROMPTS,
    "steps": 60,
    "batch_size": 8,
    "validate_every": 20,
}


@dataclass
class Lab:
    api: Api
    store: Store
    tree: Tree

    def ended(self, experiment_id: str) -> dict[str, Any]:
        """An experiment at its end."""
        deadline = time.monotonic() + 280 * patience()
        while self.store.experiment_status(experiment_id).state in ("queued", "running"):
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.2)
        return self.api.get(f"/api/experiments/{experiment_id}").json()

    def result(self, experiment_id: str) -> FineTuneResult:
        return FineTuneResult.model_validate_json(self.api.get(f"/api/experiments/{experiment_id}/result").content)

    def models(self) -> dict[str, dict[str, Any]]:
        return {card["id"]: card for card in self.api.get("/api/models").json()["items"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    import torch
    from tiny import tiny_model  # pyright: ignore[reportMissingImports]

    folder = tmp_path_factory.mktemp("lab")
    model = tiny_model("LlamaForCausalLM", torch.float32)
    model.hf.save_pretrained(folder / "models" / MODEL_ID)
    model.tokenizer.save_pretrained(folder / "models" / MODEL_ID)
    database, artifacts = f"sqlite:///{folder / 'arithmoscope.db'}", (folder / "artifacts").as_uri()
    with valkey_server(tmp_path_factory.mktemp("v")) as broker, Store.open(database, artifacts) as store:
        server: Valkey = broker
        api = ApiConfig(
            database_url=database, artifacts_url=artifacts, page_dir=folder, redis_url=server.url, rate_limit="0"
        )
        worker = WorkerConfig(
            redis_url=server.url,
            database_url=database,
            artifacts_url=artifacts,
            models_dir=folder / "models",
            name="w",
            device="cpu",
            heartbeat_s=0.3,
        )
        with Tree(worker, folder / "worker.log", real=True) as tree, Api(api, store) as client:
            running_lab = Lab(client, store, tree)
            wait_until(
                lambda: running_lab.models().get(MODEL_ID, {}).get("supported", False), "no model is registered", 60
            )
            yield running_lab


def test_a_model_is_tuned_judged_listed_analysed_and_goes_with_its_fine_tuning(lab: Lab) -> None:
    seen = lab.api.post("/api/tuning/preview", json=SPEC).json()
    experiment_id = lab.api.submit(SPEC)
    experiment = lab.ended(experiment_id)
    assert (experiment["state"], experiment["error"]) == ("succeeded", None)
    result = lab.result(experiment_id)
    assert result.complete
    assert (result.ended, result.kept, result.split.shared) == ("finished", 60, 0)
    assert result.tunable.model_dump(mode="json") == seen["tunable"]
    assert result.split.model_dump(mode="json") == seen["split"]
    assert result.evaluation is not None
    stream_events = events(lab.api, experiment_id)
    (training,) = [each.data for each in stream_events if each.event == "training"]
    assert (training["steps"][0], training["steps"][-1]) == (1, 60)
    assert training["losses"][-1] < training["losses"][0]
    assert (stream_events[-1].event, stream_events[-1].data) == ("state", {"state": "succeeded"})

    tuned = lab.models()[str(result.tuned)]
    assert (tuned["source"], tuned["base"], tuned["experiment"]) == ("tuned", MODEL_ID, experiment_id)
    pairs = {**PROMPTS, "pairs": 2, "keep_wrong": True}
    analysis = {"kind": "path_patching", "effect": "direct", "prompts": pairs}
    numbers = []
    for model in (tuned["id"], MODEL_ID):
        name = lab.api.submit({**analysis, "model": model})
        assert lab.ended(name)["state"] == "succeeded"
        of = json.loads(lab.store.read_artifact(name, "result.json"))
        assert (of["model"]["id"], of["model"]["revision"]) == (model, lab.models()[model]["revision"])
        numbers.append(of["pairs"][0]["reference_logit"])
    assert numbers[0] != numbers[1]

    again = lab.api.submit({**SPEC, "model": tuned["id"], "steps": 5})
    assert lab.ended(again)["state"] == "succeeded"
    assert lab.models()[str(lab.result(again).tuned)]["base"] == tuned["id"]
    assert lab.api.delete(f"/api/experiments/{experiment_id}").status_code == 204
    left = lab.models()
    assert tuned["id"] not in left
    assert not left[str(lab.result(again).tuned)]["supported"]


def test_a_training_whose_process_is_killed_ends_with_the_same_weights(lab: Lab) -> None:
    spec = {**SPEC, "steps": 300, "seed": 1}
    experiment_id = lab.api.submit(spec)
    wait_until(lambda: bool(lab.store.chunks(experiment_id)), "no checkpoint is kept", 100)
    lab.tree.child().kill()
    assert lab.ended(experiment_id)["state"] == "succeeded"
    assert lab.api.get(f"/api/experiments/{experiment_id}").json()["attempt"] > 1
    assert lab.store.chunks(experiment_id) == {}
    undisturbed, _ = lab.store.submit(FineTuneSpec.model_validate(spec), key="once more")
    assert lab.ended(undisturbed.id)["state"] == "succeeded"
    assert lab.result(undisturbed.id).deltas_sha256 == lab.result(experiment_id).deltas_sha256


def test_a_training_that_breaks_says_so_and_keeps_its_last_good_weights(lab: Lab) -> None:
    # So much decay turns every weight's sign and makes it 99 times as large, at every step.
    experiment_id = lab.api.submit(
        {**SPEC, "learning_rate": 1, "weight_decay": 100, "warmup": 0, "schedule": "constant"}
    )
    experiment = lab.ended(experiment_id)
    assert (experiment["state"], experiment["error"]["title"]) == ("failed", "The loss is not finite")
    result = lab.result(experiment_id)
    assert (result.ended, result.complete) == ("not_finite", False)
    assert 0 < result.kept < 60
    assert lab.api.get(f"/api/experiments/{experiment_id}/deltas.safetensors").status_code == 200
    assert lab.models()[str(result.tuned)]["supported"]
