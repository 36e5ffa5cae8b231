"""Options of each topic of template sets: one row per topic, and the check of a set against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_OPERAND, Corruption, Operation, TemplatePrompts, Topic

# Largest operand of questions with decimals, in units of the last decimal.
_MOST_UNITS = 10 * MAX_OPERAND


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


def refuse_impossible_set(spec: TemplatePrompts) -> None:
    """Raises Refusal (``impossible_options``) if the topic lacks an option of the set; the way out names valid ones."""
    row = TOPICS[spec.topic]
    plain = TemplatePrompts(source="template")
    if not row.styles and spec.styles != plain.styles:
        _refuse(f"The topic {spec.topic} has no styles.", "Leave styles out.")
    if not row.operations and (spec.operations, spec.operands) != (plain.operations, plain.operands):
        _refuse(f"The topic {spec.topic} has no arithmetic in it.", "Leave operations and operands out.")
    others = [operation for operation in spec.operations if operation not in row.operations]
    if row.operations and others:
        offered = " and ".join(row.operations)
        _refuse(f"The topic {spec.topic} cannot {' or '.join(others)}.", f"Choose among: {offered}.")
    if spec.numerals == "words" and not row.words:
        _refuse(f"The topic {spec.topic} has no numbers to write in words.", "Choose numerals 'digits'.")
    if spec.decimals and not row.decimals:
        _refuse(f"The topic {spec.topic} has no decimals.", "Set decimals to 0.")
    if spec.decimals and spec.numerals == "words":
        _refuse("Decimals are written in digits.", "Choose numerals 'digits', or set decimals to 0.")
    if spec.decimals and spec.operands[1] * 10**spec.decimals > _MOST_UNITS:
        most = _MOST_UNITS // 10**spec.decimals
        _refuse(
            f"With {spec.decimals} decimals operands go up to {most}.", "Choose smaller operands or fewer decimals."
        )
    if spec.corruption in row.impossible:
        possible = [corruption for corruption in get_args(Corruption) if corruption not in row.impossible]
        _refuse(
            f"No question of the topic {spec.topic} has a counterfactual by {spec.corruption}.",
            f"Choose among: {', '.join(possible)}.",
        )


def _refuse(detail: str, way_out: str) -> None:
    raise Refusal("impossible_options", detail, way_out)
