"""Parser and corruptions for questions without arithmetic: "The capital of France is", "The opposite of hot is".

These are negative controls: heads that carry arithmetic should matter little here. The relation has the role of the
operator and the subject that of the first operand, so that attention can be analysed in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from arithmoscope.contracts.prompts import Corruption, Topic
from arithmoscope.prompts.language.questions import Span, last_question
from arithmoscope.prompts.language.relation_facts import FRAMES, ONLY_SWAPPED, RELATIONS, kind_of

# Longer questions are not parsed.
_MAX_CHARACTERS = 200
_ENDS_IN_EQUALS = re.compile(r"(?<=\s)is\Z")


@dataclass(frozen=True, slots=True)
class Recall:
    """A parsed question about a fact. Spans are character offsets in the whole prompt."""

    question: Span
    topic: Topic
    frame: str
    relation: str
    subject: str
    relation_span: Span
    subject_span: Span
    equals: Span | None
    answer: str


def recall_question(topic: Topic, frame: str, relation: str, subject: str) -> str:
    """The question about one relation of one subject, in one wording."""
    return frame.format(relation=relation, subject=subject, kind=kind_of(subject))


def recall_items(topic: Topic) -> list[tuple[str, str]]:
    """(relation, subject) of every question of a topic, relation by relation."""
    relations = {name: rows for name, rows in RELATIONS[topic].items() if name not in ONLY_SWAPPED}
    return [(relation, subject) for relation, rows in relations.items() for subject in rows]


def read_recall(prompt: str) -> Recall | None:
    """The last question as a fact to recall, or None if no row answers it."""
    question = last_question(prompt)
    if question[1] - question[0] > _MAX_CHARACTERS:
        return None
    for topic, frame, pattern in _patterns():
        match = pattern.fullmatch(prompt, *question)
        if match is None:
            continue
        relation, subject = match["relation"], match["subject"]
        answer = RELATIONS[topic][relation].get(subject)
        if answer is None or match.groupdict().get("kind", kind_of(subject)) != kind_of(subject):
            continue
        sign = _ENDS_IN_EQUALS.search(prompt, *question)
        equals = sign.span() if sign else None
        spans = match.span("relation"), match.span("subject")
        return Recall(question, topic, frame, relation, subject, *spans, equals, answer)
    return None


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[Topic, str, re.Pattern[str]], ...]:
    patterns: list[tuple[Topic, str, re.Pattern[str]]] = []
    for topic, frames in FRAMES.items():
        relations = "|".join(re.escape(relation) for relation in RELATIONS[topic])
        for frame in frames:
            pattern = re.escape(frame).replace(r"\{relation\}", f"(?P<relation>{relations})")
            pattern = pattern.replace(r"\{subject\}", "(?P<subject>[A-Za-z]{1,20})")
            patterns.append((topic, frame, re.compile(pattern.replace(r"\{kind\}", "(?P<kind>day|month|letter)"))))
    return tuple(patterns)


def corrupt_recall(corruption: Corruption, prompt: str, recall: Recall, seed: int) -> str | None:
    """The counterfactual: without the relation, with another subject (other or same answer), or another relation."""
    if corruption == "null_operator":
        return _replaced(prompt, recall.relation_span, "none")
    rows = RELATIONS[recall.topic]
    if corruption == "operator_swap":
        others = [name for name in rows if rows[name].get(recall.subject, recall.answer) != recall.answer]
        return _replaced(prompt, recall.relation_span, others[0]) if others else None
    same = corruption == "operand_swap_same_answer"
    examples = prompt[: recall.question[0]]
    random = Random(f"{seed} {prompt[slice(*recall.question)]}")
    for subject in _similar_subjects(recall, random):
        if subject == recall.subject or (rows[recall.relation][subject] == recall.answer) != same:
            continue
        swapped = _replaced(prompt, recall.subject_span, subject)
        if swapped[recall.question[0] :] not in examples:
            return swapped
    return None


def _similar_subjects(recall: Recall, random: Random) -> Iterator[str]:
    """The relation's subjects in random order; for a day only days, for a letter only letters."""
    kind = kind_of(recall.subject) if recall.topic == "sequences" else None
    rows = RELATIONS[recall.topic][recall.relation]
    subjects = [subject for subject in rows if kind is None or kind_of(subject) == kind]
    random.shuffle(subjects)
    return iter(subjects)


def _replaced(text: str, span: Span, new: str) -> str:
    return text[: span[0]] + new + text[span[1] :]


def recall_shots(recall: Recall, shots: int) -> tuple[str, ...]:
    """Subjects for worked examples of the same relation, never the question's own: the first rows of the table; in a
    sequence, members of the same kind come first (there are only seven days)."""
    others = [subject for subject in RELATIONS[recall.topic][recall.relation] if subject != recall.subject]
    if recall.topic == "sequences":
        others.sort(key=lambda subject: kind_of(subject) != kind_of(recall.subject))
    return tuple(others[:shots])
