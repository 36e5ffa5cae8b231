"""Total effects at all positions, sources other than the counterfactual, the reverse direction: against the oracle."""

from __future__ import annotations

import dataclasses

import oracle
import pytest
import torch
from tiny import PAIRS, PRECISIONS, VARIANTS, tiny_model

from arithmoscope import PromptPair, path_patching
from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.interventions.replacements import resampled

# Reference and counterfactual of equal length.
ALIGNED = [PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[3], PAIRS[5]]


def table(effects):
    """[pair, component]"""
    return torch.cat([effects.heads, effects.mlps[..., None]], dim=-1).flatten(1)


def by_loop(model, base, source, answer, effect, positions, written=None):
    """The answer's change for every component, one forward pass each; ``written`` where the source is no run."""
    recorded = oracle.record(model.hf, base), written or oracle.record(model.hf, source)
    before = oracle.logits(model.hf, base)[answer]
    return torch.stack(
        [
            oracle.patched_logits(model.hf, base, base, c.layer, c.head, effect, recorded, positions)[answer] - before
            for c in all_components(model.layout.layers, model.layout.heads)
        ]
    )


@pytest.mark.parametrize(("architecture", "dtype", "tolerance"), PRECISIONS)
def test_total_effects_at_all_positions_equal_one_forward_pass_per_component(architecture, dtype, tolerance):
    model = tiny_model(architecture, dtype)
    effects = path_patching(model, ALIGNED[1:], effect="total", positions="all")
    for row, pair in enumerate(encode_all(model, ALIGNED[1:])):
        expected = by_loop(
            model, list(pair.reference_ids), list(pair.counterfactual_ids), pair.answer_id, "total", "all"
        )
        assert expected.abs().max() > 0.01, "effects this small would prove nothing"
        torch.testing.assert_close(table(effects)[row], expected.to(dtype), atol=tolerance, rtol=0)
    assert effects.noise.max() <= tolerance


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_familys_other_layouts_do_so_too(variant):
    architecture, config = VARIANTS[variant]
    model = tiny_model(architecture, config=config)
    effects = path_patching(model, ALIGNED[:2], effect="total", positions="all")
    for row, pair in enumerate(encode_all(model, ALIGNED[:2])):
        ids = list(pair.reference_ids), list(pair.counterfactual_ids)
        expected = by_loop(model, *ids, pair.answer_id, "total", "all")
        torch.testing.assert_close(table(effects)[row], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("effect", "positions"), [("direct", "end"), ("through_mlps", "end"), ("total", "end"), ("total", "all")]
)
@pytest.mark.parametrize(
    "architecture",
    ["LlamaForCausalLM", "Gemma3ForCausalLM", "GPTNeoXForCausalLM"],
)
class TestSources:
    def test_zero_is_what_writing_nothing_does(self, architecture, effect, positions):
        model = tiny_model(architecture)
        effects = path_patching(model, PAIRS[:3], effect=effect, positions=positions, source="zero")
        for row, pair in enumerate(encode_all(model, PAIRS[:3])):
            ids = list(pair.reference_ids)
            heads, mlps = oracle.record(model.hf, ids)
            nothing = [torch.zeros_like(z) for z in heads], [torch.zeros_like(m) for m in mlps]
            expected = by_loop(model, ids, ids, pair.answer_id, effect, positions, nothing)
            torch.testing.assert_close(table(effects)[row], expected, atol=1e-9, rtol=0)

    def test_the_mean_is_over_the_set_that_was_given(self, architecture, effect, positions):
        model = tiny_model(architecture)
        over = [PAIRS[0], PAIRS[1], PAIRS[5], PAIRS[1]]  # one of them twice: it counts twice
        effects = path_patching(model, PAIRS[:2], effect=effect, positions=positions, source="mean", mean_over=over)
        runs = [oracle.record(model.hf, list(e.reference_ids)) for e in encode_all(model, over)]
        mean = tuple(
            [torch.stack(each).mean(0) for each in zip(*side, strict=True)] for side in zip(*runs, strict=True)
        )
        for row, pair in enumerate(encode_all(model, PAIRS[:2])):
            ids = list(pair.reference_ids)
            expected = by_loop(model, ids, ids, pair.answer_id, effect, positions, mean)
            torch.testing.assert_close(table(effects)[row], expected, atol=1e-9, rtol=0)

    def test_resampling_patches_in_another_prompt_of_the_set(self, architecture, effect, positions):
        model = tiny_model(architecture)
        pairs = [PAIRS[0], PAIRS[1]]
        effects = path_patching(model, pairs, effect=effect, positions=positions, source="resample")
        encoded = encode_all(model, pairs)
        for row, (pair, other) in enumerate(zip(encoded, encoded[::-1], strict=True)):
            ids = list(pair.reference_ids), list(other.reference_ids)
            expected = by_loop(model, *ids, pair.answer_id, effect, positions)
            torch.testing.assert_close(table(effects)[row], expected, atol=1e-9, rtol=0)

    def test_denoising_puts_back_what_the_reference_wrote(self, architecture, effect, positions):
        model = tiny_model(architecture)
        pairs = [PAIRS[0], PAIRS[4], PAIRS[5]] if positions == "end" else ALIGNED[1:3]
        effects = path_patching(model, pairs, effect=effect, positions=positions, direction="denoising")
        for row, pair in enumerate(encode_all(model, pairs)):
            ids = list(pair.counterfactual_ids), list(pair.reference_ids)
            expected = by_loop(model, *ids, pair.answer_id, effect, positions)
            torch.testing.assert_close(table(effects)[row], expected, atol=1e-9, rtol=0)
        plain = path_patching(model, pairs, effect=effect, positions=positions)
        assert torch.equal(effects.reference, plain.reference)
        assert torch.equal(effects.counterfactual, plain.counterfactual)
        assert torch.equal(effects.correct, plain.correct)

    def test_the_order_of_pairs_moves_nothing(self, architecture, effect, positions):
        model = tiny_model(architecture)
        settings = {"effect": effect, "positions": positions, "source": "mean"}
        pairs = [PAIRS[0], PAIRS[1], PAIRS[5]]
        together = path_patching(model, pairs, mean_over=pairs, **settings)
        backwards = path_patching(model, pairs[::-1], mean_over=pairs[::-1], **settings)
        torch.testing.assert_close(table(backwards).flip(0), table(together), atol=1e-9, rtol=0)


def test_where_only_the_last_token_differs_all_positions_are_the_end():
    model = tiny_model("LlamaForCausalLM")
    pairs = [PromptPair("2 + 3 =", "2 + 3 is", "5"), PromptPair("4 + 3 =", "4 + 3 is", "7")]
    end = path_patching(model, pairs, effect="total")
    everywhere = path_patching(model, pairs, effect="total", positions="all")
    torch.testing.assert_close(table(everywhere), table(end), atol=1e-12, rtol=0)


def test_in_the_last_layer_all_three_effects_are_one():
    model = tiny_model("LlamaForCausalLM")
    result = [path_patching(model, PAIRS, effect=effect).mlps[:, -1] for effect in ("direct", "through_mlps", "total")]
    torch.testing.assert_close(result[0], result[1], atol=1e-12, rtol=0)
    torch.testing.assert_close(result[0], result[2], atol=1e-12, rtol=0)


def test_resampling_draws_other_questions_the_same_ones_for_the_same_seed():
    model = tiny_model("LlamaForCausalLM")
    encoded = encode_all(model, [*PAIRS, *PAIRS])
    for seed in range(20):
        drawn = resampled(encoded, "end", seed)
        of = {e.reference_ids: e.question for e in encoded}
        assert all(of[d.counterfactual_ids] != e.question for d, e in zip(drawn, encoded, strict=True))
    assert resampled(encoded, "end", 3) == resampled(encoded, "end", 3)
    assert len({tuple(d.counterfactual_ids for d in resampled(encoded, "end", seed)) for seed in range(20)}) > 10
    alike = resampled(encode_all(model, [*PAIRS[:2], PAIRS[2], PAIRS[2]])[:2], "all", 0)
    assert all(len(d.counterfactual_ids) == len(d.reference_ids) for d in alike)


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"effect": "direct", "positions": "all"}, "impossible_options", "needs the effect 'total'"),
        ({"source": "zero", "direction": "denoising"}, "impossible_options", "needs the source 'counterfactual'"),
        ({"source": "noise"}, "bad_request", "source is 'noise'"),
        ({"positions": "first"}, "bad_request", "positions is 'first'"),
        ({"direction": "up"}, "bad_request", "direction is 'up'"),
        ({"effect": "total", "positions": "all"}, "lengths_differ", "tokens"),
        (
            {"effect": "total", "positions": "all", "source": "mean", "mean_over": PAIRS[:2]},
            "lengths_differ",
            "no prompt of",
        ),
        ({"source": "mean", "mean_over": []}, "no_prompts", "empty"),
        ({"source": "zero", "mean_over": PAIRS}, "bad_request", "not the mean"),
    ],
)
def test_impossible_requests_are_refused(settings, code, message):
    with pytest.raises(Refusal, match=message) as refused:
        path_patching(tiny_model("LlamaForCausalLM"), PAIRS, **settings)
    assert refused.value.code == code
    assert refused.value.way_out


def test_a_mean_over_the_prompt_itself_is_refused_and_over_one_other_is_not():
    model = tiny_model("LlamaForCausalLM")
    for pairs, positions in (([PAIRS[0]], "end"), ([PAIRS[0], PAIRS[0]], "end"), ([PAIRS[0], PAIRS[2]], "all")):
        with pytest.raises(Refusal, match="no other prompt") as refused:
            path_patching(model, pairs, effect="total", positions=positions, source="mean")  # pyright: ignore[reportArgumentType]
        assert refused.value.code == "no_prompts"
    assert path_patching(model, [PAIRS[0]], source="mean", mean_over=[PAIRS[1]]).heads.any()


def test_one_pair_has_nothing_to_be_resampled_from():
    with pytest.raises(Refusal, match="no other prompt"):
        path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1], source="resample")
    twice = [PAIRS[0], dataclasses.replace(PAIRS[0], counterfactual=PAIRS[1].counterfactual)]
    with pytest.raises(Refusal, match="Pair 1: no other"):
        path_patching(tiny_model("LlamaForCausalLM"), twice, source="resample")
