"""The real pretrained model: a knock-out, a transfer and every view of one analysis, in cheap sizes."""

from __future__ import annotations

import json

import pytest
from whole_run import whole_run

from arithmoscope import load_model
from arithmoscope.contracts.kinds.knockout import KnockoutResult, KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.kinds.transfer import TransferResult, TransferSpec
from arithmoscope.contracts.views import KeyReport, LensReport, RoleReport, StagesReport, WritesReport
from arithmoscope.engine.experiments.knockout import run_knockout
from arithmoscope.engine.experiments.transfer import run_transfer
from arithmoscope.engine.experiments.views import view_file
from arithmoscope.engine.models.folders import DEMO_ID

ADD = {"source": "template", "operations": ["add"], "pairs": 16, "shots": 2}
QUIET = {
    **{name: lambda *_: None for name in ("save_chunk", "on_progress", "on_partial")},
    "saved_chunks": {},
    "should_stop": lambda: False,
}


@pytest.fixture(scope="module")
def model():
    return load_model(DEMO_ID)


@pytest.fixture(scope="module")
def analysis(model):
    spec = {"kind": "path_patching", "model": DEMO_ID, "effect": "direct", "prompts": ADD}
    return whole_run(model, PathPatchingSpec.model_validate(spec)).artifacts


def test_what_direct_path_patching_finds_hurts_more_than_random_components_when_it_is_out(model, analysis):
    spec = KnockoutSpec.model_validate({"kind": "knockout", "parent": "x", "top_k": 6, "controls": 5})
    output = run_knockout(model, spec, "k", parent=analysis.__getitem__, **QUIET)
    assert output is not None
    result = KnockoutResult.model_validate_json(output.artifacts["result.json"])
    assert (len(result.components), result.n_pairs) == (6, len(json.loads(analysis["result.json"])["pairs"]))
    curve = result.curves["logit_difference"]
    mean, control = curve.mean[-1], curve.control[-1]
    assert mean is not None
    assert control is not None
    assert mean < control
    assert result.curves["accuracy"].mean[0] == 1.0, "the parent kept what the model answers rightly"
    assert result.checks.noise_floor < 1e-3
    assert result.checks.spot_check_error < 1e-3


def test_a_transfer_to_a_set_without_arithmetic_says_that_it_is_the_control(model):
    facts = {"source": "template", "topic": "facts", "pairs": 16}
    request = {"found_on": [ADD], "evaluated_on": [ADD, facts], "top_k": 4, "controls": 3, "effect": "direct"}
    spec = TransferSpec.model_validate({"kind": "transfer", "model": DEMO_ID, **request})
    output = run_transfer(model, spec, "t", **QUIET)
    assert output is not None
    result = TransferResult.model_validate_json(output.artifacts["result.json"])
    assert [(each.name, each.is_control) for each in result.evaluated_on] == [("add", False), ("facts", True)]
    assert all(each.pairs > 0 for each in result.evaluated_on)
    assert result.accuracy.plain == (1.0, 1.0)


def test_every_view_of_the_analysis_is_computed(model, analysis):
    def view(kind, which=""):
        return view_file(model, kind, which, analysis.__getitem__)

    pairs = json.loads(analysis["result.json"])["pairs"]
    assert len(KeyReport.model_validate_json(view("key")).tables) == 3
    roles = RoleReport.model_validate_json(view("roles"))
    assert (len(roles.heads), roles.prompts) == (270, len(pairs))
    lens = LensReport.model_validate_json(view("lens", str(pairs[0]["index"])))
    assert len(lens.layers) == 31
    assert lens.layers[-1].rank == 1
    stages = StagesReport.model_validate_json(view("stages"))
    assert stages.probability[-1] == pytest.approx(sum(pair["reference_probability"] for pair in pairs) / len(pairs))
    assert WritesReport.model_validate_json(view("writes", "MLP29")).promoted
