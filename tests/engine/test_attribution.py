"""Attribution patching: the estimate is the derivative of the exact total effect, and the rows behind the estimates of
queries and keys are the model's own, on every family."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from math import nan, sqrt
from typing import Any

import oracle
import pytest
import torch
from float64_everywhere import EverywhereDouble
from query_oracle import ids_of, input_of, last, only, output_of, projections, reading, writing
from test_micro_model import PAIR, REF, ROOT, SRC, micro_model
from tiny import CONFIGS, LAYOUTS, PAIRS, tiny_model
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D

from arithmoscope import Attribution, PromptPair, attribution, path_patching
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families import FAMILIES
from arithmoscope.engine.measures.rank_correlation import spearman
from arithmoscope.engine.methods import attribution as module

TWO = [PAIRS[0], PAIRS[4]]  # prompts of equal length, and of different lengths
# One layout of each kind: sequential, norms after sublayers, parallel with its own method, fused projections.
FEW = ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPTJForCausalLM", "FalconForCausalLM"]


MeasuredEffects = dict[nn.Module, Callable[[torch.Tensor], torch.Tensor]]


@torch.no_grad()
def answer_with(hf, ids, answer, replaced: MeasuredEffects, writes: MeasuredEffects) -> float:
    """The answer's logit when functions change the inputs and outputs of modules. Plain hooks."""
    handles = [m.register_forward_pre_hook(reading(f)) for m, f in replaced.items()]
    handles += [m.register_forward_hook(writing(f)) for m, f in writes.items()]
    try:
        return float(hf(torch.tensor([ids]), use_cache=False).logits[0, -1, answer])
    finally:
        for handle in handles:
            handle.remove()


def at_end(hf, ids):
    """Outputs of heads (before the projection) and MLPs at END, layer by layer."""
    heads, mlps = oracle.record(hf, ids)
    return [z[0, -1] for z in heads], [out[0, -1] for out in mlps]


def slope(hf, reference, answer, move, read_by=None, written_by=None):
    """The derivative of the answer's logit along ``move`` of a module's input or output at END: a finite difference."""
    h, total = 1e-5, 0.0
    for share in (h, -h):
        read, write = ({m: last(share * move)} if m is not None else {} for m in (read_by, written_by))
        total += answer_with(hf, reference, answer, read, write) / (2 * share)
    return total


def unchecked(model, pairs):
    """Attribution with one exact number for the correlation instead of all, which have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("_ALL", 0), ("_DRAWN", 1), ("_TOP", 0)):
            patch.setattr(module, name, number)
        return attribution(model, pairs)


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_the_estimate_is_the_derivative_of_the_exact_total_effect(architecture, config):
    model = tiny_model(architecture, config=config)
    with EverywhereDouble():
        result = unchecked(model, TWO)
        for row, pair in enumerate(TWO):
            reference, source, answer = ids_of(model, pair)
            (ref_z, ref_mlp), (src_z, src_mlp) = at_end(model.hf, reference), at_end(model.hf, source)
            for layer, parts in enumerate(oracle.parts_of(model.hf)):
                for head in (0, 3):
                    move = only(head, src_z[layer] - ref_z[layer])
                    expected = slope(model.hf, reference, answer, move, read_by=parts.heads_out)
                    assert float(result.heads[row, layer, head]) == pytest.approx(expected, abs=1e-6)
                expected = slope(model.hf, reference, answer, src_mlp[layer] - ref_mlp[layer], written_by=parts.mlp)
                assert float(result.mlps[row, layer]) == pytest.approx(expected, abs=1e-6)
    assert float(result.heads.abs().max()) > 0.05, "effects this small would prove nothing"


def gradient(hf, ids, answer, heads_out):
    """Gradient of the answer's logit with respect to the output of all heads at END: plain autograd, whole prompt."""
    width = heads_out.weight.shape[0 if isinstance(heads_out, Conv1D) else 1]
    leaf = torch.zeros(width, dtype=torch.float64, requires_grad=True)
    handle = heads_out.register_forward_pre_hook(lambda _m, a: (torch.cat([a[0][:, :-1], a[0][:, -1:] + leaf], 1),))
    logit = hf(torch.tensor([ids]), use_cache=False).logits[0, -1, answer]
    handle.remove()
    return torch.autograd.grad(logit, leaf)[0]


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_query_and_key_estimates_form_the_attention_row_as_the_model_does(architecture, config):
    model = tiny_model(architecture, config=config)
    hf: Any = model.hf
    with EverywhereDouble():
        result = unchecked(model, TWO)
        assert result.keys is not None
        for row, pair in enumerate(TWO):
            reference, source, answer = ids_of(model, pair)
            for layer, parts in enumerate(oracle.parts_of(hf)):
                q_module, q_columns, k_module, k_columns = projections(hf, layer)
                queries, keys = output_of(hf, source, q_module), output_of(hf, source, k_module)
                slope = gradient(hf, reference, answer, parts.heads_out)
                z = input_of(hf, reference, parts.heads_out)
                for head in (1, 2):

                    def other_query(out, cut=q_columns[head], queries=queries):
                        out[0, -1, cut] = queries[-1, cut]
                        return out

                    def other_keys(out, cut=k_columns[head], keys=keys):
                        out[0, :, cut] = keys[:, cut]
                        return out

                    moved = input_of(hf, reference, parts.heads_out, q_module, other_query) - z
                    expected = float(only(head, moved) @ slope)
                    assert float(result.queries[row, layer, head]) == pytest.approx(expected, abs=1e-9)
                    if len(reference) == len(source):
                        moved = input_of(hf, reference, parts.heads_out, k_module, other_keys) - z
                        expected = float(only(head, moved) @ slope)
                        assert float(result.keys[row, layer, head]) == pytest.approx(expected, abs=1e-9)
    assert float(result.queries.abs().max()) > 0.01
    assert float(result.keys[0].abs().max()) > 0.01
    assert result.keys[1].isnan().all()
    assert result.pairs_without_keys == 1


class Silent(nn.Module):
    def forward(self, states):
        return 0 * states


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"]
)
def test_where_all_behind_the_softmax_is_linear_the_estimates_are_exact(architecture):
    def one_layer():
        config = CONFIGS[architecture]()
        config.num_hidden_layers = 1
        if hasattr(config, "layer_types"):
            config.layer_types = config.layer_types[:1]
        config.final_logit_softcapping = None
        return config

    model = tiny_model(architecture, config=one_layer)
    hf: Any = model.hf
    body = hf.model if hasattr(hf, "model") else hf.transformer
    block = model.layout.blocks[0]
    for name, part in list(body.named_modules()):
        if part is model.layout.final_norm or part is block.head_norm:
            body.set_submodule(name, nn.Identity())
        elif part is block.mlp:
            body.set_submodule(name, Silent())
    model = dataclasses.replace(model, layout=importlib.import_module(FAMILIES[architecture]).layout(hf))
    pair = PromptPair("3 + 5 =", "4 @ 6 is", "8")  # ends in another token: the first layer's query at END differs
    result = attribution(model, [pair])
    assert result.keys is not None
    reference, source, answer = ids_of(model, pair)
    parts = oracle.parts_of(hf)[0]
    base = float(oracle.logits(hf, reference)[answer])
    q_module, q_columns, k_module, k_columns = projections(hf, 0)
    (ref_z, _), (src_z, _) = at_end(hf, reference), at_end(hf, source)
    for head in range(4):
        for estimate, module_, cut, rows in (
            (result.queries, q_module, q_columns[head], slice(-1, None)),
            (result.keys, k_module, k_columns[head], slice(None)),
        ):
            patch = output_of(hf, source, module_)

            def patched(out, cut=cut, rows=rows, patch=patch):
                out[0, rows, cut] = patch[rows, cut]
                return out

            move = only(head, input_of(hf, reference, parts.heads_out, module_, patched) - ref_z[0])
            change = answer_with(hf, reference, answer, {parts.heads_out: last(move)}, {}) - base
            assert float(estimate[0, 0, head]) == pytest.approx(change, abs=1e-6)
        change = answer_with(hf, reference, answer, {parts.heads_out: last(only(head, src_z[0] - ref_z[0]))}, {}) - base
        assert float(result.heads[0, 0, head]) == pytest.approx(change, abs=1e-6)
    assert float(result.queries.abs().max()) > 0.01


def test_the_estimate_equals_the_one_worked_by_hand():
    # The MLP writes nothing; END reads (x, y) and the answer's logit is x / sqrt((x^2 + y^2) / 2). Its derivative along
    # (dx, dy) is sqrt(2) y (y dx - x dy) / (x^2 + y^2)^(3/2). The head moves END from REF to SRC.
    model = micro_model()
    model.hf.model.layers[0].mlp.down_proj.weight.data.zero_()
    result = attribution(model, [PAIR])
    x, y = REF
    dx, dy = SRC[0] - REF[0], SRC[1] - REF[1]
    assert (dx, dy) == pytest.approx((-ROOT / 2, ROOT / 2))
    expected = sqrt(2) * y * (y * dx - x * dy) / (x * x + y * y) ** 1.5
    assert float(result.heads[0, 0, 0]) == pytest.approx(expected, abs=1e-6)
    assert expected == pytest.approx(-0.2926, abs=1e-4)
    assert result.mlps[0, 0] == 0
    assert result.keys is not None
    assert result.queries[0, 0, 0] == result.keys[0, 0, 0] == 0


@pytest.mark.parametrize("architecture", FEW)
def test_a_batch_is_estimated_as_single_prompts_are_in_any_order(architecture):
    model = tiny_model(architecture)
    pairs = [PAIRS[1], *TWO]
    with EverywhereDouble():
        together, backwards = unchecked(model, pairs), unchecked(model, pairs[::-1])
        singles = [unchecked(model, [pair]) for pair in pairs]
    for name in ("heads", "mlps", "queries", "keys", "reference"):
        whole = getattr(together, name)
        torch.testing.assert_close(getattr(backwards, name).flip(0), whole, atol=1e-9, rtol=0, equal_nan=True)
        for row, single in enumerate(singles):
            if getattr(single, name) is not None:
                torch.testing.assert_close(getattr(single, name)[0], whole[row], atol=1e-9, rtol=0)


def test_pairs_of_different_lengths_alone_have_no_keys():
    result = attribution(tiny_model("LlamaForCausalLM"), [PAIRS[4]])
    assert result.keys is None
    assert result.pairs_without_keys == 1


@pytest.mark.parametrize("architecture", FEW)
def test_a_run_patched_with_itself_has_no_effect(architecture):
    same = [dataclasses.replace(pair, counterfactual=pair.reference) for pair in PAIRS]
    result = attribution(tiny_model(architecture, torch.float32), same)
    assert result.keys is not None
    for effects in (result.heads, result.mlps, result.queries, result.keys):
        assert float(effects.abs().max()) < 1e-4


def test_one_token_prompts_are_estimated():
    result = attribution(tiny_model("LlamaForCausalLM"), [PromptPair("3", "4", "8")])
    assert result.keys is not None
    assert float(result.heads.abs().max()) > 0
    assert not result.queries.any(), "END sees itself alone: its attention cannot move"


@pytest.mark.parametrize("architecture", FEW)
def test_narrow_weights_are_estimated_much_as_wide_ones(architecture):
    narrow, wide = tiny_model(architecture, torch.bfloat16), tiny_model(architecture, torch.bfloat16)
    wide.hf.float()
    a, b = unchecked(narrow, PAIRS), unchecked(wide, PAIRS)
    assert a.heads.dtype == torch.float32
    for name in ("heads", "queries"):
        one, other = getattr(a, name).flatten(), getattr(b, name).flatten()
        assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.9


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_model_is_left_as_it_was(architecture):
    model = tiny_model(architecture)
    for number, parameter in enumerate(model.hf.parameters()):
        parameter.requires_grad_(number % 2 == 0)
    before = oracle.logits(model.hf, [3, 11, 5, 15])
    implementation = model.hf.config._attn_implementation
    attribution(model, TWO)
    assert all(p.requires_grad == (number % 2 == 0) for number, p in enumerate(model.hf.parameters()))
    assert all(p.grad is None for p in model.hf.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.hf.modules())
    assert all("_attn" not in vars(m) for m in model.hf.modules())
    assert not ALL_ATTENTION_FUNCTIONS._local_mapping
    assert model.hf.config._attn_implementation == implementation
    assert torch.equal(oracle.logits(model.hf, [3, 11, 5, 15]), before)


def test_ranks_of_equal_numbers_are_shared():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    one, other = torch.tensor([1.0, 2.0, 2.0, 9.0]), torch.tensor([10.0, 20.0, 30.0, 40.0])
    assert spearman(one, other) == pytest.approx(4.5 / sqrt(4.5 * 5))
    assert spearman(other, -other) == pytest.approx(-1)
    assert str(spearman(torch.zeros(3), other[:3])) == str(nan)


def test_the_correlation_with_exact_numbers_is_never_missing():
    model = tiny_model("Qwen2ForCausalLM")
    exact = path_patching(model, PAIRS, effect="direct")
    result, reused = attribution(model, PAIRS), attribution(model, PAIRS, exact=exact)
    assert result.correlation.components == 15
    assert result.correlation.pairs == len(PAIRS)
    assert (result.correlation.effect, result.correlation.drawn) == ("total", False)
    assert result.correlation.absolute > 0.5
    assert reused.correlation == reused.rank_correlation(exact) == result.rank_correlation(exact)
    assert (reused.correlation.effect, reused.checked) == ("direct", ())
    assert reused.checked_exact.numel() == 0
    mirrored = dataclasses.replace(exact, heads=result.heads, mlps=result.mlps)
    assert result.rank_correlation(mirrored).signed == pytest.approx(1)


def test_of_a_large_model_drawn_components_and_the_first_to_verify_are_checked(monkeypatch):
    model = tiny_model("LlamaForCausalLM")
    whole = attribution(model, PAIRS)
    monkeypatch.setattr(module, "_ALL", 4)
    monkeypatch.setattr(module, "_DRAWN", 5)
    monkeypatch.setattr(module, "_TOP", 3)
    monkeypatch.setattr(module, "_CHECKED_PAIRS", 2)
    seen = []
    result = attribution(model, PAIRS, progress=lambda done, total: seen.append((done, total)))
    assert (result.correlation.components, result.correlation.pairs, result.correlation.drawn) == (5, 2, True)
    assert set(map(str, result.verify_first(3))) <= set(result.checked)
    assert 5 <= len(result.checked) <= 8
    at = [whole.checked.index(each) for each in result.checked]
    torch.testing.assert_close(result.checked_exact, whole.checked_exact[:2, at], atol=1e-9, rtol=0)
    assert seen[-1] == (len(PAIRS) + 8, len(PAIRS) + 8)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_checked_numbers_equal_one_forward_pass_per_component(architecture):
    model = tiny_model(architecture)
    result = attribution(model, TWO)
    for row, pair in enumerate(TWO):
        reference, source, answer = ids_of(model, pair)
        base = float(oracle.logits(model.hf, reference)[answer])
        (ref_z, ref_mlp), (src_z, src_mlp) = at_end(model.hf, reference), at_end(model.hf, source)
        for number, name in enumerate(result.checked):
            component = Component.parse(name)
            parts = oracle.parts_of(model.hf)[component.layer]
            if component.head is None:
                move = last(src_mlp[component.layer] - ref_mlp[component.layer])
                logit = answer_with(model.hf, reference, answer, {}, {parts.mlp: move})
            else:
                move = last(only(component.head, src_z[component.layer] - ref_z[component.layer]))
                logit = answer_with(model.hf, reference, answer, {parts.heads_out: move}, {})
            assert float(result.checked_exact[row, number]) == pytest.approx(logit - base, abs=1e-5)


def test_the_largest_estimates_are_verified_first():
    result = attribution(tiny_model("LlamaForCausalLM"), PAIRS)
    order = result.verify_first(15)
    size = [
        float((result.mlps[:, c.layer] if c.head is None else result.heads[:, c.layer, c.head]).abs().mean())
        for c in order
    ]
    assert size == sorted(size, reverse=True)
    assert result.verify_first(2) == order[:2]


def test_an_attribution_survives_saving(tmp_path):
    result = attribution(tiny_model("LlamaForCausalLM"), PAIRS)
    result.save(tmp_path / "a.safetensors")
    loaded = Attribution.load(tmp_path / "a.safetensors")
    for field in dataclasses.fields(result):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was.nan_to_num(), now.nan_to_num()) if isinstance(was, torch.Tensor) else was == now
    path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1]).save(tmp_path / "b.safetensors")
    with pytest.raises(Refusal, match="contains no attribution"):
        Attribution.load(tmp_path / "b.safetensors")


def test_exact_effects_of_other_pairs_or_another_patch_are_refused():
    model = tiny_model("LlamaForCausalLM")
    exact = path_patching(model, PAIRS[:2])
    with pytest.raises(Refusal, match="not of these pairs"):
        attribution(model, PAIRS[2:4], exact=exact)
    with pytest.raises(Refusal, match="source 'zero'"):
        attribution(model, PAIRS[:2], exact=path_patching(model, PAIRS[:2], source="zero"))


def test_an_empty_list_and_a_model_that_computes_no_numbers_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="empty"):
        attribution(model, [])
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        attribution(model, PAIRS)


def test_an_attention_that_cannot_be_followed_is_refused_by_name():
    def upcast():
        config = CONFIGS["GPT2LMHeadModel"]()
        config.reorder_and_upcast_attn = True
        config._attn_implementation = "eager"
        return config

    with pytest.raises(Refusal, match="of this GPT2LMHeadModel cannot be recorded") as refused:
        attribution(tiny_model("GPT2LMHeadModel", torch.float32, config=upcast), PAIRS)
    assert refused.value.code == "unsupported_architecture"


def test_an_attention_that_is_formed_in_another_way_is_refused():
    model = tiny_model("LlamaForCausalLM")
    layer: Any = model.hf.model.layers[1].self_attn
    gate = layer.o_proj.register_forward_pre_hook(lambda _m, args: (1.5 * args[0],))  # heads that are scaled afterwards
    with pytest.raises(Refusal, match=r"attention of layer 1 .* off by"):
        attribution(model, PAIRS)
    gate.remove()
