"""Prompt sets for evaluating a tuned model beyond its own task: other arithmetic, and prompts without any.

Every set is drawn anew with the same examples and the same seed, so that every training of a model is evaluated on the
same questions; questions it was trained on are left out.
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

# Questions per set. A few more are drawn, and many more where too many of those were trained on.
QUESTIONS = 50
_SPARE, _MANY = 10, 400
_SHOTS = 4


@dataclass(frozen=True)
class EvaluationSet:
    """A named prompt set; ``prompts`` are the fields of its template."""

    name: str
    group: Group
    prompts: dict[str, Any]


def _sums(name: str, operation: Operation, operands: tuple[int, int]) -> EvaluationSet:
    return EvaluationSet(name, "arithmetic", {"operations": (operation,), "operands": operands})


EVALUATION_SETS: tuple[EvaluationSet, ...] = (
    _sums("one-digit addition", "add", (0, 9)),
    _sums("one-digit subtraction", "subtract", (0, 9)),
    _sums("one-digit multiplication", "multiply", (0, 9)),
    _sums("one-digit division", "divide", (0, 9)),
    _sums("two-digit addition", "add", (10, 99)),
    _sums("two-digit subtraction", "subtract", (10, 99)),
    _sums("two-digit multiplication", "multiply", (10, 99)),
    EvaluationSet("word problems", "arithmetic", {"topic": "word_problem", "operations": ("add", "subtract")}),
    EvaluationSet("counting", "arithmetic", {"topic": "counting", "operations": ("add",)}),
    EvaluationSet("facts", "control", {"topic": "facts"}),
    EvaluationSet("grammar", "control", {"topic": "grammar"}),
    EvaluationSet("antonyms", "control", {"topic": "antonyms"}),
    EvaluationSet("sequences", "control", {"topic": "sequences"}),
)


def evaluation_questions(
    model: LoadedModel, trained: Sequence[PromptPair], *, chat: bool = False, questions: int = QUESTIONS
) -> tuple[list[tuple[EvaluationSet, list[PromptPair]]], list[str]]:
    """The questions of every set that fits this model, and a note on each set that does not.

    ``trained``: the training pairs. ``chat``: whether prompts go through the model's chat template, as those did.
    """
    seen = {_question_key(pair) for pair in trained}
    questions_by_set: list[tuple[EvaluationSet, list[PromptPair]]] = []
    notes: list[str] = []
    for each in EVALUATION_SETS:
        try:
            fresh = _untrained(model, each, seen, chat, questions)
        except Refusal as refusal:
            notes.append(f"Not asked: {each.name}. {refusal.detail}")
            continue
        if fresh:
            questions_by_set.append((each, fresh))
        else:
            notes.append(f"Not asked: {each.name}. All its questions were trained on.")
    return questions_by_set, notes


def _untrained(
    model: LoadedModel, evaluation_set: EvaluationSet, seen: Collection[str], chat: bool, questions: int
) -> list[PromptPair]:
    """The first questions of a set that were not trained on."""
    frame = model.chat if chat else None
    fresh: list[PromptPair] = []
    for pairs in (questions + _SPARE, _MANY):
        fields = {"source": "template", "pairs": pairs, "shots": _SHOTS, "chat": chat, **evaluation_set.prompts}
        drawn, _ = whole_answer_pairs(TemplatePrompts.model_validate(fields), model.text, frame)
        fresh = [pair for pair in drawn if _question_key(pair) not in seen][:questions]
        if len(fresh) == questions or len(drawn) < pairs:
            break
    for pair in fresh:
        check_fit(model, encode_answer(pair, model.text, frame, "each"))
    return fresh


def _question_key(pair: PromptPair) -> str:
    """A key that is the same for 3 + 5 and 5 + 3 in any wording, and another for 5 - 3. For a question that the parser
    does not understand, its operands.
    """
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
    """The facets of a question, by the names of `FACETS`: operation, digits of its larger operand, and wording."""
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
