"""Metrics worked by hand, and the laws of the intervals."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from tiny import PAIRS, tiny_model

from arithmoscope import path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.ranking import COLUMNS, to_csv
from arithmoscope.contracts.terms import Metric
from arithmoscope.engine.measures.metrics import METRICS, bootstrap_interval, summarise


@pytest.fixture(scope="module")
def effects():
    return path_patching(tiny_model("LlamaForCausalLM"), PAIRS, probability=True)


def with_numbers(effects, heads, reference, competitor_heads):
    n = len(reference)
    per_pair = ("counterfactual", "reference_competitor", "reference_probability", "answers", "competitors", "top")
    return dataclasses.replace(
        effects,
        **{name: getattr(effects, name)[:n] for name in (*per_pair, "correct", "noise")},
        questions=tuple("abcdefgh"[:n]),
        heads=torch.tensor(heads).view(-1, 1, 1),
        mlps=torch.zeros(n, 1),
        competitor_heads=torch.tensor(competitor_heads).view(-1, 1, 1),
        competitor_mlps=torch.zeros(n, 1),
        reference=torch.tensor(reference),
        probability_heads=None,
        probability_mlps=None,
    )


def test_every_metric_of_the_contract_has_a_row():
    assert set(METRICS) == set(get_args(Metric))


def test_relative_logit_is_percent_of_the_absolute_reference_logit(effects):
    measured = with_numbers(effects, [-1.0, -1.0, 3.0], [10.0, -4.0, 0.5], [0.0, 0.0, 0.0])
    heads, _ = measured.values("relative_logit")
    assert heads.flatten()[:2].tolist() == [-10.0, -25.0]
    assert heads.flatten()[2].isnan()  # |0.5| < 1: left out
    summary = measured.summary("relative_logit")
    assert (summary.n_pairs, summary.left_out) == (2, 1)
    assert float(summary.mean[0, 0]) == -17.5
    assert float(summary.std[0, 0]) == pytest.approx(7.5 * 2**0.5)


def test_logit_difference_is_blind_to_a_shift_of_all_logits(effects):
    measured = with_numbers(effects, [-1.0, 2.0], [10.0, 9.0], [0.5, 1.0])
    shifted = with_numbers(effects, [-1.0 + 7, 2.0 + 7], [10.0, 9.0], [0.5 + 7, 1.0 + 7])
    assert measured.values("logit_difference")[0].flatten().tolist() == [-1.5, 1.0]
    assert torch.equal(measured.values("logit_difference")[0], shifted.values("logit_difference")[0])


def test_logit_and_probability_are_the_raw_arrays(effects):
    assert torch.equal(effects.values("logit")[0], effects.heads)
    assert torch.equal(effects.values("probability")[1], effects.probability_mlps)


def test_a_metric_that_was_not_computed_is_refused(effects):
    without = dataclasses.replace(effects, probability_heads=None, probability_mlps=None)
    with pytest.raises(Refusal, match="not computed in this run"):
        without.ranking("probability")
    with pytest.raises(Refusal, match="metric is 'accuracy'"):
        effects.ranking("accuracy")


def test_the_ranking_has_one_row_a_component_and_ascends(effects):
    rows = effects.ranking()
    assert [row.rank for row in rows] == list(range(1, 16))
    assert len({row.component for row in rows}) == 15
    means = [row.effect_mean for row in rows]
    assert means == sorted(means)
    assert all(row.ci_low <= row.effect_mean <= row.ci_high for row in rows)
    assert {row.metric for row in rows} == {"relative_logit"}
    by_name = {row.component: row for row in rows}
    values = effects.values("relative_logit")[0][:, 2, 1]
    assert by_name["L2H1"].effect_mean == pytest.approx(float(values.nanmean()))
    assert by_name["L2H1"].n_pairs == int((~values.isnan()).sum())


def test_the_ranking_ascends_where_parts_are_put_back_too(effects):
    back = dataclasses.replace(effects, direction="denoising")
    assert [(row.rank, row.component) for row in back.ranking()] == [
        (row.rank, row.component) for row in effects.ranking()
    ]


def test_the_ranking_as_csv_has_the_promised_columns_and_empty_cells():
    one = path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1])
    lines = to_csv(one.ranking("logit", "x1")).split("\n")
    assert lines[0] == (
        "rank,component,kind,layer,head,effect_mean,effect_std,ci_low,ci_high,n_pairs,metric,effect,"
        "experiment_id,model,revision"
    )
    assert lines[-1] == ""
    assert len(lines) == 1 + 15 + 1
    row = dict(zip(COLUMNS, lines[1].split(","), strict=True))
    assert row["effect_std"] == row["ci_low"] == row["ci_high"] == ""
    assert all(
        dict(zip(COLUMNS, line.split(","), strict=True))["head"] == "" for line in lines[1:-1] if ",mlp," in line
    )


def test_the_interval_is_the_percentile_bootstrap_over_questions():
    values = np.array([[1.0], [2.0], [4.0], [8.0]])
    low, high = bootstrap_interval(values, ["a", "b", "c", "d"])
    rng = np.random.default_rng(1)
    means = values[rng.integers(0, 4, size=(200_000, 4)), 0].mean(axis=1)
    assert low[0] == pytest.approx(np.percentile(means, 2.5), abs=0.26)  # the means are multiples of 0.25
    assert high[0] == pytest.approx(np.percentile(means, 97.5), abs=0.26)


def test_asking_the_same_questions_twice_does_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 3))
    names = [f"q{i}" for i in range(12)]
    once = bootstrap_interval(values, names)
    twice = bootstrap_interval(np.concatenate([values, values]), names + names)
    np.testing.assert_allclose(np.array(once), np.array(twice), atol=1e-12)


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    covered, rounds, components = 0, 40, 50
    for _ in range(rounds):
        low, high = bootstrap_interval(rng.normal(size=(40, components)), [str(i) for i in range(40)])
        covered += int(((low <= 0) & (high >= 0)).sum())
    # The percentile bootstrap of 40 normals covers a little less than 95 %.
    assert 0.91 < covered / (rounds * components) < 0.965


def test_no_defined_value_gives_no_number_rather_than_zero():
    summary = summarise(torch.full((3, 1, 2), torch.nan), ["a", "b", "c"])
    assert (summary.n_pairs, summary.left_out) == (0, 3)
    assert bool(summary.mean.isnan().all())
