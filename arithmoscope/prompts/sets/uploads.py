"""Reader of uploaded prompt pairs: CSV with a header, or JSON lines. Bytes in, nothing is unpacked.

A problem in a row is reported with its number, and the other rows stay usable; a file is refused only if no row can be
distinguished in it. A cell is always text: formulas are never run, here or later.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from typing import Any, Literal, TypeGuard

from pydantic import ValidationError

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_PAIRS, CustomPair, Upload, UploadProblem
from arithmoscope.prompts.language.readings import Reading
from arithmoscope.prompts.sets.custom_pairs import is_number, with_answer
from arithmoscope.prompts.sets.text_decoding import decode_text, has_undecodable, undecodable_in

UploadFormat = Literal["csv", "jsonl"]
FORMATS: dict[str, UploadFormat] = {
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
}
COLUMNS = ("reference", "counterfactual", "answer")
# After this many unusable rows no more are read, which bounds the cost of a file.
MAX_PROBLEMS = 10_000

# A row's cells by column.
_Cells = dict[str, Any]
# A row: its number, and the function that reads it, which returns the cells or the problem. None for an empty row.
_Row = tuple[int, Callable[[], _Cells | str] | None]

# Unknown columns that a note lists.
_LISTED = 10


def read_upload(data: bytes, format_: UploadFormat) -> Upload:
    """The first `MAX_PAIRS` usable pairs of a file, in its order, and the problems of its other rows.

    A pair is usable if some model could run it; vocabularies are not checked here. Rows count as in a spreadsheet or
    editor: from 1, the header of a CSV included.

    Raises:
        Refusal: ``bad_upload`` on a file that is not text, has no column ``reference``, or has no rows.
    """
    text = decode_text(data)
    unknown: dict[str, None] = {}
    rows = _csv_rows(text, unknown) if format_ == "csv" else _json_rows(text, unknown)
    pairs: list[CustomPair] = []
    problems: list[UploadProblem] = []
    n_rows = 0
    first_left_out: int | None = None
    for number, read_row in rows:
        if read_row is None:
            continue
        n_rows += 1
        if len(pairs) == MAX_PAIRS or len(problems) == MAX_PROBLEMS:
            first_left_out = first_left_out or number
            continue  # only counted
        cells = read_row()
        pair = cells if isinstance(cells, str) else _pair(cells)
        if isinstance(pair, str):
            problems.append(UploadProblem(row=number, reason=pair))
        else:
            pairs.append(pair)
    if n_rows == 0:
        raise Refusal("bad_upload", "The file has no rows.")
    notes = _notes(unknown)
    if first_left_out is not None:
        reason = (
            f"A set has at most {MAX_PAIRS} pairs"
            if len(pairs) == MAX_PAIRS
            else f"{MAX_PROBLEMS} earlier rows cannot be used"
        )
        after = n_rows - len(pairs) - len(problems) - 1
        others = f" and the {after} after it are" if after else " is"
        problems.append(UploadProblem(row=first_left_out, reason=f"{reason}: this row{others} left out."))
        note = f"The file has {n_rows} rows; those from row {first_left_out} on, {after + 1}, were left out."
        notes = (f"{note} Split the file to use them.", *notes)
    return Upload(pairs=tuple(pairs), problems=tuple(problems), notes=notes, n_rows=n_rows)


def _csv_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    header, delimiter = _header(text)
    for name in header:
        if name not in COLUMNS:
            unknown[name] = None
    numbered = _records(text, delimiter)
    next(numbered)
    for number, cells in numbered:
        yield number, partial(_csv_cells, header, cells) if any(cells) else None


def _csv_cells(header: list[str], cells: list[str] | str) -> _Cells | str:
    if isinstance(cells, str):
        return cells
    if len(cells) > len(header):
        return f"It has {len(cells)} cells, and the header names {len(header)} columns."
    # Spreadsheets write an empty cell for a missing value.
    named = {name: cell for name, cell in zip(header, cells, strict=False) if name in COLUMNS and cell != ""}
    return _undecodable_cell(named) or named


def _header(text: str) -> tuple[list[str], str]:
    """The column names and the delimiter: a comma, or the semicolon or tab of some countries' spreadsheets."""
    first_row: list[str] = []
    broken = ""
    for delimiter in (",", ";", "\t"):
        no_row: tuple[int, list[str] | str] = (1, [])
        _, cells = next(_records(text, delimiter), no_row)
        if isinstance(cells, str):
            broken = broken or cells
            continue
        names = [cell.strip().casefold() for cell in cells]
        if "reference" in names:
            twice = next((name for name in COLUMNS if names.count(name) > 1), None)
            if twice:
                raise Refusal("bad_upload", f"The column {twice!r} occurs twice.")
            return names, delimiter
        first_row = first_row or cells
    if not first_row and broken:
        raise Refusal("bad_upload", f"Row 1 is not a header. {broken}", _HEADER_HINT)
    if not any(first_row):
        raise Refusal("bad_upload", "The first row of the file is empty.", _HEADER_HINT)
    names = ", ".join(ascii(name[:40]) for name in first_row[:_LISTED])
    raise Refusal("bad_upload", f"No column is called 'reference'; the first row has {names}.", _HEADER_HINT)


_HEADER_HINT = "Name the columns in the first row: reference and, if you like, counterfactual and answer."


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The rows with their numbers; for a row that is not valid CSV its problem. The next line is then the next row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = lines = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > lines + 1:
                # In a broken cell of several lines it is unknown which line begins the next row.
                yield number, f"It is not valid CSV ({error}): a quote is missing, so the rest cannot be told from it."
                return
            yield number, f"It is not valid CSV: {error}."
        else:
            yield number, cells
        lines = reader.line_num


def _json_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    # Only line feeds end a line: a JSON string may contain other line separators.
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        yield number, None if line.isspace() else partial(_json_cells, line, unknown)


def _json_cells(line: str, unknown: dict[str, None]) -> _Cells | str:
    try:
        row: object = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        return "It is nested too deeply."
    except json.JSONDecodeError as error:
        return f"It is not valid JSON: {error.msg} at character {error.colno}."
    except ValueError as error:
        return f"It is not valid JSON: {str(error)[:120]}."
    if not _is_object(row):
        return 'It is not a JSON object such as {"reference": "3 + 5 ="}.'
    for name in row.keys() - set(COLUMNS):
        unknown[name] = None
    cells = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    # A surrogate in a cell may also come from a JSON escape, which is a different mistake.
    return (has_undecodable(line) and _undecodable_cell(cells)) or cells


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """True for a JSON object."""
    return isinstance(value, dict)


def _undecodable_cell(cells: _Cells) -> str | None:
    for name, cell in cells.items():
        problem = undecodable_in(cell) if isinstance(cell, str) else None
        if problem:
            return f"The {name} {problem}. Save the file as UTF-8."
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        raise ValueError("a key occurs twice")
    return cells


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _pair(cells: _Cells) -> CustomPair | str:
    """The pair of a row, or its problem."""
    answer = cells.get("answer")
    if (isinstance(answer, int) and not isinstance(answer, bool)) or (isinstance(answer, float) and isfinite(answer)):
        cells = {**cells, "answer": str(answer)}
    if cells.get("reference", "") == "":
        return "The reference is missing or empty."
    zero = next((name for name, cell in cells.items() if isinstance(cell, str) and "\0" in cell), None)
    if zero:
        return f"The {zero} contains a zero byte."
    try:
        pair = CustomPair.model_validate(cells)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = str(first["msg"])
        return f"The {first['loc'][0]}: {message[:1].lower()}{message[1:200]}."
    return _problem_of(pair) or pair


def _problem_of(pair: CustomPair) -> str | None:
    """The reason why no model could run this pair or why its answer could not be checked, or None."""
    if pair.answer is not None and not pair.answer.strip():
        return "The answer is empty."
    try:
        answered = with_answer(pair)
    except Refusal as refusal:
        return f"{refusal.detail} {refusal.way_out}"
    if isinstance(answered.reading, Reading) and not is_number(answered.answer):
        return f"The answer {answered.answer!r} is not a number, but the reference is a calculation."
    return None


def _notes(unknown: dict[str, None]) -> tuple[str, ...]:
    if not unknown:
        return ()
    names = ", ".join(ascii(name[:40]) for name in sorted(unknown)[:_LISTED])
    more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
    return (f"Unknown columns were left out: {names}{more}.",)
