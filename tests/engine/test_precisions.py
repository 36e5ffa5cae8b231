"""Narrow weights: every family runs in them, and the numbers are nearly those of the same weights in float32."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import oracle
import pytest
import torch
from tiny import CONFIGS, PAIRS, tiny_model, tiny_tokenizer
from torch import nn

from arithmoscope import load_model, path_patching
from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families.layout import is_packed, matrix_of
from arithmoscope.engine.models.loading import DTYPES
from arithmoscope.engine.models.weight_headers import Weights
from arithmoscope.prompts import encode_pair

# The largest error of any component, as a share of the largest effect. A number of bfloat16 is rounded by up to
# 1/256, one of float16 by up to 1/2048; three layers round several times each.
TOLERANCES = {"bfloat16": 0.06, "float16": 0.015}

# Families whose layers' matrices are not torch linear modules.
NO_8_BITS = ["GPT2LMHeadModel", "FalconForCausalLM"]

needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="8-bit weights need torchao")


@pytest.fixture
def folder(tmp_path):
    """Saves tiny models to MODELS_DIR, and loads them from there."""

    def saved(architecture, **options):
        model = tiny_model(architecture, torch.float32)
        hf: Any = model.hf
        hf.save_pretrained(tmp_path / "tiny")
        model.tokenizer.save_pretrained(tmp_path / "tiny")
        return load_model("tiny", models_dir=tmp_path, device="cpu", **options)

    return saved


def error_of(effects, truth) -> float:
    """The largest error of any component, as a share of the largest effect."""
    exact = torch.cat([truth.heads.flatten(), truth.mlps.flatten()])
    values = torch.cat([effects.heads.flatten(), effects.mlps.flatten()])
    return float((values - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [
        *((architecture, "bfloat16") for architecture in CONFIGS),
        ("LlamaForCausalLM", "float16"),
        ("GPT2LMHeadModel", "float16"),
    ],
)
def test_narrow_weights_give_the_numbers_of_their_float32_twin(architecture, dtype, folder):
    narrow = folder(architecture, dtype=dtype)
    assert narrow.precision == dtype
    assert narrow.work_dtype == torch.float32
    hf: Any = narrow.hf
    twin = load_model(copy.deepcopy(hf).to(torch.float32), tiny_tokenizer())
    for effect in ("direct", "through_mlps"):
        effects, truth = path_patching(narrow, PAIRS, effect=effect), path_patching(twin, PAIRS, effect=effect)
        assert effects.heads.dtype == torch.float32
        assert error_of(effects, truth) < TOLERANCES[dtype]


class Packed(nn.Module):
    """A linear map with an integer weight in a format unknown to the engine."""

    def __init__(self, plain: Any) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.scale = plain.weight.detach().abs().amax(1, keepdim=True) / 127
        self.weight = nn.Parameter((plain.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = plain.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


def test_a_projection_is_read_right_however_its_weight_is_kept():
    plain = nn.Linear(6, 4)
    packed = Packed(plain)
    assert is_packed(packed)
    assert not is_packed(plain)
    torch.testing.assert_close(matrix_of(plain), plain.weight.detach().T)
    torch.testing.assert_close(matrix_of(packed), (packed.weight * packed.scale).T)
    hf: Any = tiny_model("GPT2LMHeadModel").hf
    stored_input_first = hf.transformer.h[0].mlp.c_fc
    assert torch.equal(matrix_of(stored_input_first), stored_input_first.weight.detach())


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM"])
@pytest.mark.parametrize("effect", ["direct", "through_mlps"])
def test_a_quantised_projection_in_hand_gives_the_numbers_of_brute_force(architecture, effect):
    hf: Any = tiny_model(architecture, torch.float32).hf
    for layer in hf.model.layers:
        layer.self_attn.o_proj = Packed(layer.self_attn.o_proj)
        layer.mlp.down_proj = Packed(layer.mlp.down_proj)
    model = load_model(hf, tiny_tokenizer())
    assert model.precision == "int8"
    agrees_with_brute_force(model, effect, 1e-4)


def agrees_with_brute_force(model, effect, tolerance):
    (pair,) = PAIRS[:1]
    encoded = encode_pair(pair, model.text)
    reference, source = list(encoded.reference_ids), list(encoded.counterfactual_ids)
    effects = path_patching(model, [pair], effect=effect)
    base = oracle.logits(model.hf, reference)[encoded.answer_id]
    recorded = oracle.record(model.hf, reference), oracle.record(model.hf, source)
    for c in all_components(model.layout.layers, model.layout.heads):
        patched = oracle.patched_logits(model.hf, reference, source, c.layer, c.head, effect, recorded)
        value = effects.mlps[0, c.layer] if c.head is None else effects.heads[0, c.layer, c.head]
        assert float(value) == pytest.approx(float(patched[encoded.answer_id] - base), abs=tolerance), str(c)


def test_a_quantised_unembedding_is_refused():
    hf: Any = tiny_model("LlamaForCausalLM", torch.float32).hf
    hf.lm_head = Packed(hf.lm_head)
    with pytest.raises(Refusal, match="unembedding is quantised"):
        load_model(hf, tiny_tokenizer())


@needs_torchao
@pytest.mark.parametrize("architecture", [a for a in CONFIGS if a not in NO_8_BITS])
def test_8_bit_weights_give_the_numbers_of_brute_force(architecture, folder):
    model = folder(architecture, dtype="int8")
    assert (model.precision, model.dtype) == ("int8", torch.float32)
    for effect in ("direct", "through_mlps"):
        agrees_with_brute_force(model, effect, 1e-4)


@needs_torchao
def test_8_bit_weights_take_a_byte_each_and_change_the_numbers_a_little(folder):
    model = folder("LlamaForCausalLM", dtype="int8")
    block = model.layout.blocks[0]
    assert is_packed(block.heads_out)
    assert block.heads_out.weight.qdata.element_size() == 1  # pyright: ignore
    assert not is_packed(model.layout.unembed)
    exact = tiny_model("LlamaForCausalLM", torch.float32)
    truth = path_patching(exact, PAIRS, effect="direct")
    assert 0 < error_of(path_patching(model, PAIRS, effect="direct"), truth) < 0.1


@needs_torchao
@pytest.mark.parametrize("architecture", NO_8_BITS)
def test_a_family_that_cannot_compute_in_8_bits_is_refused(architecture, folder):
    with pytest.raises(Refusal, match=f"A {architecture} cannot compute with 8-bit") as refused:
        folder(architecture, dtype="int8")
    assert refused.value.code == "bad_setting"
    assert "bfloat16" in refused.value.way_out


def test_8_bit_weights_without_torchao_are_refused_with_what_to_install(folder, monkeypatch):
    monkeypatch.setattr("transformers.utils.import_utils.is_torchao_available", lambda: False)
    with pytest.raises(Refusal, match="needs the package torchao") as refused:
        folder("LlamaForCausalLM", dtype="int8")
    assert "arithmoscope[int8]" in refused.value.way_out


def test_a_dtype_for_a_model_in_hand_is_refused_unless_it_is_the_models():
    hf: Any = tiny_model("LlamaForCausalLM", torch.float32).hf
    assert load_model(hf, tiny_tokenizer(), dtype="float32").precision == "float32"
    with pytest.raises(Refusal, match="keeps its dtype: float32, not bfloat16") as refused:
        load_model(hf, tiny_tokenizer(), dtype="bfloat16")
    assert refused.value.code == "bad_setting"


def test_every_dtype_has_its_bytes():
    weights = Weights(parameters=1000, matrices=900, largest=500)
    assert {dtype: weights.bytes_in(dtype) for dtype in DTYPES} == {
        "float32": 4000,
        "float64": 8000,
        "bfloat16": 2000,
        "float16": 2000,
        "int8": 900 + 4 * 100,
    }
