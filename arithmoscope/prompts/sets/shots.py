"""Worked examples before a question: its own wording with other operands, and the answer.

The operands come from one fixed table, so all questions of one wording get the same examples; a question whose own
operands are in the table gets the next row instead.
"""

from __future__ import annotations

from fractions import Fraction

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts.language.corruptions import with_operands
from arithmoscope.prompts.language.numerals import Number
from arithmoscope.prompts.language.parse_question import ParsedQuestion, parse_question
from arithmoscope.prompts.language.readings import Applied, Leaf, Reading
from arithmoscope.prompts.language.relation_facts import RELATIONS
from arithmoscope.prompts.language.relations import Recall, recall_question, recall_shots
from arithmoscope.prompts.tokens.encoded import answer_space

# Left and right operand; every answer has one digit. More rows than `MAX_SHOTS`, so that one can be skipped.
SHOT_OPERANDS: dict[Operation, tuple[tuple[int, int], ...]] = {
    "add": ((2, 3), (1, 7), (4, 2), (6, 3), (5, 1), (2, 5), (3, 1), (1, 1), (4, 4), (3, 3)),
    "subtract": ((7, 2), (9, 1), (6, 4), (8, 5), (5, 4), (9, 3), (4, 3), (8, 1), (3, 1), (7, 3)),
    "multiply": ((2, 3), (4, 2), (1, 7), (3, 3), (5, 1), (2, 2), (1, 4), (3, 1), (2, 1), (1, 9)),
    "divide": ((8, 2), (9, 3), (6, 1), (8, 4), (6, 3), (4, 1), (7, 7), (9, 1), (4, 2), (6, 2)),
    "power": ((2, 3), (3, 2), (2, 2), (5, 1), (1, 4), (2, 1), (7, 1), (3, 1), (1, 6), (4, 1)),
}
# A year and a span, without a carry: only the last digit differs between the years.
_YEARS: dict[Operation, tuple[tuple[int, int], ...]] = {
    "add": (
        *((1723, 5), (1641, 2), (1812, 4), (1450, 7), (1934, 3)),
        *((1571, 8), (1265, 1), (1382, 6), (1713, 3), (1904, 5)),
    ),
    "subtract": (
        *((1728, 5), (1643, 2), (1816, 4), (1457, 7), (1937, 3)),
        *((1579, 8), (1266, 1), (1388, 6), (1716, 3), (1909, 5)),
    ),
}
_SIGNS: dict[Operation, str] = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "^"}


def shot_prefix(prompt: str, reading: ParsedQuestion | None, shots: int) -> str:
    """``shots`` worked examples, one line each, to prepend to the prompt.

    Raises:
        Refusal: ``no_arithmetic`` if the prompt does not parse (``reading`` is None).
    """
    if shots == 0:
        return ""
    if reading is None:
        raise Refusal(
            "no_arithmetic",
            "Worked examples need a question that can be read.",
            "Write a sum such as '3 + 5 =', or set shots to 0 and write the examples into the prompt.",
        )
    if isinstance(reading, Recall):
        return _recalled(reading, shots)
    wording = _wording(prompt, reading)
    parsed = parse_question(wording)
    # Always true: the wording comes from a parsed question.
    if not isinstance(parsed, Reading) or not isinstance(parsed.expression, Applied):
        raise Refusal("no_arithmetic", f"No worked example can be made from {wording!r}.")
    is_reversed = parsed.expression.left == Leaf(1)
    own_values = tuple(operand.value for operand in reading.operands)
    lines: list[str] = []
    for left, right in example_operands(parsed):
        values = (right, left) if is_reversed else (left, right)
        value = parsed.value_with(values)
        if values == own_values or value is None or len(lines) == shots:
            continue
        shot = with_operands(wording, parsed, values)
        answer = parsed.written(value)
        lines.append(f"{shot}{answer_space(shot, answer)}{answer}\n")
    return "".join(lines)


def example_operands(reading: Reading) -> list[tuple[Number, Number]]:
    """Left and right operands of a question's worked examples, in order, with as many decimals as its own."""
    if not isinstance(reading.expression, Applied):
        return []
    operation = reading.expression.operation
    if any(operand.within for operand in reading.operands):
        return list(_YEARS[operation])
    places = max(operand.places for operand in reading.operands)
    return [
        _with_decimals(operation, left, right, Fraction(number % 9 + 1, 10**places) if places else 0)
        for number, (left, right) in enumerate(SHOT_OPERANDS[operation])
    ]


def _with_decimals(operation: Operation, left: int, right: int, more: Number) -> tuple[Number, Number]:
    """The operands plus the decimal part ``more``, so that the answer has no more decimals (except for powers)."""
    match operation:
        case "add":
            return left + more, right + more
        case "subtract":
            return left + 2 * more, right + more
        case "divide":
            return left + more * right, right
        case _:
            return left + more, right


def _recalled(recall: Recall, shots: int) -> str:
    lines: list[str] = []
    for subject in recall_shots(recall, shots):
        line = recall_question(recall.topic, recall.frame, recall.relation, subject)
        lines.append(f"{line} {RELATIONS[recall.topic][recall.relation][subject]}\n")
    return "".join(lines)


def _wording(prompt: str, reading: Reading) -> str:
    """The question itself; for a longer calculation ``A op B =`` with its first operator."""
    match reading.expression:
        case Applied(_, Leaf(), Leaf()):
            return prompt[slice(*reading.question)]
        case _:
            operator = reading.operators[0]
            written = prompt[slice(*operator.span)]
            sign = written if operator.form in ("symbol", "infix") else _SIGNS[operator.operation]
            return f"one {sign} one =" if reading.words else f"1 {sign} 1 ="
