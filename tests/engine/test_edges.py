"""Edges: every number against three forward passes with plain hooks, on every family."""

from __future__ import annotations

import dataclasses
from math import exp
from typing import Any

import oracle
import pytest
import torch
import transformers
from float64_everywhere import EverywhereDouble
from query_oracle import ids_of, input_of, output_of, projections
from test_micro_model import PAIR, REF, ROOT, SRC, answer, micro_model, norm
from tiny import FLOAT32, LAYOUTS, PAIRS, tiny_model

from arithmoscope import Edges, edges, load_model, path_patching
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.methods import edges as module

TWO = [PAIRS[0], PAIRS[4]]  # prompts of equal length, and of different lengths
# One layout of each kind: sequential, norms after sublayers, parallel with its own method, fused projections.
FEW = ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPTJForCausalLM", "FalconForCausalLM"]
HEADS = [Component(layer, head) for layer in (1, 2) for head in range(4)]
SENDERS = all_components(3, 4)


def query_after(hf, reference, source, sender, recorded, layer):
    """First run: all of a layer's queries at END, before any rotation, with the sender's output patched."""
    module_ = projections(hf, layer)[0]
    kept = []
    handle = module_.register_forward_hook(lambda _m, _a, out: kept.append(out[0, -1].clone()))
    try:
        oracle.patched_logits(hf, reference, source, sender.layer, sender.head, "through_mlps", recorded)
    finally:
        handle.remove()
    return kept[0]


def normed(hf, layer, head, query):
    """A head's query with its norm, if the family has one for each head."""
    name = type(hf).__name__
    if name in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"):
        return hf.model.layers[layer].self_attn.q_norm(query)
    if name == "StableLmForCausalLM" and hf.config.qk_layernorm:
        return hf.model.layers[layer].self_attn.q_layernorm.norms[head](query)
    return query


def with_output(recorded, layer, head, z):
    """A run's writes with one head's output at END replaced."""
    heads, mlps = recorded
    width = heads[layer].shape[-1] // 4
    heads = [each.clone() for each in heads]
    heads[layer][0, -1, head * width : (head + 1) * width] = z[head * width : (head + 1) * width]
    return heads, mlps


@torch.no_grad()
def three_runs(hf, reference, source, answer, base, sender, receiver, recorded, ways):
    """Change of the query, and of the answer's logit in each way."""
    layer, head = receiver.layer, receiver.head
    q_module, q_columns, _, _ = projections(hf, layer)
    cut = q_columns[head]
    changed_query = query_after(hf, reference, source, sender, recorded, layer)[cut]
    own = output_of(hf, reference, q_module)[-1, cut]
    before, after = (normed(hf, layer, head, query) for query in (own, changed_query))

    def other_query(out):
        out[0, -1, cut] = changed_query
        return out

    z = input_of(hf, reference, oracle.parts_of(hf)[layer].heads_out, q_module, other_query)
    patch = recorded[0], with_output(recorded[0], layer, head, z)
    changes = [oracle.patched_logits(hf, reference, source, layer, head, way, patch)[answer] - base for way in ways]
    return float((after - before).norm() / before.norm()), [float(change) for change in changes]


def hold_against_three_runs(model, pairs, receivers, tolerance):
    ways = ["direct", "through_mlps", "total"]
    through = edges(model, pairs, receivers, top=1000, through="through_mlps")
    total = edges(model, pairs, receivers, top=1000, through="total")
    assert through.receivers == tuple(map(str, receivers))
    assert through.senders == tuple(map(str, SENDERS))
    expected_edges = {(str(s), str(r)) for s in SENDERS for r in receivers if s.layer < r.layer}
    assert set(through.top) == set(total.top) == expected_edges
    for row, pair in enumerate(pairs):
        reference, source, answer = ids_of(model, pair)
        recorded = oracle.record(model.hf, reference), oracle.record(model.hf, source)
        base = oracle.logits(model.hf, reference)[answer]
        for at, receiver in enumerate(receivers):
            for number, sender in enumerate(SENDERS):
                cell = (row, at, number)
                if sender.layer >= receiver.layer:
                    assert through.query_changes[cell] == through.directs[cell] == 0
                    continue
                change, effects = three_runs(
                    model.hf, reference, source, answer, base, sender, receiver, recorded, ways
                )
                assert float(through.query_changes[cell]) == pytest.approx(change, abs=tolerance)
                edge = str(sender), str(receiver)
                result = (
                    through.directs[cell],
                    through.effects[row, through.top.index(edge)],
                    total.effects[row, total.top.index(edge)],
                )
                assert [float(each) for each in result] == pytest.approx(effects, abs=tolerance)
    assert float(through.query_changes.max()) > 0.05, "changes this small would prove nothing"
    assert float(total.effects.abs().max()) > 1e-3
    assert float(through.noise.max()) <= tolerance
    return through, total


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_edges_equal_three_runs_with_hooks(architecture, config):
    with EverywhereDouble():
        hold_against_three_runs(tiny_model(architecture, config=config), [PAIRS[4]], [HEADS[2], HEADS[5]], 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM"])
def test_every_edge_of_the_model_equals_three_runs_with_hooks(architecture):
    with EverywhereDouble():
        hold_against_three_runs(tiny_model(architecture), [PAIRS[1], PAIRS[4]], HEADS, 1e-9)


@pytest.mark.parametrize("architecture", FLOAT32)
def test_in_float32_edges_equal_three_runs_with_hooks_too(architecture):
    hold_against_three_runs(tiny_model(architecture, torch.float32), TWO, [HEADS[1], HEADS[6]], 1e-4)


def test_a_head_that_looks_nowhere_in_particular_receives_nothing():
    # Worked by hand: with query weights of 0 the row stays unchanged for every sender.
    model = tiny_model("LlamaForCausalLM")
    hf: Any = model.hf
    attention = hf.model.layers[2].self_attn
    attention.q_proj.weight.data.zero_()
    attention.q_proj.bias.data.zero_()
    result = edges(model, PAIRS, top=100)
    deaf = [at for at, name in enumerate(result.receivers) if name.startswith("L2")]
    hearing = [at for at, name in enumerate(result.receivers) if name.startswith("L1")]
    assert not result.query_changes[:, deaf].any()
    assert float(result.directs[:, deaf].abs().max()) < 1e-12
    assert float(result.directs[:, hearing].abs().max()) > 1e-3


def two_layer_model():
    """Small enough for pencil and paper: two layers of one head, two dimensions, no rotation, MLPs that write nothing.

    Embeddings have length sqrt(2), so that norms leave them as they are. The head of layer 0 averages what it sees;
    that of layer 1 compares the first dimension of END with the first dimension of each position.
    """
    config = transformers.SmolLM3Config(
        vocab_size=4,
        hidden_size=2,
        intermediate_size=1,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        no_rope_layers=[0, 0],
        rms_norm_eps=0.0,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=False,
    )
    hf: Any = transformers.SmolLM3ForCausalLM(config).double()
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            weight.fill_(1.0) if "norm" in name else weight.zero_()
        hf.model.embed_tokens.weight.copy_(torch.tensor([[ROOT, 0.0], [1.0, 1.0], [0.0, ROOT], [-1.0, 1.0]]))
        for layer in hf.model.layers:
            layer.self_attn.v_proj.weight.copy_(torch.eye(2))
            layer.self_attn.o_proj.weight.copy_(torch.eye(2))
        hf.model.layers[1].self_attn.q_proj.weight[0, 0] = 1.0
        hf.model.layers[1].self_attn.k_proj.weight[0, 0] = 1.0
        hf.lm_head.weight[3] = torch.tensor([1.0, 0.0])  # the answer's logit is the first dimension
    return load_model(hf, micro_model().tokenizer)


@pytest.mark.parametrize("through", ["through_mlps", "total"])
def test_the_edge_of_two_layers_equals_the_one_worked_by_hand(through):
    # Layer 1 reads REF at END, (2.20711, 1.5), and 2a at the first position; after the norm (1.16966, 0.79493) and
    # (1.41421, 0). With the counterfactual's output of the first head it reads SRC at END, the two numbers swapped.
    (query, second), (other, _) = norm(*REF), norm(*SRC)
    assert (query, other) == pytest.approx((1.16966, 0.79493), abs=1e-5)

    def logit(query):
        # Scores over sqrt(2): query * 1.41421 at the first position, query * 1.16966 at END.
        first = 1 / (1 + exp(query * (norm(*REF)[0] - ROOT) / ROOT))
        z = first * ROOT + (1 - first) * norm(*REF)[0], (1 - first) * second
        return answer(REF[0] + z[0], REF[1] + z[1])

    result = edges(two_layer_model(), [PAIR], top=10, through=through)
    assert result.senders == ("L0H0", "MLP0", "L1H0", "MLP1")
    assert result.receivers == ("L1H0",)
    assert result.top == (("L0H0", "L1H0"), ("MLP0", "L1H0"))
    assert float(result.reference[0]) == pytest.approx(logit(query), abs=1e-6)
    changed = (query - other) / query
    assert changed == pytest.approx(0.32037, abs=1e-5)
    assert result.query_changes[0, 0].tolist() == pytest.approx([changed, 0, 0, 0], abs=1e-6)
    effect = logit(other) - logit(query)
    assert abs(effect) > 1e-3
    assert result.directs[0, 0].tolist() == pytest.approx([effect, 0, 0, 0], abs=1e-6)
    assert result.effects[0].tolist() == pytest.approx([effect, 0], abs=1e-6)


@pytest.mark.parametrize("architecture", FEW)
def test_a_batch_gives_what_single_prompts_give_in_any_order_and_in_any_chunks(architecture, monkeypatch):
    model = tiny_model(architecture)
    pairs, receivers = [PAIRS[1], *TWO], ["L1H3", "L2H0"]
    with EverywhereDouble():
        together, backwards = (edges(model, subset, receivers) for subset in (pairs, pairs[::-1]))
        alone = edges(model, pairs[:1], receivers)
        monkeypatch.setattr(module, "plan_for", lambda *_: Plan(pairs=1, components=7, rows=4, tokens=8))
        chunked = edges(model, pairs, receivers)
    assert set(together.top) == set(backwards.top) == set(alone.top)
    for other, rows in ((backwards, [2, 1, 0]), (chunked, [0, 1, 2]), (alone, [0])):
        order = [together.top.index(edge) for edge in other.top]
        for name in ("query_changes", "directs"):
            torch.testing.assert_close(getattr(other, name), getattr(together, name)[rows], atol=1e-9, rtol=0)
        torch.testing.assert_close(other.effects, together.effects[rows][:, order], atol=1e-9, rtol=0)


@pytest.mark.parametrize("architecture", FEW)
@pytest.mark.parametrize("through", ["through_mlps", "total"])
def test_where_both_runs_are_the_same_nothing_is_sent(architecture, through):
    same = [dataclasses.replace(pair, counterfactual=pair.reference) for pair in PAIRS]
    result = edges(tiny_model(architecture, torch.float32), same, top=10, through=through)
    assert not result.query_changes.any()
    assert not result.directs.any()
    assert not result.effects.any()


def test_the_edges_with_the_largest_direct_effects_are_verified_and_ranked_by_effect():
    result = edges(tiny_model("Qwen2ForCausalLM"), PAIRS, top=5)
    size = result.directs.abs().mean(0)
    names = [
        (float(size[row, column]), (sender, receiver))
        for row, receiver in enumerate(result.receivers)
        for column, sender in enumerate(result.senders)
    ]
    assert list(result.top) == [edge for _, edge in sorted(names, reverse=True)[:5]]
    ranking = result.ranking()
    assert [each.effect for each in ranking] == sorted(each.effect for each in ranking)
    assert {(each.sender, each.receiver) for each in ranking} == set(result.top)
    best = ranking[0]
    at = result.top.index((best.sender, best.receiver))
    assert best.effect == pytest.approx(float(result.effects[:, at].mean()))
    assert best.effect_std == pytest.approx(float(result.effects[:, at].std()))
    everything = edges(tiny_model("Qwen2ForCausalLM"), PAIRS, top=0)
    assert everything.top == () == tuple(everything.ranking())
    torch.testing.assert_close(everything.directs, result.directs)


def test_receivers_may_be_named_in_any_order_and_twice():
    model = tiny_model("LlamaForCausalLM")
    result = edges(model, PAIRS[:2], ["L2H3", Component(1, 0), "L2H3"], top=3)
    assert result.receivers == ("L1H0", "L2H3")


def test_progress_counts_pairs_in_both_waves():
    seen = []
    edges(tiny_model("LlamaForCausalLM"), PAIRS, top=2, progress=lambda *at: seen.append(at))
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_edges_survive_saving(tmp_path):
    result = edges(tiny_model("LlamaForCausalLM"), PAIRS, top=4)
    result.save(tmp_path / "e.safetensors")
    loaded = Edges.load(tmp_path / "e.safetensors")
    for field in dataclasses.fields(result):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now
    path_patching(tiny_model("LlamaForCausalLM"), PAIRS[:1]).save(tmp_path / "b.safetensors")
    with pytest.raises(Refusal, match="contains no edges"):
        Edges.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("receivers", "match"),
    [
        (["MLP1"], "has no query"),
        (["L3H0"], "There is no L3H0"),
        (["L1H4"], "There is no L1H4"),
        (["L0H1"], "reads the embedding alone"),
        (["1.2"], "not a component"),
        ([], "list of receivers is empty"),
    ],
)
def test_what_is_no_receiver_is_refused(receivers, match):
    with pytest.raises(Refusal, match=match) as refused:
        edges(tiny_model("LlamaForCausalLM"), PAIRS, receivers)
    assert refused.value.code == "bad_component"


def test_impossible_requests_and_models_are_refused():
    model = tiny_model("LlamaForCausalLM")
    with pytest.raises(Refusal, match="empty"):
        edges(model, [])
    with pytest.raises(Refusal, match="through is 'direct'"):
        edges(model, PAIRS, through="direct")  # pyright: ignore[reportArgumentType]
    with pytest.raises(Refusal, match="top is -1"):
        edges(model, PAIRS, top=-1)
    with pytest.raises(Refusal, match="only one layer"):
        edges(micro_model(), [PAIR])
    model.hf.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(Refusal, match="not finite"):
        edges(model, PAIRS)


def test_hooks_and_interfaces_are_gone_after_a_run_and_after_a_failure():
    model = tiny_model("LlamaForCausalLM")
    before = oracle.logits(model.hf, [3, 11, 5, 15])

    def fail(done, total):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError):
        edges(model, PAIRS, progress=fail)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.hf.modules())
    assert torch.equal(before, oracle.logits(model.hf, [3, 11, 5, 15]))
