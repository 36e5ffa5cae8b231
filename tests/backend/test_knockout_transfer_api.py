"""Knock-outs and transfers over HTTP: of a finished analysis, refused before a row exists, served by kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_helpers import CARD, PROBLEM, Api, finish, finish_with, knockout, spec, transfer

UNEQUAL = [{"reference": question} for question in ("3 + 1 =", "4 + 1 =", "10 - 5 =")]


@pytest.fixture
def parent(api: Api) -> str:
    experiment_id = api.submit()
    finish(api.store, experiment_id)
    return experiment_id


def sets(**more: Any) -> list[dict[str, Any]]:
    return [{"source": "template", "pairs": 16, "shots": 0, **more}]


_TYPED = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]}


def refusal(api: Api, body: dict[str, Any]) -> tuple[int, str, str]:
    answer = api.post("/api/experiments", json=body)
    assert answer.headers["content-type"] == PROBLEM, answer.text
    return answer.status_code, answer.json()["type"].rpartition(":")[2], answer.json()["detail"]


def test_a_knockout_belongs_to_its_parent_runs_on_its_model_and_is_listed_by_it(api: Api, parent: str) -> None:
    answer = api.post("/api/experiments", json=knockout(parent))
    created = answer.json()
    assert (answer.status_code, created["kind"], created["parent"], created["state"]) == (
        202,
        "knockout",
        parent,
        "queued",
    )
    other = api.post("/api/experiments", json=transfer(parent=parent)).json()
    listed = api.get("/api/experiments", params={"parent": parent}).json()["items"]
    assert [each["id"] for each in listed] == [other["id"], created["id"]]
    of_model = api.get("/api/experiments", params={"model": CARD.id, "kind": "knockout"}).json()["items"]
    assert [each["id"] for each in of_model] == [created["id"]]
    claim = api.store.claim(created["id"], 1, owner="w", lease_s=60)
    assert claim is not None
    assert claim.model == CARD.id


def test_asked_twice_a_knockout_is_the_same_experiment_and_other_controls_are_another(api: Api, parent: str) -> None:
    first = api.post("/api/experiments", json=knockout(parent)).json()["id"]
    again = api.post("/api/experiments", json=knockout(parent))
    assert (again.status_code, again.json()["id"]) == (200, first)
    assert api.post("/api/experiments", json=knockout(parent, controls=3)).json()["id"] != first


def test_a_knockout_of_a_stopped_analysis_does_not_answer_for_the_whole_of_it(api: Api, parent: str) -> None:
    of_part = api.post("/api/experiments", json=knockout(parent)).json()["id"]
    result = json.loads(api.store.read_artifact(parent, "result.json"))
    api.store.put_artifact(parent, "result.json", json.dumps({**result, "notes": ["It has run to its end."]}).encode())
    of_whole = api.post("/api/experiments", json=knockout(parent))
    assert of_whole.status_code == 202
    assert of_whole.json()["id"] != of_part


def test_a_knockout_of_an_unfinished_or_broken_or_missing_parent_is_refused(api: Api, parent: str) -> None:
    assert refusal(api, knockout("nix"))[:2] == (404, "unknown_experiment")
    waiting = api.submit(spec("1 + 1 ="))
    assert refusal(api, knockout(waiting))[:2] == (409, "not_finished")
    api.post(f"/api/experiments/{waiting}/cancel")
    assert refusal(api, knockout(waiting))[:2] == (409, "no_result")
    experiment_id = api.post("/api/experiments", json=knockout(parent)).json()["id"]
    assert refusal(api, knockout(experiment_id))[:2] == (409, "wrong_kind")
    assert refusal(api, transfer(parent=experiment_id))[:2] == (409, "wrong_kind")
    api.delete(f"/api/experiments/{parent}")
    assert refusal(api, knockout(parent, controls=1))[:2] == (404, "unknown_experiment")


def test_components_of_other_weights_are_refused(api: Api, parent: str) -> None:
    api.store.register_model(CARD.model_copy(update={"revision": "r2"}), api.store.tokenizer_json(CARD.id))
    assert refusal(api, knockout(parent))[:2] == (409, "model_changed")


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"components": ["L2H0"]}, "bad_component", "2 layers of 2 heads"),
        ({"components": ["L0H2"]}, "bad_component", "L0H2"),
        ({"components": ["MLP2"]}, "bad_component", "MLP2"),
        ({"components": ["L0H0; DROP TABLE"]}, "bad_request", "components[0]:"),
        ({"components": ["=L0H0"]}, "bad_request", "components[0]:"),
        ({"components": ["L0H00"]}, "bad_request", "components[0]:"),
        ({"components": ["L0H0\n"]}, "bad_request", "components[0]:"),
        ({"components": ["L٠H٠"]}, "bad_request", "components[0]:"),
        ({"components": []}, "bad_request", "components:"),
        ({"components": ["L0H0", "L0H0"]}, "bad_request", "must not repeat"),
        ({"components": None, "top_k": 0}, "bad_request", "top_k:"),
        ({"top_k": 3}, "bad_request", "not both"),
        ({"parent": "../../etc"}, "bad_request", "parent:"),
        ({"components": None, "metric": "probability"}, "metric_not_computed", "probability"),
        ({"prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "hello"}]}}, "no_arithmetic", "Pair 1"),
        (
            {"ablation": "resample", "prompts": {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 1 ="}]}},
            "impossible_options",
            "another one",
        ),
        (
            {
                "components": None,
                "top_k": 128,
                "controls": 200,
                "prompts": sets(answer="first", operands=[0, 99], pairs=1000)[0],
            },
            "impossible_options",
            "more than 20000000 rows",
        ),
        (
            {"positions": "all", "prompts": {"source": "custom", "shots": 0, "pairs": UNEQUAL}},
            "impossible_options",
            "The set has one prompt of",
        ),
        ({"disjoint": True, "prompts": None, "ablation": "zero"}, "no_prompts", "every one of these"),
        (
            {"answer_tokens": 2, "prompts": {**sets()[0], "answer": "each"}},
            "impossible_options",
            "each token of an answer",
        ),
        (
            {"answer_tokens": 1, "prompts": {**sets(operands=[50, 90])[0], "answer": "first"}},
            "bad_request",
            "answer_tokens is 1",
        ),
    ],
)
def test_a_knockout_that_cannot_run_is_refused_before_there_is_a_row(
    api: Api, parent: str, change: dict[str, Any], code: str, message: str
) -> None:
    status, refused_code, detail = refusal(api, knockout(parent) | change)
    assert (status in (409, 422), refused_code) == (True, code)
    assert message in detail
    assert len(api.get("/api/experiments").json()["items"]) == 1


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"model": "nix"}, "unknown_model", "nix"),
        ({"found_on": []}, "bad_request", "found_on:"),
        ({"found_on": sets() * 2}, "bad_request", "must not name a set twice"),
        ({"found_on": sets(operands=[9, 1])}, "bad_request", "found_on[0]"),
        ({"evaluated_on": sets(pairs=10_000)}, "bad_request", "the most is 10000"),
        ({"evaluated_on": sets(topic="facts", operations=["add", "subtract"])}, "impossible_options", "Set 'facts'"),
        ({"found_on": [_TYPED]}, "no_prompts", "own prompts (1)"),
    ],
)  # fmt: skip
def test_a_transfer_that_cannot_run_is_refused_and_says_which_set(
    api: Api, change: dict[str, Any], code: str, message: str
) -> None:
    body = transfer(**change)
    if "own prompts" in message:  # one of the two sides is empty
        body["evaluated_on"] = body["found_on"]
    status, refused_code, detail = refusal(api, body)
    assert (status in (404, 422), refused_code) == (True, code)
    assert message in detail
    assert api.get("/api/experiments").json()["items"] == []


def test_the_sets_of_a_transfer_are_no_more_pairs_together_than_one_set_may_be(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arithmoscope.prompts.sets.prompt_sets.MAX_PAIRS", 20)  # each has 16
    assert refusal(api, transfer())[:2] == (422, "impossible_options")


def test_a_transfer_is_the_same_with_any_parent_analysis(api: Api, parent: str) -> None:
    first = api.post("/api/experiments", json=transfer())
    again = api.post("/api/experiments", json=transfer(parent=parent))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]


FILES = {"curve.csv": ("knockout",), "matrix.csv": ("transfer",), "raw.safetensors": ("knockout", "transfer")}
OF_ANALYSES = ("components.csv", "components.csv-metadata.json", "arrays.npz", "attention?layer=0&prompt=0", "key",
               "roles", "stages", "lens?prompt=0", "writes?component=L0H0")  # fmt: skip


def test_every_kind_has_its_own_files_and_says_so_of_the_others(api: Api, parent: str) -> None:
    experiments = {"path_patching": parent}
    for body in (knockout(parent), transfer()):
        experiments[body["kind"]] = api.submit(body)
    for call in (*FILES, *OF_ANALYSES):
        for kind, experiment_id in experiments.items():
            if kind not in FILES.get(call, ("path_patching",)):
                answer = api.get(f"/api/experiments/{experiment_id}/{call}")
                assert (answer.status_code, answer.json()["type"]) == (409, "urn:arithmoscope:problem:wrong_kind"), call
    for call, (kind, *_) in FILES.items():
        assert api.get(f"/api/experiments/{experiments[kind]}/{call}").json()["type"].endswith("not_finished")
    for kind in ("knockout", "transfer"):
        finish_with(
            api.store, experiments[kind], result_json=b"{}", curve_csv=b"k", matrix_csv=b"m", raw_safetensors=b"r"
        )
    for call, kinds in FILES.items():
        for kind in kinds:
            answer = api.get(f"/api/experiments/{experiments[kind]}/{call}")
            assert (answer.status_code, answer.content) == (200, call[:1].encode().replace(b"c", b"k"))
            assert experiments[kind] in answer.headers["content-disposition"]
    assert api.get(f"/api/experiments/{experiments['knockout']}/result").content == b"{}"
