"""Operand keys: the same numbers make the same question, whether the parser reads it or not."""

import pytest

from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts.language.question_operands import operand_key, question_only
from arithmoscope.prompts.sets.operand_split import operands_of, shared_operands
from arithmoscope.prompts.sets.public_datasets import ADAPTERS


@pytest.mark.parametrize(
    "unread",
    [
        "34 + 1,200 =",
        "1’200 + 34, please",
        "Tom has 1200 apples and buys 34 more. How many has he?",
        "What is 1200 plus 34?\nThe answer is",
        "What is 1200 plus 34?\n\nThe answer is:",
        "1,100 + 3 = 1,103\n1,200 + 34 =",
        "Q: 3 apples and 4, how many? A: 7\n\nQ: 34 apples and 1,200, how many? A:",
        "Which one is thirty-four and then 1200",
    ],
)
def test_operands_of_a_prompt_that_no_parser_reads_are_its_numbers(unread: str):
    assert operand_key(unread) == operand_key("1200 + 34 =") == "1200 34"


def test_numbers_are_told_apart_by_sign_and_decimals_but_not_by_how_they_are_written():
    assert operand_key("it is -3 and 4.50 or") == operand_key("4.5 + -3 =")
    assert operand_key("5 -3 and") == operand_key("3 + 5 =") == operand_key("one 3 and 5, then")
    assert operand_key("one and then 4 of") == operand_key("4 + 1 =")
    assert operand_key("7" * 5_000) == "7" * 5_000


def test_two_sets_with_the_same_sums_share_operands_however_those_are_asked():
    def pairs(*prompts: str) -> list[PromptPair]:
        return [PromptPair(prompt, prompt, "1") for prompt in prompts]

    assert shared_operands(pairs("1200 + 34 =", "5 + 5 ="), pairs("Add up: 1,200, 34 and then")) == ["1200 34"]


def test_questions_of_several_lines_are_told_apart_by_all_of_them():
    choice = ADAPTERS["mmlu"]
    one, other = (
        choice({"question": question, "choices": ["of them", "all"], "answer": 1})[0]
        for question in ("Which holds?\nIt is true:", "Which fails?\nIt is true:")
    )
    assert operands_of(PromptPair(one, one, "B")) != operands_of(PromptPair(other, other, "B"))
    assert question_only(one) == one
    questions = [question_only(f"What is {a} plus 4?\nThe answer is") for a in range(3)]
    assert len({*questions}) == 3
    assert question_only("2 + 3 = 5\n\n" + questions[0]) == question_only("1 + 1 = 2\n" + questions[0]) == questions[0]
    assert question_only("2 + 3 = 5\n3 + 5 =") == "3 + 5 ="
