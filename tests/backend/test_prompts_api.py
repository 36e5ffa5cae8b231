"""Prompts over HTTP: through the model's chat template on request, and for odd or numerous prompts."""

from __future__ import annotations

import time
from typing import Any

import pytest
from api_helpers import CARD, PROBLEM, Api, spec, tokenizer_json

from arithmoscope.contracts.models import ChatFrame
from arithmoscope.contracts.prompts import MAX_PAIRS
from arithmoscope.store import Store

FRAME = ChatFrame(before="U: ", reply="\nA: ", next="\nU: ", after="\nA: ")


def prompts(*references: str, **changes: Any) -> dict[str, Any]:
    return {"source": "custom", "shots": 0, "pairs": [{"reference": reference} for reference in references], **changes}


def preview(api: Api, spec: dict[str, Any]) -> Any:
    return api.post("/api/prompts/preview", json={"model": "tiny", "prompts": spec})


@pytest.fixture
def chatty(api: Api, store: Store) -> Api:
    store.register_model(CARD.model_copy(update={"chat": True}), tokenizer_json(), FRAME)
    return api


def test_a_model_says_whether_it_has_a_chat_template(api: Api, store: Store) -> None:
    assert {model["id"]: model["chat"] for model in api.get("/api/models").json()["items"]}["tiny"] is False
    store.register_model(CARD.model_copy(update={"chat": True}), tokenizer_json(), FRAME)
    assert {model["id"]: model["chat"] for model in api.get("/api/models").json()["items"]}["tiny"] is True


def test_a_preview_shows_the_conversation_with_its_roles(chatty: Api) -> None:
    (item,) = preview(chatty, prompts("3 + 5 =", shots=1, chat=True)).json()["items"]
    message = "U: 2 + 3 =\nA: 2 + 3 = 5\nU: 3 + 5 =\nA: 3 + 5 = "
    assert ("".join(token["text"] for token in item["reference"]), item["answer"]) == (message, "8")
    roles = {token["role"] for token in item["reference"]}
    assert roles == {"first", "shot", "operand_a", "operator", "operand_b", "equals", "other"}
    plain = preview(chatty, prompts("3 + 5 =", shots=1)).json()["items"][0]
    assert "".join(token["text"] for token in plain["reference"]) == "2 + 3 = 5\n3 + 5 = "
    assert plain["answer_id"] == item["answer_id"]


def test_a_chat_and_a_plain_prompt_are_two_questions_and_so_are_two_templates(chatty: Api, store: Store) -> None:
    plain, chat = (chatty.submit(spec(prompts=prompts("3 + 5 =", chat=chat))) for chat in (False, True))
    assert plain != chat
    assert chatty.submit(spec(prompts=prompts("3 + 5 =", chat=True))) == chat
    assert chatty.get(f"/api/experiments/{chat}").json()["spec"]["prompts"]["chat"] is True
    store.register_model(CARD, tokenizer_json(), FRAME.model_copy(update={"before": "You: "}))
    assert chatty.submit(spec(prompts=prompts("3 + 5 =", chat=True))) != chat
    assert chatty.submit(spec(prompts=prompts("3 + 5 ="))) == plain


@pytest.mark.parametrize(("chat", "code"), [(None, "no_chat_template"), ("It loops.", "bad_chat_template")])
def test_a_chat_with_a_model_that_has_no_template_to_use_is_refused(
    api: Api, store: Store, chat: str | None, code: str
) -> None:
    store.register_model(CARD, tokenizer_json(), chat)
    body = prompts("3 + 5 =", chat=True)
    for answer in (preview(api, body), api.post("/api/experiments", json=spec(prompts=body))):
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
        assert answer.json()["type"].endswith(code)
        assert "Switch the chat template off" in answer.json()["way_out"]
    assert preview(api, prompts("3 + 5 =")).status_code == 200


def test_a_pair_whose_prompts_are_the_same_is_accepted(api: Api) -> None:
    same = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 =", "counterfactual": "3 + 5 ="}]}
    (item,) = preview(api, same).json()["items"]
    assert (item["problem"], item["reference"]) == (None, item["counterfactual"])
    assert api.post("/api/experiments", json=spec(prompts=same)).status_code == 202


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        ({"reference": "8 + 5 ="}, "answer_several_tokens"),
        ({"reference": "3 + 5 =", "answer": "😀"}, "answer_several_tokens"),
        ({"reference": "3 + 5 =", "answer": " "}, "answer_not_a_token"),
        ({"reference": " ", "counterfactual": "x", "answer": "8"}, "empty_prompt"),
    ],
)
def test_a_prompt_that_cannot_run_is_refused_by_its_number(api: Api, pair: dict[str, str], code: str) -> None:
    request = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}, pair]}
    answer = api.post("/api/experiments", json=spec(prompts=request))
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (422, code)
    assert answer.json()["detail"].startswith("Pair 2: ")
    assert preview(api, request).json()["items"][1]["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True])
def test_ten_thousand_pairs_are_accepted_in_a_moment(chatty: Api, chat: bool) -> None:
    request = prompts(*(f"{a % 5} + {a % 4} =" for a in range(MAX_PAIRS)), shots=2, chat=chat)
    started = time.perf_counter()
    answer = chatty.post("/api/experiments", json=spec(prompts=request))
    taken = time.perf_counter() - started
    assert answer.status_code == 202, answer.text[:300]
    assert taken < 60
    started = time.perf_counter()
    previewed = preview(chatty, request).json()
    assert (previewed["n_distinct"], time.perf_counter() - started < 10) == (20, True)
