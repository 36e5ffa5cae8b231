"""Counterfactuals: the calculation is removed or exchanged, and nothing else."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import Corruption
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.corruptions import CORRUPTIONS, corrupt

# One golden example a row of the table.
GOLDEN: dict[Corruption, tuple[str, str]] = {
    "null_operator": ("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 ="),
    "operand_swap": ("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n5 + 4 ="),
    "operand_swap_same_answer": ("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n5 + 3 ="),
    "operator_swap": ("2 + 3 = 5\n6 + 2 =", "2 + 3 = 5\n6 - 2 ="),
}


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_every_corruption_has_its_golden_example(corruption: Corruption, tokenizer: Tokenizer):
    reference, counterfactual = GOLDEN[corruption]
    assert corrupt(corruption, reference, 0, tokenizer) == counterfactual


def test_the_table_holds_every_corruption_that_can_be_asked_for():
    assert set(CORRUPTIONS) == set(get_args(Corruption)) == set(GOLDEN)


@pytest.mark.parametrize(
    ("reference", "counterfactual"),
    [
        ("3+5=", "3@5="),
        ("3 × 5 =", "3 @ 5 ="),
        ("3x5=", "3@5="),
        ("3 + 5 - 1 =", "3 @ 5 @ 1 ="),
        ("3 plus 5 is", "3 none 5 is"),
        ("8 divided by 2 is", "8 none 2 is"),
        ("3 multiplied by 5 is", "3 none 5 is"),
        ("The sum of 3 and 5 is", "The none of 3 and 5 is"),
        ("Subtract 3 from 5:", "none 3 from 5:"),
        ("Q: What is the product of 3 and 5?\nA:", "Q: What is the none of 3 and 5?\nA:"),
        ("hello", None),
    ],
)
def test_null_operator_writes_at_for_a_symbol_and_none_for_a_word(
    reference: str, counterfactual: str | None, tokenizer: Tokenizer
):
    assert corrupt("null_operator", reference, 0, tokenizer) == counterfactual


@pytest.mark.parametrize(
    ("reference", "counterfactual"),
    [
        ("3 + 5 =", "3 * 5 ="),
        ("2 + 2 =", "2 - 2 ="),
        ("9 - 4 =", "9 + 4 ="),
        ("9 - 0 =", "9 * 0 ="),
        ("2 * 2 =", "2 - 2 ="),
        ("3 × 2 =", "3 + 2 ="),
        ("2 − 0 =", "2 × 0 ="),
        ("0 + 0 =", None),
        ("3 plus 5 is", "3 times 5 is"),
        ("8 divided by 2 is", "8 minus 2 is"),
        ("3 subtracted from 5 is", "3 plus 5 is"),
        ("The sum of 8 and 2 is", "The difference of 8 and 2 is"),
        ("The addition of 8 and 2 is", "The subtraction of 8 and 2 is"),
        ("Subtract 3 from 5:", "Add 3 to 5:"),
        ("Add 3 to 5:", "Subtract 3 from 5:"),
        ("Divide 8 by 2:", "Add 8 to 2:"),
    ],
)
def test_operator_swap_asks_for_something_else(reference: str, counterfactual: str | None, tokenizer: Tokenizer):
    assert corrupt("operator_swap", reference, 0, tokenizer) == counterfactual


def test_an_example_that_answers_the_counterfactual_is_avoided(tokenizer: Tokenizer):
    question = "1 + 2 = 3\n3 + 0 = 3\n2 + 1 ="
    assert corrupt("operand_swap_same_answer", question, 0, tokenizer) == "1 + 2 = 3\n3 + 0 = 3\n0 + 3 ="


def test_there_is_no_other_sum_within_narrow_bounds(tokenizer: Tokenizer):
    assert corrupt("operand_swap_same_answer", "1 + 1 =", 0, tokenizer, (1, 9)) is None
    assert corrupt("operand_swap", "3 + 3 =", 0, tokenizer, (3, 3)) is None


questions = st.builds(
    lambda a, sign, b, shot: f"{shot}{a} {sign} {b} =",
    st.integers(0, 120),
    st.sampled_from(["+", "-", "*", "plus", "minus", "times", "multiplied by", "added to"]),
    st.integers(0, 120),
    st.sampled_from(["", "2 + 3 = 5\n"]),
)


@given(question=questions, seed=st.integers(0, 5))
def test_operand_swap_keeps_the_wording_and_changes_the_answer(
    question: str, seed: int, vocabularies: dict[str, Tokenizer]
):
    tokenizer = vocabularies["digits_and_bare_spaces"]
    for corruption in ("operand_swap", "operand_swap_same_answer"):
        swapped = corrupt(corruption, question, seed, tokenizer)
        if swapped is None:
            assert corruption == "operand_swap_same_answer"
            continue
        before, after = read(question), read(swapped)
        assert before is not None
        assert after is not None
        assert (after.value == before.value) == (corruption == "operand_swap_same_answer")
        assert after.value >= 0 or before.value < 0
        assert [operand.value for operand in after.operands] != [operand.value for operand in before.operands]
        assert [o.operation for o in after.operators] == [o.operation for o in before.operators]
        assert swapped[: before.question[0]] == question[: before.question[0]]
        assert corrupt(corruption, question, seed, tokenizer) == swapped


def test_one_digit_sums_swap_into_one_digit_sums_of_as_many_tokens(tokenizer: Tokenizer):
    for a in range(1, 9):
        for b in range(1, 10 - a):
            swapped = corrupt("operand_swap", f"{a} + {b} =", 0, tokenizer)
            reading = read(swapped or "")
            assert reading is not None
            assert reading.value <= 9
            assert len(tokenizer.encode(swapped or "").ids) == len(tokenizer.encode(f"{a} + {b} =").ids)
            assert all(new.value != old for new, old in zip(reading.operands, (a, b), strict=True))


def test_operands_of_as_many_tokens_are_preferred(tokenizer: Tokenizer):
    reference = "three plus five is"
    for seed in range(10):
        swapped = corrupt("operand_swap", reference, seed, tokenizer)
        assert swapped is not None
        assert len(tokenizer.encode(swapped).ids) == len(tokenizer.encode(reference).ids) == 4


def test_a_difference_is_never_swapped_for_a_negative_one(tokenizer: Tokenizer):
    for seed in range(200):
        reading = read(corrupt("operand_swap", "25 - 13 =", seed, tokenizer) or "")
        assert reading is not None
        assert 10 <= reading.value <= 99


def test_another_seed_swaps_in_other_operands(tokenizer: Tokenizer):
    assert len({corrupt("operand_swap", "3 + 5 =", seed, tokenizer) for seed in range(10)}) > 3
