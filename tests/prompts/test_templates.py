"""Every wording is parsed back, and every question of a template is counted and indexed."""

from itertools import islice
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import digits_and_bare_spaces

from arithmoscope.contracts.prompts import MAX_OPERAND, Operation, Style
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.templates import TEMPLATES, Questions, Template, in_random_order
from tests.tables import table

# One golden example a row of the table: the question for 8 and 2, and its null operator.
GOLDEN = {
    "{a} + {b} =": ("8 + 2 =", "8 @ 2 ="),
    "{a} plus {b} is equal to": ("8 plus 2 is equal to", "8 none 2 is equal to"),
    "The sum of {a} and {b} is": ("The sum of 8 and 2 is", "The none of 8 and 2 is"),
    "Q: What is the sum of {a} and {b}? A:": (
        "Q: What is the sum of 8 and 2? A:",
        "Q: What is the none of 8 and 2? A:",
    ),
    "Q: How much is {a} plus {b}? A:": ("Q: How much is 8 plus 2? A:", "Q: How much is 8 none 2? A:"),
    "{a} - {b} =": ("8 - 2 =", "8 @ 2 ="),
    "{a} minus {b} is equal to": ("8 minus 2 is equal to", "8 none 2 is equal to"),
    "The difference of {a} and {b} is": ("The difference of 8 and 2 is", "The none of 8 and 2 is"),
    "Q: What is the difference of {a} and {b}? A:": (
        "Q: What is the difference of 8 and 2? A:",
        "Q: What is the none of 8 and 2? A:",
    ),
    "Q: How much is {a} minus {b}? A:": ("Q: How much is 8 minus 2? A:", "Q: How much is 8 none 2? A:"),
    "{a} * {b} =": ("8 * 2 =", "8 @ 2 ="),
    "{a} times {b} is equal to": ("8 times 2 is equal to", "8 none 2 is equal to"),
    "The product of {a} and {b} is": ("The product of 8 and 2 is", "The none of 8 and 2 is"),
    "Q: What is the product of {a} and {b}? A:": (
        "Q: What is the product of 8 and 2? A:",
        "Q: What is the none of 8 and 2? A:",
    ),
    "Q: How much is {a} times {b}? A:": ("Q: How much is 8 times 2? A:", "Q: How much is 8 none 2? A:"),
    "{a} / {b} =": ("8 / 2 =", "8 @ 2 ="),
    "{a} divided by {b} is equal to": ("8 divided by 2 is equal to", "8 none 2 is equal to"),
    "The quotient of {a} and {b} is": ("The quotient of 8 and 2 is", "The none of 8 and 2 is"),
    "Q: What is the quotient of {a} and {b}? A:": (
        "Q: What is the quotient of 8 and 2? A:",
        "Q: What is the none of 8 and 2? A:",
    ),
    "Q: How much is {a} divided by {b}? A:": (
        "Q: How much is 8 divided by 2? A:",
        "Q: How much is 8 none 2? A:",
    ),
    "{a} ^ {b} =": ("8 ^ 2 =", "8 @ 2 ="),
    "{a} to the power of {b} is": ("8 to the power of 2 is", "8 none 2 is"),
    "{a} raised to the power of {b} is equal to": (
        "8 raised to the power of 2 is equal to",
        "8 none 2 is equal to",
    ),
    "Q: What is {a} to the power of {b}? A:": (
        "Q: What is 8 to the power of 2? A:",
        "Q: What is 8 none 2? A:",
    ),
    "Q: How much is {a} raised to the power of {b}? A:": (
        "Q: How much is 8 raised to the power of 2? A:",
        "Q: How much is 8 none 2? A:",
    ),
}
RESULTS: dict[Operation, int] = {"add": 10, "subtract": 6, "multiply": 16, "divide": 4, "power": 64}
FOUR: tuple[Operation, ...] = ("add", "subtract", "multiply", "divide")


@table("template", TEMPLATES)
def test_every_template_has_its_golden_example_and_reads_back(template: Template):
    question, without = GOLDEN[template.text]
    assert template.question(8, 2) == question
    assert corrupt("null_operator", question, 0, digits_and_bare_spaces()) == without
    reading = read(question)
    assert reading is not None
    assert reading.value == RESULTS[template.operation]
    assert [operand.value for operand in reading.operands] == [8, 2]
    assert [operator.operation for operator in reading.operators] == [template.operation]


def test_golden_examples_and_templates_are_the_same_list():
    assert [template.text for template in TEMPLATES] == list(GOLDEN)


def test_every_operation_has_one_equation_and_several_wordings_of_the_other_styles():
    for operation in get_args(Operation):
        for style in get_args(Style):
            rows = [row for row in TEMPLATES if (row.operation, row.style) == (operation, style)]
            assert len(rows) == 1 if style == "equation" else len(rows) >= 2


def listed(operation: Operation, operands: tuple[int, int], answers: set[int]) -> list[tuple[int, int]]:
    """All questions by brute force over pairs."""
    numbers = range(operands[0], operands[1] + 1)
    pairs: list[tuple[int, int]] = []
    for a in numbers:
        for b in numbers:
            if operation == "divide":
                fits = b != 0 and a % b == 0 and a // b in answers
            else:
                fits = {"add": a + b, "subtract": a - b, "multiply": a * b}[operation] in answers
            if fits:
                pairs.append((a, b))
    return pairs


@given(
    st.sampled_from(FOUR),
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda limits: (min(limits), max(limits))),
    st.sets(st.integers(0, 100), max_size=40),
)
def test_questions_are_those_found_by_trying_every_pair(
    operation: Operation, operands: tuple[int, int], answers: set[int]
):
    questions = Questions(operation, operands, answers)
    numbered = [questions[number] for number in range(len(questions))]
    expected = listed(operation, operands, answers)
    assert sorted(numbered) == expected
    low, high = operands
    around = [(a, b) for a in range(max(0, low - 1), high + 2) for b in range(max(0, low - 1), high + 2)]
    assert [pair for pair in around if pair in questions] == expected


def test_a_number_beyond_the_questions_is_an_index_error():
    questions = Questions("add", (1, 9), range(10))
    for number in (-1, len(questions)):
        with pytest.raises(IndexError):
            questions[number]


@pytest.mark.parametrize(
    ("operation", "count"), [("add", 55), ("subtract", 99_955), ("multiply", 20_022), ("divide", 38_282)]
)
def test_the_largest_range_is_counted_without_listing_it(operation: Operation, count: int):
    assert len(Questions(operation, (0, MAX_OPERAND), range(10))) == count


@given(st.integers(0, 60), st.integers(0, 5))
def test_random_order_is_a_permutation_and_the_same_for_the_same_seed(count: int, seed: int):
    order = list(in_random_order(count, Random(seed)))
    assert sorted(order) == list(range(count))
    assert order == list(in_random_order(count, Random(seed)))


def test_random_order_draws_every_number_alike():
    firsts = [next(in_random_order(5, Random(seed))) for seed in range(2_000)]
    lasts = [list(in_random_order(5, Random(seed)))[-1] for seed in range(2_000)]
    for drawn in (firsts, lasts):
        assert all(330 < drawn.count(number) < 470 for number in range(5))


def test_random_order_of_very_many_takes_what_is_asked_for():
    assert len(set(islice(in_random_order(10**12, Random(0)), 1_000))) == 1_000
