"""Views of a finished analysis: the methods' own numbers over its own prompts, read back from its files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny import tiny_model
from whole_run import whole_run

from arithmoscope import attention_roles, lens, path_patching, writes
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.views import KeyReport, LensReport, RoleReport, StagesReport, ViewKind, WritesReport
from arithmoscope.engine.experiments.views import view_file
from arithmoscope.engine.measures.key_components import adjusted_p_values, key_components
from arithmoscope.engine.methods.roles import ROLES
from arithmoscope.prompts import prepare

MANY = [{"reference": f"{a} + {b} ="} for a in range(1, 7) for b in range(1, 4)]


@pytest.fixture(scope="module")
def model():
    return tiny_model("LlamaForCausalLM", torch.float32)


def analysed(model, **more):
    prompts = {"source": "custom", "shots": 0, "pairs": MANY, "keep_wrong": True, **more.pop("prompts", {})}
    spec = {"kind": "path_patching", "model": "tiny", "effect": "direct", "prompts": prompts, **more}
    return whole_run(model, PathPatchingSpec.model_validate(spec))


@pytest.fixture(scope="module")
def analysis(model):
    return analysed(model).artifacts


def numbers(cells) -> list[float]:
    """Asserts that no cell is empty."""
    columns = list(cells)
    assert None not in columns
    return columns


def pairs_of(model, analysis):
    spec = PathPatchingSpec.model_validate(json.loads(analysis["result.json"])["spec"])
    return [each.pair for each in prepare(spec.prompts, model.text).pairs]


def test_key_components_come_from_the_stored_arrays_alone(model, analysis):
    report = KeyReport.model_validate_json(view_file(None, "key", "", analysis.__getitem__))
    effects = path_patching(model, pairs_of(model, analysis), effect="direct")
    assert [table.metric for table in report.tables] == ["logit", "relative_logit", "logit_difference"]
    assert {table.questions for table in report.tables} == {18, 9}, "a percentage is not defined for every pair"
    for table in report.tables:
        assert (table.heads, len(table.rows)) == (12, 15)
        if table.questions < 10:
            assert table.false_discovery is None
            continue
        key = key_components(effects, rule="fdr", metric=table.metric)
        assert table.false_discovery == tuple(map(str, key.components))
        means = numbers(row.mean for row in table.rows)
        assert means == sorted(means)
        q = dict(zip([row.component for row in table.rows], [row.q_value for row in table.rows], strict=True))
        expected = adjusted_p_values(key.p_values.flatten()).view(3, 5)
        assert q["MLP2"] == pytest.approx(float(expected[2, 4]), abs=0.02)
    (percent,) = [table for table in report.tables if table.metric == "relative_logit"]
    assert percent.threshold_at == -5
    assert percent.threshold == tuple(row.component for row in percent.rows if (row.mean or 0) < -5)


def test_with_denoising_key_is_what_restores(model):
    stored = analysed(model, direction="denoising").artifacts
    report = KeyReport.model_validate_json(view_file(None, "key", "", stored.__getitem__))
    for table in report.tables:
        means = dict(zip([row.component for row in table.rows], numbers(row.mean for row in table.rows), strict=True))
        assert list(means.values()) == sorted(means.values(), reverse=True)
        assert all(means[name] > 0 for name in table.false_discovery or ())
        if table.threshold is not None:
            assert table.threshold_at == 5
            assert all(means[name] > 5 for name in table.threshold)


def test_few_questions_carry_no_p_values(model):
    stored = analysed(model, prompts={"pairs": MANY[:3]}).artifacts
    for table in KeyReport.model_validate_json(view_file(None, "key", "", stored.__getitem__)).tables:
        assert table.false_discovery is None
        assert {row.p_value for row in table.rows} == {None}
        assert None not in {row.mean for row in table.rows}


def test_roles_are_the_method_s_over_the_kept_prompts(model, analysis):
    report = RoleReport.model_validate_json(view_file(model, "roles", "", analysis.__getitem__))
    result = attention_roles(model, pairs_of(model, analysis))
    assert (report.roles, report.prompts, len(report.heads)) == (ROLES, len(MANY), 12)
    for head in report.heads:
        layer, number = int(head.component[1]), int(head.component[3])
        np.testing.assert_allclose(head.mass, result.mean[layer, number], atol=1e-6)
        assert sum(head.mass) == pytest.approx(1, abs=1e-5)
        assert sum(head.difference) == pytest.approx(0, abs=1e-5)


def test_the_lens_of_one_prompt_ends_at_what_the_model_says(model, analysis):
    report = LensReport.model_validate_json(view_file(model, "lens", "4", analysis.__getitem__))
    result = lens(model, pairs_of(model, analysis)[4:5], k=10)
    assert [layer.layer for layer in report.layers] == [-1, 0, 1, 2]
    assert (report.prompt, report.answer.strip(), len(report.layers[0].top)) == (4, "4", 10)
    columns = json.loads(analysis["result.json"])["pairs"][4]
    assert report.layers[-1].logit == pytest.approx(columns["reference_logit"], abs=1e-4)
    assert report.layers[-1].top[0].token == columns["top"]
    assert [layer.rank for layer in report.layers] == result.rank[0].tolist()


def test_stages_are_averages_of_the_lens_over_the_kept_prompts(model, analysis):
    report = StagesReport.model_validate_json(view_file(model, "stages", "", analysis.__getitem__))
    result = lens(model, pairs_of(model, analysis), k=1)
    np.testing.assert_allclose(numbers(report.probability), result.probability.mean(0), atol=1e-6)
    np.testing.assert_allclose(numbers(report.operands), result.operands.mean(0), atol=1e-6)
    assert (report.prompts, len(report.rank), len(report.answer)) == (len(MANY), 4, 3)
    stages = result.stages()
    assert (report.start, report.inflection, report.end) == (stages.start, stages.inflection, stages.end)
    assert report.found == stages.found


def test_what_a_component_writes_is_the_method_s_among_number_tokens(model, analysis):
    report = WritesReport.model_validate_json(view_file(model, "writes", "L1H2", analysis.__getitem__))
    result = writes(model, pairs_of(model, analysis), ["L1H2"])
    assert [each.token for each in report.promoted] == [each.token for each in result["L1H2"].promoted_numbers]
    assert report.answer == pytest.approx(float((result.answers - result.centres).mean()), abs=1e-5)
    tokens = {each.token: each.logit for each in (*report.promoted, *report.suppressed)}
    assert all(token.isdigit() for token in tokens)
    assert (
        min((each.logit for each in report.promoted), default=1.0)
        > 0
        > max((each.logit for each in report.suppressed), default=-1.0)
    )


def test_answers_of_several_tokens_can_be_looked_at_too(model):
    two = [{"reference": f"{a}5 + {a}7 ="} for a in range(1, 5)]
    stored = analysed(model, prompts={"pairs": two, "answer": "each"}).artifacts
    assert len(json.loads(stored["result.json"])["pairs"]) > 4
    report = LensReport.model_validate_json(view_file(model, "lens", "1", stored.__getitem__))
    assert len(report.answer) == 1
    assert RoleReport.model_validate_json(view_file(model, "roles", "", stored.__getitem__)).prompts > 4


@pytest.mark.parametrize(
    ("kind", "which", "code"), [("lens", "99", "out_of_range"), ("writes", "L9H0", "bad_component")]
)
def test_what_the_analysis_lacks_is_refused(model, analysis, kind, which, code):
    with pytest.raises(Refusal) as refused:
        view_file(model, kind, which, analysis.__getitem__)
    assert refused.value.code == code


def test_an_analysis_whose_prompts_would_now_be_worded_differently_has_no_views(model, analysis):
    """The cause may be a new chat template or a new way of drawing sets."""
    columns = json.loads(analysis["result.json"])
    other_token = json.loads(analysis["result.json"])
    other_token["pairs"][3]["counterfactual"][0]["id"] += 1
    fewer = {**columns, "spec": {**columns["spec"], "prompts": {**columns["spec"]["prompts"], "pairs": MANY[:-1]}}}
    for changed in (other_token, fewer):
        stored = {**analysis, "result.json": json.dumps(changed).encode()}
        looked: list[tuple[ViewKind, str, str]] = [
            ("roles", "", "model_changed"),
            ("lens", "0", "model_changed"),
            ("attention", "0", "attention_not_stored"),
        ]
        for kind, which, code in looked:
            with pytest.raises(Refusal) as refused:
                view_file(model, kind, which, stored.__getitem__)
            assert refused.value.code == code


def test_resampled_counterfactuals_are_no_change_of_the_prompts(model):
    stored = analysed(model, source="resample").artifacts
    assert RoleReport.model_validate_json(view_file(model, "roles", "", stored.__getitem__)).prompts == len(MANY)
