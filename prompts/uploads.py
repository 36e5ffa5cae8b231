"""Prompt pairs out of a file that somebody uploads: CSV with a header, or JSON lines. Bytes in, nothing unpacked.

What is wrong with one row is told by the row's number, and the other rows stay usable; what is wrong with the file
refuses it. A cell is text whatever it looks like: a formula is not run, here or later.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ValidationError

from contracts.errors import Refusal
from contracts.prompts import MAX_PAIRS, CustomPair, Upload, UploadProblem

UploadFormat = Literal["csv", "jsonl"]
FORMATS: dict[str, UploadFormat] = {
    "text/csv": "csv",
    "application/jsonl": "jsonl",
    "application/x-ndjson": "jsonl",
}
COLUMNS = ("reference", "counterfactual", "answer")

# A row as it was found: its number, and its cells by column or what is wrong with it. An empty row has no cells.
_Cells = dict[str, Any]
_Row = tuple[int, _Cells | str]

_PACKED = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
}
_UNPACK = "Unpack it first, or save the spreadsheet as CSV."
_UTF_32 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff")
_NAMED = 10  # unknown columns in a note


def read_upload(data: bytes, form: UploadFormat) -> Upload:
    """The pairs of a file, in its order, and what is wrong with its other rows.

    Rows count as a spreadsheet or an editor counts them, from 1, the header of a CSV included. Refuses
    (``bad_upload``) what is no text, has no column ``reference``, or has more than `MAX_PAIRS` rows.
    """
    text = _text(data)
    unknown: dict[str, None] = {}
    rows = _csv_rows(text, unknown) if form == "csv" else _json_rows(text, unknown)
    pairs: list[CustomPair] = []
    problems: list[UploadProblem] = []
    n_rows = 0
    for number, found in rows:
        if not found:
            continue
        n_rows += 1
        if n_rows > MAX_PAIRS:
            continue  # only to say how many there are
        pair = found if isinstance(found, str) else _pair(found)
        if isinstance(pair, str):
            problems.append(UploadProblem(row=number, reason=pair))
        else:
            pairs.append(pair)
    if n_rows > MAX_PAIRS:
        way_out = f"Split it into files of at most {MAX_PAIRS} rows."
        raise Refusal("bad_upload", f"The file has {n_rows} rows; a set has at most {MAX_PAIRS}.", way_out)
    if n_rows == 0:
        raise Refusal("bad_upload", "The file has no rows.")
    return Upload(pairs=tuple(pairs), problems=tuple(problems), notes=_notes(unknown), n_rows=n_rows)


def _text(data: bytes) -> str:
    for magic, name in _PACKED.items():
        if data.startswith(magic):
            raise Refusal("bad_upload", f"The file is {name}.", _UNPACK)
    if data[:3] == b"BZh" and data[4:10] == b"1AY&SY":
        raise Refusal("bad_upload", "The file is a bzip2 archive.", _UNPACK)
    if data.startswith(_UTF_32):
        raise Refusal("bad_upload", "The file is in UTF-32.", "Save it as UTF-8.")
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        name = "UTF-16" if encoding == "utf-16" else "UTF-8"
        # A decoder that takes a mark off the front counts from behind it.
        at = error.start + len(data) - len(error.object)
        line = data.count(b"\n", 0, at) + 1
        raise Refusal("bad_upload", f"Byte {at} (line {line}) is not {name}: 0x{data[at]:02x}.") from error


def _csv_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    header, delimiter = _header(text)
    for name in header:
        if name not in COLUMNS:
            unknown[name] = None
    numbered = _records(text, delimiter)
    next(numbered)
    for number, cells in numbered:
        if not any(cells):
            yield number, {}
        elif len(cells) > len(header):
            yield number, f"It has {len(cells)} cells, and the header names {len(header)} columns."
        else:
            named = zip(header, cells, strict=False)
            # Spreadsheets write an empty cell for nothing.
            yield number, {"reference": "", **{name: cell for name, cell in named if name in COLUMNS and cell != ""}}


def _header(text: str) -> tuple[list[str], str]:
    """The columns' names and what stands between them: a comma, or what spreadsheets of some countries write."""
    found: list[str] = []
    for delimiter in (",", ";", "\t"):
        _, cells = next(_records(text, delimiter), (1, []))
        names = [cell.strip().casefold() for cell in cells]
        if "reference" in names:
            twice = next((name for name in COLUMNS if names.count(name) > 1), None)
            if twice:
                raise Refusal("bad_upload", f"The column {twice!r} is there twice.")
            return names, delimiter
        found = found or cells
    if not any(found):
        raise Refusal("bad_upload", "The first row of the file is empty.", _HEADER)
    named = ", ".join(ascii(name[:40]) for name in found[:_NAMED])
    raise Refusal("bad_upload", f"No column is called 'reference'; the first row says {named}.", _HEADER)


_HEADER = "Name the columns in the first row: reference and, if you like, counterfactual and answer."


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Refusal("bad_upload", f"Row {number} is no CSV: {error}.") from error
        yield number, cells


def _json_rows(text: str, unknown: dict[str, None]) -> Iterator[_Row]:
    # Line feeds alone: a string of JSON may hold what other readers call the end of a line.
    n_rows = 0
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        n_rows += not line.isspace()
        if line.isspace():
            yield number, {}
            continue
        if n_rows > MAX_PAIRS:
            yield number, "It is only counted."
            continue
        try:
            found = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
        except RecursionError:
            yield number, "It is nested too deeply."
            continue
        except ValueError as error:
            yield number, f"It is no JSON: {str(error)[:120]}."
            continue
        if not isinstance(found, dict):
            yield number, 'It is no JSON object such as {"reference": "3 + 5 ="}.'
            continue
        for name in found.keys() - set(COLUMNS):
            unknown[name] = None
        yield number, {"reference": "", **{name: found[name] for name in COLUMNS if found.get(name) is not None}}


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
    if isinstance(answer, int) and not isinstance(answer, bool):
        cells = {**cells, "answer": _plain(answer)}
    if cells["reference"] == "":
        return "The reference is empty."
    zero = next((name for name, cell in cells.items() if isinstance(cell, str) and "\0" in cell), None)
    if zero:
        return f"The {zero} holds a zero byte."
    try:
        return CustomPair.model_validate(cells)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        said = str(first["msg"])
        return f"The {first['loc'][0]}: {said[:1].lower()}{said[1:200]}."


def _plain(number: int) -> Any:
    try:
        return str(number)
    except ValueError:  # thousands of digits
        return number


def _notes(unknown: dict[str, None]) -> tuple[str, ...]:
    if not unknown:
        return ()
    named = ", ".join(ascii(name[:40]) for name in sorted(unknown)[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return (f"Columns that mean nothing here were left out: {named}{more}.",)
