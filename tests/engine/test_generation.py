"""Answers of several tokens, generated with components ablated: token by token equal to plain hooks without a cache."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from float64_everywhere import EverywhereDouble
from knockout_oracle import Written, greedy, mean_of, run_of, zeros
from tiny import CONFIGS, tiny_model

from arithmoscope import Knockout, PromptPair, knockout
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.interventions.generation import is_answer
from arithmoscope.engine.interventions.replacements import resampled
from arithmoscope.engine.methods.knockout import knock_out_chunk, knockout_task

SET = [
    PromptPair("7 + 5 =", "7 @ 5 =", "12"),
    PromptPair("8 + 9 =", "8 @ 9 =", "17"),
    PromptPair("2 + 3 =", "2 @ 3 =", "5"),
    PromptPair("2 + 3 = 5\n9 + 4 =", "2 + 3 = 5\n9 @ 4 =", "13"),
    PromptPair("2 + 3 = 5\n6 + 6 =", "2 + 3 = 5\n6 @ 6 =", "12"),
]
MIXED = ["L1H2", "MLP1", "L0H3", "L2H1"]


def end_of(replacement: Written) -> Written:
    return [each[:, -1:] for each in replacement[0]], [each[:, -1:] for each in replacement[1]]


def joined(prompt: Written, end: Written) -> Written:
    """The replacements in the prompt, followed by those at END for every later token."""
    heads, mlps = (
        [torch.cat(both, dim=1) for both in zip(*side, strict=True)] for side in zip(prompt, end, strict=True)
    )
    return heads, mlps


# Every family in the most complex case, the other cases on two.
CASES = [(architecture, "mean", "all") for architecture in CONFIGS] + [
    (architecture, ablation, positions)
    for architecture in ("LlamaForCausalLM", "Gemma2ForCausalLM")
    for ablation, positions in (("zero", "end"), ("mean", "end"), ("resample", "after_first"))
]


@pytest.mark.parametrize(("architecture", "ablation", "positions"), CASES)
def test_every_token_is_the_one_that_plain_hooks_write(architecture, ablation, positions):
    model = tiny_model(architecture)
    with EverywhereDouble():
        result = knockout(
            model, SET, MIXED, ablation=ablation, positions=positions, controls=1, seed=2, answer_tokens=3
        )
        encoded = encode_all(model, SET, "first")
        place = "end" if positions == "end" else "all"
        others = resampled(encoded, place, 2) if ablation == "resample" else encoded
        assert result.written is not None
        changed = 0
        for row, pair in enumerate(encoded):
            ids = list(pair.reference_ids)
            first = {"end": len(ids) - 1, "all": 0, "after_first": 1}[positions]
            if ablation == "zero":
                instead = zeros(model.hf, ids)
            elif ablation == "resample":
                other = list(others[row].counterfactual_ids)
                instead = joined(run_of(model.hf, other, first), end_of(run_of(model.hf, other, first)))
            else:
                alike = [list(each.reference_ids) for each in encoded if len(each.reference_ids) == len(ids)]
                end = mean_of(model.hf, [list(each.reference_ids) for each in encoded])
                instead = end if positions == "end" else joined(mean_of(model.hf, alike, first), end)
            for k in range(len(MIXED) + 1):
                out = [Component.parse(name) for name in MIXED[:k]]
                expected = greedy(model.hf, ids, out, instead, first, 3)
                assert result.written[k, row].tolist() == expected, (row, k)
                assert (expected[0] == pair.answer_id) == bool(result.correct[k, row])
                changed += expected != result.written[0, row].tolist()
        assert changed > 0, "nothing out of these would prove nothing"


def test_exact_match_is_the_whole_answer_and_has_a_curve():
    model = tiny_model("LlamaForCausalLM")
    vocabulary = model.text.get_vocab()
    digits = {vocabulary[digit]: digit for digit in "0123456789"}
    weight = model.hf.lm_head.weight.data
    weight[[token for token in range(len(weight)) if token not in digits]] *= 1e-3  # a model that writes digits
    weight[vocabulary["="]] = 2 * weight[vocabulary["3"]]  # and ends a number where it would write a 3
    first = knockout(model, SET, MIXED, controls=0, answer_tokens=3)
    assert first.written is not None
    # With its own output as the answer, it is right with nothing ablated.
    own = ["".join(digits.get(token, " ") for token in ids).partition(" ")[0] for ids in first.written[0].tolist()]
    pairs = [PromptPair(pair.reference, pair.counterfactual, text or "5") for pair, text in zip(SET, own, strict=True)]
    result = knockout(model, pairs, MIXED, controls=3, answer_tokens=3)
    assert result.exact is not None
    assert result.control_exact is not None
    assert result.written is not None
    for row, pair in enumerate(pairs):
        for k in range(5):
            text = model.text.decode(result.written[k, row].tolist())
            assert bool(result.exact[k, row]) == is_answer(text, pair.answer)
    assert result.exact[0].tolist() == [bool(text) for text in own]
    assert result.exact[0].sum() > 0
    curve = result.curve("exact_match")
    assert curve.mean.tolist() == pytest.approx(result.exact.double().mean(1).tolist())
    assert curve.control.tolist() == pytest.approx(result.control_exact.double().mean((0, 2)).tolist())
    with pytest.raises(Refusal, match="were not decoded"):
        knockout(model, SET[2:3] * 2 + [PromptPair("1 + 1 =", "1 @ 1 =", "2")], MIXED, controls=0).curve("exact_match")


def test_chunks_and_small_plans_write_the_same(tmp_path):
    model = tiny_model("LlamaForCausalLM")
    whole = knockout(model, SET, MIXED, controls=2, answer_tokens=2)
    task = knockout_task(model, encode_all(model, SET, "first"), MIXED, controls=2, answer_tokens=2)
    task = dataclasses.replace(task, plan=dataclasses.replace(task.plan, pairs=1, components=2, rows=1, tokens=1))
    joined_ = Knockout.concatenate([knock_out_chunk(model, task, start, start + 3)[0] for start in (0, 3)])
    joined_.save(tmp_path / "k.safetensors")
    loaded = Knockout.load(tmp_path / "k.safetensors")
    for name in ("written", "exact", "control_exact"):
        assert torch.equal(getattr(loaded, name), getattr(whole, name)), name


@pytest.mark.parametrize(
    ("text", "answer", "says"),
    [
        ("12", "12", True),
        (" 12\n3 +", "12", True),
        ("12.", "12", True),
        ("12, because", "12", True),
        ("123", "12", False),
        ("12.5", "12", False),
        ("12,000", "12", False),
        ("1", "12", False),
        ("", "12", False),
        ("twelve of", "twelve", True),
        ("twelves", "twelve", False),
    ],
)
def test_an_answer_is_right_when_it_is_written_whole_and_ends_there(text, answer, says):
    assert is_answer(text, answer) is says


@pytest.mark.parametrize(
    ("tokens", "says"), [(0, "answer_tokens is 0"), (17, "answer_tokens is 17"), (1, "Pair 1: the answer '12' is 2")]
)
def test_numbers_of_tokens_that_cannot_be_are_refused(tokens, says):
    with pytest.raises(Refusal, match=says):
        knockout(tiny_model("LlamaForCausalLM"), SET, MIXED, answer_tokens=tokens)


def test_without_it_answers_of_several_tokens_are_refused_as_ever():
    with pytest.raises(Refusal, match="2 tokens"):
        knockout(tiny_model("LlamaForCausalLM"), SET, MIXED)
