"""Path patching against the oracle: for every family, every component, both effects, the wave equals one hooked forward
pass each."""

from __future__ import annotations

import dataclasses
from typing import Any

import oracle
import pytest
import torch
from tiny import CONFIGS, PAIRS, PRECISIONS, VARIANTS, tiny_model

from arithmoscope import PromptPair, attention, load_model, path_patching
from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families import FAMILIES
from arithmoscope.engine.forward.activations import encode_all, end_states
from arithmoscope.prompts import encode_pair

EFFECTS = ["direct", "through_mlps", "total"]


def brute_force(model, pairs, effect, positions="end"):
    """Change of the answer's and the competitor's logit, [pair, component, 2], by the plain loop."""
    rows = []
    effects = path_patching(model, pairs, effect=effect, positions=positions)  # pyright: ignore[reportArgumentType]
    components = all_components(model.layout.layers, model.layout.heads)
    for row, pair in enumerate(pairs):
        encoded = encode_pair(pair, model.text)
        reference, source = list(encoded.reference_ids), list(encoded.counterfactual_ids)
        columns = [encoded.answer_id, int(effects.competitors[row])]
        base = oracle.logits(model.hf, reference)[columns]
        recorded = oracle.record(model.hf, reference), oracle.record(model.hf, source)
        rows.append(
            torch.stack(
                [
                    oracle.patched_logits(model.hf, reference, source, c.layer, c.head, effect, recorded, positions)[
                        columns
                    ]
                    - base
                    for c in components
                ]
            )
        )
    return effects, torch.stack(rows)


def by_component(heads, mlps):
    return torch.cat([heads, mlps[..., None]], dim=-1).flatten(1)


def test_every_family_of_the_table_has_a_tiny_model():
    assert set(CONFIGS) == set(FAMILIES)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize(("architecture", "dtype", "tolerance"), PRECISIONS)
def test_the_wave_equals_one_forward_pass_per_component(architecture, effect, dtype, tolerance):
    model = tiny_model(architecture, dtype)
    effects, expected = brute_force(model, PAIRS if dtype == torch.float64 else PAIRS[:3], effect)
    assert effects.heads.dtype == dtype
    answer = by_component(effects.heads, effects.mlps)
    competitor = by_component(effects.competitor_heads, effects.competitor_mlps)
    assert expected.abs().max() > 0.1, "effects this small would prove nothing"
    torch.testing.assert_close(answer, expected[..., 0].to(dtype), atol=tolerance, rtol=0)
    torch.testing.assert_close(competitor, expected[..., 1].to(dtype), atol=tolerance, rtol=0)
    assert effects.noise.max() <= tolerance


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_familys_other_layouts_equal_one_forward_pass_per_component_too(variant, effect):
    architecture, config = VARIANTS[variant]
    effects, expected = brute_force(tiny_model(architecture, config=config), PAIRS[:4], effect)
    answer = by_component(effects.heads, effects.mlps)
    torch.testing.assert_close(answer, expected[..., 0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_reference_run_is_the_models_own(architecture):
    model = tiny_model(architecture)
    effects = path_patching(model, PAIRS)
    for row, pair in enumerate(PAIRS):
        encoded = encode_pair(pair, model.text)
        logits = oracle.logits(model.hf, list(encoded.reference_ids))
        counterfactual = oracle.logits(model.hf, list(encoded.counterfactual_ids))
        assert effects.reference[row] == pytest.approx(float(logits[encoded.answer_id]), abs=1e-9)
        assert effects.counterfactual[row] == pytest.approx(float(counterfactual[encoded.answer_id]), abs=1e-9)
        assert bool(effects.correct[row]) == (int(logits.argmax()) == encoded.answer_id)
        chance = torch.softmax(logits, -1)[encoded.answer_id]
        assert effects.reference_probability[row] == pytest.approx(float(chance), abs=1e-9)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_batch_gives_what_single_prompts_give_in_any_order(architecture, effect):
    model = tiny_model(architecture)
    together = path_patching(model, PAIRS, effect=effect)
    backwards = path_patching(model, PAIRS[::-1], effect=effect)
    torch.testing.assert_close(backwards.heads.flip(0), together.heads, atol=1e-9, rtol=0)
    for row, pair in enumerate(PAIRS[:3]):
        alone = path_patching(model, [pair], effect=effect)
        torch.testing.assert_close(alone.heads[0], together.heads[row], atol=1e-9, rtol=0)
        torch.testing.assert_close(alone.mlps[0], together.mlps[row], atol=1e-9, rtol=0)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_run_patched_with_itself_does_not_change(architecture, effect):
    model = tiny_model(architecture, torch.float32)
    same = [dataclasses.replace(pair, counterfactual=pair.reference) for pair in PAIRS]
    effects = path_patching(model, same, effect=effect)
    assert not effects.heads.any()
    assert not effects.mlps.any()
    assert effects.noise.max() < 1e-4


@pytest.mark.parametrize("architecture", CONFIGS)
def test_what_the_sublayers_write_adds_up_to_the_residual_difference(architecture):
    model = tiny_model(architecture)
    encoded = encode_all(model, PAIRS)
    reference = end_states(model, [e.reference_ids for e in encoded])
    source = end_states(model, [e.counterfactual_ids for e in encoded])
    heads = torch.zeros_like(reference.final)
    for layer, block in enumerate(model.layout.blocks):
        together: list[Any] = [block.heads_out(states.z[:, layer].flatten(1)) for states in (reference, source)]
        outputs = together if block.head_norm is None else [block.head_norm(each) for each in together]
        heads += outputs[1] - outputs[0]
    mlps = (source.mlp - reference.mlp).sum(1)
    hf: Any = model.hf
    embedding = []
    for pair in encoded:
        last = []
        for ids in (pair.reference_ids, pair.counterfactual_ids):
            vector = hf.get_input_embeddings()(torch.tensor(ids[-1]))
            if architecture == "GPT2LMHeadModel":
                vector = vector + hf.transformer.wpe(torch.tensor(len(ids) - 1))
            last.append(vector)
        embedding.append(last[1] - last[0])
    total = heads + mlps + torch.stack(embedding)
    torch.testing.assert_close(total, source.final - reference.final, atol=1e-9, rtol=0)


def test_with_an_identity_final_norm_the_direct_effects_add_up_to_the_logit_difference():
    model = tiny_model("LlamaForCausalLM")
    model.hf.model.norm = torch.nn.Identity()
    model = dataclasses.replace(model, layout=dataclasses.replace(model.layout, final_norm=model.hf.model.norm))
    pair = PAIRS[0]  # ends in the same token in both prompts: the embedding at END does not differ
    effects = path_patching(model, [pair], effect="direct")
    total = effects.heads.sum() + effects.mlps.sum()
    assert float(total) == pytest.approx(float(effects.counterfactual[0] - effects.reference[0]), abs=1e-9)


def test_probability_effects_equal_the_softmax_of_the_patched_logits():
    model = tiny_model("GPT2LMHeadModel")
    effects = path_patching(model, PAIRS[:2], probability=True)
    assert effects.probability_heads is not None
    assert effects.probability_mlps is not None
    for row, pair in enumerate(PAIRS[:2]):
        e = encode_pair(pair, model.text)
        for layer, head in [(0, 1), (2, 3), (1, None)]:
            patched = oracle.patched_logits(
                model.hf, list(e.reference_ids), list(e.counterfactual_ids), layer, head, "through_mlps"
            )
            change = torch.softmax(patched, -1)[e.answer_id] - effects.reference_probability[row]
            result = (
                effects.probability_mlps[row, layer] if head is None else effects.probability_heads[row, layer, head]
            )
            assert float(result) == pytest.approx(float(change), abs=1e-9)


def test_the_competitor_is_the_best_number_that_is_not_the_answer():
    model = tiny_model("Qwen2ForCausalLM")
    effects = path_patching(model, PAIRS)
    for row, pair in enumerate(PAIRS):
        encoded = encode_pair(pair, model.text)
        logits = oracle.logits(model.hf, list(encoded.reference_ids))
        digits = [model.text.token_to_id(d) for d in "0123456789" if d != pair.answer]
        assert int(effects.competitors[row]) == max(digits, key=lambda token: float(logits[token]))


@pytest.mark.parametrize("architecture", ["GPT2LMHeadModel"])
def test_a_model_that_is_being_trained_is_measured_without_dropout_and_left_training(architecture):
    model = tiny_model(architecture)
    quiet, patterns = path_patching(model, PAIRS), attention(model, PAIRS)
    model.hf.train()
    assert torch.equal(path_patching(model, PAIRS).heads, quiet.heads)
    for now, before in zip(attention(model, PAIRS).weights, patterns.weights, strict=True):
        assert torch.equal(now, before)
    assert all(module.training for module in model.hf.modules())


def test_a_model_that_was_converted_or_changed_after_loading_is_measured_as_it_is_now():
    model, fresh = tiny_model("LlamaForCausalLM", torch.float32), tiny_model("LlamaForCausalLM", torch.float64)
    model.hf.double()
    for each in (model, fresh):
        for block in each.layout.blocks:
            block.heads_out.weight.data.mul_(2)  # pyright: ignore
    torch.testing.assert_close(path_patching(model, PAIRS).heads, path_patching(fresh, PAIRS).heads, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_probabilities_over_narrow_weights_are_those_of_wide_ones(architecture):
    narrow = tiny_model(architecture, torch.bfloat16)
    wide = tiny_model(architecture, torch.bfloat16)
    wide.hf.float()
    a = path_patching(narrow, PAIRS, effect="direct", probability=True)
    b = path_patching(wide, PAIRS, effect="direct", probability=True)
    assert a.probability_heads is not None
    assert b.probability_heads is not None
    # The weights are the same numbers; the two differ by what the bf16 forward pass rounds before END.
    assert float((a.reference_probability - b.reference_probability).abs().max()) < 0.1
    assert float((a.probability_heads - b.probability_heads).abs().max()) < 0.1
    assert float(a.noise.max()) < 1e-5


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_prompt_longer_than_the_models_context_is_refused(architecture):
    model = tiny_model(architecture)
    assert model.context == 128
    long = PromptPair("2 + 2 = " * 40 + "4 + 4 =", "4 @ 4 =", "8")
    for ask in (path_patching, attention):
        with pytest.raises(Refusal, match=r"Pair 2.*reads 128") as refused:
            ask(model, [PAIRS[0], long])
        assert refused.value.code == "prompt_too_long"


def test_a_token_that_the_model_has_no_embedding_for_is_refused_when_it_is_used():
    model = tiny_model("LlamaForCausalLM")
    model.tokenizer.add_tokens([f"word{n}" for n in range(60)])
    extended = load_model(model.hf, model.tokenizer)
    assert torch.equal(path_patching(extended, PAIRS).heads, path_patching(model, PAIRS).heads)
    with pytest.raises(Refusal, match="the model has 64 tokens"):
        path_patching(extended, [PromptPair("word59 + 5 =", "word59 @ 5 =", "8")])


def test_progress_counts_every_layer_up_to_the_total():
    seen = []
    path_patching(tiny_model("LlamaForCausalLM"), PAIRS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_effects_survive_saving(tmp_path):
    effects = path_patching(tiny_model("LlamaForCausalLM"), PAIRS, probability=True)
    effects.save(tmp_path / "effects.safetensors")
    loaded = type(effects).load(tmp_path / "effects.safetensors")
    for field in dataclasses.fields(effects):
        was, now = getattr(effects, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now


def test_bytes_that_are_no_effects_are_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    effects = path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1])
    with pytest.raises(Refusal, match="contains no path patching effects"):
        type(effects).load(tmp_path / "x")


def test_a_model_with_nan_weights_is_refused():
    model = tiny_model("LlamaForCausalLM")
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        path_patching(model, PAIRS)


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (PromptPair("", "", "8"), "empty_prompt"),
        (PromptPair("3 + 5 =", "3 @ 5 =", "12"), "answer_several_tokens"),
        (PromptPair("3 + 5 =", "3 @ 5 =", ""), "answer_not_a_token"),
        (PromptPair("3 + 5 = " * 400, "3 @ 5 =", "8"), "prompt_too_long"),
    ],
)
def test_a_refused_pair_is_named_by_its_number(pair, code):
    with pytest.raises(Refusal, match="Pair 2") as refused:
        path_patching(tiny_model("LlamaForCausalLM"), [PAIRS[0], pair])
    assert refused.value.code == code
    assert refused.value.way_out


def test_an_empty_list_and_an_unknown_effect_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="empty"):
        path_patching(model, [])
    with pytest.raises(Refusal, match="effect is 'indirect'"):
        path_patching(model, PAIRS, effect="indirect")  # pyright: ignore[reportArgumentType]


def test_hooks_are_gone_after_a_run_and_after_a_failure():
    model = tiny_model("LlamaForCausalLM")
    before = oracle.logits(model.hf, [3, 11, 5, 15])
    path_patching(model, PAIRS)

    def fail(done, total):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError):
        path_patching(model, PAIRS, progress=fail)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.hf.modules())
    assert torch.equal(before, oracle.logits(model.hf, [3, 11, 5, 15]))
