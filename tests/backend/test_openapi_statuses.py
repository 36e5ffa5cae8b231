"""Every status in the OpenAPI document is returned by a real request, and no other status is returned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from api_helpers import PROBLEM, Api, finish, finish_with, knockout, spec, transfer, tuning
from arithmoscope_api.app import routes_only
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.http.access_control import OPEN_PATHS
from arithmoscope_api.http.body_limit import BodyLimit
from arithmoscope_api.http.concurrency_limit import ConcurrencyLimit
from arithmoscope_api.http.connections import Connection
from arithmoscope_api.http.credentials import MAX_FAILURES
from arithmoscope_api.openapi import openapi_document
from sockets import connected, exchange, head, read_answer, served

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store

DOCUMENT = openapi_document(routes_only())
OPERATIONS = [(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations]
EVIL = {"host": "evil.example"}
TOKEN = "a long and random token"
# Required query parameters by address.
QUERIES = {"/attention": "?layer=0&prompt=0", "/lens": "?prompt=0", "/writes": "?component=L0H0"}
# Files of experiments other than analyses.
OTHERS = {
    "/curve.csv": "knockout",
    "/matrix.csv": "transfer",
    "/raw.safetensors": "knockout",
    "/deltas.safetensors": "fine_tune",
    "/adapter.zip": "fine_tune",
    "/history.csv": "fine_tune",
    "/judged.csv": "fine_tune",
    "/repatched.csv": "fine_tune",
}


class StatusRecorder:
    """Records the statuses of answers by operation."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], set[int]] = {}

    def request(self, api: Any, method: str, path: str, experiment: str = "nix", **more: Any) -> Any:
        query = more.pop("query", next((query for end, query in QUERIES.items() if path.endswith(end)), ""))
        answer = api.request(method.upper(), path.replace("{experiment_id}", experiment) + query, **more)
        self.note(method, path, answer.status_code, answer.headers.get("content-type", ""))
        return answer

    def note(self, method: str, path: str, status: int, media_type: str) -> None:
        documented = DOCUMENT["paths"][path][method]["responses"]
        assert str(status) in documented, (method, path, status)
        if status >= 400:
            assert media_type == PROBLEM, (method, path, status)
        self.answers.setdefault((method, path), set()).add(status)


def body_of(method: str, path: str) -> dict[str, Any]:
    """A valid request body of the operation."""
    if method not in ("post", "put", "patch"):
        return {}
    if path.endswith("/upload"):
        return {"content": b"reference\n3 + 5 =\n", "headers": {"content-type": "text/csv"}}
    if path == "/api/tuning/preview":
        return {"json": tuning(tuner="full", components=[])}
    if path.endswith("/preview"):
        return {"json": {"model": "tiny", "prompts": spec()["prompts"]}}
    return {"json": spec() if path == "/api/experiments" else {}}


def test_every_documented_status_is_answered_and_no_other(
    live: Api, store: Store, config: ApiConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = StatusRecorder()
    _by_states(recorder, live, store)
    _by_access_checks(recorder, live, monkeypatch)
    _by_tokens(recorder, config, store)
    _by_slowness(recorder, config, store, monkeypatch)
    _by_connections(recorder, config, store)
    _by_a_full_store(recorder, config, store)
    missing = {
        f"{method.upper()} {path} {status}"
        for method, path in OPERATIONS
        for status in DOCUMENT["paths"][path][method]["responses"]
        if int(status) not in recorder.answers.get((method, path), set())
    }
    assert missing == set()


def _by_states(recorder: StatusRecorder, live: Api, store: Store) -> None:
    one = "/api/experiments/{experiment_id}"
    finished, waiting, running, failed, thrown = (live.submit(spec(f"{number} + 1 =")) for number in range(2, 7))
    views = {f"view.{name}.json": b"{}" for name in ("key", "roles", "lens.0", "stages", "writes.L0H0")}
    finish(store, finished, **{"components.relative_logit.csv-metadata.json": b"{}"}, **views)
    others = {body["kind"]: live.submit(body) for body in (knockout(finished), transfer(), tuning())}
    files = {name.removeprefix("/").replace(".", "_"): b"0" for name in OTHERS}
    for experiment_id in others.values():
        finish_with(store, experiment_id, result_json=b"{}", **files)
    _claimed(store, running)
    claim = _claimed(store, failed)
    store.fail(claim, _problem())
    for method, path in OPERATIONS:
        if "{experiment_id}" not in path:
            recorder.request(live, method, path, **body_of(method, path))
        elif method == "get":
            kind = next((kind for end, kind in OTHERS.items() if path.endswith(end)), None)
            answer = recorder.request(live, method, path, others[kind] if kind else finished)
            if etag := answer.headers.get("etag"):
                recorder.request(
                    live, method, path, others[kind] if kind else finished, headers={"if-none-match": etag}
                )
            if not path.endswith("/events") and path != one:
                assert recorder.request(live, method, path, running).status_code == 409
        if "{experiment_id}" in path:
            assert recorder.request(live, method, path, "nix", **body_of(method, path)).status_code == 404
    recorder.request(live, "post", "/api/experiments", json=spec())
    recorder.request(live, "post", "/api/experiments", json=spec(model="nix"))
    recorder.request(live, "post", "/api/experiments", json=knockout(running))
    recorder.request(live, "post", "/api/prompts/preview", json={"model": "nix", "prompts": spec()["prompts"]})
    recorder.request(live, "post", "/api/tuning/preview", json=tuning(model="nix"))
    recorder.request(live, "post", "/api/tuning/preview", json=tuning(parent=others["knockout"]))
    recorder.request(live, "patch", one, waiting, json={"name": "mine"})
    recorder.request(live, "post", f"{one}/cancel", waiting)
    recorder.request(live, "post", f"{one}/retry", failed)
    recorder.request(live, "post", f"{one}/retry", finished)
    recorder.request(live, "delete", one, running)
    recorder.request(live, "delete", one, thrown)
    recorder.request(live, "post", f"{one}/restore", thrown)
    recorder.request(live, "delete", one, thrown)
    assert live.submit(spec("6 + 1 =")) != thrown
    recorder.request(live, "post", f"{one}/restore", thrown)
    store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=False))
    recorder.request(live, "get", f"{one}/attention", finished, query="?layer=0&prompt=2")
    unseen = live.submit(spec("2 + 7 ="))
    finish(store, unseen)
    for view in ("key", "roles", "lens", "stages", "writes"):
        assert recorder.request(live, "get", f"{one}/{view}", unseen).status_code == 202


def _by_access_checks(recorder: StatusRecorder, live: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = "?metric=nix"
    wrong = {"components.csv": metric, "csv-metadata.json": metric, "attention": "?layer=x"}
    wrong |= {"lens": "?prompt=x", "writes": "?component=x"}
    for method, path in OPERATIONS:
        recorder.request(live, method, path, query="?x=%00")
        recorder.request(live, method, path, headers=EVIL)
        recorder.request(live, method, path, headers={"x-long": "a" * 40_000})
        if method in ("post", "patch"):
            recorder.request(live, method, path, content=b"x", headers={"content-type": "text/plain"})
            large = {"content-length": str(10**9), "content-type": "application/json"}
            recorder.request(live, method, path, content=b"x", headers=large)
            kind = "text/csv" if path.endswith("/upload") else "application/json"
            recorder.request(live, method, path, content=b'{"a": 1, "a": 2}', headers={"content-type": kind})
        elif "422" in DOCUMENT["paths"][path][method]["responses"]:
            query = next((query for end, query in wrong.items() if path.endswith(end)), "?limit=0")
            assert recorder.request(live, method, path, query=query).status_code == 422
    with monkeypatch.context() as full:
        full.setattr(ConcurrencyLimit, "max_requests", 0)
        for method, path in OPERATIONS:
            answer = recorder.request(live, method, path)
            assert ("retry-after" in answer.headers) == (path not in OPEN_PATHS), path
        assert live.get("/api/live").status_code == 200


def _by_tokens(recorder: StatusRecorder, config: ApiConfig, store: Store) -> None:
    with Api(replace(config, tokens=(TOKEN,)), store) as api:
        closed = [(method, path) for method, path in OPERATIONS if api.request(method, path).status_code == 401]
        for method, path in closed:
            recorder.request(api, method, path)
        for _ in range(MAX_FAILURES):
            api.get("/api/models", headers={"authorization": "Bearer wrong"})
        for method, path in closed:
            assert recorder.request(api, method, path, headers={"authorization": "Bearer wrong"}).headers["retry-after"]


def _by_slowness(recorder: StatusRecorder, config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BodyLimit, "within_s", 0.2)
    with served(config, store) as port:
        for method, path in OPERATIONS:
            if method not in ("post", "patch"):
                continue
            kind = "text/csv" if path.endswith("/upload") else "application/json"
            with connected(port) as client:
                client.sendall(head(method.upper(), path, f"Content-Type: {kind}", "Content-Length: 10") + b"{")
                answer = read_answer(client)
            assert answer is not None
            recorder.note(method, path, answer.status, answer.headers["content-type"])


def _by_connections(recorder: StatusRecorder, config: ApiConfig, store: Store) -> None:
    class FullConnections(Connection):
        max_connections = 0

    with served(config, store, FullConnections) as port:
        for path in sorted(OPEN_PATHS):
            answer = exchange(port, head("GET", path))
            assert answer is not None
            recorder.note("get", path, answer.status, answer.headers["content-type"])


def _by_a_full_store(recorder: StatusRecorder, config: ApiConfig, store: Store) -> None:
    one = "/api/experiments/{experiment_id}"
    with Api(config, store) as api:
        cancelled, deleted = api.submit(spec("2 + 5 =")), api.submit(spec("2 + 6 ="))
        api.post(f"/api/experiments/{cancelled}/cancel")
        api.delete(f"/api/experiments/{deleted}")
    with Store.open(config.database_url, config.artifacts_url, budget=1) as full, Api(config, full) as api:
        assert recorder.request(api, "post", f"{one}/retry", cancelled).status_code == 507
        assert recorder.request(api, "post", f"{one}/restore", deleted).status_code == 507
        assert recorder.request(api, "post", "/api/experiments", json=spec("1 + 8 =")).status_code == 507
        assert recorder.request(api, "post", "/api/experiments", json=spec("2 + 1 =")).status_code == 200


def _claimed(store: Store, experiment_id: str) -> Any:
    claim = store.claim(experiment_id, 1, owner="test", lease_s=600)
    assert claim is not None
    return claim


def _problem() -> Any:

    return Refusal("out_of_memory", "Too large.").details()
