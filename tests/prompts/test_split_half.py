"""Half of a set: the questions on one side of the fixed split by operands, for every set."""

from typing import Any, get_args

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import TemplatePrompts, Topic
from arithmoscope.contracts.topics import TOPICS
from arithmoscope.prompts import prepare
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.sets.labels import label_of
from arithmoscope.prompts.sets.operand_split import on_first_side, shared_operands
from arithmoscope.prompts.sets.sampling import draw
from arithmoscope.prompts.sets.split_half import MOST_COUNTED

ASKED: dict[str, dict[str, Any]] = {
    **{topic: {"topic": topic} for topic in get_args(Topic)},
    "year_span": {"topic": "year_span", "operands": (8, 9), "answer": "whole"},
    "everything": {
        "operations": TOPICS["question"].operations,
        "styles": ["equation", "statement"],
        "operands": (0, 5),
    },
    "decimals": {"decimals": 1, "operations": ["multiply", "divide"], "operands": (0, 3)},
    "words": {"numerals": "words", "wording": "varied", "operations": ["subtract"], "operands": (1, 4)},
}


def spec(**changes: Any) -> TemplatePrompts:
    return TemplatePrompts.model_validate({"source": "template", "pairs": 10_000, "answer": "first", **changes})


@pytest.mark.parametrize("name", ASKED)
def test_the_halves_share_no_operands_and_are_the_whole_set_together(name: str, tokenizer: Tokenizer):
    whole, first, second = (draw(spec(**ASKED[name], half=half), tokenizer) for half in (None, "first", "second"))
    assert first.pairs
    assert second.pairs
    assert shared_operands(first.pairs, second.pairs) == []
    assert all(on_first_side(pair) for pair in first.pairs)
    questions = [{question_text(pair.reference) for pair in drawn.pairs} for drawn in (whole, first, second)]
    assert questions[0] == questions[1] | questions[2]
    for drawn in (whole, first, second):
        assert drawn.n_distinct == len(drawn.pairs)


def test_a_half_has_as_many_pairs_as_are_asked_for_and_the_shots_of_the_whole_set(tokenizer: Tokenizer):
    whole, half = (draw(spec(operands=(0, 30), pairs=40, half=half), tokenizer) for half in (None, "second"))
    assert len(half.pairs) == 40
    assert half.notes == ()
    (examples,) = {pair.reference[: -len(question_text(pair.reference))] for pair in (*whole.pairs, *half.pairs)}
    assert not any(question_text(pair.reference) in examples for pair in half.pairs)


def test_a_shorter_half_is_the_beginning_of_a_longer_one(tokenizer: Tokenizer):
    prompts = spec(half="first", operands=(0, 20), operations=["add", "subtract"], pairs=30)
    assert draw(prompts.model_copy(update={"pairs": 7}), tokenizer).pairs == draw(prompts, tokenizer).pairs[:7]


def test_the_half_of_very_many_questions_is_about_half_and_the_set_says_so(tokenizer: Tokenizer):
    whole, half = (draw(spec(operands=(0, 9_999), pairs=50, half=half), tokenizer) for half in (None, "first"))
    assert whole.n_distinct > MOST_COUNTED
    assert abs(half.n_distinct - whole.n_distinct / 2) < 10
    assert "About" in half.notes[0]
    assert len(half.pairs) == 50


def test_a_half_has_its_name_and_another_question_than_the_whole(tokenizer: Tokenizer):
    assert label_of(spec(half="second", answer="whole")) == "add, second half"
    kinds = [prepare(spec(half=half, pairs=20), tokenizer).pairs for half in (None, "first", "second")]
    assert len({pairs[0].question for pairs in kinds[1:]}) == 2
