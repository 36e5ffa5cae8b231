"""Years, counting and word problems are read back by the row that wrote them, and corrupted in the same places."""

from collections import Counter
from random import Random

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import Topic
from arithmoscope.contracts.topics import TOPICS
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.language.roles import reading_spans
from arithmoscope.prompts.language.stories import Story, read_story, stories
from arithmoscope.prompts.language.years import YearSpans, stem_of
from tests.tables import table

RESULTS = {"add": 10, "subtract": 6, "multiply": 16, "divide": 4}


def question_of(story: Story, a: int = 8, b: int = 2) -> str:
    if story.topic == "year_span":
        return story.template.question(a, 1720 + b, "17").rstrip()
    return story.template.question(a, b)


def reading_of(prompt: str) -> Reading:
    reading = read_story(prompt)
    assert reading is not None, prompt
    return reading


def test_every_topic_tells_every_operation_in_twelve_wordings():
    counted = Counter((story.topic, story.template.operation) for story in stories())
    topics: list[Topic] = ["year_span", "counting", "word_problem"]
    assert set(counted) == {(topic, operation) for topic in topics for operation in TOPICS[topic].operations}
    assert min(counted.values()) >= 12
    assert len({story.template.text for story in stories()}) == len(stories())


@table("story", stories())
def test_every_story_is_read_back(story: Story):
    prompt = question_of(story)
    assert read(prompt) is None  # the parser of plain questions leaves it to the rows
    reading = reading_of(prompt)
    operation = story.template.operation
    assert [operator.operation for operator in reading.operators] == [operation]
    assert {role for _, role in reading_spans(reading)} >= {"operand_a", "operator", "operand_b"}
    if story.topic == "year_span":
        assert reading.value == (1730 if operation == "add" else 1714)
        assert reading.answer == str(reading.value)[2:]
    else:
        assert (reading.value, reading.answer) == (RESULTS[operation], str(RESULTS[operation]))
        in_text = story.template.question(in_words(8), in_words(2))
        assert reading_of(in_text).answer == in_words(RESULTS[operation])


@table("story", stories())
def test_a_story_without_its_operator_is_not_read_and_another_operator_is(story: Story, tokenizer: Tokenizer):
    prompt = question_of(story)
    without = corrupt("null_operator", prompt, 0, tokenizer)
    assert without is not None
    assert read_story(without) is None
    assert without.count("none") == 1
    other = corrupt("operator_swap", prompt, 0, tokenizer)
    assert (other is not None) == bool(story.alternative)
    if other is not None:
        assert reading_of(other).operators[0].operation != story.template.operation
        assert corrupt("operator_swap", other, 0, tokenizer) == prompt


@table("story", stories())
def test_a_story_with_other_operands_has_another_answer_or_the_same(story: Story, tokenizer: Tokenizer):
    for seed in range(3):
        before = reading_of(
            question_of(story, 6, 3) if story.topic != "year_span" else story.template.question(2, 1725, "172")
        )
        prompt = question_of(story, 6, 3) if story.topic != "year_span" else story.template.question(2, 1725, "172")
        for corruption in ("operand_swap", "operand_swap_same_answer"):
            swapped = corrupt(corruption, prompt, seed, tokenizer, (1, 9))
            assert swapped is not None
            after = reading_of(swapped)
            assert (after.answer == before.answer) == (corruption == "operand_swap_same_answer")
            assert [operand.value for operand in after.operands] != [operand.value for operand in before.operands]
            assert after.operators[0].operation == before.operators[0].operation


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The war lasted 5 years from 1723 to 172", "8"),
        ("The war lasted 5 years from 1723 to 17", "28"),
        ("The war lasted 5 years from 1723 to", "1728"),
        ("The war lasted 12 years from 1723 to 17", "35"),
        ("The war lasted 5 years from 1728 to 173", None),  # a carry: the stem reveals it
        ("The war lasted 5 years from 1723 to 1728", None),
        ("The war lasted 5 years from 1723 to 18", None),
        ("The war lasted 5 years from 1723 to 172 or so", None),
        ("Tom has 3 coins. He loses 5 coins. Now he has", "-2"),
        ("Tom [shares] 9 sweets equally among 3 friends. Each friend gets", None),
        ("Tom shares 9 sweets equally among 2 friends. Each friend gets", None),
        ("Tom shares 9 sweets equally among 0 friends. Each friend gets", None),
        ("Tom shares nine sweets equally among three friends. Each friend gets", "three"),
    ],
)
def test_a_story_is_read_whole_or_not_at_all(prompt: str, answer: str | None):
    reading = read_story(prompt)
    assert (reading and reading.answer) == answer


@pytest.mark.parametrize("operation", ["add", "subtract"])
@pytest.mark.parametrize(("spans", "tail"), [((1, 9), 1), ((0, 20), 1), ((10, 99), 2), ((1, 30), 4)])
def test_spans_of_years_are_those_found_by_trying_every_pair(operation, spans: tuple[int, int], tail: int):
    questions = YearSpans(operation, spans, tail)
    expected: list[tuple[int, int]] = []
    for span in range(spans[0], spans[1] + 1):
        for year in range(1100, 2000):
            other = year + span if operation == "add" else year - span
            if 1100 <= other <= 1999 and str(other)[:-tail] == str(year)[:-tail]:
                expected.append((span, year))
    assert [questions[number] for number in range(len(questions))] == expected
    span, year = Random(0).choice(expected)
    assert (span, year) in questions
    assert (span, 2001) not in questions
    other = year + span if operation == "add" else year - span
    assert str(other).startswith(stem_of(operation, span, year, tail))
    with pytest.raises(IndexError):
        questions[len(questions)]
