"""Knock-out: no ablation changes nothing, ablating everything is the zero or mean model, and every point of the curve
is one forward pass with these components replaced."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from float64_everywhere import EverywhereDouble
from knockout_oracle import knocked_logits, mean_of, run_of, zeros
from tiny import CONFIGS, LAYOUTS, PAIRS, tiny_model

from arithmoscope import Knockout, PromptPair, knockout, load_model, path_patching
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.interventions.ablation import forks_of, masks_of
from arithmoscope.engine.interventions.replacements import resampled
from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.methods.knockout import knock_out_chunk, knockout_task

# Three lengths among them.
SET = PAIRS[:5]
# Of equal length in tokens.
EQUAL = [PAIRS[0], PAIRS[1], PAIRS[5], PromptPair("2 + 3 = 5\n4 + 5 =", "2 + 3 = 5\n4 @ 5 =", "9")]
# Not in the model's order, heads and MLPs, several of one layer.
MIXED = ["L1H2", "L0H3", "MLP1", "L1H0", "L2H1", "MLP0", "L1H3"]


@pytest.fixture(autouse=True)
def _double_throughout(request):
    """Norms round to float32 inside; sums in another order would differ by that rounding."""
    real = "slow" in request.keywords and "architecture" not in request.fixturenames
    if real or "bfloat16" in request.node.name:  # these are about other precisions
        yield
        return
    with EverywhereDouble():
        yield


def readout(logits, answer, competitor):
    """Logits of the two tokens, probability, and whether the answer is the top token."""
    return logits[[answer, competitor]], torch.softmax(logits, -1)[answer], int(logits.argmax()) == answer


def holds(result, k, row, logits, answer, tolerance=1e-9):
    two, chance, right = readout(logits, answer, int(result.competitors[row]))
    torch.testing.assert_close(result.logits[k, row], two.to(result.logits), atol=tolerance, rtol=0)
    assert float(result.probability[k, row]) == pytest.approx(float(chance), abs=tolerance)
    assert bool(result.correct[k, row]) == right


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("positions", ["end", "all"])
def test_knocking_out_nothing_changes_nothing(architecture, positions):
    model = tiny_model(architecture)
    pairs = SET if positions == "end" else EQUAL
    plain = path_patching(model, pairs)
    for components in ([], MIXED):
        result = knockout(model, pairs, components, positions=positions, controls=2)
        assert result.logits.shape == (len(components) + 1, len(pairs), 2)
        torch.testing.assert_close(result.logits[0, :, 0], plain.reference, atol=1e-9, rtol=0)
        torch.testing.assert_close(result.probability[0], plain.reference_probability, atol=1e-9, rtol=0)
        assert torch.equal(result.correct[0], plain.correct)
        assert torch.equal(result.control_logits[:, 0], result.logits[0].expand(2, -1, -1)), "k = 0 is one run"
        assert result.noise.max() < 1e-9


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
@pytest.mark.parametrize("positions", ["end", "after_first"])
def test_everything_out_is_the_model_that_writes_nothing_by_brute_force(architecture, config, positions):
    model = tiny_model(architecture, config=config)
    everything = all_components(model.layout.layers, model.layout.heads)
    result = knockout(model, SET[:3], everything[::-1], ablation="zero", positions=positions, controls=1)
    for row, pair in enumerate(encode_all(model, SET[:3])):
        ids = list(pair.reference_ids)
        first = {"end": len(ids) - 1, "all": 0, "after_first": 1}[positions]
        expected = knocked_logits(model.hf, ids, everything, zeros(model.hf, ids), first)
        holds(result, -1, row, expected, pair.answer_id)
        two = expected[[pair.answer_id, int(result.competitors[row])]]
        torch.testing.assert_close(result.control_logits[0, -1, row], two, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
@pytest.mark.parametrize("positions", ["end", "all"])
def test_everything_out_is_the_mean_model_by_brute_force(architecture, config, positions):
    model = tiny_model(architecture, config=config)
    everything = all_components(model.layout.layers, model.layout.heads)
    over = [*EQUAL, EQUAL[1]]  # one of them twice: it counts twice
    result = knockout(model, EQUAL[:2], everything, positions=positions, mean_over=over, controls=0)
    prompts = [list(each.reference_ids) for each in encode_all(model, over)]
    first = 0 if positions == "all" else len(prompts[0]) - 1
    mean = mean_of(model.hf, prompts, first)
    for row, pair in enumerate(encode_all(model, EQUAL[:2])):
        ids = list(pair.reference_ids)
        holds(result, -1, row, knocked_logits(model.hf, ids, everything, mean, first), pair.answer_id)


# Every layout with the costliest replacement; the other sources on two, since nothing after the source differs.
CURVES = [pytest.param(*each.values, "mean", id=f"{each.id}-mean", marks=each.marks) for each in LAYOUTS] + [
    pytest.param(name, None, ablation, id=f"{name}-{ablation}")
    for name in ("LlamaForCausalLM", "Gemma2ForCausalLM")
    for ablation in ("zero", "resample")
]


@pytest.mark.parametrize(("architecture", "config", "ablation"), CURVES)
def test_the_curve_equals_one_run_per_k_and_draw(architecture, config, ablation):
    model = tiny_model(architecture, config=config)
    pairs = SET[1:4]  # of three lengths
    result = knockout(model, pairs, MIXED, ablation=ablation, controls=2, seed=3)
    encoded = encode_all(model, pairs)
    drawn_pairs = resampled(encoded, "end", 3)
    mean = mean_of(model.hf, [list(each.reference_ids) for each in encoded])
    moved = 0.0
    for row, pair in enumerate(encoded):
        ids = list(pair.reference_ids)
        if ablation == "mean":
            instead = mean
        elif ablation == "zero":
            instead = zeros(model.hf, ids)
        else:
            instead = run_of(model.hf, list(drawn_pairs[row].counterfactual_ids), -1)
        for k in range(len(MIXED) + 1):
            out = [Component.parse(name) for name in MIXED[:k]]
            expected = knocked_logits(model.hf, ids, out, instead, len(ids) - 1)
            holds(result, k, row, expected, pair.answer_id)
            moved = max(moved, float((result.logits[k, row] - result.logits[0, row]).abs().max()))
            for draw, names in enumerate(result.controls):
                out = [Component.parse(name) for name in names[:k]]
                expected = knocked_logits(model.hf, ids, out, instead, len(ids) - 1)
                two, chance, right = readout(expected, pair.answer_id, int(result.competitors[row]))
                torch.testing.assert_close(result.control_logits[draw, k, row], two, atol=1e-9, rtol=0)
                assert float(result.control_probability[draw, k, row]) == pytest.approx(float(chance), abs=1e-9)
                assert bool(result.control_correct[draw, k, row]) == right
    assert moved > 0.1, "a knock-out this small would prove nothing"


def test_at_all_positions_the_curve_equals_one_run_per_k():
    model = tiny_model("LlamaForCausalLM")
    result = knockout(model, EQUAL, MIXED, ablation="resample", positions="after_first", controls=0, seed=1)
    for row, pair in enumerate(resampled(encode_all(model, EQUAL), "all", 1)):
        instead = run_of(model.hf, list(pair.counterfactual_ids), 1)
        for k in range(len(MIXED) + 1):
            out = [Component.parse(name) for name in MIXED[:k]]
            holds(result, k, row, knocked_logits(model.hf, list(pair.reference_ids), out, instead, 1), pair.answer_id)


def test_small_plans_and_chunks_of_pairs_give_the_same_numbers():
    model = tiny_model("LlamaForCausalLM")
    whole = knockout(model, SET, MIXED, controls=3)
    encoded = encode_all(model, SET)
    task = knockout_task(model, encoded, MIXED, controls=3)
    for plan in (task.plan, dataclasses.replace(task.plan, pairs=1, components=2, rows=1, tokens=1)):
        small = dataclasses.replace(task, plan=plan)
        parts = [knock_out_chunk(model, small, start, start + 2)[0] for start in (0, 2, 4)]
        joined = Knockout.concatenate([Knockout.from_bytes(part.to_bytes()) for part in parts])
        assert joined.questions == whole.questions
        for name in ("logits", "probability", "control_logits", "control_probability", "reference"):
            torch.testing.assert_close(getattr(joined, name), getattr(whole, name), atol=1e-9, rtol=0)
        assert torch.equal(joined.control_correct, whole.control_correct)


def test_a_row_is_computed_from_the_layer_on_where_it_parts_from_another():
    components = [Component.parse(name) for name in MIXED]
    forks = forks_of(masks_of([components[:k] for k in range(1, 8)], 3, 4))
    # Each row of a nested order costs the layers from its last component's on.
    assert forks.evaluations == sum(3 - component.layer for component in components)
    again = forks_of(masks_of([components[:2], components[1::-1], []], 3, 4))
    assert again.indices[0] == again.indices[1] != again.indices[2] == 0, "equal sets are one row"


class TestDraws:
    def test_a_draw_is_of_the_same_layers_and_kinds_and_none_of_the_chosen(self):
        chosen = [Component(1, 2), Component(1, 0), Component(2, 1), Component(1)]
        for draw in random_draws(chosen, 6, 8, 20, seed=0):
            assert not set(draw.components) & set(chosen)
            assert len(set(draw.components)) == len(chosen)
            assert [each.kind for each in draw.components] == [each.kind for each in chosen]
            assert [each.layer for each in draw.components[:3]] == [1, 1, 2]
            assert draw.matched == (True, True, True, False), "an MLP is alone in its layer"

    def test_where_too_few_are_left_the_rest_is_drawn_in_other_layers_and_then_among_the_chosen(self):
        chosen = [Component(0, head) for head in range(3)]
        (draw,) = random_draws(chosen, 2, 4, 1, seed=0)
        assert draw.components[0] == Component(0, 3)
        assert {each.layer for each in draw.components[1:]} == {1}
        assert draw.matched == (True, False, False)
        everything = all_components(2, 4)
        (draw,) = random_draws(everything, 2, 4, 1, seed=0)
        assert set(draw.components) == set(everything)

    def test_draws_depend_on_seed_and_number_alone(self):
        chosen = [Component(layer, 0) for layer in range(5)]
        assert random_draws(chosen, 6, 8, 5, seed=1) == random_draws(chosen, 6, 8, 20, seed=1)[:5]
        assert random_draws(chosen, 6, 8, 5, seed=1) != random_draws(chosen, 6, 8, 5, seed=2)
        assert [str(each) for each in random_draws(chosen, 6, 8, 1, seed=0)[0].components] == [
            "L0H6",
            "L1H5",
            "L2H5",
            "L3H5",
            "L4H7",
        ]


def test_the_curve_has_means_intervals_and_the_share_of_draws_that_hurt_as_much():
    model = tiny_model("LlamaForCausalLM")
    result = knockout(model, SET, MIXED[:3], controls=20)
    for metric in ("accuracy", "probability", "logit_difference"):
        curve = result.curve(metric)
        assert curve.mean.shape == curve.control.shape == (4,)
        assert (curve.low <= curve.mean).all()
        assert (curve.mean <= curve.high).all()
        assert (curve.control_low <= curve.control + 1e-12).all()
        assert (curve.control <= curve.control_high + 1e-12).all()
        assert curve.p_value[0] == 1, "with nothing out all draws are the same run"
    draws = result.control_probability.double().mean(-1)
    worse = (draws[:, 3] <= result.probability[3].double().mean()).sum()
    assert float(result.curve("probability").p_value[3]) == pytest.approx((1 + int(worse)) / 21)
    with pytest.raises(Refusal, match="metric is 'loss'"):
        result.curve("loss")  # pyright: ignore[reportArgumentType]


def test_an_order_of_its_own_is_the_order_of_the_curve():
    model = tiny_model("LlamaForCausalLM")
    ordered = knockout(model, SET, MIXED[:3], order=MIXED[2::-1], controls=0)
    assert ordered.components == tuple(MIXED[2::-1])
    torch.testing.assert_close(ordered.logits[1], knockout(model, SET, MIXED[2:3], controls=0).logits[1])
    with pytest.raises(Refusal, match="does not name"):
        knockout(model, SET, MIXED[:3], order=MIXED[:2])


def test_a_knockout_survives_saving(tmp_path):
    model = tiny_model("LlamaForCausalLM")
    result = knockout(model, SET, MIXED[:2], controls=2)
    result.save(tmp_path / "k.safetensors")
    loaded = Knockout.load(tmp_path / "k.safetensors")
    for field in dataclasses.fields(Knockout):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now, field.name
    with pytest.raises(Refusal, match="no knock-out"):
        Knockout.from_bytes(path_patching(model, SET[:1]).to_bytes())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"components": ["L9H0"]}, "no L9H0"),
        ({"components": ["MLP1", "MLP1"]}, "named twice"),
        ({"components": "MLP1"}, r"components=\['MLP1'\]"),
        ({"ablation": "noise"}, "ablation is 'noise'"),
        ({"positions": "first"}, "positions is 'first'"),
        ({"controls": -1}, "controls is -1"),
        ({"pairs": []}, "empty"),
        ({"pairs": PAIRS[:1]}, "no other prompt"),
        ({"ablation": "zero", "mean_over": PAIRS}, "not the mean"),
        ({"positions": "all"}, "no other prompt with"),
        ({"ablation": "resample", "pairs": PAIRS[:1]}, "no other prompt"),
    ],
)
def test_impossible_requests_are_refused(wrong, says):
    arguments = {"pairs": SET, "components": MIXED, **wrong}
    with pytest.raises(Refusal, match=says):
        knockout(tiny_model("LlamaForCausalLM"), arguments.pop("pairs"), arguments.pop("components"), **arguments)


def test_a_model_that_computes_no_numbers_is_refused():
    model = tiny_model("LlamaForCausalLM")
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        knockout(model, SET, MIXED)


def test_bfloat16_weights_follow_the_float32_model_roughly():
    exact, rough = tiny_model("LlamaForCausalLM", torch.float32), tiny_model("LlamaForCausalLM", torch.bfloat16)
    a, b = (knockout(model, SET, MIXED, controls=1) for model in (exact, rough))
    assert b.logits.dtype == torch.float32
    assert float((a.logits - b.logits).abs().median()) < 0.3


@pytest.mark.slow
def test_the_real_model_agrees_with_plain_hooks():
    from arithmoscope.prompts import generate

    model = load_model("smollm2-135m", device="cpu")
    pairs = generate(pairs=6, tokenizer=model.text)
    components = ["L12H3", "MLP20", "L5H1", "L20H8"]
    result = knockout(model, pairs, components, ablation="zero", controls=1)
    for row, pair in enumerate(encode_all(model, pairs)[:2]):
        ids = list(pair.reference_ids)
        for k in (0, 2, 4):
            out = [Component.parse(name) for name in components[:k]]
            expected = knocked_logits(model.hf, ids, out, zeros(model.hf, ids), len(ids) - 1)
            holds(result, k, row, expected, pair.answer_id, tolerance=1e-3)
