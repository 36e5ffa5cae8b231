"""Tests of the checks on each request (host, origin, token, size, content type) and the headers of each answer."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from api_helpers import PROBLEM, Api, spec
from arithmoscope_api.app import create_app
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.access_control import HEADERS
from arithmoscope_api.http.body_limit import MAX_BODY_BYTES, BodyLimit

from arithmoscope.contracts.prompts import MAX_PAIRS
from arithmoscope.store import Store
from tests.tables import table

TOKEN = "a long and random token"


@pytest.fixture
def guarded(config: ApiConfig, store: Store) -> Iterator[Api]:
    with Api(replace(config, tokens=(TOKEN,), host="0.0.0.0"), store, base_url="http://lab.example:8000") as api:
        yield api


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1"])
def test_the_machine_itself_is_answered_by_any_of_its_names(api: Api, host: str) -> None:
    assert api.get("/api/health", headers={"host": host}).status_code == 200


@table(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "", "localhost.evil", "[::1", "a b"),
        *("evil.example@localhost", "localhost/evil", "localhost#evil", "localhost?x", "localhost:evil", "[::1]evil"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/health", "/assets/main-abc123.js"])
def test_a_name_that_was_pointed_at_this_machine_is_refused(api: Api, host: str, path: str) -> None:
    answer = api.get(path, headers={"host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)
    assert "ARITHMOSCOPE_ALLOWED_HOSTS" in answer.json()["way_out"]


def test_a_proxys_name_is_answered_when_it_was_allowed(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, allowed_hosts=("Lab.example",)), store) as api:
        assert api.get("/api/health", headers={"host": "lab.example"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:8000"},
    ],
)
def test_a_page_of_another_site_cannot_write(api: Api, headers: dict[str, str]) -> None:
    for call in ("/api/experiments", "/api/prompts/preview", "/api/experiments/x/cancel"):
        assert api.post(call, json=spec(), headers=headers).status_code == 403
    assert api.delete("/api/experiments/x", headers=headers).status_code == 403
    assert api.get("/api/experiments").json()["items"] == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://localhost:8000"}, {"sec-fetch-site": "same-origin", "origin": "https://proxy.example"}],
)
def test_the_page_itself_and_programs_can_write(api: Api, headers: dict[str, str]) -> None:
    assert api.post("/api/experiments", json=spec(), headers=headers).status_code == 202


def test_no_other_site_may_read_either(api: Api) -> None:
    answer = api.get("/api/experiments", headers={"origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_without_the_token_only_readiness_is_answered(guarded: Api) -> None:
    for path in ("/api/health", "/api/experiments", "/api/openapi.json", "/assets/main-abc123.js"):
        answer = guarded.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    assert guarded.post("/api/experiments", json=spec()).status_code == 401
    assert guarded.get("/api/ready").status_code == 200
    page = guarded.get("/")
    assert (page.status_code, 'name="token"' in page.text) == (401, True)


def test_the_token_opens_as_a_bearer_header(guarded: Api) -> None:
    assert guarded.get("/api/health", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"):
        assert guarded.get("/api/health", headers={"authorization": wrong}).status_code == 401


def test_the_link_sets_a_cookie_that_opens_and_does_not_hold_the_token(guarded: Api) -> None:
    answer = guarded.get("/analyses", params={"token": TOKEN, "view": "map"})
    assert (answer.status_code, answer.headers["location"]) == (303, "./analyses?view=map")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert TOKEN not in cookie
    assert guarded.get("/api/health").status_code == 200
    assert guarded.get("/").status_code == 200


def test_a_wrong_token_in_the_link_sets_no_cookie(guarded: Api) -> None:
    answer = guarded.get("/", params={"token": "wrong"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/api/docs", "/nothing", "/api/nothing", "/assets/main-abc123.js"]
)
def test_every_answer_carries_the_security_headers(api: Api, path: str) -> None:
    answer = api.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "script-src 'self';" in HEADERS["Content-Security-Policy"]
    assert "server" not in answer.headers


def test_a_body_that_is_not_json_is_refused(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if kind is None else {"content-type": kind}
        answer = api.post("/api/experiments", content=b'{"kind": "path_patching"}', headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (415, PROBLEM)


def test_a_large_body_is_refused_by_its_length_and_also_when_it_comes_in_chunks(api: Api) -> None:
    headers = {"content-type": "application/json"}
    large = b" " * (MAX_BODY_BYTES + 1)
    at_once = api.post("/api/experiments", content=large, headers=headers)
    in_chunks = api.post("/api/experiments", content=iter([large[: MAX_BODY_BYTES // 2]] * 3), headers=headers)
    for answer in (at_once, in_chunks):
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)


def test_as_many_prompts_as_are_allowed_fit_into_a_request(api: Api) -> None:
    one = {"reference": "Two and three make five. " * 20 + "3 + 5 =", "counterfactual": "none " * 100, "answer": "8"}
    prompts = {"source": "custom", "shots": 0, "pairs": [one] * MAX_PAIRS}
    body = json.dumps({"model": "nix", "prompts": prompts})
    assert 10 * 2**20 < len(body) < MAX_BODY_BYTES
    answer = api.post("/api/prompts/preview", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:arithmoscope:problem:unknown_model")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b"", "missing"),
        (b"[]", "The body"),
        (b'{"kind": "path_patching", "model": "tiny"}', "prompts: field required"),
        (b'{"model": "\\ud800", "kind": "path_patching"}', "model"),
        (b"[" * 100_000, ""),
        (b'{"kind": "path_patching", "model": ' + b"9" * 9_000 + b"}", ""),
        (b"\xff\xfe", ""),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_in_a_sentence(api: Api, body: bytes, message: str) -> None:
    answer = api.post("/api/experiments", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/nothing", 404),
        ("POST", "/api/nothing", 404),
        ("PUT", "/api/models", 405),
        ("DELETE", "/api/experiments", 405),
        ("POST", "/", 405),
        ("GET", "/missing.js", 404),
        ("GET", "/assets/missing", 404),
    ],
)
def test_addresses_and_methods_that_are_not_there_are_problem_json(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert set(answer.json()) == {"type", "title", "status", "detail", "way_out"}
    assert answer.json()["status"] == status
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/api/experiments/", "/api/models/", "/metrics/"])
def test_an_address_with_a_slash_too_many_is_not_there_and_leads_nowhere(api: Api, path: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, "location" in answer.headers) == (404, False)


@pytest.mark.parametrize("path", ["/api/live", "/api/ready", "/api/models", "/api/nothing", "/"])
def test_no_body_is_read_without_a_token_or_where_none_is_accepted(config: ApiConfig, store: Store, path: str) -> None:
    for tokens, statuses in (((TOKEN,), {401}), ((), {404, 405})):
        sent: list[Any] = []

        async def read() -> Any:
            raise AssertionError("the body was read")

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"999")],
            "client": ("127.0.0.1", 1),
        }
        anyio.run(create_app(replace(config, tokens=tokens), store), scope, read, send)
        assert sent[0]["status"] in statuses


def test_few_large_bodies_are_processed_at_once_and_a_slow_reader_delays_none() -> None:
    at_once, most = 0, 0

    async def inside(scope: Any, receive: Any, send: Any) -> None:
        nonlocal at_once, most
        assert len((await receive())["body"]) == 100_002
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.02)
        at_once -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def main() -> None:
        limits = BodyLimit(inside)
        responses = 0
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", b"application/json")]}

        async def one() -> None:
            pieces = iter([b"[", *[b" " * 100] * 1000, b"]"])

            async def receive() -> Any:
                piece = next(pieces)
                return {"type": "http.request", "body": piece, "more_body": piece != b"]"}

            async def slow(message: Any) -> None:
                nonlocal responses
                responses += 1
                await everyone.wait()

            await limits(scope, receive, slow)

        everyone = anyio.Event()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(one)
                while responses < 12:
                    await anyio.sleep(0.01)
                everyone.set()

    anyio.run(main)
    assert most == 2


def test_a_body_in_many_pieces_is_held_as_one() -> None:
    async def inside(scope: Any, receive: Any, send: Any) -> None:
        assert len((await receive())["body"]) == 200_002

    async def receive() -> Any:
        piece = next(pieces)
        return {"type": "http.request", "body": piece, "more_body": piece != b"]"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    pieces = iter([b"[", *[b" "] * 200_000, b"]"])
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-type", b"application/json")]}
    tracemalloc.start()
    try:
        anyio.run(BodyLimit(inside), scope, receive, send)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000  # a message for every piece came to 40 MB


def test_an_internal_error_reveals_no_traceback(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(store, "models", broken)
    answer = api.get("/api/models")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "secret" not in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
