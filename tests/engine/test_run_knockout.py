"""A whole knock-out without a server: its result, stopping and resuming, and its refusals."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from tiny import tiny_model

from arithmoscope import Knockout, knockout
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.knockout import KnockoutResult, KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.terms import DEFAULT_METRIC
from arithmoscope.engine.experiments.knockout import run_knockout
from arithmoscope.engine.experiments.parent_analysis import read_effects
from arithmoscope.engine.experiments.path_patching import run_path_patching
from arithmoscope.engine.measures.key_components import key_components
from arithmoscope.prompts import prepare

MANY = [{"reference": f"{a} + {b} ="} for a in range(1, 9) for b in range(1, 10 - a)]
OTHER = [{"reference": f"{a} - {b} ="} for a in range(2, 8) for b in range(1, a)]
NOTHING = {"saved_chunks": {}, "save_chunk": lambda *_: None, "on_partial": lambda _: None}


def quiet(**more):
    return {**NOTHING, "on_progress": lambda _: None, "should_stop": lambda: False, **more}


@pytest.fixture(scope="module")
def model():
    return tiny_model("LlamaForCausalLM", torch.float32)


def analysed(model, **more):
    prompts = {"source": "custom", "shots": 0, "pairs": MANY, "keep_wrong": True}
    spec = {"kind": "path_patching", "model": "tiny", "effect": "direct", "prompts": prompts, **more}
    output = run_path_patching(model, PathPatchingSpec.model_validate(spec), "parent", **quiet())
    assert output is not None
    return output


@pytest.fixture(scope="module")
def analysis(model):
    return analysed(model).artifacts


def spec_of(**more):
    return KnockoutSpec.model_validate({"kind": "knockout", "parent": "parent", "controls": 3, **more})


def custom_prompts(pairs, keep_wrong=True):
    return {"source": "custom", "shots": 0, "pairs": pairs, "keep_wrong": keep_wrong}


def run(model, spec, analysis, **more):
    output = run_knockout(model, spec, "k1", parent=analysis.__getitem__, **quiet(**more))
    assert output is not None
    return output


def test_the_curve_has_the_same_numbers_as_the_function(model, analysis):
    names = ("L1H2", "MLP2", "L0H0")
    output = run(model, spec_of(components=names, ablation="zero", positions="all"), analysis)
    pairs = [
        each.pair for each in prepare(PathPatchingSpec.model_validate(asked_of(analysis)).prompts, model.text).pairs
    ]
    result = knockout(model, pairs, names, ablation="zero", positions="all", controls=3)
    for metric, curve in output.result.curves.items():
        expected = result.curve(metric)
        np.testing.assert_allclose(np.array(curve.mean, float), expected.mean, atol=1e-4)
        np.testing.assert_allclose(np.array(curve.control, float), expected.control, atol=1e-4)
    assert output.result.components == names
    assert output.result.controls == result.controls
    assert set(output.result.curves) == {"accuracy", "probability", "logit_difference"}


def asked_of(analysis):
    return json.loads(analysis["result.json"])["spec"]


@pytest.mark.parametrize("ablation", ["mean", "zero", "resample"])
@pytest.mark.parametrize("positions", ["end", "all"])
def test_some_points_are_recomputed_by_brute_force_and_agree(model, analysis, ablation, positions):
    pairs = [{"reference": f"{a} + {9 - a} ="} for a in range(2, 8)]
    spec = spec_of(
        components=["L1H2", "MLP2", "L0H0", "MLP0"],
        ablation=ablation,
        positions=positions,
        prompts=custom_prompts(pairs),
    )
    checks = run(model, spec, analysis).result.checks
    assert (checks.spot_check_points, checks.spot_check_pairs) == (6, 4)
    assert checks.noise_floor < 1e-4
    assert checks.spot_check_error < 1e-4


def test_a_brute_force_that_takes_out_something_else_is_noticed(model, analysis, monkeypatch):
    import arithmoscope.engine.results.knockout_check as checking

    monkeypatch.setattr(checking, "first_position", lambda _positions, _length: 0)
    checks = run(
        model, spec_of(components=["MLP1"], ablation="zero", prompts=custom_prompts(MANY[:4])), analysis
    ).result.checks
    assert checks.spot_check_error > 0.01


def test_the_top_k_are_those_that_hurt_most_and_with_denoising_those_that_restore_most(model, analysis):
    restored = analysed(model, direction="denoising").artifacts
    for stored, sign in ((analysis, 1), (restored, -1)):
        output = run(model, spec_of(top_k=3, among="head", ablation="zero", controls=0), stored)
        heads, _ = read_effects(stored.__getitem__).values(DEFAULT_METRIC)
        means = (sign * heads.double().nanmean(0)).flatten()
        best = [f"L{at // 4}H{at % 4}" for at in means.argsort()[:3].tolist() if means[at] < 0]
        assert list(output.result.components) == best
    assert key_components(read_effects(analysis.__getitem__), rule="top_k", top_k=1, metric="logit").components


def test_with_nothing_out_the_accuracy_is_the_analysis_share_of_right_answers(model, analysis):
    result = json.loads(analysis["result.json"])
    plain = run(model, spec_of(components=["L0H0"], ablation="zero"), analysis).result
    assert plain.curves["accuracy"].mean[0] == pytest.approx(result["n_correct"] / 36)
    assert (plain.n_pairs, plain.shared_questions, plain.dropped) == (36, 36, ())
    right = run(
        model, spec_of(components=["L0H0"], ablation="zero", prompts=custom_prompts(MANY, keep_wrong=False)), analysis
    ).result
    assert (right.n_pairs, right.curves["accuracy"].mean[0]) == (result["n_correct"], 1.0)
    assert {pair.index for pair in right.dropped} == {pair["index"] for pair in result["pairs"] if not pair["correct"]}
    assert all(pair.reason.startswith("The model answers ") for pair in right.dropped)


def test_disjoint_leaves_out_what_asks_about_operands_of_the_analysis(model, analysis):
    shared = run(model, spec_of(components=["L0H0"], prompts=custom_prompts(OTHER)), analysis).result
    about = {pair["reference"] for pair in MANY} | {pair["reference"].replace("+", "-") for pair in MANY}
    overlapping = [pair for pair in OTHER if pair["reference"] in about]
    assert 0 < len(overlapping) < len(OTHER)
    assert shared.shared_questions == len(overlapping)
    apart = run(model, spec_of(components=["L0H0"], disjoint=True, prompts=custom_prompts(OTHER)), analysis).result
    assert (apart.n_asked, apart.n_pairs, apart.shared_questions) == (len(OTHER), len(OTHER) - len(overlapping), 0)
    assert {pair.reference for pair in apart.dropped} == {pair["reference"] for pair in overlapping}


def test_the_mean_for_other_prompts_is_over_the_analysis_with_a_note(model, analysis):
    spec = spec_of(components=["L1H2", "MLP2"], controls=0, prompts=custom_prompts(OTHER[:5]))
    other = run(model, spec, analysis).result
    request = PathPatchingSpec.model_validate(asked_of(analysis)).prompts
    assert spec.prompts is not None
    sets = [[each.pair for each in prepare(prompts, model.text).pairs] for prompts in (spec.prompts, request)]
    for over, agrees in ((sets[1], True), (sets[0], False)):
        expected = knockout(model, sets[0], ["L1H2", "MLP2"], mean_over=over, controls=0).curve("probability").mean
        assert np.allclose(np.array(other.curves["probability"].mean, float), expected, atol=1e-5) == agrees
    assert other.notes == ("The mean is over the 36 prompts of the analysis.",)
    among = run(model, spec.model_copy(update={"prompts": request}), analysis).result
    assert among.notes == ("The mean is over the 36 prompts of the analysis; 36 of the measured ones are among them.",)
    itself = run(model, spec.model_copy(update={"prompts": None}), analysis).result
    assert itself.notes == ("The mean is over these prompts themselves.",)


def test_one_that_is_alone_in_its_length_is_left_out_where_positions_count(model, analysis):
    prompts = custom_prompts([*MANY[:3], {"reference": "Q: What is the sum of 3 and 5? A:"}])
    for ablation, dropped in (("mean", 1), ("resample", 1), ("zero", 0)):
        spec = spec_of(components=["L0H0"], ablation=ablation, positions="after_first", prompts=prompts, controls=0)
        result = run(model, spec, analysis).result
        assert [pair.index for pair in result.dropped] == [3] * dropped
        assert result.n_pairs == 4 - dropped
        assert any("themselves, at each position" in note for note in result.notes) == (ablation == "mean")


def test_chunks_of_an_analysis_that_has_been_repeated_since_are_computed_again(model, analysis):
    chunks, again = {}, {}
    spec = spec_of(top_k=1, controls=0, prompts=custom_prompts(OTHER[:4]))
    first = run(model, spec, analysis, save_chunk=chunks.__setitem__).result
    repeated = json.loads(analysis["result.json"])
    repeated["pairs"] = repeated["pairs"][:5]
    shorter = {**analysis, "result.json": json.dumps(repeated).encode()}
    second = run(model, spec, shorter, saved_chunks=chunks, save_chunk=again.__setitem__).result
    assert list(again) == [0]
    assert second.curves != first.curves


def test_one_that_is_taken_up_again_and_stopped_at_once_keeps_what_was_finished(model, analysis):
    chunks = {}
    spec = spec_of(components=["L0H0"], controls=0)
    part = run(model, spec, analysis, save_chunk=chunks.__setitem__, should_stop=lambda: bool(chunks)).result
    again = run(model, spec, analysis, saved_chunks=chunks, should_stop=lambda: True).result
    assert (part.n_pairs, again.n_pairs, again.complete) == (16, 16, False)
    assert again.curves == part.curves
    assert run_knockout(model, spec, "k1", parent=analysis.__getitem__, **quiet(should_stop=lambda: True)) is None


def test_a_stopped_run_keeps_what_is_finished_and_goes_on_to_the_same_bytes(model, analysis):
    chunks, looks = {}, iter(range(1000))
    spec = spec_of(top_k=3)
    seen = []

    def stop():
        return bool(chunks) and next(looks) > 0

    part = run(model, spec, analysis, save_chunk=chunks.__setitem__, should_stop=stop, on_progress=seen.append)
    assert not part.result.complete
    assert (part.result.n_pairs, list(chunks)) == (16, [0])
    more = {}
    resumed = run(model, spec, analysis, saved_chunks=chunks, save_chunk=more.__setitem__)
    undisturbed = run(model, spec, analysis)
    assert list(more) == [1, 2]
    assert resumed.artifacts["raw.safetensors"] == undisturbed.artifacts["raw.safetensors"]
    assert resumed.artifacts["curve.csv"] == undisturbed.artifacts["curve.csv"]
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert {each.stage for each in seen} == {"pairs", "saving"}


def test_chunks_of_another_revision_are_computed_again(model, analysis):
    chunks, again = {}, {}
    spec = spec_of(components=["L1H1"], ablation="zero")
    first = run(model, spec, analysis, save_chunk=chunks.__setitem__)
    older = {number: data.replace(b"float32", b"float64", 1) for number, data in chunks.items()}
    assert older != chunks
    second = run(model, spec, analysis, saved_chunks=older, save_chunk=again.__setitem__)
    assert again == chunks
    assert first.artifacts["raw.safetensors"] == second.artifacts["raw.safetensors"]


def test_the_files_hold_the_result_and_the_curve_in_long_form(model, analysis, tmp_path):
    output = run(model, spec_of(components=["L1H1", "MLP0"], ablation="zero", answer_tokens=2), analysis)
    assert KnockoutResult.model_validate_json(output.artifacts["result.json"]) == output.result
    rows = list(csv.DictReader(io.StringIO(output.artifacts["curve.csv"].decode())))
    assert [(row["metric"], row["k"], row["component"]) for row in rows][:3] == [
        ("accuracy", "0", ""), ("accuracy", "1", "L1H1"), ("accuracy", "2", "MLP0"),
    ]  # fmt: skip
    assert len(rows) == 4 * 3
    for row in rows:
        (curve,) = [curve for metric, curve in output.result.curves.items() if metric == row["metric"]]
        assert float(row["mean"]) == curve.mean[int(row["k"])]
        assert (row["n_pairs"], row["draws"], row["experiment_id"]) == ("36", "3", "k1")
    (tmp_path / "raw").write_bytes(output.artifacts["raw.safetensors"])
    assert len(Knockout.load(tmp_path / "raw")) == 36


def test_without_draws_and_with_one_question_there_are_no_such_numbers(model, analysis):
    spec = spec_of(components=["L0H0"], ablation="zero", controls=0, prompts=custom_prompts(MANY[:1]))
    curve = run(model, spec, analysis).result.curves["accuracy"]
    assert set(curve.control + curve.p_value + curve.ci_low) == {None}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"components": ["L9H0"]}, "bad_component"),
        (
            {"components": ["L0H0"], "prompts": custom_prompts([{"reference": "3 + 5 =", "answer": "@"}], False)},
            "none_kept",
        ),
        ({"components": ["L0H0"], "disjoint": True}, "none_kept"),
        ({"metric": "probability"}, "metric_not_computed"),
    ],
)
def test_what_cannot_be_knocked_out_is_refused(model, analysis, change, code):
    with pytest.raises(Refusal) as refused:
        run(model, spec_of(**change), analysis)
    assert refused.value.code == code


def test_components_of_other_weights_are_refused(model, analysis):
    result = json.loads(analysis["result.json"])
    result["model"]["revision"] = "another"
    with pytest.raises(Refusal) as refused:
        run(model, spec_of(), {**analysis, "result.json": json.dumps(result).encode()})
    assert refused.value.code == "model_changed"


def test_an_analysis_that_kept_probabilities_ranks_by_them(model):
    stored = analysed(model, metrics=["probability"]).artifacts
    output = run(model, spec_of(metric="probability", top_k=2, ablation="zero", controls=0), stored)
    assert len(output.result.components) == 2


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + b"\0" * 18, b"\x80\x04N."])
def test_arrays_that_are_none_are_refused(data):
    with pytest.raises(Refusal) as refused:
        read_effects(lambda _name: data)
    assert refused.value.code == "no_result"
