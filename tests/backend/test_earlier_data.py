"""Tests that everything in a data folder of an earlier version is found at the same addresses."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from api_helpers import Api, events
from arithmoscope_api.config import ApiConfig
from httpx2 import Response
from pydantic import TypeAdapter

from arithmoscope.contracts.experiments import Experiment
from arithmoscope.contracts.kinds import ExperimentResult
from arithmoscope.serve.wiring import import_example
from arithmoscope.store import EXAMPLE_ID, Store

EARLIER = Path(__file__).parent / "earlier_data"
RECORD = json.loads((EARLIER / "answers.json").read_text(encoding="utf-8"))
# By address.
ANSWERS: dict[str, dict[str, Any]] = RECORD["answers"]
LISTED = [each["id"] for each in ANSWERS["/api/experiments"]["json"]["items"]]
STORED_ATTENTION = [each for each in LISTED if f"/api/experiments/{each}/result" in ANSWERS]


@pytest.fixture
def config(config: ApiConfig) -> ApiConfig:
    return replace(config, device="cpu")  # as recorded; part of every experiment's key


@pytest.fixture
def store(config: ApiConfig, tmp_path: Path) -> Iterator[Store]:
    """The earlier folder, opened at the time when its answers were recorded."""
    with tarfile.open(EARLIER / "data.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    with Store.open(config.database_url, config.artifacts_url, clock=lambda: RECORD["at"]) as store:
        yield store


def experiment(experiment_id: str) -> dict[str, Any]:
    """The earlier version's answer about an experiment."""
    return ANSWERS[f"/api/experiments/{experiment_id}"]["json"]


def changed(api: Api) -> dict[str, str]:
    """Answers that differ from the recorded ones, by address."""
    answers = {path: api.get(path) for path in ANSWERS}
    return {
        path: f"{answer.status_code} {answer.content[:200]!r}"
        for path, answer in answers.items()
        if not _as_before(ANSWERS[path], answer)
    }


def _as_before(before: dict[str, Any], answer: Response) -> bool:
    headers = {**before.get("headers", {}), "content-type": before["type"]}
    if answer.status_code != 200 or any(answer.headers.get(name) != value for name, value in headers.items()):
        return False
    if "sha256" in before:
        return hashlib.sha256(answer.content).hexdigest() == before["sha256"]
    return _says(answer.json(), before["json"])


def _says(now: Any, before: Any) -> bool:
    """Whether every recorded value is in the answer; a later version may add fields."""
    if isinstance(before, dict):
        return isinstance(now, dict) and all(name in now and _says(now[name], was) for name, was in before.items())
    if isinstance(before, list):
        return isinstance(now, list) and len(now) == len(before) and all(map(_says, now, before))
    return now == before


def test_every_address_of_an_earlier_folder_answers_as_it_did(api: Api) -> None:
    assert changed(api) == {}


def test_the_earlier_folder_holds_every_kind_and_every_end() -> None:
    answers = [experiment(each) for each in LISTED]
    assert {each["kind"] for each in answers} == {"path_patching", "knockout", "transfer", "fine_tune"}
    assert {each["state"] for each in answers} == {"queued", "succeeded", "failed", "cancelled"}


def test_every_experiment_of_an_earlier_folder_is_listed_and_read(api: Api) -> None:
    listed = api.get("/api/experiments").json()["items"]
    assert [each["id"] for each in listed] == LISTED
    for each in listed:
        assert api.get(f"/api/experiments/{each['id']}").json() == each
        assert Experiment.model_validate(each).state == experiment(each["id"])["state"]


def test_every_result_of_an_earlier_folder_is_understood(api: Api) -> None:
    for each in STORED_ATTENTION:
        result = api.get(f"/api/experiments/{each}/result")
        understood: Any = TypeAdapter(ExperimentResult).validate_json(result.content)
        assert understood.spec.model_dump(mode="json") == api.get(f"/api/experiments/{each}").json()["spec"]


def test_a_browser_that_kept_a_file_of_an_earlier_folder_need_not_fetch_it_again(api: Api) -> None:
    kept = {path: before["headers"]["etag"] for path, before in ANSWERS.items() if "etag" in before.get("headers", {})}
    assert len(kept) > len(STORED_ATTENTION)
    for path, tag in kept.items():
        assert api.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_the_event_stream_of_an_earlier_experiment_ends_with_its_state(api: Api) -> None:
    for each in LISTED:
        state = experiment(each)["state"]
        if state != "queued":
            assert [(event.event, event.data) for event in events(api, each)][-1] == ("state", {"state": state})


def test_every_link_out_of_an_earlier_ranking_leads_to_its_description_and_back(api: Api) -> None:
    rankings = [path for path in ANSWERS if "/components.csv" in path and "metadata" not in path]
    assert rankings
    for path in rankings:
        ranking = api.get(path)
        described = api.get(urljoin(path, ranking.links["describedby"]["url"]))
        assert described.headers["content-type"] == ranking.links["describedby"]["type"]
        assert api.get(urljoin(path, described.json()["url"])).content == ranking.content


def test_every_link_between_earlier_experiments_and_models_leads_somewhere(api: Api) -> None:
    models = {card["id"]: card for card in api.get("/api/models").json()["items"]}
    for each in LISTED:
        parent = experiment(each)["parent"]
        assert parent is None or api.get(f"/api/experiments/{parent}/result").status_code == 200
        assert experiment(each)["spec"].get("model", "tiny") in models
    tuned = [each for each in STORED_ATTENTION if experiment(each)["kind"] == "fine_tune"]
    assert len(tuned) == 3
    for each in tuned:
        card = models[api.get(f"/api/experiments/{each}/result").json()["tuned"]]
        assert (card["experiment"], card["base"], card["supported"]) == (each, "tiny", True)


def test_a_bookmark_of_the_earlier_page_opens_the_page(api: Api) -> None:
    for path in ("/", "/compare", "/system", "/transfer", "/tune", *(f"/analyses/{each}" for each in LISTED)):
        assert api.get(path).status_code == 200, path


def test_asking_an_earlier_question_again_is_answered_with_the_earlier_experiment(api: Api) -> None:
    for each in LISTED:
        if experiment(each)["state"] in ("succeeded", "queued"):
            answer = api.post("/api/experiments", json=experiment(each)["spec"])
            assert (answer.status_code, answer.headers.get("location")) == (200, f"/api/experiments/{each}"), (
                answer.text
            )
            assert api.get(answer.headers["location"]).json()["id"] == each


def test_what_was_deleted_before_comes_back_whole(api: Api) -> None:
    (deleted,) = (each["id"] for each in ANSWERS["/api/experiments?deleted=true"]["json"]["items"])
    assert api.get(f"/api/experiments/{deleted}").status_code == 404
    assert api.post(f"/api/experiments/{deleted}/restore").status_code == 200
    for name in ("result", "components.csv", "components.csv-metadata.json", "arrays.npz"):
        assert api.get(f"/api/experiments/{deleted}/{name}").status_code == 200


def test_half_done_work_of_an_earlier_version_is_still_there_to_go_on_from(store: Store) -> None:
    waiting = [each for each in LISTED if experiment(each)["state"] == "queued"]
    assert sorted(map(len, map(store.chunks, waiting))) == [0, 1]


def test_garbage_collection_keeps_every_answer_of_an_earlier_folder(api: Api, store: Store) -> None:
    store.collect_garbage()
    assert changed(api) == {}


def test_the_example_comes_back_into_an_earlier_folder_without_its_files(api: Api, store: Store) -> None:
    assert api.get(f"/api/experiments/{EXAMPLE_ID}/result").status_code == 409
    import_example(store)
    assert api.get(f"/api/experiments/{EXAMPLE_ID}/result").status_code == 200
    assert changed(api) == {}
