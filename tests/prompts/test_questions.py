"""Tests of finding the last question."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.prompts.language.questions import last_question, question_text


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("3 + 5 =", "3 + 5 ="),
        ("  3 + 5 = \n", "3 + 5 ="),
        ("2 + 3 = 5\n3 + 5 =", "3 + 5 ="),
        ("2 + 3 = 5\r\n3 + 5 =", "3 + 5 ="),
        ("Q: 2 + 3? A: 5\nQ: 3 + 5? A:", "Q: 3 + 5? A:"),
        ("Q: 2 + 3? A: 5 Q: 3 + 5? A:", "Q: 3 + 5? A:"),
        ("Q: 2 + 3?\nA: 5\nQ: 3 + 5?\nA:", "Q: 3 + 5?\nA:"),
        ("Question 1: 2 + 3? Answer: 5\n\nQuestion 2: 3 + 5?\n\nAnswer:", "Question 2: 3 + 5?\n\nAnswer:"),
        ("FAQ: 3 + 5 =", "FAQ: 3 + 5 ="),
        ("A:", "A:"),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_the_last_question_is_the_last_line_with_content_or_the_last_q_and_a(prompt: str, question: str):
    assert question_text(prompt) == question


@given(st.text(alphabet="QA:\n 35+=", max_size=40))
def test_the_last_question_has_no_white_space_around_it(prompt: str):
    start, end = last_question(prompt)
    assert 0 <= start <= end <= len(prompt)
    assert prompt[start:end] == prompt[start:end].strip()
    assert not prompt[end:].strip()
