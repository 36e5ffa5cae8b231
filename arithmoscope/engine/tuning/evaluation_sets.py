"""What a tuned model is asked besides what it was tuned for: other arithmetic, and prompts that have none.

Every set is drawn anew, with the same examples and the same seed, so that all trainings of a model are asked the same;
questions that were trained on are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import Operation, PromptPair, TemplatePrompts
from arithmoscope.contracts.tuning_terms import Group
from arithmoscope.engine.forward.activations import check_fit
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import question_text
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.sets.dataset_splits import whole_answer_pairs
from arithmoscope.prompts.sets.operand_split import operands_of
from arithmoscope.prompts.tokens.encoded import encode_answer

# Questions of a set. A few more are drawn, and many more where too many of these were trained on.
QUESTIONS = 50
_MORE, _MANY = 10, 400
_SHOTS = 4


@dataclass(frozen=True)
class Quiz:
    """A set by its name in the report."""

    name: str
    group: Group
    asked: dict[str, Any]


def _sums(name: str, operation: Operation, operands: tuple[int, int]) -> Quiz:
    return Quiz(name, "arithmetic", {"operations": (operation,), "operands": operands})


QUIZZES: tuple[Quiz, ...] = (
    _sums("one-digit addition", "add", (0, 9)),
    _sums("one-digit subtraction", "subtract", (0, 9)),
    _sums("one-digit multiplication", "multiply", (0, 9)),
    _sums("one-digit division", "divide", (0, 9)),
    _sums("two-digit addition", "add", (10, 99)),
    _sums("two-digit subtraction", "subtract", (10, 99)),
    _sums("two-digit multiplication", "multiply", (10, 99)),
    Quiz("word problems", "arithmetic", {"topic": "word_problem", "operations": ("add", "subtract")}),
    Quiz("counting", "arithmetic", {"topic": "counting", "operations": ("add",)}),
    Quiz("facts", "control", {"topic": "facts"}),
    Quiz("grammar", "control", {"topic": "grammar"}),
    Quiz("antonyms", "control", {"topic": "antonyms"}),
    Quiz("sequences", "control", {"topic": "sequences"}),
)


def quizzes_for(
    model: LoadedModel, trained: Sequence[PromptPair], *, chat: bool = False, questions: int = QUESTIONS
) -> tuple[list[tuple[Quiz, list[PromptPair]]], list[str]]:
    """The questions of every set that this model can be asked, and a note on those that it cannot.

    ``trained``: what was trained on. ``chat``: asked through the model's chat template, as those were.
    """
    known = {_sum_of(pair) for pair in trained}
    found: list[tuple[Quiz, list[PromptPair]]] = []
    notes: list[str] = []
    for quiz in QUIZZES:
        try:
            fresh = _fresh(model, quiz, known, chat, questions)
        except Refusal as refusal:
            notes.append(f"Not asked: {quiz.name}. {refusal.detail}")
            continue
        if fresh:
            found.append((quiz, fresh))
        else:
            notes.append(f"Not asked: {quiz.name}. All questions were trained on.")
    return found, notes


def _fresh(model: LoadedModel, quiz: Quiz, known: Collection[str], chat: bool, questions: int) -> list[PromptPair]:
    """A set's first questions that were not trained on."""
    frame = model.chat if chat else None
    fresh: list[PromptPair] = []
    for pairs in (questions + _MORE, _MANY):
        asked = {"source": "template", "pairs": pairs, "shots": _SHOTS, "chat": chat, **quiz.asked}
        drawn, _ = whole_answer_pairs(TemplatePrompts.model_validate(asked), model.text, frame)
        fresh = [pair for pair in drawn if _sum_of(pair) not in known][:questions]
        if len(fresh) == questions or len(drawn) < pairs:
            break
    for pair in fresh:
        check_fit(model, encode_answer(pair, model.text, frame, "each"))
    return fresh


def _sum_of(pair: PromptPair) -> str:
    """The same for 3 + 5 and 5 + 3, however they are worded; 5 - 3 is another. What no reader understands is what it is
    about."""
    reading = parse_question(pair.reference)
    if not isinstance(reading, Reading):
        return operands_of(pair)
    return f"{' '.join(operator.operation for operator in reading.operators)} {operands_of(pair)}"


_OPERATIONS: dict[Operation, str] = {
    "add": "addition",
    "subtract": "subtraction",
    "multiply": "multiplication",
    "divide": "division",
    "power": "powers",
}
_OPENINGS = ("q:", "question:")
FACETS = ("operation", "digits", "style")


def facets_of(pair: PromptPair) -> dict[str, str]:
    """What a question is counted with, by the names of `FACETS`: its operation, the digits of its larger operand, and
    how it is worded."""
    reading = parse_question(pair.reference)
    if not isinstance(reading, Reading):
        return {"operation": "no calculation", "digits": "no operands", "style": "other wordings"}
    operations: Collection[Operation] = {operator.operation for operator in reading.operators}
    largest = max(abs(int(operand.value)) for operand in reading.operands)
    digits = len(str(largest))
    return {
        "operation": _OPERATIONS[next(iter(operations))] if len(operations) == 1 else "several operations",
        "digits": f"{digits} digit{'' if digits == 1 else 's'}",
        "style": _style(pair, reading),
    }


def _style(pair: PromptPair, reading: Reading) -> str:
    forms = {operator.form for operator in reading.operators}
    if question_text(pair.reference).lower().startswith(_OPENINGS):
        return "questions"
    if forms == {"symbol"}:
        return "equations"
    return "word problems" if "story" in forms else "statements"
