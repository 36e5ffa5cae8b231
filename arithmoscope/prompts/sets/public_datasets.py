"""Readers of public question sets in their published form: GSM8K, SVAMP, AddSub, SingleEq, MMLU, CSQA.

Nothing is downloaded: bytes in, questions out. A file is JSON lines, a JSON array, or (MMLU) CSV. An unreadable row is
reported by number and reason; the others stay usable.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard, cast

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.prompts.language.numerals import Number, in_digits, read_number
from arithmoscope.prompts.sets.text_decoding import decode_text, undecodable_in

PublicSet = Literal["gsm8k", "svamp", "addsub", "singleeq", "mmlu", "csqa"]

MAX_FILE_BYTES = 64 * 2**20
MAX_ROWS = 100_000
MAX_TEXT = 8_000
_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class PublicQuestion:
    """A question of a public dataset.

    Attributes:
        row: Its row in the file, from 1.
        prompt: The prompt; it ends just before the answer.
        answer: A number, or the letter of a choice.
    """

    row: int
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that cannot be used, and the reason."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class PublicQuestions:
    """The questions of a file, in order, and the rows that could not be read.

    Attributes:
        questions: The questions.
        problems: Row and reason of each unreadable row.
    """

    questions: tuple[PublicQuestion, ...]
    problems: tuple[UnreadableRow, ...]


class _Unreadable(Exception):
    """The reason why a row cannot be used. Caught inside this module."""


_Row = Mapping[str, Any]


@check_arguments()
def read_public(name: PublicSet, data: bytes) -> PublicQuestions:
    """Reads a public dataset in its published form: GSM8K, SVAMP, AddSub, SingleEq, MMLU or CSQA.

    Args:
        name: The dataset: ``"gsm8k"``, ``"svamp"``, ``"addsub"``, ``"singleeq"``, ``"mmlu"`` or ``"csqa"``.
        data: The bytes of the file: JSON lines, a JSON array, or CSV (MMLU).

    Returns:
        The questions, and the rows that could not be read with the reason.

    Raises:
        Refusal: ``bad_request`` for an unknown dataset; ``bad_upload`` for a file above 64 MiB, or one that is neither
            JSON nor JSON lines nor CSV.

    Example:
        >>> data = b'{"question": "Ann has 3 pens and buys 5. How many?", "answer": "3 + 5 = 8 #### 8"}'
        >>> am.read_public("gsm8k", data).questions[0].answer
        '8'
    """
    adapter = ADAPTERS[name]
    if len(data) > MAX_FILE_BYTES:
        raise Refusal("bad_upload", f"The file has {len(data)} bytes.", f"Split it: the most is {MAX_FILE_BYTES}.")
    text = decode_text(data)
    questions: list[PublicQuestion] = []
    problems: list[UnreadableRow] = []
    for number, row in _rows(name, text):
        try:
            if number > MAX_ROWS:
                problems.append(UnreadableRow(number, f"only the first {MAX_ROWS} rows are read"))
                break
            if isinstance(row, _Unreadable):
                raise row
            prompt, answer = adapter(row)
            for part, content in (("question", prompt), ("answer", answer)):
                if (reason := undecodable_in(content)) is not None:
                    raise _Unreadable(f"the {part} {reason}")
            if len(prompt) > MAX_TEXT:
                raise _Unreadable(f"the question has {len(prompt)} characters; the most is {MAX_TEXT}")
            questions.append(PublicQuestion(number, prompt, answer))
        except _Unreadable as problem:
            problems.append(UnreadableRow(number, str(problem)))
    return PublicQuestions(tuple(questions), tuple(problems))


def _rows(name: PublicSet, text: str) -> Iterator[tuple[int, _Row | _Unreadable]]:
    opening = text.lstrip()[:1]
    if opening == "[":
        yield from _array(text)
    elif opening == "{":
        yield from _lines(text)
    elif name == "mmlu" and opening:
        yield from _table(text)
    else:
        raise Refusal(
            "bad_upload", "The file contains no JSON.", "Use the set's JSON or JSONL file as it is published."
        )


def _array(text: str) -> Iterator[tuple[int, _Row | _Unreadable]]:
    try:
        rows: list[object] = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = f"The file is not valid JSON: {error}."
        raise Refusal("bad_upload", detail, "Use the file as it is published.") from error
    for number, row in enumerate(rows, start=1):
        yield number, row if _is_object(row) else _Unreadable("the row is not a JSON object")


def _lines(text: str) -> Iterator[tuple[int, _Row | _Unreadable]]:
    # Only "\n" ends a line: a question may contain other line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
        except (ValueError, RecursionError):
            yield number, _Unreadable("the line is not valid JSON")
            continue
        yield number, row if _is_object(row) else _Unreadable("the line is not a JSON object")


def _table(text: str) -> Iterator[tuple[int, _Row | _Unreadable]]:
    """MMLU's CSV: question, four choices, the letter; no header."""
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            if len(cells) != 6:
                yield number, _Unreadable(f"the row has {len(cells)} cells, not 6")
                continue
            yield number, {"question": cells[0], "choices": cells[1:5], "answer": cells[5].strip()}
    except csv.Error as error:
        detail = f"The file is not valid CSV: {error}."
        raise Refusal("bad_upload", detail, "Use the file as it is published.") from error


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """True for a JSON object."""
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    """True for a JSON array."""
    return isinstance(value, list)


def _gsm8k(row: _Row) -> tuple[str, str]:
    """The answer follows ``####``, after the worked solution."""
    question, worked = _text(row, "question"), _text(row, "answer")
    _, mark, answer = worked.rpartition("####")
    if not mark:
        raise _Unreadable("'answer' has no ####")
    return _as_question(question), _number(answer)


def _svamp(row: _Row) -> tuple[str, str]:
    body = _text(row, "Body").strip()
    end = "" if body.endswith((".", "?", "!")) else "."
    return _as_question(f"{body}{end} {_text(row, 'Question').strip()}"), _number(row.get("Answer"))


def _word_problem(row: _Row) -> tuple[str, str]:
    """AddSub and SingleEq: ``sQuestion`` and a list of exactly one solution."""
    solutions: object = row.get("lSolutions")
    if not _is_list(solutions) or len(solutions) != 1:
        raise _Unreadable("'lSolutions' is not a list of one number")
    return _as_question(_text(row, "sQuestion")), _number(solutions[0])


def _mmlu(row: _Row) -> tuple[str, str]:
    """The answer is a letter, or the number of a choice from 0."""
    choices: object = row.get("choices")
    if not _is_list(choices) or not all(isinstance(choice, str) for choice in choices):
        raise _Unreadable("'choices' is not a list of texts")
    answer: object = row.get("answer")
    letter = _LETTERS[answer] if isinstance(answer, int) and 0 <= answer < len(choices) <= len(_LETTERS) else answer
    texts = cast(list[str], choices)
    return _choice(_text(row, "question"), dict(zip(_LETTERS, texts, strict=False)), letter)


def _csqa(row: _Row) -> tuple[str, str]:
    """Two published forms: ``question.stem`` with a list of choices, or ``choices.label`` with ``choices.text``."""
    inner: object = row.get("question")
    labels: object = None
    texts: object = None
    if _is_object(inner):
        listed: object = inner.get("choices")
        rows = [choice for choice in listed if _is_object(choice)] if _is_list(listed) else []
        labels, texts = [choice.get("label") for choice in rows], [choice.get("text") for choice in rows]
        stem = _text(inner, "stem")
    else:
        stem, listed = _text(row, "question"), row.get("choices")
        if _is_object(listed):
            labels, texts = listed.get("label"), listed.get("text")
    if not _is_list(labels) or not _is_list(texts) or len(labels) != len(texts) or not labels:
        raise _Unreadable("the choices cannot be read")
    choices = {label: text for label, text in zip(labels, texts, strict=True) if isinstance(label, str) and text}
    if len(choices) < len(texts) or not all(isinstance(text, str) for text in choices.values()):
        raise _Unreadable("a choice is not a text, or occurs twice")
    return _choice(stem, {label: str(text) for label, text in choices.items()}, row.get("answerKey"))


def _choice(question: str, choices: Mapping[str, str], answer: object) -> tuple[str, str]:
    if not isinstance(answer, str) or answer not in choices:
        raise _Unreadable(f"the answer {str(answer)[:20]!r} is not one of the choices")
    listed = "\n".join(f"{label}. {text.strip()}" for label, text in choices.items())
    return f"{question.strip()}\n{listed}\nAnswer:", answer


def _as_question(question: str) -> str:
    # One line: for worked examples a line end would end the question.
    return f"Q: {' '.join(question.split())} A:"


def _text(row: _Row, field: str) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise _Unreadable(f"{field!r} is missing, empty or not a text")
    return value


def _number(value: object) -> str:
    """The exact number in digits: 1,234 and 1234.0 are 1234."""
    number: Number | None = read_number(str(value)) if isinstance(value, str | int | float) else None
    if number is None or isinstance(value, bool):
        raise _Unreadable(f"the answer {str(value)[:20]!r} is not a number")
    return in_digits(number)


# One row per set; each has a fixture of its published form in tests/prompts/test_public_datasets.py.
ADAPTERS: dict[PublicSet, Callable[[_Row], tuple[str, str]]] = {
    "gsm8k": _gsm8k,
    "svamp": _svamp,
    "addsub": _word_problem,
    "singleeq": _word_problem,
    "mmlu": _mmlu,
    "csqa": _csqa,
}
