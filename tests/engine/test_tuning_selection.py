"""The weights of a head or an MLP are located in every family, and weights that change with them are named."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, LAYOUTS, PAIRS, VARIANTS, tiny_model
from tuning_cases import mask_of

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import on_input
from arithmoscope.engine.tuning.model_copy import copy_model
from arithmoscope.engine.tuning.selection import parameters_of, select
from arithmoscope.engine.tuning.weight_slices import projection_names


@torch.no_grad()
def heads_outputs(model, layer):
    """The input of a layer's output projection, by head, at all positions: [position, head, head_dim]."""
    seen = []
    ids = torch.tensor([model.text.encode(PAIRS[0].reference).ids])
    with on_input([(model.layout.blocks[layer].heads_out, lambda z: seen.append(z[0].clone()))]):
        model.layout.decoder(input_ids=ids, use_cache=False)
    return seen[0].unflatten(-1, (model.layout.heads, -1))


@torch.no_grad()
def moved(model, parts):
    """A copy of the model with these numbers changed."""
    changed = copy_model(model, None)
    weights = dict(changed.hf.named_parameters())
    for part in parts:
        weights[part.name][mask_of(weights[part.name], part)] += 0.5
    return changed


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_the_heads_that_change_are_the_chosen_ones_and_those_that_are_named_as_touched(architecture, config):
    model = tiny_model(architecture, config=config)
    before = heads_outputs(model, 1)
    for what in "qkv":
        for head in range(model.layout.heads):
            chosen = select(model, [Component(1, head)], what)
            after = heads_outputs(moved(model, chosen.slices), 1)
            sizes = {
                Component(1, at) for at in range(model.layout.heads) if not torch.equal(before[:, at], after[:, at])
            }
            assert sizes == {*chosen.components, *chosen.touched}, what


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_a_tuned_output_slice_changes_what_its_head_writes_and_no_other(architecture, config):
    model = tiny_model(architecture, config=config)
    chosen = select(model, ["L2H1"], "o")
    before, after = model.layout.blocks[2].write, moved(model, chosen.slices).layout.blocks[2].write
    assert [bool((before[head] != after[head]).all()) for head in range(4)] == [False, True, False, False]
    assert torch.equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert chosen.touched == ()


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_all_heads_and_mlps_together_are_all_matrices_of_all_layers(architecture, config):
    model = tiny_model(architecture, config=config)
    everything = select(model, all_components(model.layout.layers, model.layout.heads), "qkvo")
    weights = dict(model.hf.named_parameters())
    assert {part.name for part in everything.slices} == {f"{name}.weight" for name in projection_names(model)}
    for part in everything.slices:
        assert mask_of(weights[part.name], part).all(), part
    matrices = {name for name, weight in weights.items() if weight.dim() == 2 and any(c.isdigit() for c in name)}
    assert {part.name for part in everything.slices} == matrices
    assert everything.parameters == sum(weights[name].numel() for name in matrices)
    assert everything.share == pytest.approx(everything.parameters / parameters_of(model))


def test_by_default_queries_and_outputs_are_tuned_where_keys_are_shared_and_all_four_elsewhere():
    assert select(tiny_model("LlamaForCausalLM"), ["L0H0"]).tune == ("q", "o")
    assert select(tiny_model("GPT2LMHeadModel"), ["L0H0"]).tune == ("q", "k", "v", "o")


def test_heads_of_one_group_tune_its_keys_once():
    model = tiny_model("LlamaForCausalLM")
    alone, both = select(model, ["L1H2"], "kv"), select(model, ["L1H2", "L1H3"], "kv")
    assert alone.parameters == both.parameters == 2 * model.layout.head_dim * model.layout.hidden
    assert alone.touched == (Component(1, 3),)
    assert both.touched == ()


def test_biases_are_tuned_on_demand_and_never_the_one_that_all_heads_share():
    model = tiny_model("GPT2LMHeadModel")
    names = {part.name for part in select(model, ["L1H0", "MLP2"], biases=True).slices if part.leaf == "bias"}
    assert names == {
        "transformer.h.1.attn.c_attn.bias",
        "transformer.h.2.mlp.c_fc.bias",
        "transformer.h.2.mlp.c_proj.bias",
    }
    assert not [part for part in select(model, ["L1H0", "MLP2"]).slices if part.leaf == "bias"]


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ([], "No component is named"),
        (["L1H2", "L1H2"], "named twice"),
        (["L1H4"], "There is no L1H4"),
        (["MLP3"], "There is no MLP3"),
        ([*map(str, all_components(3, 4)), "L3H0"], "There is no L3H0"),
        ("L1H2", "a list"),
        (["head 2"], "is not a component"),
    ],
)
def test_components_that_cannot_be_tuned_are_refused(components, message):
    with pytest.raises(Refusal, match=message) as refused:
        select(tiny_model("LlamaForCausalLM"), components)
    assert refused.value.code == "bad_component"


def test_what_a_head_does_not_have_is_refused():
    for tune in ("", "x", "qx"):
        with pytest.raises(Refusal, match="q, k, v and o"):
            select(tiny_model("LlamaForCausalLM"), ["L0H0"], tune)


def test_float16_weights_are_refused():
    with pytest.raises(Refusal, match="float16") as refused:
        select(tiny_model("LlamaForCausalLM", torch.float16), ["L0H0"])
    assert refused.value.code == "bad_setting"


def test_every_layout_of_the_table_is_tried():
    assert {param.id for param in LAYOUTS} == {*CONFIGS, *VARIANTS}
