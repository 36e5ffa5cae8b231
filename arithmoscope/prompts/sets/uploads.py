"""Prompt pairs out of a file that somebody uploads: CSV with a header, or JSON lines. Bytes in, nothing unpacked.

What is wrong with one row is told by the row's number, and the other rows stay usable; a file is refused only where no
row can be told from it. A cell is text whatever it looks like: a formula is not run, here or later.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from typing import Any, Literal

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
# After as many rows that cannot be used no other is looked at: what a file may cost has a bound.
MAX_PROBLEMS = 10_000

# A row's cells by column, or what is wrong with it.
_Cells = dict[str, Any]
# A row as it was found: its number, and what reads it. An empty row has nothing to read.
_Row = tuple[int, Callable[[], _Cells | str] | None]

_NAMED = 10  # unknown columns in a note


def read_upload(data: bytes, form: UploadFormat) -> Upload:
    """The first `MAX_PAIRS` usable pairs of a file, in its order, and what is wrong with its other rows.

    A pair is usable that any model could be asked: what its vocabulary does not have is not known here. Rows count as a
    spreadsheet or an editor counts them, from 1, the header of a CSV included. Refuses (``bad_upload``) what is no
    text, has no column ``reference``, or has no rows.
    """
    text = decode_text(data)
    unknown: dict[str, None] = {}
    rows = _csv_rows(text, unknown) if form == "csv" else _json_rows(text, unknown)
    pairs: list[CustomPair] = []
    problems: list[UploadProblem] = []
    n_rows = 0
    first_left_out: int | None = None
    for number, found in rows:
        if found is None:
            continue
        n_rows += 1
        if len(pairs) == MAX_PAIRS or len(problems) == MAX_PROBLEMS:
            first_left_out = first_left_out or number
            continue  # only to say how many there are
        cells = found()
        pair = cells if isinstance(cells, str) else _pair(cells)
        if isinstance(pair, str):
            problems.append(UploadProblem(row=number, reason=pair))
        else:
            pairs.append(pair)
    if n_rows == 0:
        raise Refusal("bad_upload", "The file has no rows.")
    notes = _notes(unknown)
    if first_left_out is not None:
        why = (
            f"A set has at most {MAX_PAIRS} pairs"
            if len(pairs) == MAX_PAIRS
            else f"{MAX_PROBLEMS} rows before cannot be used"
        )
        after = n_rows - len(pairs) - len(problems) - 1
        others = f" and the {after} after it are" if after else " is"
        problems.append(UploadProblem(row=first_left_out, reason=f"{why}: this row{others} left out."))
        said = f"The file has {n_rows} rows; those from row {first_left_out} on, {after + 1}, were left out."
        notes = (f"{said} Split the file to use them.", *notes)
    return Upload(pairs=tuple(pairs), problems=tuple(problems), notes=notes, n_rows=n_rows)


def _csv_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    header, delimiter = _header(text)
    for name in header:
        if name not in COLUMNS:
            unknown[name] = None
    numbered = _records(text, delimiter)
    next(numbered)
    for number, cells in numbered:
        yield number, partial(_of_columns, header, cells) if any(cells) else None


def _of_columns(header: list[str], cells: list[str] | str) -> _Cells | str:
    if isinstance(cells, str):
        return cells
    if len(cells) > len(header):
        return f"It has {len(cells)} cells, and the header names {len(header)} columns."
    named = zip(header, cells, strict=False)
    # Spreadsheets write an empty cell for nothing.
    found = {name: cell for name, cell in named if name in COLUMNS and cell != ""}
    return _no_text_in(found) or found


def _header(text: str) -> tuple[list[str], str]:
    """The columns' names and what stands between them: a comma, or what spreadsheets of some countries write."""
    found: list[str] = []
    broken = ""
    for delimiter in (",", ";", "\t"):
        _, cells = next(_records(text, delimiter), (1, []))
        if isinstance(cells, str):
            broken = broken or cells
            continue
        names = [cell.strip().casefold() for cell in cells]
        if "reference" in names:
            twice = next((name for name in COLUMNS if names.count(name) > 1), None)
            if twice:
                raise Refusal("bad_upload", f"The column {twice!r} is there twice.")
            return names, delimiter
        found = found or cells
    if not found and broken:
        raise Refusal("bad_upload", f"Row 1 is no header. {broken}", _HEADER)
    if not any(found):
        raise Refusal("bad_upload", "The first row of the file is empty.", _HEADER)
    named = ", ".join(ascii(name[:40]) for name in found[:_NAMED])
    raise Refusal("bad_upload", f"No column is called 'reference'; the first row says {named}.", _HEADER)


_HEADER = "Name the columns in the first row: reference and, if you like, counterfactual and answer."


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The rows with their numbers. One that is no CSV is what is wrong with it, and the next line is the next row."""
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
                # Where a cell of several lines goes wrong nobody knows which of its lines begins a row.
                yield number, f"It is no CSV ({error}), and what follows cannot be told from it: a quote is missing."
                return
            yield number, f"It is no CSV: {error}."
        else:
            yield number, cells
        lines = reader.line_num


def _json_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    # Line feeds alone: a string of JSON may hold what other readers call the end of a line.
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        yield number, None if line.isspace() else partial(_of_keys, line, unknown)


def _of_keys(line: str, unknown: dict[str, None]) -> _Cells | str:
    try:
        found = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        return "It is nested too deeply."
    except json.JSONDecodeError as error:
        return f"It is no JSON: {error.msg} at character {error.colno}."
    except ValueError as error:
        return f"It is no JSON: {str(error)[:120]}."
    if not isinstance(found, dict):
        return 'It is no JSON object such as {"reference": "3 + 5 ="}.'
    for name in found.keys() - set(COLUMNS):
        unknown[name] = None
    cells = {name: found[name] for name in COLUMNS if found.get(name) is not None}
    # JSON may also write half a character as an escape, which is another mistake.
    return (has_undecodable(line) and _no_text_in(cells)) or cells


def _no_text_in(cells: _Cells) -> str | None:
    for name, cell in cells.items():
        said = undecodable_in(cell) if isinstance(cell, str) else None
        if said:
            return f"The {name} {said}. Save the file as UTF-8."
    return None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _pair(cells: _Cells) -> CustomPair | str:
    """The pair of a row, or what is wrong with it."""
    answer = cells.get("answer")
    if (isinstance(answer, int) and not isinstance(answer, bool)) or (isinstance(answer, float) and isfinite(answer)):
        cells = {**cells, "answer": str(answer)}
    if cells.get("reference", "") == "":
        return "The reference is missing or empty."
    zero = next((name for name, cell in cells.items() if isinstance(cell, str) and "\0" in cell), None)
    if zero:
        return f"The {zero} holds a zero byte."
    try:
        pair = CustomPair.model_validate(cells)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = str(first["msg"])
        return f"The {first['loc'][0]}: {said[:1].lower()}{said[1:200]}."
    return _unanswerable(pair) or pair


def _unanswerable(pair: CustomPair) -> str | None:
    """Why no model could be asked this pair, or what it answers could not be compared with."""
    if pair.answer is not None and not pair.answer.strip():
        return "The answer is empty."
    try:
        found = with_answer(pair)
    except Refusal as refusal:
        return f"{refusal.detail} {refusal.way_out}"
    if isinstance(found.reading, Reading) and not is_number(found.answer):
        return f"The answer {found.answer!r} is no number, and the reference is a calculation."
    return None


def _notes(unknown: dict[str, None]) -> tuple[str, ...]:
    if not unknown:
        return ()
    named = ", ".join(ascii(name[:40]) for name in sorted(unknown)[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return (f"Columns that mean nothing here were left out: {named}{more}.",)
