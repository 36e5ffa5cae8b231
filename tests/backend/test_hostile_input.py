"""Hostile input in addresses and bodies: refused as problem JSON, nothing revealed, nothing broken."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from api_helpers import PROBLEM, Api, finish, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arithmoscope.contracts.prompts import MAX_PROMPT_CHARACTERS
from arithmoscope.contracts.ranking import COLUMNS, RankingRow, to_csv
from arithmoscope.prompts.language.arithmetic import read

TRAVERSALS = [
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%252f..%252fetc",
    "....//....//etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "file:///etc/passwd",
    "a\0b",
    "a%00b",
    "\u202e\ufeff",
    "x" * 10_000,
    "' OR 1=1 --",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "<img src=x onerror=alert(1)>",
    "\r\nSet-Cookie: a=b",
]
READS = ("", "/events", "/result", "/components.csv", "/components.csv-metadata.json", "/arrays.npz")


def _is_a_refusal(answer: Any) -> bool:
    assert "etc/passwd:" not in answer.text
    assert "Traceback" not in answer.text
    is_problem = answer.headers["content-type"] == PROBLEM and answer.json()["way_out"] and answer.json()["status"]
    return 400 <= answer.status_code < 500 and is_problem == answer.status_code


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_id_leads_out_of_its_place(api: Api, name: str) -> None:
    encoded = quote(name, safe="%")
    for end in READS:
        assert _is_a_refusal(api.get(f"/api/experiments/{encoded}{end}")), end
    assert _is_a_refusal(api.get(f"/api/experiments/{encoded}/attention?layer=0&prompt=0"))
    for method, end in (("POST", "/cancel"), ("POST", "/retry"), ("POST", "/restore"), ("DELETE", "")):
        assert _is_a_refusal(api.request(method, f"/api/experiments/{encoded}{end}"))
    assert _is_a_refusal(api.patch(f"/api/experiments/{encoded}", json={"name": "x"}))
    for call, body in (
        ("experiments", spec(model=name)),
        ("prompts/preview", {"model": name, "prompts": spec()["prompts"]}),
    ):
        assert _is_a_refusal(api.post(f"/api/{call}", json=body))
    listed = api.get("/api/experiments", params={"model": name})
    assert listed.status_code == 200 or _is_a_refusal(listed)
    assert _is_a_refusal(api.get("/api/experiments", params={"cursor": name}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"model": "tiny", "model": "odd"}', "'model' occurs twice"),
        ('{"a": {"b": 1, "b": 2}}', "'b' occurs twice"),
        ('{"model": NaN}', "NaN is not a JSON number"),
        ('{"model": -Infinity}', "-Infinity is not a JSON number"),
        ('{"kind": "path_patching", "model": "\\ud800", "prompts": 1}', "model"),
        ('{"\\ud800": 1, "\\ud800": 2}', "twice"),
        ("[" * 500_000, ""),
        ('{"a":' * 100_000, ""),
        ('{"model": ' + "9" * 1_000_000 + "}", ""),
        ('{"kind": "path_patching", "prompts": {"source": "template", "seed": ' + "9" * 4_000 + "}}", "seed"),
        ('{"kind": "path_patching", "prompts": {"source": "template", "pairs": 1e400}}', "pairs"),
        ('{"kind": "path_patching", "prompts": {"source": "template", "operands": [-1, 99999999999]}}', "operands"),
        ('{"kind": "path_patching", "__proto__": {"a": 1}}', "__proto__"),
        ("\ufeff{}", ""),
        ("null", ""),
        ("", "missing"),
    ],
)
@pytest.mark.parametrize("path", ["/api/experiments", "/api/prompts/preview"])
def test_json_that_parsers_disagree_about_or_cannot_handle_is_refused(
    api: Api, path: str, body: str, message: str
) -> None:
    data = body.encode("utf-8", "surrogatepass")
    answer = api.post(path, content=data, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert path.endswith("preview") or message in answer.json()["detail"]
    assert len(answer.content) < 3_000


@pytest.mark.parametrize(
    "name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", " =1", "\t=1", "a\r\n=1", "\u202e=1", '","=1']
)
def test_no_cell_of_a_csv_is_one_that_a_spreadsheet_runs(name: str) -> None:
    row = RankingRow(1, "L0H0", "head", 0, 0, -1.0, None, None, None, 1, "logit", "direct", name, name, name)
    header, *rows = csv.reader(io.StringIO(to_csv([row])))
    assert (tuple(header), len(rows)) == (COLUMNS, 1)
    for cell in rows[0][-3:]:
        assert cell.lstrip("\u202e \t\r\n")[:1] not in ("=", "+", "-", "@")
        assert cell.isprintable()


def test_names_and_notes_reach_no_csv_and_come_back_unchanged(api: Api) -> None:
    hostile = "=cmd|' /C calc'!A0 <script>alert(1)</script>"
    one = api.submit()
    finish(api.store, one)
    assert api.patch(f"/api/experiments/{one}", json={"name": hostile, "notes": hostile}).status_code == 200
    assert api.get(f"/api/experiments/{one}").json()["name"] == hostile
    for metric in ("logit", "relative_logit"):
        assert "calc" not in api.get(f"/api/experiments/{one}/components.csv", params={"metric": metric}).text
    listed = api.get("/api/experiments")
    assert listed.headers["content-type"] == "application/json"
    assert listed.headers["x-content-type-options"] == "nosniff"


@settings(max_examples=400, derandomize=True)
@given(st.text(max_size=300) | st.text("0123456789+-*/×÷=()?.,: @\n\tthreefivplusQA", max_size=MAX_PROMPT_CHARACTERS))
def test_the_parser_reads_any_text_or_says_that_it_cannot(text: str) -> None:
    reading = read(text)
    assert reading is None or reading.operands


@pytest.mark.parametrize(
    "piece", ["(", "((1+", "-", "- ", "1+", "the sum of ", "one hundred ", "1,", "Q: ", "\n", "= ", "½", "1 = "]
)
def test_the_parser_takes_a_moment_for_the_longest_prompt_of_any_kind(piece: str) -> None:
    prompt = piece * (MAX_PROMPT_CHARACTERS // len(piece))
    started = time.process_time()
    for end in ("", " =", "1 =", ")" * 9):
        read((prompt + end)[-MAX_PROMPT_CHARACTERS:])
    assert time.process_time() - started < 5


_words = st.text(max_size=60)
_pairs = st.lists(
    st.fixed_dictionaries(
        {"reference": _words | st.sampled_from(["3 + 5 =", "8 - 5 =", "What is 2 times 3?"])},
        optional={"counterfactual": st.none() | _words, "answer": st.none() | _words},
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=_pairs, shots=st.integers(0, 3), raw=st.booleans())
def test_a_preview_of_any_text_is_an_answer_or_a_refusal(
    api: Api, pairs: list[dict[str, Any]], shots: int, raw: bool
) -> None:
    request_body = {"model": "tiny", "prompts": {"source": "custom", "pairs": pairs, "shots": shots}}
    body = json.dumps(request_body, ensure_ascii=not raw).encode("utf-8", "surrogatepass")
    answer = api.post("/api/prompts/preview", content=body, headers={"content-type": "application/json"})
    if answer.status_code == 200:
        assert len(answer.json()["items"]) == len(pairs)
    else:
        assert _is_a_refusal(answer)
