"""Tests that docs/prompts.md agrees with the tables."""

from pathlib import Path

import pytest

from arithmoscope.contracts.prompts import Topic
from arithmoscope.contracts.topics import TOPICS
from arithmoscope.prompts.language.parse_question import parse_question

PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text("utf-8")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_has_its_line(topic: Topic):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{topic}` |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    row = TOPICS[topic]
    expected = ["yes" if has else "no" for has in (row.styles, row.decimals, row.words)]
    assert cells[1:6] == [", ".join(row.operations) or "-", *expected, ", ".join(row.impossible) or "-"]
    assert parse_question(cells[6].strip("`")) is not None
