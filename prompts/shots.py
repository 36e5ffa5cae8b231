"""Worked examples before a question: its own wording with other operands, and the answer.

The operands come from one fixed table, so all questions of one wording get the same examples, and a question that
is itself in the table gets the next row instead.
"""

from __future__ import annotations

from contracts.errors import Refusal
from contracts.prompts import Operation
from prompts.arithmetic import read
from prompts.corruptions import with_operands
from prompts.numerals import in_words
from prompts.readings import Applied, Leaf, Reading
from prompts.tokens import answer_space

# Left and right operand; every answer has one digit. More rows than `MAX_SHOTS`, so that one can be passed over.
SHOT_OPERANDS: dict[Operation, tuple[tuple[int, int], ...]] = {
    "add": ((2, 3), (1, 7), (4, 2), (6, 3), (5, 1), (2, 5), (3, 1), (1, 1), (4, 4), (3, 3)),
    "subtract": ((7, 2), (9, 1), (6, 4), (8, 5), (5, 4), (9, 3), (4, 3), (8, 1), (3, 1), (7, 3)),
    "multiply": ((2, 3), (4, 2), (1, 7), (3, 3), (5, 1), (2, 2), (1, 4), (3, 1), (2, 1), (1, 9)),
    "divide": ((8, 2), (9, 3), (6, 1), (8, 4), (6, 3), (4, 1), (7, 7), (9, 1), (4, 2), (6, 2)),
}
_SIGNS: dict[Operation, str] = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}


def shot_prefix(prompt: str, reading: Reading | None, shots: int) -> str:
    """``shots`` worked examples, a line each, to put before the prompt. Refuses a prompt that cannot be read."""
    if shots == 0:
        return ""
    if reading is None:
        raise Refusal(
            "no_arithmetic",
            "Worked examples need a question that can be read.",
            "Write a sum such as '3 + 5 =', or set shots to 0 and write the examples into the prompt.",
        )
    wording = _wording(prompt, reading)
    as_read = read(wording)
    if as_read is None or not isinstance(as_read.expression, Applied):  # cannot be: the wording was just read
        raise Refusal("no_arithmetic", f"No worked example can be made of {wording!r}.")
    is_reversed = as_read.expression.left == Leaf(1)
    asked = tuple(operand.value for operand in reading.operands)
    lines: list[str] = []
    for left, right in SHOT_OPERANDS[as_read.expression.operation]:
        values = (right, left) if is_reversed else (left, right)
        value = as_read.value_with(values)
        if values == asked or value is None or len(lines) == shots:
            continue
        shot = with_operands(wording, as_read, values)
        answer = in_words(value) if reading.words else str(value)
        lines.append(f"{shot}{answer_space(shot, answer)}{answer}\n")
    return "".join(lines)


def _wording(prompt: str, reading: Reading) -> str:
    """The question itself; of a longer calculation only its first operator, as ``A op B =``."""
    match reading.expression:
        case Applied(_, Leaf(), Leaf()):
            return prompt[slice(*reading.question)]
        case _:
            operator = reading.operators[0]
            written = prompt[slice(*operator.span)]
            sign = written if operator.form in ("symbol", "infix") else _SIGNS[operator.operation]
            return f"one {sign} one =" if reading.words else f"1 {sign} 1 ="
