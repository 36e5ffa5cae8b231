"""Writes: every token's change of logit when a component's write is removed from the stream, against brute force."""

from __future__ import annotations

import dataclasses
from math import sqrt
from typing import Any

import oracle
import pytest
import torch
from test_micro_model import PAIR, REF, micro_model, mlp
from tiny import CONFIGS, LAYOUTS, PAIRS, tiny_model
from torch import nn

from arithmoscope import VocabularyEffects, path_patching, writes
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.methods import writes as module
from arithmoscope.prompts import encode_pair

FINAL_NORM = {"GPT2LMHeadModel": "transformer.ln_f", "GPTJForCausalLM": "transformer.ln_f"}
FINAL_NORM |= {"FalconForCausalLM": "transformer.ln_f", "GPTNeoXForCausalLM": "gpt_neox.final_layer_norm"}
NORM_OVER_HEADS = {"Gemma2ForCausalLM", "Gemma3ForCausalLM", "Olmo2ForCausalLM"}


@torch.no_grad()
def logits_without(hf, ids, layer, head):
    """All logits at END, with and without a component's write in the stream before the final norm: two passes of the
    whole model, the second with a hook on that norm."""
    parts = oracle.parts_of(hf)[layer]
    heads, mlps = oracle.record(hf, ids)
    if head is None:
        write = mlps[layer][0, -1]
    else:
        z, width = heads[layer][0, -1], heads[layer].shape[-1] // 4
        less = z.clone()
        less[head * width : (head + 1) * width] = 0
        after: Any = nn.Identity()
        if type(hf).__name__ in NORM_OVER_HEADS:
            after = hf.model.layers[layer].post_attention_layernorm
        write = after(parts.heads_out(z[None])) - after(parts.heads_out(less[None]))
        write = write[0]
    whole = oracle.logits(hf, ids)

    def take(_module, args):
        states = args[0].clone()
        states[:, -1] -= write
        return (states,)

    handle = hf.get_submodule(FINAL_NORM.get(type(hf).__name__, "model.norm")).register_forward_pre_hook(take)
    try:
        return whole, oracle.logits(hf, ids)
    finally:
        handle.remove()


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_every_tokens_change_equals_a_forward_pass_without_the_write(architecture, config):
    model = tiny_model(architecture, config=config)
    pairs, components = PAIRS[1:3], all_components(3, 4)
    result = writes(model, pairs, components, k=64)
    token_ids = sorted(model.text.get_vocab().values())
    for number, component in enumerate(components):
        changes = []
        for row, pair in enumerate(pairs):
            encoded = encode_pair(pair, model.text)
            whole, less = logits_without(model.hf, list(encoded.reference_ids), component.layer, component.head)
            changes.append(whole - less)
            assert float(result.answers[row, number]) == pytest.approx(float(changes[-1][encoded.answer_id]), abs=1e-9)
            assert float(result.centres[row, number]) == pytest.approx(float(changes[-1].mean()), abs=1e-9)
        centred = torch.stack([change - change.mean() for change in changes])
        write = result[str(component)]
        tokens = {each.token_id: each for each in (*write.promoted, *write.suppressed)}
        assert sorted(tokens) == token_ids
        for token, each in tokens.items():
            assert each.mean == pytest.approx(float(centred[:, token].mean()), abs=1e-9)
            assert each.std == pytest.approx(float(centred[:, token].std()), abs=1e-9)
            assert each.token == model.token_text(token)
    assert float(result.answers.abs().max()) > 0.1, "changes this small would prove nothing"


def test_the_strongest_come_first_and_numbers_have_lists_of_their_own():
    model = tiny_model("Qwen2ForCausalLM")
    write = writes(model, PAIRS, ["L1H2"], k=5)["L1H2"]
    everything = writes(model, PAIRS, ["L1H2"], k=64)["L1H2"]
    assert write.promoted == everything.promoted[:5]
    assert write.suppressed == everything.suppressed[:5]
    for listed, sign in ((everything.promoted, 1), (everything.suppressed, -1)):
        values = [sign * each.mean for each in listed]
        assert values == sorted(values, reverse=True)
        assert all(value > 0 for value in values)
    numbers = everything.promoted_numbers + everything.suppressed_numbers
    assert {each.token for each in numbers} == set("0123456789")
    assert everything.promoted_numbers == tuple(each for each in everything.promoted if each.token.isdigit())
    assert everything.suppressed_numbers == tuple(each for each in everything.suppressed if each.token.isdigit())


def test_the_answers_change_equals_the_one_worked_by_hand():
    # END holds REF and what the MLP writes, (0, m): the answer's logit is x / sqrt((x^2 + (y + m)^2) / 2). Without the
    # head's write, (REF - b), b = (1, 1) alone is left beside the MLP's.
    m = mlp(*REF)

    def logit(x, y):
        return x / sqrt((x * x + y * y) / 2)

    full = logit(REF[0], REF[1] + m)
    result = writes(micro_model(), [PAIR], ["L0H0", "MLP0"], k=4)
    assert result.answers[0].tolist() == pytest.approx([full - logit(1, 1 + m), full - logit(*REF)], abs=1e-6)
    # The other three rows of the unembedding are 0: the mean over the vocabulary is a fourth of the answer's change.
    torch.testing.assert_close(result.centres, result.answers / 4)
    (answer, *_), others = result["MLP0"].suppressed, result["MLP0"].promoted
    assert answer.token == "d"
    assert answer.mean == pytest.approx(0.75 * float(result.answers[0, 1]), abs=1e-6)
    assert [each.mean for each in others] == pytest.approx([-0.25 * float(result.answers[0, 1])] * 3, abs=1e-6)
    assert answer.std is None


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma3ForCausalLM", "GPTNeoXForCausalLM"])
def test_a_constant_that_is_added_to_all_logits_changes_nothing(architecture):
    model = tiny_model(architecture, config=lambda: _untied(architecture))
    before = writes(model, PAIRS[:2], ["L1H2", "MLP1"])
    unembed: Any = model.hf.get_output_embeddings()
    unembed.weight.data += torch.randn(unembed.weight.shape[1], dtype=torch.float64)  # the same for every token
    after = writes(model, PAIRS[:2], ["L1H2", "MLP1"])
    assert float((before.answers - after.answers).abs().max()) > 0.1
    for was, now in zip(before.components, after.components, strict=True):
        assert [each.token_id for each in was.promoted] == [each.token_id for each in now.promoted]
        assert [each.mean for each in was.promoted] == pytest.approx([each.mean for each in now.promoted], abs=1e-6)


def _untied(architecture):
    config = CONFIGS[architecture]()
    config.tie_word_embeddings = False
    return config


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Olmo2ForCausalLM"])
def test_order_chunks_and_groups_of_components_do_not_matter(architecture, monkeypatch):
    model = tiny_model(architecture)
    whole = writes(model, PAIRS, ["L0H1", "MLP2", "L2H3"])
    backwards = writes(model, PAIRS[::-1], ["L2H3", "L0H1", "MLP2"])
    monkeypatch.setattr(module, "plan_for", lambda *_: Plan(pairs=2, components=1, rows=1, tokens=8))
    monkeypatch.setattr(module, "budget_of", lambda _: 2 * 4 * 2 * 64 * 8)  # the sums of two components
    seen = []
    chunked = writes(model, PAIRS, ["L0H1", "MLP2", "L2H3"], progress=lambda *at: seen.append(at))
    assert seen[-1][0] == seen[-1][1] == len(seen)
    torch.testing.assert_close(chunked.answers, whole.answers, atol=1e-9, rtol=0)
    torch.testing.assert_close(backwards.answers.flip(0)[:, [1, 2, 0]], whole.answers, atol=1e-9, rtol=0)
    for write in whole.components:
        for other in (chunked, backwards):
            same = other[write.component]
            for promoted, expected in zip(write.promoted, same.promoted, strict=True):
                assert promoted.token_id == expected.token_id
                assert (promoted.mean, promoted.std) == pytest.approx((expected.mean, expected.std), abs=1e-9)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_answers_change_is_minus_the_direct_effect_of_zero_ablation(architecture):
    model = tiny_model(architecture)
    components = all_components(3, 4)
    effects = path_patching(model, PAIRS, effect="direct", source="zero")
    result = writes(model, PAIRS, components)
    removed = torch.cat([effects.heads, effects.mlps[..., None]], dim=-1).flatten(1)
    torch.testing.assert_close(result.answers, -removed, atol=1e-9, rtol=0)


def test_what_was_written_survives_saving(tmp_path):
    result = writes(tiny_model("LlamaForCausalLM"), PAIRS, ["L1H2", Component(0)])
    result.save(tmp_path / "w.safetensors")
    loaded = VocabularyEffects.load(tmp_path / "w.safetensors")
    for field in dataclasses.fields(result):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(Refusal, match="contains no written tokens"):
        VocabularyEffects.load(tmp_path / "x")


@pytest.mark.parametrize(
    ("components", "k", "code"),
    [
        (["L3H0"], 10, "bad_component"),
        (["L0H4"], 10, "bad_component"),
        (["MLP3"], 10, "bad_component"),
        (["head 3"], 10, "bad_component"),
        ([], 10, "bad_component"),
        (["L0H0"], 0, "bad_request"),
        (["L0H0"], 1001, "bad_request"),
    ],
)
def test_components_that_are_not_there_and_impossible_lengths_are_refused(components, k, code):
    with pytest.raises(Refusal) as refused:
        writes(tiny_model("LlamaForCausalLM"), PAIRS, components, k=k)
    assert refused.value.code == code


def test_no_pairs_and_a_model_that_computes_no_numbers_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="empty"):
        writes(model, [], ["L0H0"])
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        writes(model, PAIRS, ["L0H0"])
