"""Views of a finished analysis: validated first, requested from a worker once, then served from the store."""

from __future__ import annotations

import json

import pytest
from api_helpers import Api, finish, spec
from arithmoscope_api.result_index import ResultIndexCache
from arithmoscope_api.views import MAX_PENDING, Views

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store.views import RETRY_AFTER_S, View, is_view, problem_file

CALLS = {
    "key": View("key"),
    "roles": View("roles"),
    "stages": View("stages"),
    "lens?prompt=0": View("lens", "0"),
    "writes?component=MLP1": View("writes", "MLP1"),
}


@pytest.fixture
def done(api: Api) -> str:
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    return experiment_id


class ViewRequests(list[tuple[str, str]]):
    """Requests that reach the workers through `Views` over an API's store; ``now`` is the time."""

    def __init__(self, api: Api) -> None:
        self.now = 1_000.0
        api.store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=False))
        submit = lambda experiment_id, view: self.append((experiment_id, view))  # noqa: E731
        self.views = Views(api.store, ResultIndexCache(api.store), submit, lambda: self.now)


@pytest.mark.parametrize("call", CALLS)
def test_a_view_needs_a_finished_analysis_and_a_worker_and_is_then_served_as_stored(
    api: Api, done: str, call: str
) -> None:
    where = f"/api/experiments/{{}}/{call}"
    assert api.get(where.format(api.submit(spec("1 + 1 =")))).json()["type"].endswith("not_finished")
    assert api.get(where.format("nix")).status_code == 404
    refused = api.get(where.format(done))
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:arithmoscope:problem:no_worker")
    api.store.put_artifact(done, CALLS[call].file, b'{"as": "stored"}')
    answer = api.get(where.format(done))
    assert (answer.status_code, answer.content) == (200, b'{"as": "stored"}')
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("view", CALLS.values(), ids=str)
def test_a_view_requested_twice_is_computed_once(api: Api, done: str, view: View) -> None:
    requests = ViewRequests(api)
    assert requests.views.report(done, view) is None
    assert requests.views.report(done, view) is None
    assert requests == [(done, str(view))]
    requests.now += RETRY_AFTER_S
    assert requests.views.report(done, view) is None
    assert len(requests) == 2
    api.store.put_artifact(done, view.file, b"{}")
    assert requests.views.report(done, view) == b"{}"


def test_the_problem_of_a_failed_view_is_returned_and_later_it_is_tried_again(api: Api, done: str) -> None:
    requests, view = ViewRequests(api), View("roles")
    why = Refusal("model_changed", "It has other weights.").details()
    api.store.put_artifact(done, view.problem, problem_file(why, requests.now))
    with pytest.raises(Refusal, match="other weights"):
        requests.views.report(done, view)
    requests.now += RETRY_AFTER_S
    assert requests.views.report(done, view) is None
    assert requests == [(done, "roles")]


def test_pending_views_are_bounded_and_more_are_accepted_as_they_finish(api: Api, done: str) -> None:
    result = json.loads(api.store.read_artifact(done, "result.json"))
    result["model"]["heads"] = MAX_PENDING + 1
    api.store.put_artifact(done, "result.json", json.dumps(result).encode())
    requests, views = ViewRequests(api), [View("writes", f"L0H{head}") for head in range(MAX_PENDING + 1)]
    for view in views[:-1]:
        assert requests.views.report(done, view) is None
    with pytest.raises(Refusal) as refused:
        requests.views.report(done, views[-1])
    assert refused.value.code == "too_busy"
    assert requests.views.report(done, views[0]) is None, "who has been promised one goes on waiting"
    assert len(requests) == MAX_PENDING
    api.store.put_artifact(done, views[0].file, b"{}")
    assert requests.views.report(done, views[0]) == b"{}"
    assert requests.views.report(done, views[-1]) is None
    assert len(requests) == MAX_PENDING + 1


def test_what_is_stored_and_cannot_be_read_is_asked_for_again(
    api: Api, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, view = ViewRequests(api), View("roles")
    api.store.put_artifact(done, view.problem, problem_file(Refusal("internal", "Broke.").details(), requests.now))
    api.store.put_artifact(done, view.file, b"{}")
    read = api.store.read_artifact

    def damaged(experiment_id: str, name: str) -> bytes:
        if name in (view.file, view.problem):
            raise Refusal("no_result", "The file is damaged.")
        return read(experiment_id, name)

    monkeypatch.setattr(api.store, "read_artifact", damaged)
    assert requests.views.report(done, view) is None
    assert requests == [(done, "roles")]


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ("lens?prompt=1", 404, "out_of_range"),
        ("lens?prompt=99", 404, "out_of_range"),
        ("lens?prompt=-1", 404, "out_of_range"),
        ("lens?prompt=1e9", 422, "bad_request"),
        ("lens", 422, "bad_request"),
        ("writes?component=L2H0", 422, "bad_component"),
        ("writes?component=MLP9", 422, "bad_component"),
        ("writes?component=../result", 422, "bad_request"),
        ("writes?component=L0H0.json", 422, "bad_request"),
        ("writes?component=%3DL0H0", 422, "bad_request"),
        ("writes", 422, "bad_request"),
    ],
)
def test_a_view_that_the_result_lacks_is_refused_before_a_worker_is_asked(
    api: Api, done: str, call: str, status: int, code: str
) -> None:
    answer = api.get(f"/api/experiments/{done}/{call}")  # without a worker this would otherwise be a 503
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, code)


def test_a_view_has_one_name_and_no_other_text_is_one() -> None:
    for view in (*CALLS.values(), View("attention", "12")):
        assert View.parse(str(view)) == view
        assert is_view(view.file)
    for text in (
        "",
        "lens",
        "lens.",
        "lens.01",
        "lens.-1",
        "key.1",
        "writes.L0",
        "writes.../x",
        "attention.1.safetensors",
    ):
        assert View.parse(text) is None
    assert View("attention", "12").file == "attention.12.safetensors"
    assert not is_view("result.json")
