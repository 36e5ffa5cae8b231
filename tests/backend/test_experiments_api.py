"""Experiments over HTTP: submitted, deduplicated, listed, cancelled, retried, deleted."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from api_helpers import PROBLEM, Api, finish, spec
from arithmoscope_api.config import ApiConfig

from arithmoscope.store import QueuedAttempt, Store
from arithmoscope.store.dispatch import QUEUE
from arithmoscope.store.outbox import Outbox
from benchmarks.patience import patience


def test_a_new_question_is_accepted_with_its_location(api: Api) -> None:
    answer = api.post("/api/experiments", json=spec())
    experiment = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/experiments/{experiment['id']}"
    assert experiment["state"] == "queued"
    assert api.get(answer.headers["location"]).json()["id"] == experiment["id"]


def test_the_same_question_in_other_words_is_answered_with_the_first_experiment(api: Api) -> None:
    first = api.submit()
    again = api.post("/api/experiments", json=spec(metrics=["logit", "relative_logit", "logit_difference"]))
    other = api.post("/api/experiments", json=spec(effect="through_mlps"))
    assert (again.status_code, again.json()["id"]) == (200, first)
    assert other.status_code == 202


def test_patching_options_are_echoed_and_part_of_the_experiment_key(api: Api) -> None:
    plain = api.post("/api/experiments", json=spec(effect="total")).json()
    request = spec(effect="total", positions="all", direction="denoising")
    answer = api.post("/api/experiments", json=request)
    assert answer.status_code == 202
    assert answer.json()["spec"] | {"metrics": None, "prompts": None} == request | {
        "source": "counterfactual", "metrics": None, "prompts": None,
    }  # fmt: skip
    left_out = {"positions": "end", "source": "counterfactual", "direction": "noising"}
    assert {name: plain["spec"][name] for name in left_out} == left_out
    assert api.post("/api/experiments", json=spec(effect="total", **left_out)).json()["id"] == plain["id"]


def test_options_that_do_not_go_together_come_with_their_own_way_out(api: Api) -> None:
    answer = api.post("/api/experiments", json=spec(positions="all"))
    assert answer.json()["way_out"] == "Choose the effect 'total', or positions 'end'."


def test_fifty_concurrent_submissions_make_one_experiment(api: Api) -> None:
    with ThreadPoolExecutor(16) as people:
        ids = set(people.map(lambda _: api.submit(), range(50)))
    assert len(ids) == 1
    assert len(api.get("/api/experiments").json()["items"]) == 1


def test_a_repeated_question_is_answered_within_fifty_milliseconds(api: Api) -> None:
    api.submit()
    times = []
    for _ in range(9):
        started = time.process_time()
        api.submit()
        times.append(time.process_time() - started)
    assert sorted(times)[4] < 0.05


def test_an_accepted_experiment_is_with_the_broker_at_once(
    config: ApiConfig, store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, unsent = threading.Event(), store.unsent

    def poll() -> list[QueuedAttempt]:
        waiting = unsent()
        looked.set()
        return waiting

    monkeypatch.setattr(store, "unsent", poll)
    # The outbox polls when it starts; after that, unless it is nudged, not before this test has ended.
    monkeypatch.setattr("arithmoscope_api.app.Outbox", partial(Outbox, every_s=600.0))
    with redis.Redis.from_url(redis_url) as broker, Api(replace(config, redis_url=redis_url), store) as live:

        def takes_a_job() -> bool:
            until = time.monotonic() + 10 * patience()
            while time.monotonic() < until:
                if any(broker.llen(f"{QUEUE}:{priority}") for priority in range(1, 10)):
                    return True
                time.sleep(0.01)
            return False

        assert looked.wait(10 * patience())
        broker.flushall()
        experiment_id = live.submit()
        assert takes_a_job()
        broker.flushall()
        live.post(f"/api/experiments/{experiment_id}/cancel")
        live.post(f"/api/experiments/{experiment_id}/retry")
        assert takes_a_job()


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"model": "nix"}, 404, "unknown_model", "'nix'"),
        ({"model": "odd"}, 422, "unsupported_architecture", "It is odd."),
        ({"effect": "sideways"}, 422, "bad_request", "effect:"),
        ({"metrics": ["logit", "logit"]}, 422, "bad_request", "metrics must not repeat"),
        ({"kind": "magic"}, 422, "bad_request", "kind:"),
        ({"colour": "red"}, 422, "bad_request", "colour:"),
        ({"prompts": {"source": "template", "operands": [5, 1]}}, 422, "bad_request", "smallest, largest"),
        ({"prompts": {"source": "template", "pairs": 0}}, 422, "bad_request", "prompts.pairs:"),
        ({"prompts": {"source": "template", "operations": ["root"]}}, 422, "bad_request", "prompts.operations[0]:"),
        ({"prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "hello"}]}}, 422, "no_arithmetic", "1"),
        (
            {"prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "30 + 50 ="}]}},
            422,
            "answer_several_tokens",
            "80",
        ),
        ({"positions": "all"}, 422, "impossible_options", "Positions 'all' needs the effect 'total'"),
        ({"direction": "denoising", "source": "zero"}, 422, "impossible_options", "needs the source 'counterfactual'"),
        ({"source": "mean"}, 422, "impossible_options", "needs several prompts"),
        ({"source": "thin air"}, 422, "bad_request", "source:"),
        (
            {
                "effect": "total",
                "positions": "all",
                "prompts": {
                    "source": "custom",
                    "shots": 0,
                    "pairs": [{"reference": "3 + 5 =", "counterfactual": "3 @ @ 5 ="}],
                },
            },
            422,
            "lengths_differ",
            "Pair 1",
        ),
    ],
)
def test_a_question_that_cannot_run_is_refused_before_there_is_a_row(
    api: Api, change: dict[str, Any], status: int, code: str, message: str
) -> None:
    answer = api.post("/api/experiments", json=spec(**change))
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert set(problem) == {"type", "title", "status", "detail", "way_out"}
    assert problem["type"] == f"urn:arithmoscope:problem:{code}"
    assert message in problem["detail"]
    assert api.get("/api/experiments").json()["items"] == []


def test_the_list_is_paged_newest_first_and_filtered(api: Api) -> None:
    ids = [api.submit(spec(f"{n} + 1 =")) for n in range(1, 6)]
    page = api.get("/api/experiments", params={"limit": 3}).json()
    rest = api.get("/api/experiments", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    finish(api.store, ids[0])
    done = api.get("/api/experiments", params={"state": "succeeded", "model": "tiny", "kind": "path_patching"})
    assert [item["id"] for item in done.json()["items"]] == ids[:1]
    assert api.get("/api/experiments", params={"state": "asleep"}).status_code == 422
    assert api.get("/api/experiments", params={"limit": 0}).status_code == 422
    assert api.get("/api/experiments", params={"cursor": "nonsense"}).status_code == 422


@pytest.mark.parametrize(
    "message",
    ["5", "null", '"ab"', "{}", "[]", "[1.0]", '[1e400, "x"]', "[1" + "0" * 90 + ', "x"]', '[1.0, "\\ud800"]',
     '[true, "x"]', '[NaN, "x"]', "[1.0, 2]", "[" * 110],
)  # fmt: skip
def test_a_cursor_that_no_list_gave_is_refused(api: Api, message: str) -> None:
    answer = api.get("/api/experiments", params={"cursor": base64.urlsafe_b64encode(message.encode()).decode()})
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert "cursor" in answer.json()["detail"]


def test_a_waiting_experiment_is_cancelled_at_once_and_twice_is_no_error(api: Api) -> None:
    experiment_id = api.submit()
    for _ in range(2):
        answer = api.post(f"/api/experiments/{experiment_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def test_a_cancelled_experiment_can_be_run_again_and_a_succeeded_one_cannot(api: Api) -> None:
    experiment_id = api.submit()
    api.post(f"/api/experiments/{experiment_id}/cancel")
    again = api.post(f"/api/experiments/{experiment_id}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    done = api.submit(spec("1 + 1 ="))
    finish(api.store, done)
    refused = api.post(f"/api/experiments/{done}/retry")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("not_retryable")


def test_an_experiment_whose_result_was_lost_can_be_run_again(api: Api, tmp_path: Path) -> None:
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    shutil.rmtree(tmp_path / "artifacts" / experiment_id)
    assert api.get(f"/api/experiments/{experiment_id}/result").json()["type"].endswith("no_result")
    again = api.post(f"/api/experiments/{experiment_id}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")


def test_a_running_experiment_is_not_deleted_and_a_finished_one_is_gone(api: Api) -> None:
    experiment_id = api.submit()
    assert api.store.claim(experiment_id, 1, owner="w", lease_s=60) is not None
    assert api.delete(f"/api/experiments/{experiment_id}").status_code == 409
    done = api.submit(spec("1 + 1 ="))
    finish(api.store, done)
    assert api.delete(f"/api/experiments/{done}").status_code == 204
    gone = api.get(f"/api/experiments/{done}/result")
    assert (gone.status_code, gone.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    "call", ["", "/result", "/components.csv", "/arrays.npz", "/events", "/attention?layer=0&prompt=0"]
)
def test_an_unknown_experiment_is_a_404_for_every_call(api: Api, call: str) -> None:
    answer = api.get(f"/api/experiments/unheard-of{call}")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("unknown_experiment")
