"""Sets drawn from templates: without replacement, repeatable, and with the true number of distinct questions."""

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import Corruption, Operation, Style, TemplatePrompts
from arithmoscope.prompts import encode_pair, prepare
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.sets.sampling import draw


def spec(**changes: Any) -> TemplatePrompts:
    return TemplatePrompts.model_validate({"source": "template", **changes})


def test_the_default_set_is_all_one_digit_sums_but_the_two_examples(tokenizer: Tokenizer):
    drawn = draw(spec(), tokenizer)
    sums = {f"{a} + {b} =" for a in range(1, 9) for b in range(1, 10 - a)} - {"2 + 3 =", "1 + 7 ="}
    assert {question_text(pair.reference) for pair in drawn.pairs} == sums
    assert (len(drawn.pairs), drawn.n_distinct) == (34, 34)
    assert drawn.notes == ("34 of the 64 pairs asked for exist.",)


def test_a_larger_vocabulary_has_more_answers(vocabularies: dict[str, Tokenizer]):
    assert draw(spec(shots=0), vocabularies["spaced_numbers"]).n_distinct == 81
    assert draw(spec(shots=0), vocabularies["digits_and_bare_spaces"]).n_distinct == 36


def test_the_requested_number_of_pairs_adds_no_note(tokenizer: Tokenizer):
    drawn = draw(spec(pairs=10), tokenizer)
    assert (len(drawn.pairs), drawn.n_distinct, drawn.notes) == (10, 34, ())


def test_the_examples_stand_before_both_prompts(tokenizer: Tokenizer):
    for pair in draw(spec(), tokenizer).pairs:
        prefix = "2 + 3 = 5\n1 + 7 = 8\n"
        assert pair.reference.startswith(prefix)
        assert pair.counterfactual == prefix + pair.reference.removeprefix(prefix).replace("+", "@")


specs = st.builds(
    spec,
    operations=st.lists(st.sampled_from(get_args(Operation)), min_size=1, max_size=4, unique=True),
    styles=st.lists(st.sampled_from(get_args(Style)), min_size=1, max_size=3, unique=True),
    # Any narrower and a set can be empty, which has its own test.
    operands=st.tuples(st.integers(0, 1), st.integers(9, 25)),
    pairs=st.integers(1, 60),
    shots=st.integers(0, 8),
    corruption=st.sampled_from(get_args(Corruption)),
    seed=st.integers(0, 3),
)


@settings(max_examples=60)
@given(asked=specs, vocabulary=st.sampled_from(["digits_and_bare_spaces", "spaced_numbers", "metaspace_with_bos"]))
def test_every_set_keeps_its_promises(asked: TemplatePrompts, vocabulary: str, vocabularies: dict[str, Tokenizer]):
    tokenizer = vocabularies[vocabulary]
    drawn = draw(asked, tokenizer)
    questions = [question_text(pair.reference) for pair in drawn.pairs]
    assert len(set(questions)) == len(questions) == min(asked.pairs, drawn.n_distinct)
    low, high = asked.operands
    for pair, question in zip(drawn.pairs, questions, strict=True):
        reading = read(pair.reference)
        assert reading is not None
        assert all(low <= operand.value <= high for operand in reading.operands)
        assert {operator.operation for operator in reading.operators} <= set(asked.operations)
        assert pair.answer == str(reading.value)
        assert reading.value >= 0
        assert pair.counterfactual != pair.reference
        examples = pair.reference[: reading.question[0]]
        assert examples.count("\n") == asked.shots
        assert not any(f"{other} " in examples for other in questions)
        assert pair.counterfactual.startswith(examples)
        assert encode_pair(pair, tokenizer).question == question


@pytest.mark.parametrize("corruption", get_args(Corruption))
def test_a_shorter_set_is_the_beginning_of_a_longer_one(corruption: Corruption, tokenizer: Tokenizer):
    prompts = spec(operations=get_args(Operation), styles=get_args(Style), operands=(0, 20), corruption=corruption)
    whole = draw(prompts, tokenizer).pairs
    assert len(whole) == 64
    assert draw(prompts.model_copy(update={"pairs": 20}), tokenizer).pairs == whole[:20]
    assert draw(prompts, tokenizer, at_most=7).pairs == whole[:7]


def test_the_order_in_which_operations_are_named_moves_nothing(tokenizer: Tokenizer):
    one = draw(spec(operations=["add", "divide"], styles=["equation", "question"], pairs=20), tokenizer)
    other = draw(spec(operations=["divide", "add"], styles=["question", "equation"], pairs=20), tokenizer)
    assert one == other


def test_the_same_seed_draws_the_same_and_another_seed_another_set(tokenizer: Tokenizer):
    sets = [draw(spec(pairs=10, seed=seed), tokenizer).pairs for seed in (0, 0, 1)]
    assert sets[0] == sets[1]
    assert set(sets[0]) != set(sets[2])


def test_operations_and_styles_share_a_set_evenly(tokenizer: Tokenizer):
    prompts = spec(operations=["add", "subtract"], styles=["equation", "statement"], operands=(0, 99), pairs=40)
    shares: Counter[tuple[str, bool]] = Counter()
    for pair in draw(prompts, tokenizer).pairs:
        reading = read(pair.reference)
        assert reading is not None
        shares[reading.operators[0].operation, pair.reference.endswith("=")] += 1
    assert set(shares.values()) == {10}


def test_all_pairs_of_one_wording_share_their_examples(tokenizer: Tokenizer):
    prefixes = {pair.reference[: pair.reference.rindex("\n")] for pair in draw(spec(), tokenizer).pairs}
    assert len(prefixes) == 1


def test_a_question_without_counterfactual_is_left_out_and_counted(tokenizer: Tokenizer):
    drawn = draw(spec(corruption="operand_swap_same_answer"), tokenizer)
    questions = {question_text(pair.reference) for pair in drawn.pairs}
    assert "1 + 1 =" not in questions
    assert (len(questions), drawn.n_distinct) == (33, 33)
    assert drawn.notes[0].endswith("operand_swap_same_answer: 1.")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"operands": (50, 60)}, "no_prompts"),
        ({"operands": (2, 3), "operations": ["divide"], "corruption": "operand_swap_same_answer"}, None),
        ({"operands": (1, 1), "corruption": "operand_swap"}, "no_counterfactual"),
        ({"operands": (0, 0), "operations": ["divide"]}, "no_prompts"),
    ],
)
def test_a_set_with_nothing_in_it_is_refused(changes: dict[str, Any], code: str | None, tokenizer: Tokenizer):
    if code is None:
        assert len(draw(spec(**changes), tokenizer).pairs) == 2
        return
    with pytest.raises(Refusal) as caught:
        draw(spec(**changes), tokenizer)
    assert caught.value.code == code


def test_a_vocabulary_without_numbers_offers_nothing():
    words = Tokenizer.from_str(
        '{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},'
        '"model":{"type":"WordLevel","unk_token":"?","vocab":{"?":0,"+":1,"=":2}}}'
    )
    with pytest.raises(Refusal) as caught:
        draw(spec(), words)
    assert caught.value.code == "no_prompts"


def test_the_largest_set_over_the_largest_range_is_drawn_in_seconds(tokenizer: Tokenizer):
    spec_ = spec(operations=["subtract"], operands=(0, 9_999), pairs=2_000)
    prompts = prepare(spec_, tokenizer)
    assert prompts.n_distinct == 99_955 - 2
    assert len({pair.question for pair in prompts.pairs}) == 2_000
