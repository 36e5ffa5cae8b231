"""A job of the real worker with the real model, under a real ``serve`` that is stopped in the middle of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from serve_tree import Serve, eventually

from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.settings import read_settings
from benchmarks.patience import patience

pytestmark = pytest.mark.slow

SPEC = {
    "model": "smollm2-135m",
    "effect": "direct",
    "prompts": {"source": "template", "pairs": 24, "shots": 2, "seed": 3},
}


def _state(serve: Serve, experiment_id: str) -> str:
    return serve.get(f"/api/experiments/{experiment_id}")["state"]


def test_a_job_that_was_running_at_ctrl_c_ends_after_the_next_start(tmp_path: Path) -> None:
    models = read_settings().models_dir
    first = Serve(tmp_path, models)
    experiment_id = first.submit(**SPEC)
    assert eventually(lambda: _state(first, experiment_id) == "running", 60)
    first.process.terminate()
    assert first.process.wait(10 * patience()) == 0
    first.rest_of_output()

    second = Serve(tmp_path, models)
    try:
        assert eventually(lambda: _state(second, experiment_id) in ("succeeded", "failed"), 120)
        experiment = second.get(f"/api/experiments/{experiment_id}")
        assert (experiment["state"], experiment["error"]) == ("succeeded", None)
        result = PathPatchingResult.model_validate(second.get(f"/api/experiments/{experiment_id}/result"))
        assert result.complete
        assert len(result.pairs) + len(result.dropped) == result.n_asked == 24
        with second.open(f"/api/experiments/{experiment_id}/components.csv") as answer:
            rows = list(csv.DictReader(answer.read().decode().splitlines()))
        assert len(rows) == 300
        assert {row["experiment_id"] for row in rows} == {experiment_id}
        kept = result.pairs[0].index
        with second.open(f"/api/experiments/{experiment_id}/attention?layer=29&prompt={kept}") as answer:
            attention = json.load(answer)
        assert len(attention["weights"]) == 9
        assert all(abs(sum(row) - 1) < 1e-4 for head in attention["weights"] for row in head)
        assert second.submit(**SPEC) == experiment_id
    finally:
        second.process.terminate()
        second.process.wait(10 * patience())
        second.rest_of_output()
