"""Options of each topic of template sets: a row per topic, and the exclusions that follow from the rows."""

from __future__ import annotations

from dataclasses import dataclass

from arithmoscope.contracts.options import Exclusion
from arithmoscope.contracts.prompt_terms import (
    CORRUPTION_CHOICES,
    MAX_DECIMALS,
    OPERATION_CHOICES,
    STYLE_CHOICES,
    Corruption,
    Operation,
    Topic,
)


@dataclass(frozen=True, slots=True)
class TopicRow:
    """Options of a topic. Without ``operations`` it contains no arithmetic. ``styles``: it has the styles of plain
    questions. ``impossible``: corruptions that fit none of its questions."""

    operations: tuple[Operation, ...]
    styles: bool = False
    decimals: bool = False
    words: bool = False
    impossible: tuple[Corruption, ...] = ()


_FOUR: tuple[Operation, ...] = ("add", "subtract", "multiply", "divide")
TOPICS: dict[Topic, TopicRow] = {
    "question": TopicRow((*_FOUR, "power"), styles=True, decimals=True, words=True),
    "year_span": TopicRow(("add", "subtract")),
    "counting": TopicRow(("add",), words=True, impossible=("operator_swap",)),
    "word_problem": TopicRow(_FOUR, words=True),
    "facts": TopicRow(()),
    "grammar": TopicRow((), impossible=("operand_swap_same_answer",)),
    "antonyms": TopicRow((), impossible=("operand_swap_same_answer",)),
    "sequences": TopicRow((), impossible=("operand_swap_same_answer",)),
}
# Topics without arithmetic: negative controls.
CONTROL_TOPICS: tuple[Topic, ...] = tuple(topic for topic, row in TOPICS.items() if not row.operations)
_ARITHMETIC = tuple(topic for topic, row in TOPICS.items() if row.operations)


def _others(topic: Topic) -> tuple[Topic, ...]:
    return tuple(other for other in TOPICS if other != topic)


def _operations_of(topic: Topic, row: TopicRow) -> Exclusion:
    return Exclusion(
        "operations",
        tuple(operation for operation in OPERATION_CHOICES if operation not in row.operations),
        {"topic": _others(topic)},
        "not an operation of this topic",
        "The topic {topic} cannot {operations}.",
        f"Choose among: {' and '.join(row.operations)}.",
    )


def _corruptions_of(impossible: tuple[Corruption, ...]) -> Exclusion:
    return Exclusion(
        "corruption",
        impossible,
        {"topic": tuple(topic for topic, row in TOPICS.items() if row.impossible != impossible)},
        "no question of this topic has one",
        "No question of the topic {topic} has a counterfactual by {corruption}.",
        f"Choose among: {', '.join(name for name in CORRUPTION_CHOICES if name not in impossible)}.",
    )


_DECIMALS = tuple(range(1, MAX_DECIMALS + 1))
_NO_ARITHMETIC = "The topic {topic} has no arithmetic in it."
_LEAVE_OUT = "Leave operations and operands out."

# In the order in which they are checked.
TEMPLATE_EXCLUSIONS: tuple[Exclusion, ...] = (
    Exclusion(
        "styles",
        tuple(style for style in STYLE_CHOICES if style != "equation"),
        {"topic": tuple(topic for topic, row in TOPICS.items() if row.styles)},
        "this topic has no styles",
        "The topic {topic} has no styles.",
        "Leave styles out.",
    ),
    *(
        Exclusion(option, values, {"topic": _ARITHMETIC}, "this topic has no arithmetic", _NO_ARITHMETIC, _LEAVE_OUT)
        for option, values in (
            ("operations", tuple(each for each in OPERATION_CHOICES if each != "add")),
            ("operands", None),
        )
    ),
    *(_operations_of(topic, row) for topic, row in TOPICS.items() if 0 < len(row.operations) < len(OPERATION_CHOICES)),
    Exclusion(
        "numerals",
        ("words",),
        {"topic": tuple(topic for topic, row in TOPICS.items() if row.words)},
        "this topic has no numbers to write in words",
        "The topic {topic} has no numbers to write in words.",
        "Choose numerals 'digits'.",
    ),
    Exclusion(
        "decimals",
        _DECIMALS,
        {"topic": tuple(topic for topic, row in TOPICS.items() if row.decimals)},
        "this topic has no decimals",
        "The topic {topic} has no decimals.",
        "Set decimals to 0.",
    ),
    Exclusion(
        "decimals",
        _DECIMALS,
        {"numerals": ("digits",)},
        "decimals are written in digits",
        "Decimals are written in digits.",
        "Choose numerals 'digits', or set decimals to 0.",
    ),
    *map(_corruptions_of, dict.fromkeys(row.impossible for row in TOPICS.values() if row.impossible)),
)
