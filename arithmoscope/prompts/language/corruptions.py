"""Counterfactual prompts: the reference with its calculation removed or exchanged.

Only the last question changes; worked examples before it stay as they are. Random choices come from a generator seeded
by the set's seed and the question itself, so the order of a set has no influence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import Corruption, Operation
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.numerals import Number, in_digits
from arithmoscope.prompts.language.other_operands import (
    Range,
    operands_of_same_value,
    other_operands,
    ranges_of,
    wide_ranges_of,
)
from arithmoscope.prompts.language.parse_question import parse_question
from arithmoscope.prompts.language.questions import Span
from arithmoscope.prompts.language.readings import Operator, Reading
from arithmoscope.prompts.language.relations import Recall, corrupt_recall

_Draws = Callable[[Reading, list[Range], Random], Iterator[tuple[Number, ...]]]


@dataclass(frozen=True, slots=True)
class _Source:
    """Input of a corruption."""

    prompt: str
    reading: Reading
    seed: int
    tokenizer: Tokenizer
    bounds: tuple[int, int] | None


def corrupt(
    corruption: Corruption, prompt: str, seed: int, tokenizer: Tokenizer, bounds: tuple[int, int] | None = None
) -> str | None:
    """The counterfactual of a prompt, or None if the prompt does not parse or has none by this corruption.

    ``bounds``: smallest and largest new operand; without them operands keep their number of digits.
    """
    reading = parse_question(prompt)
    if reading is None:
        return None
    if isinstance(reading, Recall):
        return corrupt_recall(corruption, prompt, reading, seed)
    return CORRUPTIONS[corruption](_Source(prompt, reading, seed, tokenizer, bounds))


def _null_operator(source: _Source) -> str:
    return _rewritten(
        source.prompt, [(o.span, "@" if o.form == "symbol" else "none") for o in source.reading.operators]
    )


def _operand_swap(source: _Source) -> str | None:
    return _swap(source, other_operands, lambda answer: answer != source.reading.answer)


def _operand_swap_same_answer(source: _Source) -> str | None:
    return _swap(source, operands_of_same_value, lambda answer: answer == source.reading.answer)


def _operator_swap(source: _Source) -> str | None:
    """Another operator, preferably one whose answer is a whole, non-negative number."""
    fallback = None
    story = source.reading.operators[0]
    if story.form == "story":
        swapped = _rewritten(source.prompt, [(story.span, story.alternative)])
        other = parse_question(swapped) if story.alternative else None
        return swapped if isinstance(other, Reading) and other.value != source.reading.value else None
    for attempt in range(3):
        edits: list[tuple[Span, str]] = []
        for operator in source.reading.operators:
            other = _OTHER_OPERATIONS[operator.operation][attempt]
            edits.append((operator.span, _written(other, operator, source.prompt)))
            if operator.connective:
                edits.append((operator.connective, _VERB_CONNECTIVES[other]))
        swapped = _rewritten(source.prompt, edits)
        reading = read(swapped)
        if reading is None or reading.value == source.reading.value:
            continue
        if reading.value >= 0:
            return swapped
        fallback = fallback or swapped
    return fallback


# One row per corruption. Each has a golden example in tests/prompts/test_corruptions.py.
CORRUPTIONS: dict[Corruption, Callable[[_Source], str | None]] = {
    "null_operator": _null_operator,
    "operand_swap": _operand_swap,
    "operand_swap_same_answer": _operand_swap_same_answer,
    "operator_swap": _operator_swap,
}

_OTHER_OPERATIONS: dict[Operation, tuple[Operation, Operation, Operation]] = {
    "add": ("subtract", "multiply", "divide"),
    "subtract": ("add", "multiply", "divide"),
    "multiply": ("add", "subtract", "divide"),
    "divide": ("subtract", "add", "multiply"),
    "power": ("multiply", "add", "subtract"),
}
_WORDS: dict[str, dict[Operation, str]] = {
    "infix": {
        "add": "plus",
        "subtract": "minus",
        "multiply": "times",
        "divide": "divided by",
        "power": "to the power of",
    },
    "noun": {"add": "sum", "subtract": "difference", "multiply": "product", "divide": "quotient"},
    "action noun": {
        "add": "addition",
        "subtract": "subtraction",
        "multiply": "multiplication",
        "divide": "division",
    },
    "verb": {"add": "add", "subtract": "subtract", "multiply": "multiply", "divide": "divide"},
    "gerund": {"add": "adding", "subtract": "subtracting", "multiply": "multiplying", "divide": "dividing"},
}
_VERB_CONNECTIVES: dict[Operation, str] = {"add": "to", "subtract": "from", "multiply": "by", "divide": "by"}


def _written(operation: Operation, replaced: Operator, prompt: str) -> str:
    """The operation in the form and case of the operator that it replaces."""
    old = prompt[slice(*replaced.span)]
    if replaced.form == "symbol":
        typographic = old in "×÷−"
        return {"add": "+", "subtract": "-", "multiply": "×" if typographic else "*"}.get(
            operation, "÷" if typographic else "/"
        )
    special = (form for form in ("action noun", "gerund") if old.lower() in _WORDS[form].values())
    form = next(special, replaced.form)
    word = _WORDS[form][operation]
    return word.capitalize() if old[:1].isupper() else word


def with_operands(prompt: str, reading: Reading, values: Sequence[Number]) -> str:
    """The prompt with other operands, each written in the style of the one that it replaces."""
    edits: list[tuple[Span, str]] = []
    for operand, value in zip(reading.operands, values, strict=True):
        written = operand.written(value)
        capital = prompt[operand.span[0]].isupper()
        edits.append((operand.span, written.capitalize() if capital else written))
    answer = reading.value_with(values) if reading.stem else None
    if reading.stem and answer is not None:
        edits.append((reading.stem, in_digits(answer)[: reading.stem[1] - reading.stem[0]]))
    return _rewritten(prompt, edits)


def _rewritten(text: str, edits: Iterable[tuple[Span, str]]) -> str:
    for (start, end), new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _swap(source: _Source, draws: _Draws, fits: Callable[[str], bool]) -> str | None:
    """Swaps in other operands of the same size or, if none fit, of any size up to the question's own."""
    for ranges in (ranges_of, wide_ranges_of):
        swapped = _best_swap(
            source, draws(source.reading, ranges(source.reading, source.bounds), _generator(source)), fits
        )
        if swapped is not None:
            return swapped
    return None


def _best_swap(source: _Source, draws: Iterator[tuple[Number, ...]], fits: Callable[[str], bool]) -> str | None:
    """The first operands that fit and match the original in token count, answer length and number of changed operands;
    otherwise the closest match."""
    reading = source.reading
    own = tuple(operand.value for operand in reading.operands)
    examples, question = source.prompt[: reading.question[0]], source.prompt[slice(*reading.question)]
    tokens = _length(source, question)
    best, best_rank = None, (-1, -1, -1)
    for values in draws:
        value = reading.value_with(values) if values != own else None
        if value is None or value < 0 <= reading.value or not fits(reading.written(value)):
            continue
        # Rank: same number of tokens, same length of the answer, number of changed operands.
        same_answer_length = int(len(in_digits(value)) == len(in_digits(reading.value)))
        changed = sum(new != old for new, old in zip(values, own, strict=True))
        if (1, same_answer_length, changed) <= best_rank:
            continue
        swapped = with_operands(source.prompt, reading, values)
        if reading.stem and parse_question(swapped) is None:  # the stem would reveal a carry
            continue
        swapped_question = swapped[reading.question[0] : len(swapped) - (len(source.prompt) - reading.question[1])]
        if swapped_question in examples:  # an example already gives its answer
            continue
        rank = (int(_length(source, swapped_question) == tokens), same_answer_length, changed)
        if rank == (1, 1, len(own)):
            return swapped
        if rank > best_rank:
            best, best_rank = swapped, rank
    return best


def _length(source: _Source, text: str) -> int:
    return len(source.tokenizer.encode(text).ids)


def _generator(source: _Source) -> Random:
    return Random(f"{source.seed} {source.prompt[slice(*source.reading.question)]}")
