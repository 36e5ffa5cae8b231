"""Uploads of prompt pairs over HTTP: the pairs that result, and files refused before they are read."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest
from api_helpers import PROBLEM, Api, spec
from arithmoscope_api.http.body_limit import MAX_BODY_BYTES

CSV = {"content-type": "text/csv"}
UPLOAD = "/api/prompts/upload"


def test_the_pairs_of_an_uploaded_file_can_be_asked_as_they_are(api: Api) -> None:
    answer = api.post(UPLOAD, content="reference,answer\n3 + 5 =,8\n,\n2 + 2 =,4\n", headers=CSV)
    assert answer.status_code == 200
    read = answer.json()
    assert read["n_rows"] == 2
    body = spec(prompts={"source": "custom", "shots": 0, "pairs": read["pairs"]})
    assert api.post("/api/experiments", json=body).status_code == 202


@pytest.mark.parametrize("kind", ["application/jsonl", "application/x-ndjson", "Application/JSONL; charset=utf-8"])
def test_json_lines_are_taken_too_and_a_row_that_is_wrong_says_why(api: Api, kind: str) -> None:
    answer = api.post(UPLOAD, content=b'{"reference": "3 + 5 ="}\n[]\n', headers={"content-type": kind})
    assert answer.json()["pairs"] == [{"reference": "3 + 5 =", "counterfactual": None, "answer": None}]
    assert answer.json()["problems"][0]["row"] == 2


def test_a_file_of_100_000_rows_is_taken_and_what_is_kept_of_it_can_be_previewed(api: Api) -> None:
    rows = b"reference,counterfactual,answer\n1 + 1 =,,x\n" + b"3 + 5 =,3 @ 5 =,8\n" * 99_999
    answer = api.post(UPLOAD, content=rows, headers=CSV)
    assert answer.status_code == 200
    read = answer.json()
    assert (len(read["pairs"]), read["n_rows"]) == (10_000, 100_000)
    assert [problem["row"] for problem in read["problems"]] == [2, 10_003]
    body = {"model": "tiny", "prompts": {"source": "custom", "shots": 0, "pairs": read["pairs"]}}
    previewed = api.post("/api/prompts/preview", json=body)
    assert (previewed.status_code, previewed.json()["items"][0]["problem"]) == (200, None)


def test_a_file_of_bad_rows_gives_what_can_be_used_and_this_can_be_previewed(api: Api) -> None:
    rows = "reference,answer\n3 + 5 =,8\n6 / 4 =,\n2 + 2 =,=A1\n3 × 3 =,9\n".encode() + b"3 \xd7 2 =,6\n"
    read = api.post(UPLOAD, content=rows, headers=CSV).json()
    assert [problem["row"] for problem in read["problems"]] == [3, 4, 6]
    prompts = {"source": "custom", "shots": 0, "pairs": read["pairs"], "answer": "first"}
    previewed = api.post("/api/prompts/preview", json={"model": "tiny", "prompts": prompts}).json()
    assert [item["problem"] for item in previewed["items"]] == [None, None]


def _archive(size: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"0" * size)
    return file.getvalue()


@pytest.mark.parametrize("bomb", [_archive(50_000_000), gzip.compress(b"0" * 50_000_000)])
def test_a_bomb_is_refused_unopened_however_it_is_sent(api: Api, bomb: bytes) -> None:
    as_file = api.post(UPLOAD, content=bomb, headers=CSV)
    assert (as_file.status_code, as_file.headers["content-type"]) == (422, PROBLEM)
    assert as_file.json()["type"].endswith("bad_upload")
    assert "Unpack it first" in as_file.json()["way_out"]
    for path, kind in ((UPLOAD, "text/csv"), ("/api/experiments", "application/json")):
        for encoding in ("gzip", "deflate", "br", "identity, gzip", "nonsense"):
            answer = api.post(path, content=bomb, headers={"content-type": kind, "content-encoding": encoding})
            assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)
            assert answer.json()["type"].endswith("encoded_body")


def test_an_upload_is_no_way_around_what_bodies_may_be(api: Api) -> None:
    too_large = api.post(UPLOAD, content=b"a" * (MAX_BODY_BYTES + 1), headers=CSV)
    assert (too_large.status_code, too_large.headers["content-type"]) == (413, PROBLEM)
    for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain", "application/zip", ""):
        answer = api.post(UPLOAD, content=b"reference\n1", headers={"content-type": kind})
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (415, "not_a_table")
    for path in ("/api/experiments", "/api/prompts/preview"):
        assert api.post(path, content=b"reference\n1", headers=CSV).status_code == 415
    for headers in ({}, CSV, {"content-type": "application/json"}):
        empty = api.post(UPLOAD, headers=headers)
        assert (empty.status_code, empty.headers["content-type"]) == (422, PROBLEM)
    assert (
        api.post(UPLOAD, content=b"reference\n1", headers={**CSV, "origin": "http://evil.example"}).status_code == 403
    )
