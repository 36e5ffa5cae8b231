"""Prompts without arithmetic: every row is read back, and loses its relation but not its form."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.contracts.prompts import Corruption, Topic
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.relation_facts import FRAMES, RELATIONS
from arithmoscope.prompts.language.relations import corrupt_recall, read_recall, recall_items, recall_question
from arithmoscope.prompts.language.roles import reading_spans

EVERY: list[tuple[Topic, str, str, str]] = [
    (topic, frame, *asked) for topic in FRAMES for frame in FRAMES[topic] for asked in recall_items(topic)
]


@pytest.mark.parametrize("topic", FRAMES)
def test_every_topic_has_forty_questions_each_with_one_word_for_an_answer(topic: Topic):
    question = recall_items(topic)
    assert len(question) == len(set(question)) >= 40
    for relation, subject in question:
        answer = RELATIONS[topic][relation][subject]
        assert answer.isalpha()
        assert answer != subject


def test_every_question_of_every_wording_is_read_back():
    for topic, frame, relation, subject in EVERY:
        prompt = recall_question(topic, frame, relation, subject)
        recall = read_recall(prompt)
        assert recall is not None, prompt
        assert parse_question(prompt) == recall
        assert recall.answer == RELATIONS[topic][relation][subject]
        spans = {role: prompt[slice(*span)] for span, role in reading_spans(recall)}
        assert (spans["operator"], spans["operand_a"]) == (relation, subject)
        assert spans.get("equals", "is") == "is"


@pytest.mark.parametrize("corruption", get_args(Corruption))
def test_a_counterfactual_keeps_the_form_and_changes_one_part(corruption: Corruption):
    count = 0
    for topic, frame, relation, subject in EVERY:
        prompt = recall_question(topic, frame, relation, subject)
        recall = read_recall(prompt)
        assert recall is not None
        changed = corrupt_recall(corruption, prompt, recall, 0)
        if changed is None:
            continue
        count += 1
        span = recall.relation_span if "operator" in corruption else recall.subject_span
        assert changed.startswith(prompt[: span[0]])
        assert changed.endswith(prompt[span[1] :])
        assert changed != prompt
        other = read_recall(changed)
        if corruption == "null_operator":
            assert other is None
        elif corruption == "operator_swap":
            assert RELATIONS[topic].keys() >= {changed[span[0] : len(changed) - len(prompt) + span[1]]}
            assert other is None or other.answer != recall.answer
        else:
            assert other is not None
            assert other.relation == relation
            assert (other.answer == recall.answer) == (corruption == "operand_swap_same_answer")
    assert count > 40


def test_days_are_swapped_for_days_and_letters_for_letters():
    for subject, kind in (("Monday", "day"), ("B", "letter"), ("March", "month")):
        prompt = f"The {kind} that comes after {subject} is"
        recall = read_recall(prompt)
        assert recall is not None
        for seed in range(5):
            assert read_recall(corrupt_recall("operand_swap", prompt, recall, seed) or "") is not None


@pytest.mark.parametrize(
    "prompt",
    [
        "The capital of Atlantis is",
        "The capital of France",
        "The day that comes after B is",
        "the capital of France is",
        "The none of France is",
        "The capital of France is Paris",
        "",
    ],
)
def test_a_recall_prompt_without_a_matching_fact_is_not_parsed(prompt: str):
    assert read_recall(prompt) is None


@given(st.text(max_size=300))
def test_no_text_raises(text: str):
    parse_question(text)
