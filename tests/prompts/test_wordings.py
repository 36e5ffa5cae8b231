"""Every wording of every operation is read back by the parser, with the roles of its parts."""

import json
from pathlib import Path
from typing import get_args

import pytest
from vocabularies import digits_and_bare_spaces

from arithmoscope.contracts.prompts import Operation, Style
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.corruptions import corrupt
from arithmoscope.prompts.language.numerals import in_words
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.roles import reading_spans
from arithmoscope.prompts.language.stories import stories
from arithmoscope.prompts.language.templates import TEMPLATES, Template
from arithmoscope.prompts.language.wordings import VARIED
from tests.tables import table

ALL = (*TEMPLATES, *VARIED)
RESULTS: dict[Operation, int] = {"add": 10, "subtract": 6, "multiply": 16, "divide": 4, "power": 64}
# One golden example a row of the tables: the question for 8 and 2 (a year: 2 and 1723), its answer, its null operator.
GOLDEN: dict[str, list[str]] = json.loads((Path(__file__).parent / "golden" / "wordings.json").read_text("utf-8"))


def golden_rows() -> dict[str, list[str]]:
    rows = {f"{each.operation}: {each.text}": each.question(8, 2) for each in VARIED}
    for story in stories():
        a, b = (2, 1723) if story.topic == "year_span" else (8, 2)
        rows[f"{story.topic}, {story.template.operation}: {story.template.text}"] = story.template.question(a, b, "172")
    golden: dict[str, list[str]] = {}
    tokenizer = digits_and_bare_spaces()
    for name, question in rows.items():
        reading = parse_question(question)
        without = corrupt("null_operator", question, 0, tokenizer)
        golden[name] = [question, reading.answer if reading else "", without or ""]
    return golden


def test_every_row_has_its_golden_example():
    assert golden_rows() == GOLDEN


@pytest.mark.parametrize("operation", get_args(Operation))
@pytest.mark.parametrize("style", get_args(Style))
def test_every_operation_has_twelve_wordings_of_every_style(operation: Operation, style: Style):
    texts = [each.text for each in ALL if (each.operation, each.style) == (operation, style)]
    assert len(texts) == len(set(texts)) >= 12


@table("template", ALL)
def test_every_wording_is_read_back_with_its_operands_and_its_operator(template: Template):
    for a, b in (("8", "2"), ("1.50", "3"), (in_words(8), in_words(2)), ("4321 ".strip(), "1")):
        if not a[0].isdigit() and " " not in template.text:
            continue  # "twenty-three" is no 20 - 3: words have space around the operator
        question = template.question(a, b)
        reading = read(question)
        assert reading is not None, question
        in_order = [question[slice(*operand.span)] for operand in reading.operands]
        assert sorted(in_order) == sorted((a, b))
        assert [operator.operation for operator in reading.operators] == [template.operation]
        if a == "8":
            assert reading.value == RESULTS[template.operation]
        roles = {role for _, role in reading_spans(reading)}
        assert {"operand_a", "operator", "operand_b"} <= roles
        assert ("equals" in roles) == (template.style != "question" or "equal?" in template.text)


@table("template", ALL)
def test_without_its_operator_no_wording_asks_for_anything(template: Template):
    without = corrupt("null_operator", template.question(8, 2), 0, digits_and_bare_spaces())
    assert without is not None
    assert read(without) is None
    assert "8" in without
    assert "2" in without


def test_the_wordings_say_different_things():
    assert len({template.question(8, 2) for template in ALL}) == len(ALL)
