"""Tests of the server's status for people and programs: health, the System page's feed, metrics, and the access log."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from api_helpers import Api, finish, spec
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.routes import system
from prometheus_client.parser import text_string_to_metric_families

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.system import SystemReport, WorkerStatus
from arithmoscope.serve.logs import JsonLines
from arithmoscope.store import Store

ROOT = Path(__file__).parent.parent.parent
GONE = Refusal("store_unavailable", "The database does not answer.")


def scrape(api: Api) -> dict[tuple[str, ...], float]:
    """The samples by name and labels' values, in the order of the labels' names."""
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    values = {(each.name, *(value for _, value in sorted(each.labels.items()))): each.value for each in samples}
    assert len(values) == len(samples)
    return values


def busy_store(store: Store, api: Api) -> tuple[str, str, str]:
    """One finished, one running, one failed, one waiting."""
    done, running, failed = api.submit(), api.submit(spec("4 + 4 =")), api.submit(spec("1 + 1 ="))
    api.submit(spec("2 + 2 ="))
    finish(store, done)
    assert store.claim(running, 1, owner="w1", lease_s=60) is not None
    lost = store.claim(failed, 1, owner="w2", lease_s=60)
    assert lost is not None
    store.fail(lost, Refusal("out_of_memory", "The device has not enough memory.").details())
    store.record_heartbeat(WorkerStatus(id="w1", device="cpu", models=("tiny",), busy=True))
    store.record_heartbeat(WorkerStatus(id="w2", device="cpu", models=(), busy=False))
    return done, running, failed


@contextmanager
def store_down(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Moves the database away under the open store, so that every read fails."""
    with monkeypatch.context() as patched:
        patched.setattr(type(store._database), "read", _refuse)
        yield


@contextmanager
def _refuse(*_: object) -> Iterator[None]:
    raise GONE
    yield


def test_the_system_feed_lists_queued_and_running_experiments_workers_and_failures(live: Api) -> None:
    _, running, failed = busy_store(live.store, live)
    report = SystemReport.model_validate(live.get("/api/system").json())
    assert (report.queue.waiting, report.queue.running, report.broker) == (1, 1, "ok")
    assert report.queue.oldest_wait_s is not None
    assert [(worker.id, worker.busy, worker.experiment) for worker in report.workers] == [
        ("w1", True, running), ("w2", False, None),
    ]  # fmt: skip
    assert report.store.experiments == {"succeeded": 1, "running": 1, "failed": 1, "queued": 1}
    assert report.store.artifact_bytes > 0
    assert [(each.experiment, each.title) for each in report.failures] == [(failed, "Out of memory")]
    assert [(each.kind, each.model, each.n) for each in report.durations] == [("path_patching", "tiny", 1)]


def test_the_metrics_agree_with_what_is_kept(live: Api) -> None:
    busy_store(live.store, live)
    samples = scrape(live)
    for state in ("succeeded", "running", "failed", "queued"):
        assert samples["arithmoscope_experiments", "path_patching", state] == 1
    assert samples["arithmoscope_queue_depth",] == 1
    assert samples["arithmoscope_workers", "busy"] == samples["arithmoscope_workers", "idle"] == 1
    assert samples["arithmoscope_up", "store"] == samples["arithmoscope_up", "broker"] == 1
    assert samples["arithmoscope_experiment_runs", "path_patching", "tiny"] == 1
    assert samples["arithmoscope_artifact_bytes",] == live.store.store_report().artifact_bytes
    assert samples["process_resident_memory_bytes",] > 0
    assert samples["process_open_fds",] > 0


def test_requests_are_counted_by_the_template_of_their_address(api: Api) -> None:
    experiment_id = api.submit()
    for path in ("made-up", "other", "%00", "a/b/c", "x" * 300):
        api.get(f"/api/experiments/{path}")
    api.request("BREW", "/api/coffee")
    api.head(f"/api/experiments/{experiment_id}")
    after = scrape(api)
    name, route = "arithmoscope_http_requests_total", "/api/experiments/{experiment_id}"
    assert after[name, "GET", route, "404"] == 3
    assert after[name, "HEAD", route, "200"] == 1
    routes = {labels[2] for labels in after if labels[0] == name}
    assert routes <= {"/api/experiments", route, "/metrics", "none", "page"}
    assert {labels[1] for labels in after if labels[0] == name} <= {"GET", "HEAD", "POST", "OTHER"}
    assert after["arithmoscope_refusals_total", "unknown_experiment"] == 3
    assert after["arithmoscope_http_request_duration_seconds_count", "GET", route] == 3


def test_a_made_up_method_does_not_become_a_label(api: Api) -> None:
    api.request("BREW", "/api/health")
    assert not [labels for labels in scrape(api) if "BREW" in labels]


def test_a_scrape_with_the_store_or_the_broker_down_says_so_and_answers(
    config: ApiConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Api(replace(config, redis_url="unix:///nonexistent/redis.sock"), store) as api:
        assert scrape(api)["arithmoscope_up", "broker"] == 0
        with store_down(store, monkeypatch):
            samples = scrape(api)
            assert samples["arithmoscope_up", "store"] == 0
            assert not [labels for labels in samples if labels[0] == "arithmoscope_experiments"]


def test_a_process_lives_while_its_store_is_down_but_is_not_ready(
    api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (api.get("/api/live").status_code, api.get("/api/ready").status_code) == (200, 200)
    with store_down(store, monkeypatch):
        assert (api.get("/api/live").status_code, api.get("/api/ready").status_code) == (200, 503)
        health = api.get("/api/health")
        assert (health.status_code, health.json()["store"], health.json()["status"]) == (200, "down", "degraded")
        assert api.get("/api/system").json()["type"] == "urn:arithmoscope:problem:store_unavailable"


def test_metrics_and_the_system_feed_are_for_the_holder_of_the_token_and_probes_need_none(
    config: ApiConfig, store: Store
) -> None:
    with Api(replace(config, tokens=("sesame-open",)), store) as api:
        for path in ("/metrics", "/api/system"):
            refused = api.get(path)
            assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
            assert api.get(path, headers={"Authorization": "Bearer sesame-open"}).status_code == 200
        assert (api.get("/api/live").status_code, api.get("/api/ready").status_code) == (200, 200)


def test_the_log_follows_an_experiment_and_holds_no_token_and_no_query(
    config: ApiConfig, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "httpx2")  # the client of this test
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonLines("api", ["sesame-open"]))
    with Api(replace(config, tokens=("sesame-open",)), store) as api:
        headers = {"Authorization": "Bearer sesame-open"}
        answer = api.post("/api/experiments?name=sesame-open%0Aforged", json=spec(), headers=headers)
        where = f"/api/experiments/{answer.json()['id']}"
        api.patch(f"{where}?token=sesame-open", json={"priority": "high"}, headers=headers)
        api.post(f"{where}/cancel", headers=headers)
        api.get("/?token=sesame-open")
        api.post("/api/nothing%0A%7B%22level%22:%22forged%22%7D", headers=headers)
    assert "sesame" not in caplog.text
    assert "forged" not in caplog.text
    own = [line for line in caplog.text.splitlines() if answer.json()["id"] in line]
    text = " ".join(own)
    assert "is accepted" in text
    assert "waits with priority high" in text
    assert "is to be cancelled" in text


def test_an_accident_is_in_the_log_with_its_experiment_and_not_in_the_answer(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = api.submit()
    monkeypatch.setattr(api.store, "experiment", lambda _: 1 / 0)
    caplog.handler.setFormatter(JsonLines("api"))
    answer = api.get(f"/api/experiments/{experiment_id}")
    assert answer.status_code == 500
    assert "division" not in answer.text
    assert any(experiment_id in line and "500" in line for line in caplog.text.splitlines())


def test_the_page_of_a_folder_is_counted_as_one_route(config: ApiConfig, api: Api) -> None:
    assert isinstance(config.page_dir, Path)
    for path in ("/", "/analyses/abc", "/assets/main-abc123.js", "/nothing.here"):
        api.get(path)
    name, samples = "arithmoscope_http_requests_total", scrape(api)
    counted = {(labels[1], labels[3]): n for labels, n in samples.items() if labels[0] == name and labels[2] == "page"}
    assert counted == {("GET", "200"): 3, ("GET", "404"): 1}


def test_a_hanging_store_does_not_delay_health_checks(api: Api, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "STORE_WITHIN_S", 0.2)
    hanging, released = [0], threading.Event()

    @contextmanager
    def hang(*_: object) -> Iterator[None]:
        hanging[0] += 1
        try:
            assert released.wait(60), "an answer waited for the store"
            raise GONE
            yield
        finally:
            hanging[0] -= 1

    with monkeypatch.context() as patched:
        patched.setattr(type(store._database), "read", hang)
        answers = {
            path: api.get(path) for path in ("/api/ready", "/api/health", "/api/system", "/metrics", "/api/live")
        }
        released.set()
        while hanging[0]:
            time.sleep(0.01)
    assert [answer.status_code for answer in answers.values()] == [503, 200, 503, 200, 200]
    assert answers["/api/health"].json()["store"] == "down"
    assert 'arithmoscope_up{part="store"} 0.0' in answers["/metrics"].text


def test_every_metric_that_the_docs_name_is_there(config: ApiConfig, fresh_database: Path) -> None:
    named = set(re.findall(r"arithmoscope_[a-z_]+", (ROOT / "docs" / "operating.md").read_text("utf-8")))
    shutil.copy(fresh_database, config.database_url.removeprefix("sqlite:///"))
    with Store.open(config.database_url, config.artifacts_url, budget=10**9) as store, Api(config, store) as api:
        api.get("/api/experiments/none")
        families = {family.name for family in text_string_to_metric_families(api.get("/metrics").text)}
    assert len(named) > 5
    assert named <= families | {f"{name}_total" for name in families}
