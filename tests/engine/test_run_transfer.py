"""A whole transfer without a server: the function's numbers, set by set, and the notes on sets."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch
from tiny import tiny_model

from arithmoscope import Transfer, transfer
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.transfer import TransferResult, TransferSpec
from arithmoscope.engine.experiments.transfer import run_transfer
from arithmoscope.prompts import prepare
from arithmoscope.prompts.sets.operand_split import split_operands

ADD = {
    "source": "custom",
    "shots": 0,
    "pairs": [{"reference": f"{a} + {b} ="} for a in range(1, 7) for b in range(1, 9 - a)],
}
TAKE = {
    "source": "custom",
    "shots": 0,
    "pairs": [{"reference": f"{a} - {b} ="} for a in range(3, 9) for b in range(1, a)],
}
WRONG = {
    "source": "custom",
    "shots": 0,
    "pairs": [{"reference": f"{a} + 1 =", "answer": "@"} for a in range(9)],
    "keep_wrong": False,
}


@pytest.fixture(scope="module")
def model():
    return tiny_model("LlamaForCausalLM", torch.float32)


def spec_of(**more):
    spec = {"kind": "transfer", "model": "tiny", "found_on": [ADD, TAKE], "evaluated_on": [TAKE, ADD], "controls": 2}
    return TransferSpec.model_validate({**spec, "top_k": 3, "effect": "direct", **more})


def run(model, spec, **more):
    quiet = {"saved_chunks": {}, "save_chunk": lambda *_: None, "on_progress": lambda _: None}
    hooks = {**quiet, "on_partial": lambda _: None, "should_stop": lambda: False, **more}
    return run_transfer(model, spec, "t1", parent=None, **hooks)


def sides(model, prompts):
    encoded = prepare(spec_of(found_on=[prompts]).found_on[0], model.text).pairs
    return split_operands([pair.pair for pair in encoded])


def test_set_by_set_gives_the_function_s_numbers_on_disjoint_operands(model, tmp_path):
    output = run(model, spec_of())
    assert output is not None
    (add, add_other), (take, take_other) = sides(model, ADD), sides(model, TAKE)
    expected = transfer(
        model,
        {"a": add, "t": take},
        {"t": take_other, "a": add_other},
        mean_over={"t": take, "a": add},
        top_k=3,
        controls=2,
        effect="direct",
    )
    result = TransferResult.model_validate_json(output.artifacts["result.json"])
    assert result == output.result
    assert result.selections == expected.selections
    for text, name in ((result.accuracy, "accuracy"), (result.probability, "probability")):
        np.testing.assert_allclose(np.array(text.value, float), getattr(expected, name), atol=1e-5)
        np.testing.assert_allclose(np.array(text.control, float), getattr(expected, f"control_{name}"), atol=1e-5)
        np.testing.assert_allclose(np.array(text.plain, float), getattr(expected, f"plain_{name}"), atol=1e-5)
    assert [each.pairs for each in result.found_on] == [len(add), len(take)]
    assert [each.pairs for each in result.evaluated_on] == [len(take_other), len(add_other)]
    assert len({each.name for each in (*result.found_on, *result.evaluated_on)}) == 2
    (tmp_path / "raw").write_bytes(output.artifacts["raw.safetensors"])
    assert Transfer.load(tmp_path / "raw").selections == result.selections


def test_the_mean_is_over_the_other_half_or_the_set_says_that_it_is_not(model):
    halved = run(model, spec_of(found_on=[ADD], evaluated_on=[TAKE], controls=0))
    whole = run(model, spec_of(found_on=[ADD], evaluated_on=[TAKE], controls=0, disjoint=False))
    zero = run(model, spec_of(found_on=[ADD], evaluated_on=[TAKE], controls=0, ablation="zero"))
    (add, _), (_, judged) = sides(model, ADD), sides(model, TAKE)
    lonely = {**TAKE, "pairs": [{"reference": pair.reference} for pair in judged]}
    itself = run(model, spec_of(found_on=[ADD], evaluated_on=[lonely], controls=0))
    expected = transfer(model, {"a": add}, {"t": judged}, top_k=3, controls=0, effect="direct")
    assert halved is not None
    assert whole is not None
    assert zero is not None
    assert itself is not None
    np.testing.assert_allclose(np.array(itself.result.probability.value), expected.probability, atol=1e-5)
    assert itself.result.probability.value != halved.result.probability.value
    assert "The mean is over the other half of each set." in halved.result.notes
    assert "The mean is over the evaluated prompts themselves." in whole.result.notes
    assert not any("mean" in note for note in zero.result.notes)
    assert [note for note in itself.result.notes if note.endswith(": The mean is over these prompts themselves.")]


def test_sets_that_come_to_too_many_pairs_together_are_refused(model, monkeypatch):
    monkeypatch.setattr("arithmoscope.prompts.sets.prompt_sets.MAX_PAIRS", len(ADD["pairs"]) + 1)
    with pytest.raises(Refusal) as refused:
        run(model, spec_of())
    assert refused.value.code == "impossible_options"


def test_the_matrix_in_long_form_has_a_row_for_every_cell(model):
    output = run(model, spec_of(disjoint=False, ablation="zero"))
    assert output is not None
    rows = list(csv.DictReader(io.StringIO(output.artifacts["matrix.csv"].decode())))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        matrix = getattr(output.result, row["metric"])
        index = [each.name for each in output.result.found_on].index(row["found_on"])
        judged = [each.name for each in output.result.evaluated_on].index(row["evaluated_on"])
        assert float(row["value"]) == matrix.value[index][judged]
        assert float(row["plain"]) == matrix.plain[judged]
        assert row["n_pairs"] == str(output.result.evaluated_on[judged].pairs)
    assert any("same operands" in note for note in output.result.notes)


def test_one_that_was_interrupted_goes_on_to_the_same_bytes(model):
    chunks, more, seen = {}, {}, []
    spec = spec_of()
    assert run(model, spec, save_chunk=chunks.__setitem__, should_stop=lambda: len(chunks) == 3) is None
    assert list(chunks) == [0, 1, 2]
    resumed = run(model, spec, saved_chunks=chunks, save_chunk=more.__setitem__, on_progress=seen.append)
    undisturbed = run(model, spec)
    assert list(more) == [3]
    assert resumed is not None
    assert undisturbed is not None
    for name in ("raw.safetensors", "matrix.csv"):
        assert resumed.artifacts[name] == undisturbed.artifacts[name]
    assert (seen[-1].stage, seen[-1].done, seen[-1].total) == ("saving", 4, 4)
    assert {each.stage for each in seen} == {"sets", "saving"}


def test_a_set_that_the_model_never_answers_has_empty_cells_and_a_note(model):
    output = run(model, spec_of(found_on=[ADD, WRONG], evaluated_on=[WRONG, TAKE]))
    assert output is not None
    result = output.result
    value = result.probability.value
    assert [[cell is None for cell in row] for row in value] == [[True, False], [True, True]]
    assert result.probability.plain[0] is None
    assert result.selections[1] == ()
    assert result.rank_correlation[0][0] == pytest.approx(1)
    assert result.jaccard == ((1.0, None), (None, None))
    assert result.evaluated_on[0].pairs == 0
    assert sum("0 of" in note for note in result.notes) == 2
    assert all(cell is None or math.isfinite(cell) for row in value for cell in row)
