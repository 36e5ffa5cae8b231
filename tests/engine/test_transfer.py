"""Transfer: components selected on one set, knocked out on another, with disjoint operands."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import tiny_model

from arithmoscope import PromptPair, Transfer, knockout, path_patching, transfer
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.measures.rank_correlation import spearman
from arithmoscope.prompts.sets.operand_split import operands_of, shared_operands, split_operands

ADD = [PromptPair(f"{a} + {b} =", f"{a} @ {b} =", str(a + b)) for a in range(1, 6) for b in range(1, 5)]
TAKE = [PromptPair(f"{a} - {b} =", f"{a} @ {b} =", str(a - b)) for a in range(3, 10) for b in range(1, 4)]
# Pairs without readable arithmetic.
WORDS = [
    PromptPair(f"The sum of {word} is", f"The none of {word} is", str(at))
    for at, word in enumerate(["and", "of", "plus"])
]


def sets():
    sides = {name: split_operands(pairs, seed=1) for name, pairs in (("add", ADD), ("take", TAKE))}
    return {name: selection for name, (selection, _) in sides.items()}, {
        **{name: judged for name, (_, judged) in sides.items()},
        "words": WORDS,
    }


def test_every_cell_is_the_knock_out_of_that_sets_heads_on_the_other_set():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    found_on, evaluated_on = sets()
    selection = transfer(model, found_on, evaluated_on, top_k=3, controls=4, metric="logit")
    assert selection.accuracy.shape == (2, 3)
    for row, (name, pairs) in enumerate(found_on.items()):
        ranking = [each for each in path_patching(model, pairs).ranking("logit") if each.kind == "head"]
        assert selection.selections[row] == tuple(each.component for each in ranking[:3]), name
        for column, other in enumerate(evaluated_on.values()):
            knocked = knockout(model, other, selection.selections[row], controls=4)
            for metric in ("accuracy", "probability"):
                curve = knocked.curve(metric)
                row_values = {
                    end: float(getattr(selection, f"{metric}{end}")[row, column]) for end in ("", "_low", "_high")
                }
                expected = {"": curve.mean[-1], "_low": curve.low[-1], "_high": curve.high[-1]}
                for end, value in expected.items():
                    assert row_values[end] == pytest.approx(float(value), abs=1e-5)
                control = getattr(selection, f"control_{metric}")[row, column]
                assert float(control) == pytest.approx(float(curve.control[-1]), abs=1e-5)
                low = getattr(selection, f"control_{metric}_low")[row, column]
                assert float(low) == pytest.approx(float(curve.draws_low[-1]), abs=1e-5)
                plain = getattr(selection, f"plain_{metric}")[column]
                assert float(plain) == pytest.approx(float(curve.mean[0]), abs=1e-5)


def test_overlap_is_1_with_itself_symmetric_and_what_the_definition_says():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    found_on, evaluated_on = sets()
    selection = transfer(model, found_on, evaluated_on, top_k=3, controls=0, metric="logit")
    for matrix in (selection.jaccard, selection.rank_correlation):
        torch.testing.assert_close(matrix, matrix.T)
        torch.testing.assert_close(matrix.diagonal(), torch.ones(2).double())
    a, b = (set(chosen) for chosen in selection.selections)
    assert float(selection.jaccard[0, 1]) == len(a & b) / len(a | b)
    assert float(selection.rank_correlation[0, 1]) == pytest.approx(
        spearman(selection.effects[0], selection.effects[1])
    )
    assert selection.control_accuracy.isnan().all(), "no draws, no control"


def test_sets_that_share_operands_are_refused_by_default():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    with pytest.raises(Refusal, match=r"'add'.*'other'.*share operands: '1 2' and 2 more"):
        transfer(
            model,
            {"add": ADD},
            {"other": [PromptPair(f"{a} - {b} =", f"{a} @ {b} =", "1") for a, b in ((2, 1), (3, 2), (4, 3))]},
        )
    row_values = transfer(model, {"add": ADD[:4]}, {"add": ADD[:4]}, same_operands=True, controls=1)
    assert row_values.found_on == row_values.evaluated_on == ("add",)


def test_operands_are_the_same_for_every_operation_and_order():
    pairs = [PromptPair(f"{a} {sign} {b} =", "@ =", "1") for a, sign, b in ((3, "+", 5), (5, "-", 3), (5, "*", 3))]
    assert len({operands_of(pair) for pair in pairs}) == 1
    assert shared_operands(pairs[:1], pairs[1:]) == ["3 5"]
    assert operands_of(WORDS[0]) == WORDS[0].reference


def test_a_split_shares_no_operands_and_splits_another_set_alike():
    halves = [split_operands(pairs, seed=2) for pairs in (ADD, TAKE)]
    for (selection, judged), pairs in zip(halves, (ADD, TAKE), strict=True):
        assert sorted(map(str, (*selection, *judged))) == sorted(map(str, pairs))
        assert selection
        assert judged
    assert not shared_operands(halves[0][0], halves[1][1])
    assert not shared_operands(halves[1][0], halves[0][1])
    assert split_operands(ADD, seed=3) != halves[0]
    with pytest.raises(Refusal, match="share is 1"):
        split_operands(ADD, 1.0)


def test_a_transfer_survives_saving(tmp_path):
    found_on, evaluated_on = sets()
    selection = transfer(tiny_model("LlamaForCausalLM", torch.float32), found_on, evaluated_on, top_k=2, controls=2)
    selection.save(tmp_path / "t.safetensors")
    loaded = Transfer.load(tmp_path / "t.safetensors")
    for field in dataclasses.fields(Transfer):
        was, now = getattr(selection, field.name), getattr(loaded, field.name)
        assert torch.equal(was, now) if isinstance(was, torch.Tensor) else was == now, field.name


@pytest.mark.parametrize(
    ("found_on", "evaluated_on", "options", "says"),
    [
        ({}, {"take": TAKE}, {}, "no set to select"),
        ({"add": []}, {"take": TAKE}, {}, "set 'add' is empty"),
        ({"add": [PromptPair("", "@", "1")]}, {"take": TAKE}, {}, "Set 'add': Pair 1: The reference prompt is empty"),
        ({"add": ADD}, {"words": WORDS}, {"top_k": 0}, "top_k is 0"),
        ({"add": ADD}, {"words": WORDS[:1]}, {}, "no other prompt"),
    ],
)
def test_impossible_requests_are_refused(found_on, evaluated_on, options, says):
    with pytest.raises(Refusal, match=says):
        transfer(tiny_model("LlamaForCausalLM", torch.float32), found_on, evaluated_on, **options)
