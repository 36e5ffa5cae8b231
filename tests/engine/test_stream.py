"""The residual stream patched at every layer and position, against one hooked forward pass each."""

from __future__ import annotations

import dataclasses
from math import sqrt

import oracle
import pytest
import torch
from float64_everywhere import EverywhereDouble
from test_micro_model import LOGIT, PAIR, ROOT, answer, micro_model, mlp
from tiny import CONFIGS, FLOAT32, LAYOUTS, PAIRS, tiny_model

from arithmoscope import PromptPair, StreamEffects, path_patching, stream
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.methods import stream as module
from arithmoscope.prompts import encode_pair

# One layout of each kind: sequential, norms after sublayers, parallel with its own method, fused projections.
FEW = ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPTJForCausalLM", "FalconForCausalLM"]
# Equal lengths within a pair, two lengths among them; the last differs from its first token on.
EQUAL = [PAIRS[0], PAIRS[2], PAIRS[5], PromptPair("4 + 5 =", "1 + 2 =", "9")]


def layers_of(hf):
    body = hf.gpt_neox if hasattr(hf, "gpt_neox") else hf.model if hasattr(hf, "model") else hf.transformer
    return body.h if hasattr(body, "h") else body.layers


@torch.no_grad()
def streams(hf, ids):
    """The input of each layer, all positions."""
    kept = []

    def keep(_module, args, kwargs):
        kept.append((args[0] if args else kwargs["hidden_states"]).clone())

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers_of(hf)]
    hf(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    return kept


def patched(hf, ids, source_stream, layer, position):
    """All logits at END with the stream that a layer reads taken from ``theirs`` at one position."""

    def replace(_module, args):
        states = args[0].clone()
        states[:, position] = source_stream[layer][:, position]
        return (states, *args[1:])

    handle = layers_of(hf)[layer].register_forward_pre_hook(replace)
    try:
        return oracle.logits(hf, ids)
    finally:
        handle.remove()


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_every_effect_equals_one_forward_pass_with_that_stream_replaced(architecture, config):
    model = tiny_model(architecture, config=config)
    with EverywhereDouble():
        pairs = [EQUAL[0], EQUAL[3]]
        result = stream(model, pairs)
        for row, pair in enumerate(pairs):
            encoded = encode_pair(pair, model.text)
            reference, source = list(encoded.reference_ids), list(encoded.counterfactual_ids)
            source_stream = streams(model.hf, source)
            base = oracle.logits(model.hf, reference)[encoded.answer_id]
            other = oracle.logits(model.hf, source)[encoded.answer_id]
            assert result.lengths[row] == len(reference)
            assert float(result.reference[row]) == pytest.approx(float(base), abs=1e-9)
            assert float(result.counterfactual[row]) == pytest.approx(float(other), abs=1e-9)
            for layer in range(3):
                for position in range(len(reference)):
                    change = patched(model.hf, reference, source_stream, layer, position)[encoded.answer_id] - base
                    assert float(result.effects[row, layer, position]) == pytest.approx(float(change), abs=1e-9)
                    share = change / (other - base)
                    assert float(result.recovered[row, layer, position]) == pytest.approx(float(share), rel=1e-6)
    assert float(result.effects.nan_to_num().abs().max()) > 0.1, "effects this small would prove nothing"
    assert float(result.noise.max()) < 1e-9


@pytest.mark.parametrize("architecture", FLOAT32)
def test_in_float32_the_effects_equal_those_forward_passes_too(architecture):
    model = tiny_model(architecture, torch.float32)
    result = stream(model, EQUAL[:2])
    for row, pair in enumerate(EQUAL[:2]):
        encoded = encode_pair(pair, model.text)
        reference = list(encoded.reference_ids)
        source_stream = streams(model.hf, list(encoded.counterfactual_ids))
        base = oracle.logits(model.hf, reference)[encoded.answer_id]
        for layer in range(3):
            for position in range(len(reference)):
                change = patched(model.hf, reference, source_stream, layer, position)[encoded.answer_id] - base
                assert float(result.effects[row, layer, position]) == pytest.approx(float(change), abs=1e-4)


def test_the_effects_equal_those_worked_by_hand():
    # One layer. At the first position a gives way to c, which END sees by half: b + (c + b) / 2. The second position is
    # the same b in both runs.
    result = stream(micro_model(), [PAIR])
    x, y = 1 + 1 / 2, 1 + (ROOT + 1) / 2
    expected = answer(x, y + mlp(x, y)) - LOGIT
    assert result.effects[0, 0].tolist() == pytest.approx([expected, 0.0], abs=1e-6)
    assert result.effects[0, 0, 1] == 0
    # Every difference between the runs was patched.
    assert result.recovered[0, 0, 0] == pytest.approx(1, abs=1e-6)
    assert expected == pytest.approx(1.5 / sqrt((1.5**2 + (y + mlp(x, y)) ** 2) / 2) - 0.71058, abs=1e-5)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_before_the_first_token_that_differs_and_where_a_token_is_the_same_nothing_happens(architecture):
    model = tiny_model(architecture)
    result = stream(model, EQUAL)
    for row, pair in enumerate(EQUAL):
        encoded = encode_pair(pair, model.text)
        ids = list(zip(encoded.reference_ids, encoded.counterfactual_ids, strict=True))
        first = next(at for at, (a, b) in enumerate(ids) if a != b)
        assert not result.effects[row, :, :first].any()
        for position, (a, b) in enumerate(ids):
            assert bool(result.effects[row, 0, position] == 0) == (a == b)
        assert result.effects[row, :, len(ids) :].isnan().all()
        assert not result.effects[row, :, : len(ids)].isnan().any()


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPTJForCausalLM"])
def test_a_run_patched_with_itself_does_not_change(architecture):
    same = [dataclasses.replace(pair, counterfactual=pair.reference) for pair in EQUAL]
    result = stream(tiny_model(architecture, torch.float32), same)
    assert not result.effects.nan_to_num().any()
    assert result.recovered.isnan().all()


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPTJForCausalLM", "FalconForCausalLM"]
)
def test_a_batch_gives_what_single_prompts_give_in_any_order_and_in_any_chunks(architecture, monkeypatch):
    model = tiny_model(architecture)
    pairs = EQUAL[1:]
    together, backwards = stream(model, pairs), stream(model, pairs[::-1])
    torch.testing.assert_close(backwards.effects.flip(0), together.effects, atol=1e-9, rtol=0, equal_nan=True)
    for row, pair in enumerate(pairs[:2]):
        alone = stream(model, [pair])
        whole = together.effects[row, :, : alone.effects.shape[-1]]
        torch.testing.assert_close(alone.effects[0], whole, atol=1e-9, rtol=0)
    monkeypatch.setattr(module, "plan_for", lambda *_: Plan(pairs=1, components=2, rows=16, tokens=4))
    chunked = stream(model, pairs)
    torch.testing.assert_close(chunked.effects, together.effects, atol=1e-9, rtol=0, equal_nan=True)


def test_patching_all_that_differs_at_once_recovers_everything():
    # Only the first token differs: the stream of layer 0 there is the only difference of the counterfactual run.
    result = stream(tiny_model("LlamaForCausalLM"), [PromptPair("4 + 5 =", "1 + 5 =", "9")])
    assert float(result.recovered[0, 0, 0]) == pytest.approx(1, abs=1e-9)


def test_progress_counts_every_position_of_every_pair():
    seen = []
    stream(tiny_model("LlamaForCausalLM"), EQUAL, progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_stream_effects_survive_saving(tmp_path):
    result = stream(tiny_model("LlamaForCausalLM"), EQUAL)
    result.save(tmp_path / "s.safetensors")
    loaded = StreamEffects.load(tmp_path / "s.safetensors")
    for field in dataclasses.fields(result):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was.nan_to_num(), now.nan_to_num()) if isinstance(was, torch.Tensor) else was == now
    path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1]).save(tmp_path / "b.safetensors")
    with pytest.raises(Refusal, match="contains no stream effects"):
        StreamEffects.load(tmp_path / "b.safetensors")


def test_prompts_of_different_lengths_are_refused_by_their_number():
    with pytest.raises(Refusal, match="Pair 2: the reference has 4 tokens, its counterfactual 6") as refused:
        stream(tiny_model("LlamaForCausalLM"), [PAIRS[0], PAIRS[4]])
    assert refused.value.code == "lengths_differ"


def test_no_pairs_and_a_model_that_computes_no_numbers_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="empty"):
        stream(model, [])
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        stream(model, EQUAL)
