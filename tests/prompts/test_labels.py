"""Labels of sets: short, distinct, and free of user input."""

from __future__ import annotations

from typing import get_args

from arithmoscope.contracts.prompts import CustomPrompts, TemplatePrompts, Topic
from arithmoscope.prompts.sets.labels import has_arithmetic, label_of, labels_of


def template(**options):
    return TemplatePrompts.model_validate({"source": "template", **options})


def test_a_label_says_what_sets_the_set_apart():
    assert label_of(template()) == "add"
    assert label_of(template(operations=["add", "subtract"], styles=["question"])) == "add + subtract, question"
    assert (
        label_of(template(operands=[10, 99], numerals="words", answer="first"))
        == "add, 10 to 99, in words, first token"
    )
    assert label_of(template(topic="year_span")) == "year span"
    assert label_of(template(topic="word_problem", operations=["subtract"])) == "word problem, subtract"
    assert label_of(template(topic="facts", chat=True, wording="varied")) == "facts, varied wording, chat"


def test_every_set_gets_a_name_of_its_own_by_what_it_differs_in():
    sets = [template(), template(shots=0), template(seed=5), template(pairs=10), template()]
    names = labels_of(sets)
    assert list(names) == sets[:4], "asked twice, it is one set"
    assert list(names.values()) == [
        "add, 2 shots, seed 0, 64 pairs",
        "add, 0 shots",
        "add, 2 shots, seed 5",
        "add, 2 shots, seed 0, 10 pairs",
    ]


def test_sets_that_no_option_tells_apart_are_numbered():
    two = [template(keep_wrong=keep) for keep in (True, False)]
    assert list(labels_of(two).values()) == ["add", "add #2"]


def test_nothing_that_people_typed_is_in_a_name():
    own = CustomPrompts.model_validate(
        {"source": "custom", "shots": 0, "pairs": [{"reference": "=HYPERLINK(1)", "answer": "8"}]}
    )
    assert list(labels_of([own]).values()) == ["own prompts (1)"]


def test_only_topics_without_operations_are_controls():
    controls = {topic for topic in get_args(Topic) if not has_arithmetic(template(topic=topic))}
    assert controls == {"facts", "grammar", "antonyms", "sequences"}
