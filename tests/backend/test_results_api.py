"""Results over HTTP: the bytes that the worker stored."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import cast

import pytest
from api_helpers import PROBLEM, Api, attention_file, finish, spec
from arithmoscope_api.result_index import ResultIndexCache
from arithmoscope_api.views import Views

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store
from arithmoscope.store.artifacts import ArtifactInfo
from arithmoscope.store.outbox import BrokerDown
from arithmoscope.store.views import RETRY_AFTER_S, attention_view, problem_file
from benchmarks.patience import patience


@pytest.fixture
def done(api: Api) -> str:
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    return experiment_id


CALLS = ["result", "components.csv", "components.csv-metadata.json", "arrays.npz", "attention?layer=0&prompt=0"]


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_shown_of_an_unfinished_experiment(api: Api, call: str) -> None:
    answer = api.get(f"/api/experiments/{api.submit()}/{call}")
    assert (answer.status_code, answer.headers["content-type"]) == (409, PROBLEM)
    assert answer.json()["type"].endswith("not_finished")


@pytest.mark.parametrize("call", CALLS)
def test_an_experiment_that_ended_without_a_result_says_so(api: Api, call: str) -> None:
    experiment_id = api.submit()
    api.post(f"/api/experiments/{experiment_id}/cancel")
    answer = api.get(f"/api/experiments/{experiment_id}/{call}")
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("no_result")


def test_the_result_is_the_stored_json_byte_for_byte(api: Api) -> None:
    experiment_id = api.submit()
    result = finish(api.store, experiment_id)
    answer = api.get(f"/api/experiments/{experiment_id}/result")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == result.model_dump_json().encode()


def test_the_ranking_comes_by_metric_and_relative_logit_is_the_default(api: Api, done: str) -> None:
    default = api.get(f"/api/experiments/{done}/components.csv")
    logit = api.get(f"/api/experiments/{done}/components.csv", params={"metric": "logit"})
    assert default.text == "rank,component\n1,L0H0\n"
    assert logit.text == "rank,component\n1,L1H1\n"
    assert default.headers["content-type"] == "text/csv; charset=utf-8"
    assert ".csv" in default.headers["content-disposition"]


@pytest.mark.parametrize("stored", [b'{"url": "stored"}', b""], ids=["as stored", "of a result from before"])
def test_the_ranking_links_to_its_description_which_links_back(api: Api, stored: bytes) -> None:
    experiment_id = api.submit()
    finish(api.store, experiment_id, **{"components.logit.csv-metadata.json": stored})
    ranking = api.get(f"/api/experiments/{experiment_id}/components.csv", params={"metric": "logit"})
    (link,) = ranking.links.values()
    assert (link["rel"], link["type"]) == ("describedby", "application/csvm+json")
    described = api.get(str(ranking.url.join(link["url"])))
    assert described.headers["content-type"] == "application/csvm+json"
    if stored:
        assert described.content == stored
    else:
        assert described.url.join(described.json()["url"]) == ranking.url
        notes = {note["schema:name"]: note["schema:value"] for note in described.json()["notes"]}
        assert notes["provenance.experiment_id"] == experiment_id


def test_a_metric_that_was_not_computed_is_a_conflict_and_an_unknown_one_cannot_be_read(api: Api, done: str) -> None:
    answers = [
        api.get(f"/api/experiments/{done}/{call}", params={"metric": metric})
        for call in ("components.csv", "components.csv-metadata.json")
        for metric in ("probability", "beauty")
    ]
    assert [answer.status_code for answer in answers] == [409, 422] * 2
    assert "logit, relative_logit" in answers[0].json()["detail"]


def test_the_arrays_are_served_as_they_are(api: Api, done: str) -> None:
    assert api.get(f"/api/experiments/{done}/arrays.npz").content.startswith(b"PK")


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_is_one_layer_of_one_prompt_with_its_tokens(api: Api, done: str, layer: int) -> None:
    answer = api.get(f"/api/experiments/{done}/attention", params={"layer": layer, "prompt": 0}).json()
    assert answer["layer"] == layer
    assert [token["text"] for token in answer["tokens"]] == ["3", "="]
    assert answer["weights"] == [[[1.0, 0.0], [layer / 10, 1 - layer / 10]]] * 2


@pytest.mark.parametrize(
    ("layer", "prompt", "status", "message"),
    [
        (2, 0, 404, "Layer 2"),
        (-1, 0, 404, "Layer -1"),
        (0, 3, 404, "no prompt 3"),
        (0, -1, 404, "no prompt -1"),
        (0, 1, 404, "The model answers '7'."),
        (0, 2, 503, "not stored"),
    ],
)
def test_attention_outside_the_result_is_refused_with_the_reason(
    api: Api, done: str, layer: int, prompt: int, status: int, message: str
) -> None:
    answer = api.get(f"/api/experiments/{done}/attention", params={"layer": layer, "prompt": prompt})
    assert answer.status_code == status
    assert message in answer.json()["detail"]


class Slow:
    """A store whose reads wait until the test releases them."""

    def __init__(self, store: Store) -> None:
        self.store, self.go, self.reads = store, Event(), []

    def read_artifact(self, experiment_id: str, name: str) -> bytes:
        self.reads.append(experiment_id)
        if len(self.reads) == 1:
            assert self.go.wait(10 * patience())
        return self.store.read_artifact(experiment_id, name)

    def artifact_info(self, experiment_id: str, name: str) -> ArtifactInfo:
        return self.store.artifact_info(experiment_id, name)


def test_a_large_result_is_read_once_and_delays_no_other_request(api: Api, done: str) -> None:
    other = api.submit(spec("1 + 1 ="))
    finish(api.store, other)
    slow = Slow(api.store)
    indexes = ResultIndexCache(cast(Store, slow))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(indexes.get, done)
        while not slow.reads:
            time.sleep(0.01)  # until the other thread is inside its read
        second = pool.submit(indexes.get, done)
        assert pool.submit(indexes.get, other).result(5 * patience()).layers == 2
        assert not first.done()
        slow.go.set()
        assert first.result(5 * patience()) is second.result(5 * patience())
    assert slow.reads == [done, other]


def test_cached_results_stay_within_the_limit_and_the_newest_is_always_kept(api: Api, done: str) -> None:
    other = api.submit(spec("1 + 1 ="))
    finish(api.store, other)
    slow = Slow(api.store)
    slow.go.set()
    for size, reads in ((10_000, [done, other]), (10, [done, other, done])):
        slow.reads.clear()
        indexes = ResultIndexCache(cast(Store, slow), size)
        for experiment_id in (done, other, other, done, done):
            assert indexes.get(experiment_id).layers == 2
        assert slow.reads == reads


def test_a_result_that_could_not_be_read_is_read_again(api: Api) -> None:
    experiment_id = api.submit()
    indexes = ResultIndexCache(api.store)
    for _ in range(2):
        with pytest.raises(Refusal, match="queued"):
            indexes.get(experiment_id)
    finish(api.store, experiment_id)
    assert indexes.get(experiment_id).layers == 2


def test_a_result_recomputed_through_another_server_is_read_again(api: Api) -> None:
    experiment_id = api.submit(spec("3 + 3 ="))
    indexes = ResultIndexCache(api.store)
    for attempt in (1, 2):
        claim = api.store.claim(experiment_id, attempt, owner="w", lease_s=60)
        assert claim is not None
        result = {"model": {"revision": "r", "layers": attempt, "heads": 1}, "pairs": [], "dropped": []}
        api.store.mark_cancelled(claim, {"result.json": json.dumps(result).encode()})
        assert indexes.get(experiment_id).layers == attempt
        api.store.retry(experiment_id)


class ViewRequests:
    """`Views` over a stored result without patterns; ``sent`` holds the requests that reach the workers."""

    def __init__(self, api: Api) -> None:
        self.store, self.sent, self.now, self.broken = api.store, [], 0.0, False
        self.id = api.submit()
        finish(api.store, self.id, **{"attention.safetensors": b""})
        self.views = Views(api.store, ResultIndexCache(api.store), self.send, lambda: self.now)

    def send(self, experiment_id: str, view: str) -> None:
        if self.broken:
            raise BrokerDown("gone")
        self.sent.append((experiment_id, view))

    def read(self) -> bytes | None:
        return self.views.attention(self.id, 1, 0)


@pytest.fixture
def view_requests(api: Api) -> ViewRequests:
    api.store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=False))
    return ViewRequests(api)


def test_attention_that_was_not_stored_needs_a_worker(api: Api) -> None:
    experiment_id = api.submit()
    finish(api.store, experiment_id, **{"attention.safetensors": b""})
    answer = api.get(f"/api/experiments/{experiment_id}/attention", params={"layer": 0, "prompt": 0})
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("no_worker")


def test_a_worker_is_asked_once_and_again_when_nothing_came(view_requests: ViewRequests) -> None:
    assert view_requests.read() is None
    assert view_requests.read() is None
    assert view_requests.sent == [(view_requests.id, "attention.0")]
    view_requests.now = RETRY_AFTER_S
    assert view_requests.read() is None
    assert len(view_requests.sent) == 2


def test_what_the_worker_added_is_served(view_requests: ViewRequests) -> None:
    assert view_requests.read() is None
    view_requests.store.put_artifact(view_requests.id, attention_view(0).file, attention_file())
    body = view_requests.read()
    assert body is not None
    assert json.loads(body)["weights"] == [[[1.0, 0.0], [0.1, 0.9]]] * 2


def test_the_workers_problem_is_returned_with_its_way_out(view_requests: ViewRequests) -> None:
    why = Refusal("out_of_memory", "It is too long.").details()
    view_requests.now = 1_000.0
    view_requests.store.put_artifact(view_requests.id, attention_view(0).problem, problem_file(why, view_requests.now))
    with pytest.raises(Refusal, match=r"It is too long\. Use fewer"):
        view_requests.read()
    assert view_requests.sent == []


def test_an_old_problem_does_not_prevent_another_attempt(view_requests: ViewRequests) -> None:
    why = Refusal("out_of_memory", "It is too long.").details()
    for stored_problem in (problem_file(why, 1_000.0), why.model_dump_json().encode()):
        view_requests.store.put_artifact(view_requests.id, attention_view(0).problem, stored_problem)
        view_requests.now += 1_000.0 + RETRY_AFTER_S
        assert view_requests.read() is None
    assert view_requests.sent == [(view_requests.id, "attention.0")] * 2


def test_an_unreachable_broker_is_reported_and_tried_again_next_time(view_requests: ViewRequests) -> None:
    view_requests.broken = True
    with pytest.raises(Refusal, match="queue is down"):
        view_requests.read()
    view_requests.broken = False
    assert view_requests.read() is None
    assert len(view_requests.sent) == 1


def test_a_result_that_was_cut_short_by_a_cancel_is_served(api: Api) -> None:
    experiment_id = api.submit(spec("2 + 2 ="))
    claim = api.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    api.post(f"/api/experiments/{experiment_id}/cancel")
    api.store.mark_cancelled(claim, {"result.json": b"{}"})
    assert api.get(f"/api/experiments/{experiment_id}/result").content == b"{}"


@pytest.mark.parametrize("path", ["result", "components.csv", "arrays.npz"])
def test_a_cached_result_is_not_modified_and_a_changed_one_is_sent(api: Api, path: str) -> None:
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    where = f"/api/experiments/{experiment_id}/{path}"
    first = api.get(where)
    tag = first.headers["etag"]
    again = api.get(where, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert api.get(where, headers={"If-None-Match": '"other"'}).content == first.content
    name = {"result": "result.json", "components.csv": "components.relative_logit.csv"}.get(path, path)
    api.store.put_artifact(experiment_id, name, b"changed")
    assert api.get(where, headers={"If-None-Match": tag}).content == b"changed"


@pytest.mark.parametrize("size", [1, 1024 * 1024, 1024 * 1024 + 1, 3_000_000])
def test_a_file_of_any_size_comes_whole(api: Api, size: int) -> None:
    experiment_id = api.submit()
    content = bytes(number % 251 for number in range(size))
    finish(api.store, experiment_id, **{"arrays.npz": content})
    assert api.get(f"/api/experiments/{experiment_id}/arrays.npz").content == content
