"""Tests of the benchmark of one training step: precise and full fine-tuning of the same model on the same batches."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch

from arithmoscope.engine.tuning.selection import select
from benchmarks import tuning
from benchmarks.models import random_llama
from benchmarks.tuning import TUNED, Run, measure_large, measure_run, tuning_section

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "vocab_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
}
RUN = Run("precise", TINY, ("L2H1", "L3H0"), steps=3, batch_size=2, examples=1, threads=1)


def quiet(_line: str) -> None:
    """Discards log messages."""


def test_a_run_is_the_same_after_its_way_to_another_process():
    assert Run.parse(json.dumps(asdict(RUN))) == RUN


def test_a_run_says_what_a_step_took_and_what_was_tuned():
    result = measure_run(RUN)
    assert (result["tuner"], result["trained"]) == ("precise", 2 * 4 * 16 * 64)
    assert result["step_s"] > 0
    assert result["optimiser_bytes"] == 8 * result["trained"]
    assert result["weights_bytes"] == 4 * result["parameters"]


def test_every_tuner_is_measured_and_the_bound_is_that_of_the_lowest_layer():
    model = random_llama(**TINY)
    rows = [tuning.measure_in_process(Run(tuner, *list(asdict(RUN).values())[1:])) for tuner in TUNED]
    result = tuning._comparison(model, RUN.components, rows)
    assert not [row for row in rows if "problem" in row], rows
    assert result["bound"] == 2.0, "3 products over 1 + 2 of 4 layers"
    assert result["lowest"] == 2
    assert result["share"] == pytest.approx(select(model, RUN.components).share, abs=1e-4)
    assert result["gain"] > 0
    page = tuning_section({"tuning": result | {"batch_size": 2, "steps": 3, "examples": 1, "large": None}})
    assert all(f"| `{tuner}` |" in page for tuner in TUNED)
    assert "no GPU available" in page


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_large_shape_is_not_measured():
    assert measure_large(quiet) is None


def test_a_run_that_fails_says_why():
    failed = tuning.measure_in_process(Run("precise", TINY, ("L9H0",), 2, 2, 1, 1))
    assert "There is no L9H0" in failed["problem"]
