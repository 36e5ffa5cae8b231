"""Files of prompt pairs: what is read, what is told by its row, what is refused whole, and that nothing takes long."""

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

from contracts.errors import Refusal
from contracts.prompts import MAX_PAIRS, MAX_PROMPT_CHARACTERS, CustomPair, Upload
from prompts.uploads import FORMATS, UploadFormat, read_upload

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
    text = newline.join(["reference;answer", "3 × 5 =;15", '"2\n+ 2 =";4', ""])
    read = read_upload(text.encode(encoding), "csv")
    assert [(pair.reference, pair.answer) for pair in read.pairs] == [("3 × 5 =", "15"), ("2\n+ 2 =", "4")]


@pytest.mark.parametrize("mark", ["\ufeff".encode("utf-16-le"), "\ufeff".encode("utf-16-be")])
def test_utf_16_of_both_orders_is_read_by_its_mark(mark: bytes) -> None:
    order = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert read_upload(mark + "reference\n1 + 1 =".encode(order), "csv").pairs[0].reference == "1 + 1 ="


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"])
def test_a_formula_is_a_text_like_any_other(cell: str) -> None:
    assert of_csv(f'reference\n"{cell}"').pairs[0].reference == cell


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


def test_more_rows_than_a_set_holds_are_refused_with_their_number() -> None:
    assert len(of_csv("reference\n" + "3 + 5 =\n" * MAX_PAIRS).pairs) == MAX_PAIRS
    assert f"{MAX_PAIRS + 7} rows" in refused(b"reference\n" + b"3 + 5 =\n" * (MAX_PAIRS + 7))
    assert f"{MAX_PAIRS + 1} rows" in refused(b'{"reference": "a"}\n' * (MAX_PAIRS + 1), "jsonl")


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "reference\n3 + 5 =")
    return file.getvalue()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("data", [_zip(), gzip.compress(b"reference\n1"), b"PK\x05\x06" + b"\0" * 18, b"BZh91AY&SY\0"])
def test_an_archive_is_refused_with_the_way_out_and_never_unpacked(data: bytes, form: UploadFormat) -> None:
    assert "Unpack it first" in refused(data, form)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no rows|first row"),
        (b"\n\n", "first row"),
        (b"reference\n", "no rows"),
        (b"question,answer\n1,2", "'question', 'answer'"),
        (b"3 + 5 =\n", "reference"),
        (b"reference,reference\n1,2", "twice"),
        (b"reference\ncaf\xe9\n", "Byte 13 .line 2. is not UTF-8: 0xe9"),
        (b"\xef\xbb\xbfreference\ncaf\xe9\n", "Byte 16"),
        (b"\xff\xfea", "UTF-16"),
        (b"\xff\xfe\0\0r\0\0\0", "UTF-32"),
        (b'reference\n"3 + 5 =', "Row 2 is no CSV"),
        (b'reference\n"3" 4\n', "Row 2 is no CSV"),
        (b"reference\n" + b"x" * 200_000, "Row 2 is no CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_a_sentence(data: bytes, said: str) -> None:
    assert re.search(said, refused(data))


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
    started = time.perf_counter()
    _pairs_or_refusal(data, form)
    # Seconds are for a busy machine; what grows with the square of a file takes hours here.
    assert time.perf_counter() - started < 60


@settings(max_examples=300, deadline=2_000, derandomize=True)
@given(st.binary(max_size=400), st.sampled_from(sorted(FORMATS)))
def test_bytes_of_any_kind_are_pairs_or_a_refusal(data: bytes, media_type: str) -> None:
    for begin in (b"", b"reference,answer\n", b'{"reference":'):
        _pairs_or_refusal(begin + data, FORMATS[media_type])


@settings(max_examples=300, deadline=2_000, derandomize=True)
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
        said = refusal.details()
        assert said.model_dump_json().encode()
        assert said.type.endswith("bad_upload")
        return
    assert read.n_rows == len(read.pairs) + len(read.problems)
    assert Upload.model_validate_json(read.model_dump_json()) == read
