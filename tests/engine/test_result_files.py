"""Tests of the files of a result: each ranking has its description beside it, and the arrays record the settings."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from tiny import tiny_model
from whole_run import whole_run

from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.experiments.path_patching import RunOutput


@pytest.fixture(scope="module")
def output() -> RunOutput:
    pairs = [{"reference": f"{a} + {a} ="} for a in (1, 2, 3)]
    spec = PathPatchingSpec.model_validate(
        {
            "kind": "path_patching",
            "model": "tiny",
            "effect": "direct",
            "prompts": {"source": "custom", "shots": 0, "pairs": pairs},
            "metrics": ["logit", "relative_logit"],
        }
    )
    return whole_run(tiny_model("LlamaForCausalLM", torch.float32), spec)


def test_every_ranking_is_described_in_its_own_unit(output: RunOutput):
    for metric, unit in (("logit", "logits"), ("relative_logit", "percent of |reference logit|")):
        described = json.loads(output.artifacts[f"components.{metric}.csv-metadata.json"])
        header = next(csv.reader(io.StringIO(output.artifacts[f"components.{metric}.csv"].decode())))
        columns = described["tableSchema"]["columns"]
        assert [column["name"] for column in columns] == header
        assert {column.get("schema:unitText") for column in columns} == {None, unit}
        assert described["url"] == f"components.csv?metric={metric}"


def test_the_checks_of_the_run_are_in_the_description(output: RunOutput):
    described = json.loads(output.artifacts["components.logit.csv-metadata.json"])
    notes = {note["schema:name"]: note["schema:value"] for note in described["notes"]}
    checks = output.result.checks
    assert notes["checks.noise_floor"] == checks.noise_floor
    assert notes["checks.spot_check_error"] == checks.spot_check_error
    assert notes["checks.spot_check"].split() == list(checks.spot_check)


def test_the_result_says_how_the_work_was_cut(output: RunOutput):
    plan = output.result.provenance.plan
    assert plan is not None
    assert plan.budget_bytes is not None
    assert all(size is not None and size > 0 for size in plan.model_dump().values())
    described = json.loads(output.artifacts["components.logit.csv-metadata.json"])
    notes = {note["schema:name"]: note["schema:value"] for note in described["notes"]}
    assert {name: notes[f"plan.{name}"] for name in plan.model_dump()} == plan.model_dump()


def test_the_arrays_say_what_was_patched_where_and_from_what(output: RunOutput):
    arrays = np.load(io.BytesIO(output.artifacts["arrays.npz"]), allow_pickle=False)
    words = [str(arrays[name]) for name in ("effect", "positions", "source", "direction")]
    assert words == ["direct", "end", "counterfactual", "noising"]
