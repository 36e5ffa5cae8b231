"""Tests of the page's files, its index at each of its own addresses, the API's description, and the small routes."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest
from api_helpers import PROBLEM, Api, finish
from arithmoscope_api.app import routes_only
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.openapi import openapi_document

from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store


@pytest.mark.parametrize(
    "path",
    ["/", "/analyses", "/analyses/abc", "/analyses/abc/", "/compare", "/system", "/transfer", "/tune", "/no/such/page"],
)
def test_the_index_finds_its_files_from_any_address(api: Api, path: str) -> None:
    answer = api.get(path)
    base = re.findall(r'<base href="([^"]*)"', answer.text)
    assert len(base) == 1
    assert urljoin(f"http://localhost{path}", base[0]) == "http://localhost/"
    assert answer.status_code == (404 if path == "/no/such/page" else 200)
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/" + "a" * 300, "/" + "a/" * 5000, "/assets/" + "a" * 300 + ".js", "/" + "%C3%A9" * 200]
)
def test_an_address_longer_than_a_file_name_is_not_there(api: Api, path: str) -> None:
    assert api.get(path).status_code == 404


def test_files_with_a_hash_in_their_name_are_kept_for_ever(api: Api) -> None:
    answer = api.get("/assets/main-abc123.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]


def test_a_file_that_the_browser_has_is_not_sent_again(api: Api, config: ApiConfig) -> None:
    assert config.page_dir is not None
    (config.page_dir / "icon.svg").write_text("<svg/>")
    first = api.get("/icon.svg")
    again = api.get("/icon.svg", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/../arithmoscope.db", "/%2e%2e/arithmoscope.db", "/..%2farithmoscope.db", "/a%00.js"]
)
def test_nothing_outside_the_page_is_served(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code in (403, 404)
    assert b"SQLite" not in answer.content


def test_a_page_that_was_not_built_says_how_to_build_it(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, page_dir=None), store) as api:
        answer = api.get("/")
    assert answer.status_code == 503
    assert "make run" in answer.text


@pytest.mark.parametrize("prefix", ["", "/lab/arithmoscope"])
def test_it_works_under_a_path_whether_the_proxy_strips_it_or_not(config: ApiConfig, store: Store, prefix: str) -> None:
    with Api(replace(config, root_path="/lab/arithmoscope"), store) as api:
        assert api.get(f"{prefix}/api/health").status_code == 200
        assert api.get(f"{prefix}/assets/main-abc123.js").status_code == 200
        assert api.get(f"{prefix}/analyses/x").status_code == 200
        assert api.get("/lab/arithmoscope").headers["location"] == "arithmoscope/"


def test_health_is_degraded_without_a_worker_and_ok_with_one(live: Api) -> None:
    health = live.get("/api/health").json()
    assert (health["status"], health["broker"], health["store"], health["workers"]) == ("degraded", "ok", "ok", [])
    live.store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=("tiny",), busy=False))
    live.submit()
    health = live.get("/api/health").json()
    assert (health["status"], health["running"], health["waiting"]) == ("ok", 0, 1)
    assert health["workers"] == [{"id": "w", "device": "cpu", "models": ["tiny"], "busy": False}]
    assert health["version"] != "unknown"


def test_the_models_are_listed_with_the_reason_of_those_that_cannot_run(api: Api) -> None:
    items = {item["id"]: item for item in api.get("/api/models").json()["items"]}
    assert items["tiny"]["supported"]
    assert items["odd"]["reason"] == "It is odd."


def test_a_preview_shows_how_a_prompt_is_read_and_what_is_wrong_with_another(api: Api) -> None:
    prompts = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}, {"reference": "hello"}]}
    preview = api.post("/api/prompts/preview", json={"model": "tiny", "prompts": prompts}).json()
    good, bad = preview["items"]
    assert good["answer"] == "8"
    assert good["problem"] is None
    assert "operator" in {token["role"] for token in good["reference"]}
    assert bad["problem"]
    assert api.post("/api/prompts/preview", json={"model": "nix", "prompts": prompts}).status_code == 404


def test_a_model_without_a_tokenizer_is_refused_in_words(api: Api) -> None:
    card = next(card for card in api.store.models() if card.id == "tiny")
    api.store.register_model(card.model_copy(update={"id": "mute"}), None)
    api.store.register_model(card.model_copy(update={"id": "garbled"}), "{}")
    prompts = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]}
    for model in ("mute", "garbled"):
        answer = api.post("/api/prompts/preview", json={"model": model, "prompts": prompts})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:arithmoscope:problem:bad_tokenizer")


class _Loaded(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        attributes = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := attributes.get(name))]
        self.ids += [value for name in ("id",) if (value := attributes.get(name))]


def test_the_description_is_one_plain_page_that_loads_nothing(api: Api) -> None:
    page = api.get("/api/docs")
    read = _Loaded()
    read.feed(page.text)
    assert page.status_code == 200
    assert not read.tags & {"script", "link", "img", "iframe"}
    assert {address for address in read.addresses if not address.startswith("#")} == {"openapi.json"}
    assert {address[1:] for address in read.addresses if address.startswith("#")} <= set(read.ids)
    for path in api.get("/api/openapi.json").json()["paths"]:
        assert path in page.text


def test_every_call_documents_its_refusals_as_problem_json() -> None:
    document = openapi_document(routes_only())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            refused = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert refused, (method, path)
            for answer in refused.values():
                assert answer["content"].keys() == {PROBLEM}
    assert {"Progress", "Partial", "StateChange", "ProblemDetails"} <= document["components"]["schemas"].keys()


def test_what_the_api_answers_is_what_it_documents(api: Api) -> None:
    document = api.get("/api/openapi.json").json()
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        query = "?layer=0&prompt=0" if path.endswith("attention") else ""
        answer = api.get(path.replace("{experiment_id}", experiment_id) + query)
        documented = operations["get"]["responses"][str(answer.status_code)]["content"]
        assert answer.headers["content-type"].split(";")[0] in documented, path
