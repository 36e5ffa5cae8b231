"""Tests that the examples beside the values of prompt options are what they illustrate."""

from __future__ import annotations

import pytest

from arithmoscope.contracts.prompt_terms import (
    CORRUPTION_CHOICES,
    NUMERAL_CHOICES,
    OPERATION_CHOICES,
    STYLE_CHOICES,
    TOPIC_CHOICES,
    Corruption,
    Operation,
)
from arithmoscope.contracts.topics import CONTROL_TOPICS
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.readings import Reading


def reading_of(prompt: str) -> Reading:
    reading = parse_question(prompt)
    assert isinstance(reading, Reading), prompt
    return reading


@pytest.mark.parametrize("operation", OPERATION_CHOICES)
def test_the_example_of_an_operation_is_of_that_operation(operation: Operation):
    (operator,) = reading_of(f"{OPERATION_CHOICES[operation].example} =").operators
    assert operator.operation == operation


def test_the_examples_of_the_styles_ask_the_same_question():
    assert {reading_of(choice.example).answer for choice in STYLE_CHOICES.values()} == {"8"}


def test_the_examples_of_topics_are_calculations_unless_they_are_controls():
    calculations = {
        topic for topic, choice in TOPIC_CHOICES.items() if isinstance(parse_question(choice.example), Reading)
    }
    assert calculations == set(TOPIC_CHOICES) - set(CONTROL_TOPICS)


@pytest.mark.parametrize(
    ("corruption", "operation", "same_answer"),
    [
        ("operand_swap", "add", False),
        ("operand_swap_same_answer", "add", True),
        ("operator_swap", "subtract", False),
    ],
)
def test_the_examples_of_corruptions_are_made_from_three_plus_five(
    corruption: Corruption, operation: Operation, same_answer: bool
):
    reading = reading_of(CORRUPTION_CHOICES[corruption].example)
    assert [operator.operation for operator in reading.operators] == [operation]
    assert (reading.answer == "8") == same_answer


def test_a_number_is_the_same_in_both_examples():
    assert in_words(int(NUMERAL_CHOICES["digits"].example)) == NUMERAL_CHOICES["words"].example
