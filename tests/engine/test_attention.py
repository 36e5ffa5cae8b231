"""Tests that attention patterns are the model's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import CONFIGS, PAIRS, tiny_model

from arithmoscope import AttentionPatterns, attention
from arithmoscope.contracts.errors import Refusal
from arithmoscope.prompts import encode_pair


@pytest.mark.parametrize("architecture", CONFIGS)
def test_patterns_equal_those_that_transformers_returns(architecture):
    model = tiny_model(architecture)
    patterns = attention(model, PAIRS)
    hf: Any = model.hf
    hf.config._attn_implementation = "eager"
    for pair, weights in zip(PAIRS, patterns.weights, strict=True):
        ids = torch.tensor([encode_pair(pair, model.text).reference_ids])
        expected = torch.stack([layer[0] for layer in hf(ids, output_attentions=True, use_cache=False).attentions])
        torch.testing.assert_close(weights, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_rows_sum_to_one_and_no_token_sees_the_future(architecture):
    for weights in attention(tiny_model(architecture), PAIRS).weights:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), atol=1e-6, rtol=0)
        assert not weights.triu(1).any()


def test_the_sweeps_attention_path_is_put_back():
    model = tiny_model("LlamaForCausalLM")
    before = model.hf.config._attn_implementation
    attention(model, PAIRS[:1])
    assert model.hf.config._attn_implementation == before != "eager"


def test_one_layer_alone_is_that_layer():
    model = tiny_model("LlamaForCausalLM")
    everything, one = attention(model, PAIRS), attention(model, PAIRS, layers=[2])
    assert all(torch.equal(a[2:], b) for a, b in zip(everything.weights, one.weights, strict=True))


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(Refusal, match="no layer 3"):
        attention(tiny_model("LlamaForCausalLM"), PAIRS, layers=[3])


def test_patterns_survive_saving(tmp_path):
    patterns = attention(tiny_model("LlamaForCausalLM"), PAIRS, layers=[0, 2])
    patterns.save(tmp_path / "attention.safetensors")
    loaded = AttentionPatterns.load(tmp_path / "attention.safetensors")
    assert loaded.layers == (0, 2)
    assert all(torch.equal(a, b) for a, b in zip(patterns.weights, loaded.weights, strict=True))
