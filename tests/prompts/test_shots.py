"""Worked examples: the question's own wording, other operands, the answer."""

from typing import get_args

import pytest

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_SHOTS, Operation
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.sets.shots import SHOT_OPERANDS, shot_prefix


def shots(prompt: str, count: int) -> str:
    return shot_prefix(prompt, read(prompt), count)


@pytest.mark.parametrize(
    ("prompt", "count", "prefix"),
    [
        ("3 + 5 =", 0, ""),
        ("3 + 5 =", 2, "2 + 3 = 5\n1 + 7 = 8\n"),
        ("3 + 5 = ", 1, "2 + 3 = 5\n"),
        ("3+5=", 2, "2+3=5\n1+7=8\n"),
        ("9 - 4 =", 2, "7 - 2 = 5\n9 - 1 = 8\n"),
        ("3 × 2 =", 2, "2 × 3 = 6\n4 × 2 = 8\n"),
        ("8 ÷ 4 =", 2, "8 ÷ 2 = 4\n9 ÷ 3 = 3\n"),
        ("three plus five is", 1, "two plus three is five\n"),
        ("Three plus five is", 1, "Two plus three is five\n"),
        ("What is 3 + 5", 1, "What is 2 + 3 5\n"),
        ("Q: What is the sum of 3 and 5? A:", 1, "Q: What is the sum of 2 and 3? A: 5\n"),
        ("Q: What is 3 + 5?\nA:", 1, "Q: What is 2 + 3?\nA: 5\n"),
        ("Subtract 3 from 5:", 1, "Subtract 2 from 7: 5\n"),
        ("3 subtracted from 5 is", 1, "2 subtracted from 7 is 5\n"),
        ("2 + 3 =", 2, "1 + 7 = 8\n4 + 2 = 6\n"),
        ("Subtract 2 from 7:", 1, "Subtract 1 from 9: 8\n"),
        ("two plus three is", 1, "one plus seven is eight\n"),
        ("12 + 34 =", 1, "2 + 3 = 5\n"),
        ("3 + 5 + 1 =", 2, "2 + 3 = 5\n1 + 7 = 8\n"),
        ("3 * 5 - 1 =", 1, "2 * 3 = 6\n"),
        ("3+5+1=", 1, "2 + 3 = 5\n"),
        ("three plus five plus one is", 1, "two plus three = five\n"),
        ("The sum of 3, 4 and 2 is", 1, "2 + 3 = 5\n"),
        ("-(3 - 5) =", 1, "7 - 2 = 5\n"),
    ],
)
def test_examples_are_solved_questions_of_the_same_wording(prompt: str, count: int, prefix: str):
    assert shots(prompt, count) == prefix


def test_a_prompt_that_cannot_be_read_has_no_examples():
    with pytest.raises(Refusal, match="can be read") as caught:
        shots("hello", 1)
    assert caught.value.code == "no_arithmetic"
    assert shots("hello", 0) == ""


@pytest.mark.parametrize("operation", get_args(Operation))
def test_every_operation_has_enough_examples_each_with_a_one_digit_answer(operation: Operation):
    rows = SHOT_OPERANDS[operation]
    sign = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "^"}[operation]
    assert len(rows) == len(set(rows)) > MAX_SHOTS
    for a, b in rows:
        reading = read(f"{a} {sign} {b} =")
        assert reading is not None
        assert 1 <= reading.value <= 9


@pytest.mark.parametrize("row", range(10))
def test_no_question_is_its_own_example(row: int):
    a, b = SHOT_OPERANDS["add"][row]
    lines = shots(f"{a} + {b} =", MAX_SHOTS).splitlines()
    assert len(lines) == MAX_SHOTS
    assert not any(line.startswith(f"{a} + {b} =") for line in lines)
