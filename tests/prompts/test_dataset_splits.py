"""Training, validation and test sets of a fine-tuning share no operands."""

from typing import Any, get_args

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import TWO_DIGITS, FineTuneSpec
from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.sets.dataset_splits import DatasetSplits, split_dataset, whole_answer_pairs
from arithmoscope.prompts.sets.operand_split import on_first_side, operands_of, shared_operands
from arithmoscope.prompts.sets.sampling import draw

SUMS = {"source": "template", "operations": ["add", "subtract"], "operands": [10, 99], "pairs": 300, "shots": 2}


def spec(prompts: dict[str, Any] = SUMS, **more: Any) -> FineTuneSpec:
    fields = {"kind": "fine_tune", "model": "tiny", "components": ["L1H1"], "prompts": prompts, **more}
    return FineTuneSpec.model_validate(fields)


def custom(*pairs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"source": "custom", "shots": 0, "pairs": list(pairs), **more}


def sums(first: int, last: int, plus: int = 1) -> dict[str, Any]:
    return custom(*({"reference": f"{a} + {plus} ="} for a in range(first, last)))


def sets_of(lessons: DatasetSplits) -> list[tuple[Any, ...]]:
    return [lessons.train, lessons.validation, lessons.test]


def test_the_three_sets_share_no_operands_and_are_the_whole_set_together(tokenizer: Tokenizer):
    lessons = split_dataset(spec(), tokenizer)
    train, validation, test = sets_of(lessons)
    for one, other in ((train, validation), (train, test), (validation, test)):
        assert not {operands_of(pair) for pair in one} & {operands_of(pair) for pair in other}
    fields, _ = whole_answer_pairs(spec().prompts, tokenizer)
    assert sorted(map(repr, (*train, *validation, *test))) == sorted(map(repr, fields))
    assert len(fields) == 300
    assert 0.7 < len(train) / 300 < 0.9
    split = lessons.split
    assert (split.train, split.validation, split.test, split.shared) == (len(train), len(validation), len(test), 0)
    assert [example.endswith("=") for example in split.examples] == [True] * 3


def test_an_analysis_of_the_first_half_saw_no_operands_that_are_judged_by(tokenizer: Tokenizer):
    first = draw(spec({**SUMS, "half": "first"}).prompts.model_copy(update={"answer": "first"}), tokenizer)  # pyright: ignore
    lessons = split_dataset(spec(), tokenizer)
    assert first.pairs
    assert shared_operands(first.pairs, [*lessons.validation, *lessons.test]) == []
    assert any(not on_first_side(pair) for pair in lessons.train)


def test_the_same_sum_asked_in_any_way_stays_on_one_side(tokenizer: Tokenizer):
    together = {**SUMS, "operations": list(get_args(Operation))[:4], "styles": ["equation", "question"], "pairs": 400}
    train, validation, test = sets_of(split_dataset(spec({**together, "operands": [1, 9]}), tokenizer))
    about = [{operands_of(pair) for pair in pairs} for pairs in (train, validation, test)]
    assert sum(map(len, about)) == len(set.union(*about))


def test_a_set_that_is_given_takes_the_place_of_a_part_which_is_trained_on(tokenizer: Tokenizer):
    whole = split_dataset(spec(sums(1, 60)), tokenizer)
    overrides = split_dataset(spec(sums(1, 60), test=sums(70, 80)), tokenizer)
    assert [pair.reference for pair in overrides.test] == [f"{a} + 1 =" for a in range(70, 80)]
    assert {*overrides.train} == {*whole.train, *whole.test}
    assert overrides.validation == whole.validation
    both = split_dataset(spec(sums(1, 60), test=sums(70, 80), validation=sums(80, 90)), tokenizer)
    assert (len(both.train), len(both.validation), len(both.test)) == (59, 10, 10)


@pytest.mark.parametrize(
    ("overrides", "both"),
    [
        ({"test": custom({"reference": "1 + 5 ="}, {"reference": "1 + 70 ="})}, "in the training and the test set"),
        ({"test": custom({"reference": "6 - 1 ="}, {"reference": "1 + 70 ="})}, "in the training and the test set"),
        ({"validation": custom({"reference": "1 + 5 ="})}, "in the training and the validation set"),
        (
            {"validation": custom({"reference": "70 + 1 ="}), "test": custom({"reference": "1 + 70 ="})},
            "in the validation and the test set",
        ),
    ],
)
def test_sets_that_ask_about_the_same_operands_are_refused(overrides: Any, both: str, tokenizer: Tokenizer):
    with pytest.raises(Refusal, match=both) as refused:
        split_dataset(spec(sums(1, 60), **overrides), tokenizer)
    assert refused.value.code == "overlapping_splits"
    assert "=" in refused.value.detail, "one of the questions is named"


def test_a_set_too_small_to_be_judged_by_is_refused_and_one_too_small_to_look_at_says_so(tokenizer: Tokenizer):
    with pytest.raises(Refusal, match="none is left to test") as refused:
        split_dataset(spec(custom({"reference": "1 + 1 ="})), tokenizer)
    assert refused.value.code == "no_prompts"
    few = split_dataset(spec(custom({"reference": "1 + 1 ="}), test=sums(70, 80)), tokenizer)
    assert (len(few.train), few.validation, few.split.examples[1]) == (1, (), "")
    assert any("left for validation" in note for note in few.notes)


@pytest.mark.parametrize("operands", [[1, 9], [1, 5]])
def test_a_small_set_has_operands_left_to_look_at_and_to_judge_by(operands: list[int], tokenizer: Tokenizer):
    small = {"source": "template", "operands": operands, "half": "second", "pairs": 64}
    for fields in ({**small, "half": None}, small):
        lessons = split_dataset(spec(fields), tokenizer)
        about = [{operands_of(pair) for pair in pairs} for pairs in sets_of(lessons)]
        assert len(set.union(*about)) == sum(map(len, about))
        assert len(about[2]) >= min(3, sum(map(len, about)) // 3)
        assert about[1]
        assert about[0]
        assert any(f"test set has {len(lessons.test)} questions" in note for note in lessons.notes)
    first = draw(spec({**small, "half": "first"}).prompts.model_copy(update={"answer": "first"}), tokenizer)  # pyright: ignore
    whole = split_dataset(spec({**small, "half": None, "operands": [1, 9]}), tokenizer)
    assert shared_operands(first.pairs, [*whole.validation, *whole.test]) == []


def test_a_large_set_is_split_by_the_operands_alone(tokenizer: Tokenizer):
    lessons = split_dataset(spec({**SUMS, "pairs": 600}), tokenizer)
    for pairs, low, high in ((lessons.train, 0, 0.8), (lessons.validation, 0.8, 0.9), (lessons.test, 0.9, 1)):
        assert all(on_first_side(pair, high) and not on_first_side(pair, low) for pair in pairs)
    assert not any("test set has" in note for note in lessons.notes)


def test_empty_prompts_are_the_default_questions():
    assert spec({}).prompts == TWO_DIGITS == FineTuneSpec(kind="fine_tune", model="m", components=("L0H0",)).prompts
    with pytest.raises(ValueError, match="source"):
        spec({"operands": [1, 9]})


def test_answers_of_several_tokens_are_taken_whole_for_any_answer_setting(tokenizer: Tokenizer):
    for answer in ("whole", "first", "each"):
        lessons = split_dataset(spec({**SUMS, "answer": answer}), tokenizer)
        assert lessons == split_dataset(spec(), tokenizer)
        assert any(len(pair.answer) > 1 for pair in lessons.train)


def test_an_unreadable_question_needs_an_answer_and_no_counterfactual(tokenizer: Tokenizer):
    riddle = custom({"reference": "A riddle without numbers is", "answer": "8"})
    (pair,), _ = whole_answer_pairs(spec(riddle).prompts, tokenizer)
    assert (pair.reference, pair.counterfactual, pair.answer) == ("A riddle without numbers is",) * 2 + ("8",)
    (read,), _ = whole_answer_pairs(spec(custom({"reference": "3 + 5 ="}, shots=1)).prompts, tokenizer)
    assert read.reference.endswith("\n3 + 5 =")
    assert read.counterfactual.endswith("\n3 @ 5 =")
    (overrides,), _ = whole_answer_pairs(
        spec(custom({"reference": "3 + 5 =", "counterfactual": "x ="})).prompts, tokenizer
    )
    assert overrides.counterfactual == "x ="


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        ({"reference": "A riddle without numbers is"}, "no_arithmetic"),
        ({"reference": " ", "answer": "8"}, "empty_prompt"),
        ({"reference": "3 + 5 =", "answer": " "}, "answer_not_a_token"),
        ({"reference": "\ud800 + 5 =", "answer": "8"}, "bad_request"),
    ],
)
def test_a_pair_that_cannot_be_trained_on_is_refused_by_its_number(pair: Any, code: str, tokenizer: Tokenizer):
    good = {"reference": "3 + 5 ="}
    bad = spec(custom(good)).prompts.model_copy(  # half a character is refused by validation
        update={"pairs": (*spec(custom(good)).prompts.pairs, *_pairs(pair))}  # pyright: ignore
    )
    with pytest.raises(Refusal, match="Pair 2") as refused:
        whole_answer_pairs(bad, tokenizer)
    assert refused.value.code == code


def _pairs(pair: dict[str, Any]) -> tuple[Any, ...]:
    from arithmoscope.contracts.prompts import CustomPair

    return (CustomPair.model_construct(**{"counterfactual": None, "answer": None, **pair}),)


def test_a_chat_needs_a_chat_template(tokenizer: Tokenizer):
    with pytest.raises(Refusal) as refused:
        split_dataset(spec({**SUMS, "chat": True}), tokenizer)
    assert refused.value.code == "no_chat_template"
