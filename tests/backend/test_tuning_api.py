"""Fine-tunings over HTTP: previews of the trained parameters, refusals before a row exists, and stored files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from api_helpers import CARD, PROBLEM, Api, finish, finish_with, knockout, tokenizer_json, tuning
from arithmoscope_api.config import ApiConfig

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import PartSizes
from arithmoscope.store import Store

SIZES = PartSizes(q=20, k=20, v=20, o=20, mlp=300, head_dim=2, q_bias=2, mlp_bias=5)
FILES = ("deltas.safetensors", "adapter.zip", "history.csv", "judged.csv", "repatched.csv")


@pytest.fixture
def api(api: Api) -> Api:
    """The application with a model of known sizes: two layers of two heads that share their keys and values."""
    card = CARD.model_copy(update={"sizes": SIZES, "parameters": 2000})
    api.store.register_model(card, tokenizer_json())
    return api


def refusal(api: Api, body: dict[str, Any], path: str = "/api/experiments") -> tuple[int, str, str]:
    answer = api.post(path, json=body)
    assert answer.headers["content-type"] == PROBLEM, answer.text
    return answer.status_code, answer.json()["type"].rpartition(":")[2], answer.json()["detail"]


def custom(*questions: str) -> dict[str, Any]:
    return {"source": "custom", "shots": 0, "pairs": [{"reference": question} for question in questions]}


def preview(api: Api, **changes: Any) -> dict[str, Any]:
    answer = api.post("/api/tuning/preview", json=tuning(**changes))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_preview_says_what_would_be_trained_and_how_the_questions_are_split(api: Api) -> None:
    previewed = preview(api)
    assert previewed["tunable"] == {
        "components": ["L1H0", "MLP0"],
        "tune": ["q", "o"],
        "touched": [],
        "trained": 340,
        "parameters": 2000,
        "share": 0.17,
        "lowest": 0,
        "optimiser_bytes": 8 * 340,
    }
    split = previewed["split"]
    assert split["shared"] == 0
    assert split["train"] + split["validation"] + split["test"] == 60
    assert split["train"] > split["test"] > 0
    assert all(example.endswith("=") for example in split["examples"])
    assert api.get("/api/experiments").json()["items"] == []


def test_every_tuner_says_what_it_would_train(api: Api) -> None:
    for changes, trained, touched in (
        ({"tune": ["k", "v"]}, 340, ["L1H1"]),
        ({"biases": True}, 347, []),
        ({"tuner": "random"}, 340, []),
        ({"tuner": "lora"}, 340, []),
        ({"tuner": "offsets", "components": ["L1H0", "L0H1"]}, 4, []),
        ({"tuner": "full_matrices", "components": []}, 2 * (2 * 40 + 40 + 300), []),
        ({"tuner": "full", "components": []}, 2000, []),
    ):
        tunable = preview(api, **changes)["tunable"]
        assert (tunable["trained"], tunable["touched"]) == (trained, touched), changes


def test_a_model_of_unknown_sizes_has_no_preview_and_can_be_tuned_all_the_same(api: Api) -> None:
    api.store.register_model(CARD, tokenizer_json())
    assert refusal(api, tuning(), "/api/tuning/preview")[:2] == (422, "impossible_options")
    assert preview(api, tuner="full", components=[])["tunable"]["share"] == 1
    assert api.post("/api/experiments", json=tuning()).status_code == 202


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"components": []}, 422, "bad_component", "nothing to tune"),
    ({"components": ["L2H0"]}, 422, "bad_component", "2 layers of 2 heads"),
    ({"components": ["L0H2"]}, 422, "bad_component", "There is no L0H2"),
    ({"components": ["MLP2"]}, 422, "bad_component", "There is no MLP2"),
    ({"components": [f"L{n}H{m}" for n in range(101) for m in range(100)][:10_001]}, 422, "bad_request", "10000"),
    ({"components": ["L0H0", "L0H0"]}, 422, "bad_request", "must not repeat"),
    ({"components": ["=L0H0"]}, 422, "bad_request", "components[0]:"),
    ({"components": ["L٠H٠"]}, 422, "bad_request", "components[0]:"),
    ({"tuner": "offsets"}, 422, "bad_component", "MLP0"),
    ({"tune": []}, 422, "bad_request", "tune:"),
    ({"tune": ["q", "q"]}, 422, "bad_request", "must not repeat"),
    ({"learning_rate": 0}, 422, "bad_request", "learning_rate:"),
    ({"steps": 20_001}, 422, "bad_request", "steps:"),
    ({"clip": 0}, 422, "bad_request", "clip:"),
    ({"model": "nix"}, 404, "unknown_model", "nix"),
    ({"model": "odd"}, 422, "unsupported_architecture", "It is odd."),
    ({"parent": "nix"}, 404, "unknown_experiment", "nix"),
    ({"prompts": custom("hello")}, 422, "no_arithmetic", "Pair 1"),
    ({"prompts": custom("3 + 5 =", "5 + 3 =")}, 422, "no_prompts", "none is left to"),
    ({"prompts": custom("3 + 5 ="), "test": custom("5 - 3 =")}, 422, "overlapping_splits", "'5 - 3 ='"),
    ({"test": custom("hello")}, 422, "no_arithmetic", "Pair 1"),
    ({"test": {"source": "custom", "shots": 0, "pairs": []}}, 422, "bad_request", "test.pairs:"),
    (
        {"validation": custom("80 + 90 ="), "test": custom("90 + 80 =")},
        422,
        "overlapping_splits",
        "in the validation and the test set",
    ),
    ({"prompts": {**custom("3 + 5 ="), "chat": True}}, 422, "no_chat_template", "no chat template"),
]


def test_what_cannot_be_tuned_is_refused_before_there_is_a_row_and_by_its_preview(api: Api) -> None:
    for changes, status, code, message in REFUSED:
        for path in ("/api/experiments", "/api/tuning/preview"):
            result = refusal(api, tuning(**changes), path)
            assert result[:2] == (status, code), result
            assert message in result[2], result
    assert api.get("/api/experiments").json()["items"] == []


def test_an_explicit_test_set_frees_the_held_out_prompts_for_training(api: Api) -> None:
    split = preview(api, test=custom("70 + 50 =", "60 + 50 ="), validation=custom("80 + 50 ="))["split"]
    assert (split["train"], split["validation"], split["test"]) == (60, 1, 2)


def test_a_preview_says_how_much_of_the_test_the_analysis_of_the_components_had_asked(api: Api) -> None:
    prompts = {**tuning()["prompts"], "answer": "each"}
    tested = preview(api)["split"]["test"]
    for spec, message in (
        (prompts, f"Of the {tested} test questions {tested} ask"),
        ({**prompts, "half": "first"}, "none of the operands"),
    ):
        parent = api.submit({"kind": "path_patching", "model": "tiny", "prompts": spec})
        (note,) = [note for note in preview(api, parent=parent)["notes"] if "analysis" in note]
        assert message in note


def test_weights_that_no_gradient_can_move_are_refused(config: ApiConfig, store: Store) -> None:
    with Api(replace(config, dtype="int8"), store) as narrow:
        assert refusal(narrow, tuning())[:2] == (422, "bad_setting")


def test_a_fine_tuning_belongs_to_its_analysis_and_asked_twice_is_the_same(api: Api) -> None:
    parent = api.submit()
    answer = api.post("/api/experiments", json=tuning(parent=parent))
    created = answer.json()
    assert (answer.status_code, created["kind"], created["parent"], created["state"]) == (
        202,
        "fine_tune",
        parent,
        "queued",
    )
    again = api.post("/api/experiments", json=tuning())
    assert (again.status_code, again.json()["id"]) == (200, created["id"]), "the analysis moves no number"
    other = api.post("/api/experiments", json=tuning(parent=parent, tuner="random")).json()
    listed = api.get("/api/experiments", params={"parent": parent, "kind": "fine_tune"}).json()["items"]
    assert [each["id"] for each in listed] == [other["id"], created["id"]]
    finish(api.store, parent)
    taken_out = api.submit(knockout(parent))
    for wrong in (taken_out, created["id"]):
        assert refusal(api, tuning(parent=wrong))[:2] == (409, "wrong_kind")
    assert refusal(api, knockout(created["id"]))[:2] == (409, "wrong_kind")


def test_what_a_fine_tuning_leaves_is_served_and_other_kinds_have_none_of_it(api: Api) -> None:
    experiment_id, analysis = api.submit(tuning()), api.submit()
    for name in FILES:
        assert api.get(f"/api/experiments/{experiment_id}/{name}").json()["type"].endswith("not_finished")
        answer = api.get(f"/api/experiments/{analysis}/{name}")
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:arithmoscope:problem:wrong_kind")
    kept = {name.replace(".", "_"): name.encode() for name in FILES if name != "adapter.zip"}
    finish_with(api.store, experiment_id, result_json=b"{}", **kept)
    for name in FILES:
        answer = api.get(f"/api/experiments/{experiment_id}/{name}")
        if name == "adapter.zip":
            assert answer.json()["type"].endswith("no_result")
        else:
            assert (answer.status_code, answer.content) == (200, name.encode())
            assert f'"{experiment_id}.{name}"' in answer.headers["content-disposition"]
    assert api.get(f"/api/experiments/{experiment_id}/components.csv").json()["type"].endswith("wrong_kind")


def test_a_fine_tuning_that_broke_serves_what_it_kept(api: Api) -> None:
    experiment_id = api.submit(tuning())
    claim = api.store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    problem = Refusal("training_broke", "After 7 steps the loss is nan.")
    api.store.fail(claim, problem.details(), {"result.json": b"{}", "deltas.safetensors": b"d"})
    result = api.get(f"/api/experiments/{experiment_id}").json()
    assert (result["state"], result["error"]["title"]) == ("failed", "The loss is not finite")
    for name in ("result", "deltas.safetensors"):
        assert api.get(f"/api/experiments/{experiment_id}/{name}").status_code == 200


def test_a_tuned_model_can_be_asked_until_its_base_is_another(api: Api, store: Store) -> None:
    experiment_id = api.submit(tuning())
    claim = store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    base = store.model("tiny")
    card_fields = {
        "id": f"tiny-tuned-{experiment_id[:8]}",
        "source": "tuned",
        "revision": "d",
        "base": "tiny",
        "experiment": experiment_id,
    }
    card = base.model_copy(update={**card_fields, "base_revision": base.revision})
    store.succeed(claim, {"result.json": b"{}", "deltas.safetensors": b"d"}, tuned=card)
    listed = {each["id"]: each for each in api.get("/api/models").json()["items"]}
    assert (listed[card.id]["base"], listed[card.id]["experiment"]) == ("tiny", experiment_id)
    prompts = custom("3 + 5 =")
    previewed = api.post("/api/prompts/preview", json={"model": card.id, "prompts": prompts}).json()
    assert previewed == api.post("/api/prompts/preview", json={"model": "tiny", "prompts": prompts}).json()
    again = tuning(model=card.id)
    assert api.post("/api/experiments", json=again).status_code == 202
    store.register_model(base.model_copy(update={"revision": "r2"}), tokenizer_json())
    assert refusal(api, {**again, "seed": 1})[:2] == (409, "model_changed")
    store.register_model(base, tokenizer_json())
    long = card.model_copy(update={"id": "x" * 186})
    store.register_model(long, None)
    assert refusal(api, tuning(model=long.id))[:2] == (422, "impossible_options")
    assert api.delete(f"/api/experiments/{experiment_id}").status_code == 204
    assert card.id not in [each["id"] for each in api.get("/api/models").json()["items"]]
    assert refusal(api, {**again, "seed": 2})[:2] == (404, "unknown_model")
