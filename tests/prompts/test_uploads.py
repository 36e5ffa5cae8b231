"""Files of prompt pairs: rows read, rows reported by number, files refused as a whole, and bounded reading time."""

from __future__ import annotations

import gzip
import io
import json
import re
import time
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_PAIRS, MAX_PROMPT_CHARACTERS, CustomPair, CustomPrompts, Upload
from arithmoscope.prompts import prepare
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.sets.custom_pairs import is_number
from arithmoscope.prompts.sets.uploads import FORMATS, MAX_PROBLEMS, UploadFormat, read_upload

LARGEST = 16 * 1024 * 1024


def of_csv(text: str) -> Upload:
    return read_upload(text.encode(), "csv")


def of_lines(*rows: Any) -> Upload:
    return read_upload("\n".join(json.dumps(row) for row in rows).encode(), "jsonl")


def refused(data: bytes, form: UploadFormat = "csv") -> str:
    with pytest.raises(Refusal) as refusal:
        read_upload(data, form)
    assert refusal.value.code == "bad_upload"
    return str(refusal.value)


def test_a_csv_is_read_by_its_columns_in_any_order_and_an_empty_cell_is_nothing() -> None:
    read = of_csv("answer,Reference , counterfactual\n8,3 + 5 =,3 @ 5 =\n,2 + 2 =,\n")
    assert read.pairs == (
        CustomPair(reference="3 + 5 =", counterfactual="3 @ 5 =", answer="8"),
        CustomPair(reference="2 + 2 ="),
    )
    assert (read.n_rows, read.problems, read.notes) == (2, (), ())


def test_json_lines_are_read_by_their_keys_and_a_number_is_an_answer_too() -> None:
    read = of_lines({"reference": "3 + 5 =", "answer": 8}, {"reference": "2 + 2 =", "counterfactual": None})
    assert read.pairs == (CustomPair(reference="3 + 5 =", answer="8"), CustomPair(reference="2 + 2 ="))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_the_marks_and_line_ends_that_programs_write_are_understood(encoding: str, newline: str) -> None:
    text = newline.join(["reference;answer", "3 × 5 =;15", '"1 + 1 = 2\n2 + 2 =";4', ""])
    read = read_upload(text.encode(encoding), "csv")
    assert [(pair.reference, pair.answer) for pair in read.pairs] == [("3 × 5 =", "15"), ("1 + 1 = 2\n2 + 2 =", "4")]


@pytest.mark.parametrize("mark", ["\ufeff".encode("utf-16-le"), "\ufeff".encode("utf-16-be")])
def test_utf_16_of_both_orders_is_read_by_its_mark(mark: bytes) -> None:
    order = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert read_upload(mark + "reference\n1 + 1 =".encode(order), "csv").pairs[0].reference == "1 + 1 ="


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"])
def test_a_formula_is_a_text_like_any_other(cell: str) -> None:
    (pair,) = of_csv(f'reference,counterfactual,answer\n"{cell}","{cell}",7').pairs
    assert pair == CustomPair(reference=cell, counterfactual=cell, answer="7")


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "=3+5", "#REF!", "8x", "banana", "NaN", "1.2.3", "--5"]
)
def test_a_formula_or_a_word_is_no_answer_to_a_calculation_and_the_other_rows_stay(cell: str) -> None:
    read = of_csv(f'reference,answer\n3 + 5 =,8\n3 + 5 =,"{cell}"\n2 + 2 =,4\n')
    assert [pair.answer for pair in read.pairs] == ["8", "4"]
    (problem,) = read.problems
    assert (problem.row, repr(cell) in problem.reason) == (3, True)


@pytest.mark.parametrize(
    "answer",
    [
        "8",
        " 8",
        "-8",
        "−8",
        "08",
        "1,234.50",
        "2,5",
        "1/2",
        "12 %",
        "$8",
        "8 sheep",
        "8.",
        "eight",
        "Minus five",
        "One hundred and five",
        "9" * 39,
    ],
)
def test_a_number_however_people_write_it_is_an_answer_to_a_calculation(answer: str) -> None:
    (pair,) = of_lines({"reference": "3 + 5 =", "answer": answer}).pairs
    assert pair.answer == answer


def test_every_answer_that_the_parser_computes_is_a_number() -> None:
    for prompt in (
        "three plus nine hundred is",
        "0.1 + 0.25 =",
        "3 - 12 =",
        "999999999999 * 999999999999 =",
        "2 ^ 40 =",
    ):
        reading = read(prompt)
        assert reading is not None
        assert is_number(reading.answer), reading.answer
        assert of_lines({"reference": prompt, "answer": reading.answer}).problems == ()


# A file's row is refused with the words of `prepare`; neither refusal needs a vocabulary.
ROWS = [
    {"reference": "6 / 4 ="},
    {"reference": "5 / 0 ="},
    {"reference": "The capital of Atlantis is"},
    {"reference": "The capital of Atlantis is", "answer": "P"},
    {"reference": "The capital of Atlantis is", "counterfactual": "The none of Atlantis is"},
    {"reference": "  \n", "answer": "8"},
    {"reference": "3 + 5 =", "counterfactual": " "},
    {"reference": "3 + 5 =", "answer": "  "},
]


@pytest.mark.parametrize("row", ROWS)
def test_what_no_model_could_be_asked_is_told_by_its_row_as_the_whole_set_would_be_refused(
    row: dict[str, str], tokenizer: Tokenizer
) -> None:
    good = {"reference": "3 + 5 ="}
    read = of_lines(good, row, good)
    assert [pair.reference for pair in read.pairs] == ["3 + 5 ="] * 2
    (problem,) = read.problems
    with pytest.raises(Refusal) as refusal:
        prepare(CustomPrompts(source="custom", shots=0, pairs=(CustomPair(**row),)), tokenizer)
    assert problem.row == 2
    assert problem.reason.split(".")[0] in refusal.value.detail


def test_the_rows_of_a_file_that_can_be_used_are_a_set_that_is_prepared(tokenizer: Tokenizer) -> None:
    rows = [
        *ROWS,
        {"reference": "3 + 5 ="},
        {"reference": "1 + 1 =", "answer": "2"},
        {"reference": "4 - 1 =", "answer": "-"},
    ]
    read = of_lines(*rows)
    assert len(prepare(CustomPrompts(source="custom", shots=0, pairs=read.pairs), tokenizer).pairs) == 2


def test_what_is_wrong_with_a_row_is_told_by_its_number_and_the_others_stay() -> None:
    long = "1" * (MAX_PROMPT_CHARACTERS + 1)
    read = of_csv(f'reference,answer\n3 + 5 =,8\n\n,8\n{long},1\n1 + 1 =,{"9" * 65}\n1,2,3\n"a\0b",1\n4 + 4 =,8\n')
    assert [pair.reference for pair in read.pairs] == ["3 + 5 =", "4 + 4 ="]
    assert [problem.row for problem in read.problems] == [4, 5, 6, 7, 8]
    assert [problem.reason.split()[1] for problem in read.problems] == [
        "reference",
        "reference:",
        "answer:",
        "has",
        "reference",
    ]
    assert read.n_rows == 7


def test_lines_that_are_no_objects_are_told_by_their_number() -> None:
    lines = ['{"reference": "3 + 5 ="}', "[1]", "{", "", '{"reference": 5}', '{"reference": "a", "answer": NaN}']
    lines += [
        '{"reference": "a", "reference": "b"}',
        "[" * 100_000,
        '{"reference": "\\ud800"}',
        '"text"',
        '{"answer": "8"}',
    ]
    lines += ['{"reference": "a", "answer": ' + "9" * 5000 + "}", '{"reference": "a", "answer": true}']
    read = read_upload("\n".join(lines).encode(), "jsonl")
    assert [pair.reference for pair in read.pairs] == ["3 + 5 ="]
    assert [problem.row for problem in read.problems] == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert all(problem.reason.endswith(".") for problem in read.problems)


def test_columns_that_mean_nothing_are_named_in_a_note() -> None:
    (note,) = of_csv("id,reference,split\n1,3 + 5 =,train").notes
    assert "'id', 'split'" in note
    assert "'tags'" in of_lines({"reference": "3 + 5 =", "tags": [1]}).notes[0]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_of_a_file_of_100_000_rows_the_first_usable_ones_are_kept_and_the_first_left_out_is_named(
    form: UploadFormat,
) -> None:
    good, bad = ("12 + 34 =,46\n", "12 + 34 =,x\n") if form == "csv" else ('{"reference": "12 + 34 ="}\n', "{\n")
    header = "reference,answer\n" if form == "csv" else ""
    read = read_upload((header + (bad + good * 99) * 1_000).encode(), form)
    # One row of a hundred is bad: 102 of them precede the last pair.
    first_left_out = MAX_PAIRS + 103 + (form == "csv")
    assert (len(read.pairs), read.n_rows) == (MAX_PAIRS, 100_000)
    assert [problem.row for problem in read.problems[:-1]] == [100 * at + 1 + (form == "csv") for at in range(102)]
    assert read.problems[-1].row == first_left_out
    after = 100_000 - MAX_PAIRS - 102 - 1
    assert f"and the {after} after it" in read.problems[-1].reason
    assert f"{after + 1}, were left out" in read.notes[0]


def test_as_many_rows_as_a_set_holds_are_all_kept_and_one_more_is_named() -> None:
    full = "reference,counterfactual,answer\n" + "5,a,8\n" * MAX_PAIRS
    read = of_csv(full)
    assert (len(read.pairs), read.problems, read.notes) == (MAX_PAIRS, (), ())
    read = of_csv(full + "\n5,a,8\n")
    (problem,) = read.problems
    assert len(read.pairs) == MAX_PAIRS
    assert (problem.row, "this row is left out" in problem.reason) == (MAX_PAIRS + 3, True)


def test_after_very_many_rows_that_cannot_be_used_no_other_is_looked_at() -> None:
    read = of_csv("reference\n3 + 5 =\n" + "12,3\n" * (MAX_PROBLEMS + 3) + "3 + 5 =\n")
    assert (len(read.pairs), len(read.problems), read.n_rows) == (1, MAX_PROBLEMS + 1, MAX_PROBLEMS + 5)
    assert "this row and the 3 after it" in read.problems[-1].reason


def test_a_file_in_two_encodings_loses_the_rows_that_are_in_the_other_and_no_more() -> None:
    data = "reference,answer,city\n3 × 5 =,15,Zürich\n".encode()
    data += "3 × 4 =,12,Bern\n2 + 2 =,é,Bern\n".encode("cp1252")
    data += "4 + 4 =,8,Zürich\n".encode("cp1252")  # in an unknown column
    data += '"1 ×\n3 =",3,\n'.encode("cp1252") + "2 × 5 =,10,\n".encode()
    read = read_upload(data, "csv")
    assert [pair.reference for pair in read.pairs] == ["3 × 5 =", "4 + 4 =", "2 × 5 ="]
    assert [(problem.row, problem.reason.split(",")[0]) for problem in read.problems] == [
        (3, "The reference contains the byte 0xd7"),
        (4, "The answer contains the byte 0xe9"),
        (6, "The reference contains the byte 0xd7"),
    ]
    assert "in Windows-1252 it is '×'" in read.problems[0].reason
    lines = (
        b'{"reference": "3 \xd7 5 ="}\n{"reference": "3 + 5 =", "who": "\xe9"}\n{"reference": "\\udce9", "answer": "8"}'
    )
    read = read_upload(lines, "jsonl")
    assert [pair.reference for pair in read.pairs] == ["3 + 5 ="]
    assert [(problem.row, "0xd7" in problem.reason) for problem in read.problems] == [(1, True), (3, False)]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.sampled_from(["latin-1", "cp1252"]))
@settings(max_examples=50, derandomize=True)
def test_exactly_the_rows_in_another_encoding_are_lost(torn: list[bool], other: str) -> None:
    rows = [f"{at} × 3 =".encode(other if is_torn else "utf-8") for at, is_torn in enumerate(torn)]
    read = read_upload(b"\n".join([b"reference", *rows]), "csv")
    assert [int(pair.reference.split()[0]) for pair in read.pairs] == [
        at for at, is_torn in enumerate(torn) if not is_torn
    ]
    assert [problem.row - 2 for problem in read.problems] == [at for at, is_torn in enumerate(torn) if is_torn]


def test_a_utf_16_file_that_breaks_off_or_holds_half_a_character_loses_that_row_alone() -> None:
    text = "\ufeffreference\n3 + 5 =\n\ud800 + 1 =\n4 + 4 =\n5 + 1 ="
    read = read_upload(text.encode("utf-16-le", "surrogatepass")[:-1], "csv")
    assert [pair.reference for pair in read.pairs] == ["3 + 5 =", "4 + 4 ="]
    assert [problem.row for problem in read.problems] == [3, 5]


def test_a_row_whose_quotes_are_wrong_is_told_and_the_rows_beside_it_stay() -> None:
    read = of_csv(
        'reference,answer\n3 + 5 =,8\n"3" 4,5\n2 + 2 =,4\n' + "x" * 200_000 + '\n1 + 1 =,2\n"4 + 4 =,8\n5 + 5 =,10\n'
    )
    assert [pair.reference for pair in read.pairs] == ["3 + 5 =", "2 + 2 =", "1 + 1 ="]
    assert [problem.row for problem in read.problems] == [3, 5, 7]
    assert "a quote is missing" in read.problems[-1].reason


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_with_every_cell_quoted_is_read_with_any_separator(delimiter: str) -> None:
    read = of_csv(f'"answer"{delimiter}"reference"\n"8"{delimiter}"3 + 5 ="\n')
    assert read.pairs == (CustomPair(reference="3 + 5 =", answer="8"),)


def test_a_number_of_json_is_an_answer_as_it_is_written() -> None:
    read = of_lines({"reference": "2.5 + 1 =", "answer": 3.5}, {"reference": "2 + 1 =", "answer": 10**400})
    assert ([pair.answer for pair in read.pairs], [problem.row for problem in read.problems]) == (["3.5"], [2])
    (problem,) = read_upload(b'{"reference": "2 + 1 =", "answer": 1e999}', "jsonl").problems
    assert problem.reason.startswith("The answer:")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "reference\n3 + 5 =")
    return file.getvalue()


ARCHIVES = {
    "zip": _zip(),
    "gzip": gzip.compress(b"reference\n1"),
    "empty zip": b"PK\x05\x06" + b"\0" * 18,
    "bzip2": b"BZh91AY&SY\0",
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("data", ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_is_refused_with_the_way_out_and_never_unpacked(data: bytes, form: UploadFormat) -> None:
    assert "Unpack it first" in refused(data, form)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no rows|first row"),
        (b"\n\n", "first row"),
        (b"reference\n", "no rows"),
        (b"question,answer\n1,2", "'question', 'answer'"),
        (b"3 + 5 =\n", "reference"),
        (b"reference,reference\n1,2", "twice"),
        (b"\xe9t\xe9,answer\n1,2", "reference"),
        (b"\xff\xfea", "reference"),
        (b"r\0e\0f\0", "UTF-16"),
        (b"\0r\0e\0f", "UTF-16"),
        (b"\xff\xfe\0\0r\0\0\0", "UTF-32"),
        (b'"reference" x\n3 + 5 =', "Row 1 is not a header"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_a_sentence(data: bytes, message: str) -> None:
    assert re.search(message, refused(data))


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("csv", b"reference\n" + b"\n" * LARGEST),
        ("csv", b"reference\n" + b"," * LARGEST),
        ("csv", b"reference\n" + b'""' * (LARGEST // 2)),
        ("csv", b"reference\n" + b'"\n' * (LARGEST // 2)),
        ("csv", b"," * LARGEST),
        ("csv", b"a\n" * (LARGEST // 2)),
        ("csv", b"\xff\xfe" + b"\x0a\x0a" * (LARGEST // 2)),
        ("jsonl", b"\n" * LARGEST),
        ("jsonl", b"{\n" * (LARGEST // 2)),
        ("jsonl", b"[" * LARGEST),
        ("jsonl", b'{"a":' * (LARGEST // 5)),
        ("jsonl", b'{"reference": "' + b"a" * LARGEST),
        ("jsonl", b"9" * LARGEST),
    ],
)
def test_the_largest_and_oddest_file_takes_a_moment(form: UploadFormat, data: bytes) -> None:
    started = time.process_time()
    _pairs_or_refusal(data, form)
    # Seconds allow for a busy machine; quadratic time would be hours here.
    assert time.process_time() - started < 60


@settings(max_examples=300, derandomize=True)
@given(st.binary(max_size=400), st.sampled_from(sorted(FORMATS)))
def test_bytes_of_any_kind_are_pairs_or_a_refusal(data: bytes, media_type: str) -> None:
    for begin in (b"", b"reference,answer\n", b'{"reference":'):
        _pairs_or_refusal(begin + data, FORMATS[media_type])


@settings(max_examples=300, derandomize=True)
@given(st.lists(st.lists(st.text(max_size=30), max_size=4), max_size=8), st.sampled_from(["utf-8", "utf-16"]))
def test_texts_of_any_kind_are_pairs_or_a_refusal(rows: list[list[str]], encoding: str) -> None:
    text = "reference,counterfactual,answer\n" + "\n".join(",".join(row) for row in rows)
    _pairs_or_refusal(text.encode(encoding, "surrogatepass"), "csv")
    lines = "\n".join(json.dumps(dict(zip(("reference", "answer", "x"), row, strict=False))) for row in rows)
    _pairs_or_refusal(lines.encode(encoding, "surrogatepass"), "jsonl")


def _pairs_or_refusal(data: bytes, form: UploadFormat) -> None:
    try:
        read = read_upload(data, form)
    except Refusal as refusal:
        message = refusal.details()
        assert message.model_dump_json().encode()
        assert message.type.endswith("bad_upload")
        return
    assert read.n_rows == len(read.pairs) + len(read.problems) or len(read.problems) == MAX_PROBLEMS + 1
    assert Upload.model_validate_json(read.model_dump_json()) == read
