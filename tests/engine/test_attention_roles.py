"""Attention by role: masses that sum to 1, the model's own patterns, and baselines worked by hand."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from tiny import CONFIGS, PAIRS, tiny_model

from arithmoscope import PromptPair, RoleAttention, attention, attention_roles
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.methods import roles as module
from arithmoscope.engine.methods.roles import ROLES


@pytest.mark.parametrize("architecture", CONFIGS)
def test_masses_sum_to_1_and_are_the_patterns_last_row_by_role(architecture):
    model = tiny_model(architecture)
    result = attention_roles(model, PAIRS)
    assert result.reference.dtype == torch.float64
    for masses in (result.reference, result.counterfactual, result.shuffled):
        torch.testing.assert_close(masses.sum(-1), torch.ones_like(masses[..., 0]), atol=1e-6, rtol=0)
    patterns = attention(model, PAIRS).weights
    for row, pair in enumerate(encode_all(model, PAIRS)):
        for at, role in enumerate(ROLES):
            tokens = [number for number, token in enumerate(pair.reference_tokens) if token.role == role]
            expected = patterns[row][:, :, -1, tokens].sum(-1)
            torch.testing.assert_close(result.reference[row, ..., at], expected, atol=1e-9, rtol=0)


def test_the_counterfactual_is_the_pattern_of_the_other_prompt():
    model = tiny_model("LlamaForCausalLM")
    result = attention_roles(model, PAIRS[:3])
    turned = [PromptPair(pair.counterfactual, pair.reference, pair.answer) for pair in PAIRS[:3]]
    operator = ROLES.index("operator")
    # "3 @ 5 =" is unreadable by itself: only the reference's roles tell which token took the operator's place.
    patterns = attention(model, turned).weights
    for row, pair in enumerate(encode_all(model, PAIRS[:3])):
        (at,) = [number for number, token in enumerate(pair.counterfactual_tokens) if token.role == "operator"]
        torch.testing.assert_close(result.counterfactual[row, ..., operator], patterns[row][:, :, -1, at])
    torch.testing.assert_close(result.difference, (result.reference - result.counterfactual).mean(0))


def test_the_shuffled_baseline_is_the_mean_over_all_ways_to_deal_the_roles():
    model = tiny_model("LlamaForCausalLM")
    pair = PAIRS[2]  # 4 + 5 =
    result = attention_roles(model, [pair])
    (weights,) = attention(model, [pair]).weights
    (encoded,) = encode_all(model, [pair])
    dealt = [token.role for token in encoded.reference_tokens[1:]]
    ways = list(itertools.permutations(dealt))
    for at, role in enumerate(ROLES):
        total = torch.zeros(3, 4, dtype=torch.float64)
        for way in ways:
            tokens = [number for number, each in enumerate(("first", *way)) if each == role]
            total += weights[:, :, -1, tokens].sum(-1)
        torch.testing.assert_close(result.shuffled[0, ..., at], total / len(ways), atol=1e-6, rtol=0)


def role_masses(masses):
    """Two heads' masses as a set of one question; the baseline is 0.1 for every role but the first."""
    full = torch.zeros(1, 1, len(masses), len(ROLES), dtype=torch.float64)
    for head, mass in enumerate(masses):
        for role, value in mass.items():
            full[0, 0, head, ROLES.index(role)] = value
    full[..., ROLES.index("first")] = 1 - full.sum(-1)
    return RoleAttention("m", "r", ("q",), full, full, torch.full_like(full, 0.1))


def test_heads_are_named_by_what_they_look_at_twice_as_much_as_chance_and_as_the_average_head():
    nothing = [{} for _ in range(4)]
    result = role_masses(
        [
            {"operand_a": 0.3, "operand_b": 0.2},  # 0.5 >= 2 * 0.2
            {"operator": 0.4},
            {"operand_a": 0.39},  # below twice the chance of two operands, 0.4
            {"operand_b": 0.6, "operator": 0.35},  # 3 times and 3.5 times the chance
            *nothing,
        ]
    ).classes()
    assert [result[Component(0, head)] for head in range(8)] == [
        "operand",
        "operator",
        "neither",
        "operator",
        *["neither"] * 4,
    ]
    uniform = role_masses([{"operator": 0.5}] * 3).classes()
    assert set(uniform.values()) == {"neither"}, "as much as the average head is nothing special"


def test_small_batches_and_other_orders_change_nothing(monkeypatch):
    model = tiny_model("LlamaForCausalLM")
    full = attention_roles(model, PAIRS)
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    counted = []
    alone = attention_roles(model, PAIRS[::-1], progress=lambda done, total: counted.append((done, total)))
    torch.testing.assert_close(alone.reference.flip(0), full.reference, atol=1e-9, rtol=0)
    torch.testing.assert_close(alone.counterfactual.flip(0), full.counterfactual, atol=1e-9, rtol=0)
    assert counted == [(done, 12) for done in range(1, 13)]


def test_the_interval_holds_the_mean_and_the_average_head_is_the_mean_of_all():
    result = attention_roles(tiny_model("LlamaForCausalLM", torch.float32), PAIRS)
    low, high = result.interval()
    assert (low <= result.mean + 1e-9).all()
    assert (result.mean <= high + 1e-9).all()
    torch.testing.assert_close(result.average_head, result.mean.mean((0, 1)))


def test_roles_survive_saving(tmp_path):
    result = attention_roles(tiny_model("LlamaForCausalLM"), PAIRS)
    result.save(tmp_path / "r.safetensors")
    loaded = RoleAttention.load(tmp_path / "r.safetensors")
    for field in dataclasses.fields(RoleAttention):
        was, now = getattr(result, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now


def test_no_pairs_are_refused():
    with pytest.raises(Refusal, match="empty"):
        attention_roles(tiny_model("LlamaForCausalLM"), [])
