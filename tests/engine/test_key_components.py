"""Key components: intervals that cover, a bounded false discovery rate, and rules worked by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model

from arithmoscope import PromptPair, path_patching
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.measures.key_components import (
    adjusted_p_values,
    elbow,
    false_discoveries,
    key_components,
    p_values,
)
from arithmoscope.engine.measures.metrics import summarise
from arithmoscope.engine.results.knockout_files import elbow_of

SUMS = [(a, b) for a in range(1, 9) for b in range(1, 9) if a + b < 10]


def effects(questions=20):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    return path_patching(model, [PromptPair(f"{a} + {b} =", f"{a} @ {b} =", str(a + b)) for a, b in SUMS[:questions]])


def skewed(generator, *shape):
    """Mean 0, a long tail to the right, as effects in percent have it."""
    return torch.empty(*shape, dtype=torch.float64).exponential_(generator=generator) - 1


def names(n, each=1):
    return [str(number // each) for number in range(n)]


def test_95_percent_intervals_cover_the_mean_in_95_of_100_simulated_experiments():
    draw = torch.Generator().manual_seed(0)
    for values, least in ((torch.randn(60, 1, 4_000, generator=draw), 0.93), (skewed(draw, 60, 1, 4_000), 0.91)):
        summary = summarise(values.double(), names(60))
        covered = float(((summary.ci_low <= 0) & (summary.ci_high >= 0)).double().mean())
        assert least < covered < 0.96


def test_intervals_cover_too_where_a_question_is_asked_three_times():
    draw = torch.Generator().manual_seed(1)
    values = torch.randn(50, 1, 2_000, generator=draw).repeat_interleave(3, 0).double()
    summary = summarise(values, names(150, each=3))
    assert 0.925 < float(((summary.ci_low <= 0) & (summary.ci_high >= 0)).double().mean()) < 0.965
    as_if_apart = summarise(values, names(150))
    assert float(((as_if_apart.ci_low <= 0) & (as_if_apart.ci_high >= 0)).double().mean()) < 0.8


@pytest.mark.parametrize("n", [20, 60])
def test_without_an_effect_p_values_are_below_5_percent_in_5_of_100_cases(n):
    draw = torch.Generator().manual_seed(2)
    for values in (torch.randn(n, 2_000, generator=draw).double(), skewed(draw, n, 2_000)):
        for side in ("less", "greater", "two"):
            small = float((p_values(values, names(n), side=side, draws=2_000) <= 0.05).double().mean())
            assert 0.03 < small < 0.075, (n, side)


def test_false_discoveries_stay_below_the_rate_in_a_simulation_and_true_ones_are_found():
    draw = torch.Generator().manual_seed(3)
    shares, hits = [], []
    for trial in range(40):
        values = skewed(draw, 40, 100)
        values[:, :20] -= 1.2  # twenty that hurt
        # All components share the questions' difficulty: the tests are dependent.
        values = values + 0.3 * torch.randn(40, 1, generator=draw).double()
        through = false_discoveries(p_values(values, names(40), draws=2_000, seed=trial), 0.1)
        shares.append(float(through[20:].sum()) / max(1, int(through.sum())))
        hits.append(float(through[:20].double().mean()))
    assert sum(shares) / len(shares) <= 0.1
    assert sum(hits) / len(hits) > 0.9


def test_benjamini_and_hochbergs_own_example():
    # Their table of 1995: fifteen p-values, of which the first four pass at 5 %.
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    shuffled = torch.tensor(p, dtype=torch.float64)[order]
    assert false_discoveries(shuffled, 0.05).tolist() == [int(at) < 4 for at in order]
    least = adjusted_p_values(shuffled)
    assert ((least <= 0.05) == false_discoveries(shuffled, 0.05)).all()
    # 15/1, 15/2, 15/3 and 15/4 of the first four; the last stays 1.
    by_rank = torch.empty(15, dtype=torch.float64).scatter(0, order, least)
    torch.testing.assert_close(by_rank[:4], torch.tensor([0.0015, 0.003, 0.0095, 0.035625]).double())
    assert by_rank[-1] == 1


def test_a_later_p_value_that_passes_takes_the_earlier_ones_with_it():
    assert false_discoveries(torch.tensor([0.04, 0.045, 0.9]).double(), 0.07).tolist() == [True, True, False]
    assert not false_discoveries(torch.tensor([0.04, 0.06, 0.9]).double(), 0.05).any()
    with pytest.raises(Refusal, match="rate is 1"):
        false_discoveries(torch.tensor([0.5]), 1.0)


def test_repeated_questions_do_not_lower_p_values():
    values = torch.randn(15, 3, generator=torch.Generator().manual_seed(4)).double() - 0.4
    once = p_values(values, names(15))
    often = p_values(values.repeat_interleave(4, 0), names(60, each=4))
    torch.testing.assert_close(once, often)
    assert (p_values(values.repeat_interleave(4, 0), names(60)) < once).all()


def test_a_component_that_changes_nothing_is_not_key():
    assert p_values(torch.zeros(12, 2).double(), names(12)).tolist() == [1, 1]


class TestRules:
    def test_top_k_are_the_most_negative_means(self):
        summary = effects()
        key = key_components(summary, rule="top_k", top_k=3)
        assert [str(component) for component in key.components] == [row.component for row in summary.ranking()[:3]]
        heads = key_components(summary, rule="top_k", top_k=3, kind="head")
        only = [row.component for row in summary.ranking() if row.kind == "head"][:3]
        assert [str(component) for component in heads.components] == only
        assert heads.fraction_of_heads == 3 / 12

    def test_never_more_than_hurt(self):
        summary = effects()
        negative = [row for row in summary.ranking() if (row.effect_mean or 0) < 0]
        assert len(key_components(summary, rule="top_k", top_k=500).components) == len(negative)

    def test_the_papers_threshold_is_minus_5_percent(self):
        summary = effects()
        expected = [row.component for row in summary.ranking() if row.effect_mean is not None and row.effect_mean < -5]
        assert [str(component) for component in key_components(summary, rule="threshold").components] == expected

    def test_what_passes_the_false_discovery_rate_hurts_and_has_the_smallest_p_values(self):
        key = key_components(effects(), metric="logit", rate=0.2)
        assert key.components
        assert key.passes is not None
        p = {
            Component(layer, head if head < 4 else None): float(key.p_values[layer, head])
            for layer in range(3)
            for head in range(5)
        }
        mean = effects().summary("logit").mean
        for component, chance in p.items():
            hurts = float(mean[component.layer, 4 if component.head is None else component.head]) < 0
            assert (component in key.components) == (chance <= key.passes and hurts), component
        assert key.questions == 20

    def test_few_questions_are_refused_for_false_discoveries_and_have_no_p_values(self):
        summary = effects(9)
        with pytest.raises(Refusal, match="9 distinct questions"):
            key_components(summary, metric="logit")
        assert key_components(summary, rule="top_k", metric="logit").p_values.isnan().all()
        with pytest.raises(Refusal, match="rule is 'best'"):
            key_components(summary, rule="best")  # pyright: ignore[reportArgumentType]


class TestElbow:
    def test_it_is_the_point_furthest_below_the_line_from_first_to_last(self):
        #                      line:   1.0  0.8  0.6  0.4  0.2  0.0
        assert elbow(torch.tensor([1.0, 0.9, 0.3, 0.15, 0.05, 0.0])) == 2

    def test_a_straight_or_bulging_curve_has_none(self):
        assert elbow(torch.linspace(1, 0, 5)) == 0
        assert elbow(torch.tensor([1.0, 0.99, 0.9, 0.0])) == 0
        assert elbow(torch.tensor([1.0, 0.0])) == 0

    def test_a_knockout_s_is_where_at_least_half_of_the_fall_is_over_and_exists_for_every_falling_curve(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(200):
            points = int(torch.randint(2, 12, (1,), generator=generator))
            mean = torch.randint(0, 5, (points,), generator=generator).double() / 4
            at = elbow_of(mean)
            assert (at is None) == bool(mean[-1] >= mean[0])
            assert at is None or (0 < at < points and bool(mean[0] - mean[at] >= (mean[0] - mean[-1]) / 2))

    @pytest.mark.parametrize(
        ("mean", "at"),
        [
            ([1.0, 0.9, 0.3, 0.15, 0.05, 0.0], 2),
            ([0.5, 0.2, 0.6], None),
            ([0.5, 0.5, 0.5], None),
            ([1.0, 0.99, 0.9, 0.0], 3),
            ([1.0, 0.0], 1),
            ([1.0, 0.75, 0.5, 0.25, 0.0], 2),
            ([1.0, 0.7, 0.7, 0.7, 0.0], 4),
        ],
    )
    def test_a_curve_that_falls_at_its_end_or_in_one_step_has_its_elbow_there(self, mean, at):
        assert elbow_of(torch.tensor(mean, dtype=torch.float64)) == at
