"""Tests that every part of the benchmark runs at toy size, and that it compares equal work."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from arithmoscope import LoadedModel, PatchingEffects
from arithmoscope.contracts.components import Component, all_components
from benchmarks import competitors, environment
from benchmarks.__main__ import is_standalone, is_whole, merge_results, parse, write
from benchmarks.cases import CASES, COMPETITOR_CASES, Case, column
from benchmarks.competitors import COMPETITORS, compare, run_tool
from benchmarks.gpu import measure_shape
from benchmarks.growth import Row, measure_growth, measure_row, rows_of
from benchmarks.loops import PlainLoop, Prompts, sample_components
from benchmarks.models import random_llama, subtractions
from benchmarks.path_patching import measure, wave_operations
from benchmarks.peak import peak_memory
from benchmarks.report import PROMISES, page_of, readme_with

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "vocab_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
PAIRS = subtractions(4, 2, shared=True)
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")


def quiet(_line: str) -> None:
    """Discards log messages."""


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    """Weights ten times wider than usual: the effects are far from 0."""
    made = random_llama(dtype=torch.float64, **TINY)
    for weight in made.hf.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return made


@pytest.fixture(scope="module")
def measured(model: LoadedModel) -> tuple[dict[str, Any], dict[Case, PatchingEffects]]:
    return measure(model, PAIRS, sample=3, repeats=1, log=quiet)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_plain_loop_and_the_engine_give_the_same_numbers_for_every_component(model: LoadedModel, case: Case):
    loop, result = PlainLoop(model, Prompts(model, PAIRS)), case.run(model, PAIRS)
    largest = 0.0
    for component in all_components(3, 4):
        expected = loop.effect(component, case)
        torch.testing.assert_close(column(result, component), expected, rtol=0, atol=1e-9)
        largest = max(largest, float(expected.abs().max()))
    assert largest > 0.1


def test_no_two_cases_are_the_same_measurement(model: LoadedModel):
    effects = [case.run(model, PAIRS).heads for case in CASES]
    for number, one in enumerate(effects):
        assert all(float((one - other).abs().max()) > 1e-6 for other in effects[:number])


def test_the_main_figures_say_of_every_case_what_it_cost_and_how_far_it_is_from_the_loop(measured):
    result, effects = measured
    assert [row["case"] for row in result["effects"]] == [str(case) for case in CASES]
    assert list(effects) == list(CASES)
    for row in result["effects"]:
        assert row["seconds"] > 0
        assert row["faster_than_loop"] > 0
        assert row["loop_sample"] == 3
        assert 0 <= row["largest_difference"] < 1e-9
    assert result["shared_tokens"] == 12 < result["tokens"] == 18  # two examples of 6 tokens, a question of 6


def test_the_wave_is_counted_as_it_runs(model: LoadedModel):
    # Layer by layer: the control row, the heads and MLPs in progress, and the layer's own four heads.
    evaluations = (1 + 4) + (1 + 5 + 4) + (1 + 10 + 4)
    assert wave_operations(model, 7) == 7 * evaluations * 6 * 32 * 48


def test_components_are_drawn_the_same_each_time_and_never_twice():
    drawn = sample_components(3, 4, 10)
    assert drawn == sample_components(3, 4, 10)
    assert len(set(drawn)) == 10
    assert set(sample_components(3, 4, 99)) == set(all_components(3, 4))


@pytest.mark.parametrize("shared", [True, False])
def test_prompts_are_distinct_of_one_length_and_share_their_shots_on_request(model: LoadedModel, shared: bool):
    pairs = subtractions(64, 3, shared=shared)
    assert len({pair.reference.splitlines()[-1] for pair in pairs}) == 64
    prompts = Prompts(model, pairs)
    assert (prompts.pairs, prompts.tokens) == (64, 3 * 6 + 6)
    assert (prompts.shared >= 3 * 6) == shared
    for pair in pairs:
        a, b = re.findall(r"\d+", pair.reference.splitlines()[-1])
        assert int(a) - int(b) == int(pair.answer)
        assert pair.counterfactual == pair.reference.replace("-", "@")


class _Loop:
    """The plain loop as another tool, its numbers moved by ``off`` logits."""

    def __init__(self, loop: PlainLoop, off: float = 0.0) -> None:
        self._loop, self._off = loop, off

    def logits(self, component: Component | None, case: Case) -> torch.Tensor:
        if component is None:
            return self._loop.base
        return self._loop.base + self._loop.effect(component, case) + self._off


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_another_tool_is_held_to_our_numbers(model: LoadedModel, measured, off: float, monkeypatch):
    tool = _Loop(PlainLoop(model, Prompts(model, PAIRS)), off)

    def ask(_python: Path, _name: str, order: dict[str, Any]) -> dict[str, Any]:
        components = [Component.parse(text) for text in order["components"]]
        result = run_tool(tool, components, [Case(**case) for case in order["cases"]])
        return json.loads(json.dumps({"version": "1.0", "cases": result}))

    monkeypatch.setattr(competitors, "_run_in_process", ask)
    rows = _compared(model, measured, Path(sys.executable), "nnsight")
    assert [row["case"] for row in rows["effects"]] == [str(case) for case in COMPETITOR_CASES]
    assert all(row["largest_difference"] == pytest.approx(off, abs=1e-6) for row in rows["effects"])
    assert all(row["seconds"] >= 0 for row in rows["effects"])


def _compared(model: LoadedModel, measured, python: Path, name: str, folder: str = "") -> dict[str, Any]:
    result, effects = measured
    seconds = {row["case"]: row["seconds"] for row in result["effects"]}
    prompts = Prompts(model, PAIRS)
    (row,) = compare(
        model, folder, prompts, effects, seconds, python=python, sample=15, log=quiet, names=(name,)
    )  # fmt: skip
    return row


def test_a_tool_that_is_not_there_is_named_with_the_reason(model: LoadedModel, measured):
    row = _compared(model, measured, Path(sys.executable), "transformer-lens")
    assert row["name"] == "TransformerLens"
    assert "No module named 'transformer_lens'" in row["problem"]
    assert f"TransformerLens: not measured. {row['problem']}" in page_of(_whole(measured) | {"competitors": [row]})


@pytest.mark.skipif(not (environment.FOLDER / ".installed").exists(), reason="make bench installs the other tools")
@pytest.mark.parametrize("name", COMPETITORS)
def test_the_real_tools_give_our_numbers(name: str, tmp_path: Path):
    model = random_llama(**TINY)
    for weight in model.hf.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model.hf.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    measured = measure(model, PAIRS, sample=1, repeats=0, log=quiet)
    row = _compared(model, measured, environment.python_of(environment.FOLDER), name, str(tmp_path))
    assert "problem" not in row, row
    assert len(row["effects"]) == len(COMPETITOR_CASES)
    assert all(effect["largest_difference"] < 1e-4 for effect in row["effects"])


def test_tools_that_cannot_be_installed_are_a_reason_and_no_crash(tmp_path: Path, monkeypatch):
    target, held = tmp_path / "wanted.txt", tmp_path / "held.txt"
    target.write_text(str(tmp_path / "no-such-package.whl"), encoding="utf-8")
    held.write_text("", encoding="utf-8")
    monkeypatch.setattr(environment, "_REQUIREMENTS", (target, held))
    problem = environment.install_competitors(tmp_path / "venv")
    assert problem is not None
    assert "no-such-package.whl" in problem
    assert "\n" not in problem
    assert not (tmp_path / "venv" / ".installed").exists()


def _toy_row(case: Case = CASES[1]) -> Row:
    return Row("layers", TINY, pairs=4, examples=1, shared=True, case=case, memory=64 * 2**20, threads=1)


def test_a_row_of_the_tables_is_the_same_after_its_way_to_another_process():
    assert Row.parse(json.dumps(asdict(_toy_row()))) == _toy_row()


def test_the_tables_cover_what_they_are_meant_to():
    rows = rows_of("demo", threads=2)
    assert {row.table for row in rows} == {"pairs", "tokens", "layers", "heads"}
    assert {row.pairs for row in rows if row.table == "pairs"} >= {8, 512}
    assert {8 * (row.examples + 1) for row in rows if row.table == "tokens"} >= {8, 512}
    assert {str(row.case) for row in rows} >= {"direct", "through_mlps", "total, END"}
    assert len({row.memory for row in rows}) == 1
    assert 0 < len(rows_of("demo", threads=2, quick=True)) < len(rows)


@ON_LINUX
def test_a_row_says_what_it_measured():
    row = measure_row(_toy_row())
    assert (row["pairs"], row["tokens"], row["layers"], row["heads"]) == (4, 12, 3, 4)
    assert row["case"] == "through_mlps"
    assert 0 <= row["peak_bytes"] < 64 * 2**20


@ON_LINUX
def test_rows_are_measured_in_processes_of_their_own():
    result = measure_growth([_toy_row(), _toy_row(Case("total"))], quiet)
    assert [row["case"] for row in result["rows"]] == ["through_mlps", "total, END"]
    assert result["budget_bytes"] == 64 * 2**20
    assert all(0 < row["peak_bytes"] < 64 * 2**20 for row in result["rows"])


def test_a_row_that_cannot_be_measured_says_why_and_the_others_go_on():
    row = Row("pairs", "no-such-model", pairs=4, examples=1, shared=True, case=CASES[0], memory=2**26, threads=1)
    (result,) = measure_growth([row], quiet)["rows"]
    assert (result["table"], result["case"], result["pairs"]) == ("pairs", "direct", 4)
    assert "no-such-model" in result["problem"]


@ON_LINUX
def test_the_peak_is_what_a_block_took_at_its_highest_and_not_what_was_there_before():
    _before = torch.ones(2**24)
    with peak_memory(torch.device("cpu")) as peak:
        for _ in range(2):
            torch.ones(2**25).sum()
    assert peak.bytes is not None
    assert peak.bytes == pytest.approx(4 * 2**25, rel=0.2)


def test_the_part_for_a_gpu_runs_on_any_device():
    result = measure_shape(device="cpu", dtype=torch.bfloat16, pairs=2, repeats=1, log=quiet, **TINY)
    assert (result["dtype"], result["layers"], result["heads"], result["pairs"]) == ("bfloat16", 3, 4, 2)
    assert [row["case"] for row in result["effects"]] == ["direct", "through_mlps", "total, END"]
    assert all(row["seconds"] > 0 for row in result["effects"])
    assert result["model_bytes"] == 2 * result["parameters"]


def _whole(measured) -> dict[str, Any]:
    return {"machine": "a", "software": "b", "model": "c", "dtype": "float64", **measured[0]}


def test_a_page_shows_every_part_or_says_that_it_was_not_measured(measured):
    result = _whole(measured)
    bare = page_of(result)
    assert bare.count("Not measured") == 5
    assert "Not measured: no GPU available." in bare
    gpu = measure_shape(device="cpu", dtype=torch.float32, pairs=2, repeats=0, log=quiet, **TINY)
    tool = {"name": "T", "version": "1", "how": "h", "sample": 3, "effects": result["effects"]}
    tool["effects"] = [{**row, "times_ours": 77.7} for row in result["effects"]]
    growth = {"budget_bytes": 2**26, "rows": [measure_row(_toy_row(case)) for case in CASES[:3]]}
    counts = dict.fromkeys(("pairs", "tokens", "k", "draws", "passes", "passes_timed"), 2)
    knocked = counts | {
        "seconds": 1.5,
        "pass_s": 0.1,
        "loop_s": 33.3,
        "faster_than_loop": 22.2,
        "largest_difference": 1e-5,
    }
    whole = result | {"gpu": {"device": "G", **gpu}, "competitors": [tool], "growth": growth, "knockout": knocked}
    whole["tuning"] = _TUNING
    page = page_of(whole)
    assert "Not measured" not in page
    assert "| T | `direct` |" in page
    assert "### Layers" in page
    assert "22.2 times as long" in page
    assert "Precise against full: 2.5 times faster." in page
    assert "| `precise` | 1,000 | 0.2 | 1 MiB | 2 MiB |" in page
    assert "G. LLaMA-2-7B's shape" in page
    assert all(promise.kept(whole) is not None for promise in PROMISES)
    failed = {"table": "layers", "case": "total, END", "pairs": 4, "problem": "it fell over"}
    growth = {"budget_bytes": 2**26, "rows": [*growth["rows"][:2], failed]}
    page = page_of(whole | {"gpu": {"device": "G", "problem": "too small"}, "growth": growth})
    assert "Failed: `total`, END of 4 pairs. it fell over" in page
    assert "Not measured on G: too small" in page
    readme = readme_with(whole, "before\n<!-- benchmark: written by make bench -->\nold\n<!-- /benchmark -->\nafter")
    assert "old" not in readme
    assert "77.7 x" in readme
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter")


_TUNING = {
    "heads": 2,
    "tune": "qo",
    "share": 0.01,
    "lowest": 1,
    "layers": 3,
    "bound": 1.8,
    "batch_size": 4,
    "steps": 3,
    "examples": 2,
    "rows": [
        {"tuner": "precise", "trained": 1000, "step_s": 0.2, "optimiser_bytes": 2**20, "peak_bytes": 2**21},
        {"tuner": "full", "problem": "it fell over"},
    ],
    "gain": 2.5,
    "gain_of_bound": 1.39,
    "peak_of_full": 0.2,
    "large": {"device": "G", "problem": "too small"},
}


def test_a_broken_promise_is_reported():
    share = {"wave_share_of_product_rate": 0.69}
    (wave,) = [promise for promise in PROMISES if promise.kept(share) is not None]
    assert wave.kept(share) is False
    assert wave.kept({"wave_share_of_product_rate": 0.7}) is True


def test_a_part_measured_by_itself_joins_the_figures_kept_and_changes_no_other():
    kept = {"machine": "a", "effects": [1], "knockout": {"seconds": 1}, "growth": {}}
    result = merge_results(kept, {"machine": "b", "model": "m", "knockout": {"seconds": 2}})
    assert result == kept | {"knockout": {"seconds": 2}}
    assert is_standalone(parse(["--only", "knockout"]))
    assert not is_standalone(parse(["--only", "knockout", "--quick"]))
    assert not is_standalone(parse(["--only", "knockout", "growth"]))


def test_only_a_whole_run_is_kept(tmp_path: Path, measured):
    assert is_whole(parse([]))
    assert is_whole(parse(["--threads", "2"]))
    for part in (["--quick"], ["--only", "gpu"], ["--pairs", "8"], ["--sample", "2"], ["--model", "other"]):
        assert not is_whole(parse(part)), part
    write(_whole(measured), tmp_path, None)
    kept = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (tmp_path / "RESULTS.md").read_text(encoding="utf-8") == page_of(kept)
