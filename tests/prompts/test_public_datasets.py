"""Public sets are read in their published forms; unreadable rows are reported by number and leave the rest usable.

The fixtures are written for this project, in the form of the sets and with none of their questions.
"""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.contracts.errors import Refusal
from arithmoscope.prompts.language.numerals import read_number
from arithmoscope.prompts.sets.public_datasets import ADAPTERS, MAX_ROWS, PublicSet, read_public

GSM8K = {
    "question": "A hen lays 12 eggs a week.\nHow many eggs does it lay in 100 weeks?",
    "answer": "In one week 12 eggs.\nIn 100 weeks <<12*100=1200>>1200 eggs.\n#### 1,200",
}
SVAMP = {
    "ID": "chal-0",
    "Body": "A farmer has 14 cows and 3.5 tons of hay",
    "Question": "How many cows and tons are that?",
    "Equation": "( 14.0 + 3.5 )",
    "Answer": 17.5,
    "Type": "Addition",
}
ADDSUB = {
    "iIndex": 0,
    "sQuestion": "Ann has 9 pens and gives 4 away. How many does she keep?",
    "lEquations": ["X=9-4"],
    "lSolutions": [5.0],
}
MMLU = {"question": "Which of these is a fruit?", "choices": ["Stone", "Plum", "Nail", "Rope"], "answer": 1}
CSQA_OLD = {
    "answerKey": "B",
    "id": "x",
    "question": {
        "question_concept": "boat",
        "stem": "Where does a boat float?",
        "choices": [{"label": "A", "text": "attic"}, {"label": "B", "text": "lake"}],
    },
}
CSQA_NEW = {
    "id": "x",
    "question": "Where does a boat float?",
    "choices": {"label": ["A", "B"], "text": ["attic", "lake"]},
    "answerKey": "B",
}
FLOATS = "Where does a boat float?\nA. attic\nB. lake\nAnswer:"
FORMS: list[tuple[PublicSet, dict[str, Any], str, str]] = [
    ("gsm8k", GSM8K, "Q: A hen lays 12 eggs a week. How many eggs does it lay in 100 weeks? A:", "1200"),
    ("svamp", SVAMP, "Q: A farmer has 14 cows and 3.5 tons of hay. How many cows and tons are that? A:", "17.5"),
    ("addsub", ADDSUB, "Q: Ann has 9 pens and gives 4 away. How many does she keep? A:", "5"),
    ("singleeq", ADDSUB, "Q: Ann has 9 pens and gives 4 away. How many does she keep? A:", "5"),
    ("mmlu", MMLU, "Which of these is a fruit?\nA. Stone\nB. Plum\nC. Nail\nD. Rope\nAnswer:", "B"),
    ("mmlu", {**MMLU, "answer": "B"}, "Which of these is a fruit?\nA. Stone\nB. Plum\nC. Nail\nD. Rope\nAnswer:", "B"),
    ("csqa", CSQA_OLD, FLOATS, "B"),
    ("csqa", CSQA_NEW, FLOATS, "B"),
]


@pytest.mark.parametrize(("name", "row", "prompt", "answer"), FORMS)
def test_every_set_is_read_as_lines_and_as_a_list(name: PublicSet, row: dict[str, Any], prompt: str, answer: str):
    lines = f"{json.dumps(row)}\n\n{json.dumps(row)}\r\n"
    for data, numbers in ((lines, [1, 3]), (json.dumps([row, row], indent=2), [1, 2])):
        for encoded in (data.encode(), b"\xef\xbb\xbf" + data.encode()):
            read = read_public(name, encoded)
            assert not read.problems
            assert [(q.row, q.prompt, q.answer) for q in read.questions] == [(n, prompt, answer) for n in numbers]


def test_every_adapter_has_its_fixture():
    assert set(ADAPTERS) == set(get_args(PublicSet)) == {name for name, *_ in FORMS}


def test_mmlu_is_read_as_the_table_that_it_comes_as():
    table = (
        '"Which is ""wet"", mostly?",Sand,Rain,Dust,Coal,B\r\n"Two\nlines?",1,2,3,4,D\nshort,row\nWhich?,a,b,c,d,E\n'
    )
    read = read_public("mmlu", table.encode())
    assert [(question.row, question.answer) for question in read.questions] == [(1, "B"), (2, "D")]
    assert [problem.row for problem in read.problems] == [3, 4]
    assert read.problems[0].reason == "the row has 2 cells, not 6"


BAD: list[tuple[PublicSet, Any, str]] = [
    ("gsm8k", {"question": "What?", "answer": "no mark"}, "####"),
    ("gsm8k", {"question": "What?", "answer": "#### many"}, "not a number"),
    ("gsm8k", {"question": " ", "answer": "#### 3"}, "'question'"),
    ("gsm8k", {"question": "What? " * 2_000, "answer": "#### 3"}, "characters"),
    ("gsm8k", {"answer": "#### 3"}, "'question'"),
    ("gsm8k", 3, "not a JSON object"),
    ("svamp", {**SVAMP, "Answer": None}, "not a number"),
    ("svamp", {**SVAMP, "Answer": True}, "not a number"),
    ("svamp", {**SVAMP, "Answer": float("nan")}, "not a number"),
    ("svamp", {**SVAMP, "Body": 3}, "'Body'"),
    ("addsub", {**ADDSUB, "lSolutions": [1.0, 2.0]}, "one number"),
    ("singleeq", {**ADDSUB, "lSolutions": "5"}, "one number"),
    ("mmlu", {**MMLU, "answer": 4}, "not one of the choices"),
    ("mmlu", {**MMLU, "choices": "Plum"}, "list of texts"),
    ("csqa", {**CSQA_OLD, "answerKey": "Z"}, "not one of the choices"),
    ("csqa", {**CSQA_NEW, "choices": {"label": ["A"], "text": []}}, "cannot be read"),
    ("csqa", {**CSQA_NEW, "choices": {"label": ["A"], "text": [3]}}, "not a text"),
    ("csqa", {**CSQA_NEW, "choices": None}, "cannot be read"),
    ("csqa", {"question": {"stem": "Where?"}, "answerKey": "A"}, "cannot be read"),
]


@pytest.mark.parametrize(("name", "row", "reason"), BAD)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_used(name: PublicSet, row: Any, reason: str):
    good = next(form for form in FORMS if form[0] == name)[1]
    read = read_public(name, "\n".join(json.dumps(each) for each in (good, row, good)).encode())
    assert [question.row for question in read.questions] == [1, 3]
    assert [problem.row for problem in read.problems] == [2]
    assert reason in read.problems[0].reason


def test_a_line_that_is_no_json_is_named():
    read = read_public("gsm8k", f"{json.dumps(GSM8K)}\n{{broken\n{'[' * 100_000}\n".encode())
    assert [(problem.row, problem.reason) for problem in read.problems] == [
        (2, "the line is not valid JSON"),
        (3, "the line is not valid JSON"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("gsm8k", b"", "no JSON"),
        ("gsm8k", b"question,answer\n", "no JSON"),
        ("gsm8k", b"PK\x03\x04", "archive"),
        ("gsm8k", b"[1, 2", "not valid JSON"),
        ("gsm8k", b"[" * 100_000, "not valid JSON"),
        ("mmlu", b'a,"b', "not valid CSV"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_with_the_way_out(name: Any, data: bytes, message: str):
    with pytest.raises(Refusal, match=message) as refused:
        read_public(name, data)
    assert refused.value.code == "bad_upload"
    assert refused.value.way_out != refused.value.problem.way_out


def test_more_rows_than_are_read_are_told():
    line = json.dumps(ADDSUB)
    read = read_public("addsub", "\n".join([line] * (MAX_ROWS + 2)).encode())
    assert len(read.questions) == MAX_ROWS
    assert [problem.row for problem in read.problems] == [MAX_ROWS + 1]


@given(st.sampled_from(get_args(PublicSet)), st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_file_raises_anything_but_a_refusal(name: PublicSet, data: bytes):
    for each in (data, b"[" + data, b"{" + data):
        try:
            read_public(name, each)
        except Refusal:
            continue


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234", 1234),
        ("$18", 18),
        ("-3.50", -3.5),
        ("12%", 12),
        ("1,23", None),
        ("1e5", None),
        ("", None),
        ("٣", None),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float | None):
    assert read_number(text) == value


def test_a_row_in_another_encoding_is_named_and_the_others_stay():
    rows = [b'{"question": "What is 1 + 1?", "answer": "#### 2"}', b'{"question": "caf\xe9?", "answer": "#### 2"}']
    result = read_public("gsm8k", b"\n".join([*rows, rows[0]]))
    assert [each.row for each in result.questions] == [1, 3]
    assert [(each.row, each.reason) for each in result.problems] == [
        (2, "the question contains the byte 0xe9, which is not UTF-8; in Windows-1252 it is 'é'")
    ]
