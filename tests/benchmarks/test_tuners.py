"""Tests of the comparison of tuners: it trains by the product's own code, and its page follows from its numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from tiny import tiny_model  # pyright: ignore[reportMissingImports]

from benchmarks.tuners import FOLDER, PROMPTS, RATE, RUNS, TRAINING, spec_of, train_one
from benchmarks.tuners_page import figure_of, page_of

COMMITTED = sorted(FOLDER.glob("*.json"))
HEADS = ("L0H1", "L1H0")


def measurement(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A measurement of these trainings."""
    cost = {"tuner": "precise", "step_s": 0.5, "optimiser_bytes": 2**20, "peak_bytes": 2**21}
    return {
        "model": {"id": "tiny", "name": "Tiny", "revision": "0" * 64, "layers": 2},
        "components": list(HEADS),
        "found_on": 4,
        "prompts": PROMPTS,
        "training": TRAINING,
        "quick": True,
        "runs": runs,
        "costs": [cost, {"tuner": "full", "problem": "no memory"}],
        "cost_steps": 2,
        "machine": "a machine",
        "software": "torch",
        "day": "2026-11-23",
    }


def test_the_page_has_what_the_trainings_of_every_seed_came_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tmp_path))
    runs = [
        train_one(spec_of("tiny", tuner, RATE, seed, HEADS, quick=True))
        for tuner in ("precise", "full")
        for seed in (0, 1)
    ]
    assert runs[0]["tunable"]["components"] == list(HEADS)
    assert runs[0]["split"]["shared"] == 0
    assert runs[0]["held_out"]["before"] == runs[-1]["held_out"]["before"], "all answer the same questions"
    page = page_of(measurement(json.loads(json.dumps(runs))))
    kept = [run["neutral"]["after"]["mean"] for run in runs[:2]]
    assert f"{sum(kept) / 2:.2f} [{min(kept):.2f}, {max(kept):.2f}]" in page
    assert "failed: no memory" in page
    assert "A quick run" in page
    ElementTree.fromstring(figure_of(measurement(runs)))


def test_every_tuner_and_seed_asks_the_same_questions_in_as_many_steps():
    specs = [spec_of("m", tuner, rate, seed, HEADS, quick=False) for tuner, rate, seed in RUNS]
    assert len({(spec.prompts, spec.steps, spec.batch_size, spec.components) for spec in specs}) == 1
    assert len({spec.model_dump_json() for spec in specs}) == len(RUNS)


def test_the_comparison_on_the_demo_model_is_committed() -> None:
    assert (FOLDER / "smollm2-135m.json").exists(), "run make tuners"


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_a_committed_comparison_is_what_its_numbers_make_and_of_a_whole_run(file: Path) -> None:
    figures = json.loads(file.read_text(encoding="utf-8"))
    assert not figures["quick"]
    assert [(run["tuner"], run["rate"], run["seed"]) for run in figures["runs"]] == list(RUNS)
    page = page_of(figures)
    assert file.with_suffix(".md").read_text(encoding="utf-8") == page, "run make tuners"
    assert file.with_suffix(".svg").read_text(encoding="utf-8") == figure_of(figures), "run make tuners"
    assert not re.search(r"\{'|nan", page)
