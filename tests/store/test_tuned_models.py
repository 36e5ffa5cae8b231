"""Tuned models: listed as long as their fine-tuning, and usable as long as their base model."""

from __future__ import annotations

import pytest
from store_helpers import CARD, Clock, refused, spec_of

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.store import UNDO_S, Claim, LeaseLost, Store

FRAME = ChatFrame(before="<s>", reply="", next=" ", after="\n")
DELTAS = {"deltas.safetensors": b"what changed"}


def tuned_from(base: ModelCard, experiment: str) -> ModelCard:
    card_fields = {"id": f"{base.id}-tuned-{experiment[:8]}", "source": "tuned", "revision": f"deltas of {experiment}"}
    return base.model_copy(
        update={
            **card_fields,
            "base": base.id,
            "base_revision": base.revision,
            "experiment": experiment,
            "reason": None,
        }
    )


def claimed(store: Store, key: str) -> Claim:
    experiment, _ = store.submit(spec_of(), key=key)
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    return claim


def tune(store: Store, base: ModelCard, key: str = "k") -> ModelCard:
    claim = claimed(store, key)
    card = tuned_from(base, claim.id)
    store.succeed(claim, {"result.json": b"{}", **DELTAS}, tuned=card)
    return card


def ids(store: Store) -> list[str]:
    return [card.id for card in store.models()]


def test_a_tuned_model_is_there_with_the_end_of_its_fine_tuning_and_reads_as_its_base_does(store: Store) -> None:
    store.register_model(CARD, '{"version": "1.0"}', FRAME)
    first = tune(store, CARD)
    second = tune(store, first, "again")
    assert store.models() == sorted([CARD, first, second], key=lambda card: card.id)
    assert store.model(second.id) == second
    assert {store.tokenizer_json(each) for each in ids(store)} == {'{"version": "1.0"}'}
    assert [store.chat(each) for each in ids(store)] == [FRAME] * 3
    store.register_model(CARD, '{"version": "2.0"}')
    assert store.tokenizer_json(second.id) == '{"version": "2.0"}'


def test_it_goes_with_its_fine_tuning_and_comes_back_with_it(store: Store, clock: Clock) -> None:
    store.register_model(CARD, None)
    card = tune(store, CARD)
    assert card.experiment is not None
    store.delete(card.experiment)
    assert ids(store) == ["tiny"]
    with refused("unknown_model"):
        store.model(card.id)
    store.restore(card.experiment)
    assert store.model(card.id) == card
    store.delete(card.experiment)
    clock.now += UNDO_S + 1
    store.make_room()
    with refused("unknown_model"):
        store.chat(card.id)  # not even a row is left


def test_a_model_tuned_from_a_deleted_one_cannot_run_with_a_reason(store: Store) -> None:
    store.register_model(CARD, None)
    first = tune(store, CARD)
    second = tune(store, first, "again")
    assert first.experiment is not None
    store.delete(first.experiment)
    result = store.model(second.id)
    assert ids(store) == ["tiny", second.id]
    assert (result.supported, result.reason) == (False, f"Its base model {first.id} is not available.")
    store.restore(first.experiment)
    assert store.model(second.id) == second


@pytest.mark.parametrize(
    ("change", "message"),
    [({"revision": "def"}, "have changed"), ({"supported": False, "reason": "It is gone."}, "It is gone.")],
)
def test_one_whose_base_changed_cannot_run_and_neither_can_what_was_tuned_of_it(
    store: Store, change: dict[str, object], message: str
) -> None:
    store.register_model(CARD, None)
    first = tune(store, CARD)
    second = tune(store, first, "again")
    store.register_model(CARD.model_copy(update=change), None)
    for card in (first, second):
        result = store.model(card.id)
        assert not result.supported
        assert message in str(result.reason)
    assert [card.supported for card in store.models()][1:] == [False, False]
    store.register_model(CARD, None)
    assert store.model(second.id) == second


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_training_that_broke_or_was_stopped_leaves_its_model_until_it_runs_again(store: Store, state: str) -> None:
    store.register_model(CARD, None)
    claim = claimed(store, "k")
    card = tuned_from(CARD, claim.id)
    if state == "failed":
        problem = Refusal("training_broke", "The loss is nan.").details()
        store.fail(claim, problem, {"result.json": b"{}", **DELTAS}, tuned=card)
        assert store.experiment(claim.id).error == problem
    else:
        store.mark_cancelled(claim, {"result.json": b"{}", **DELTAS}, tuned=card)
    assert store.experiment(claim.id).state == state
    assert store.read_artifact(claim.id, "deltas.safetensors") == b"what changed"
    assert store.model(card.id) == card
    store.retry(claim.id)
    assert ids(store) == ["tiny"]


def test_a_training_that_keeps_nothing_the_second_time_leaves_no_model_of_the_first(store: Store) -> None:
    store.register_model(CARD, None)
    claim = claimed(store, "k")
    store.mark_cancelled(claim, {"result.json": b"{}", **DELTAS}, tuned=tuned_from(CARD, claim.id))
    store.retry(claim.id)
    again = store.claim(claim.id, 2, owner="w", lease_s=60)
    assert again is not None
    store.fail(again, Refusal("training_broke", "The loss is nan.").details(), {"result.json": b"{}", **DELTAS})
    assert ids(store) == ["tiny"]


def test_a_worker_that_lost_its_job_registers_no_model(store: Store) -> None:
    store.register_model(CARD, None)
    claim = claimed(store, "k")
    store.reap(owner="w")
    with pytest.raises(LeaseLost):
        store.succeed(claim, DELTAS, tuned=tuned_from(CARD, claim.id))
    assert ids(store) == ["tiny"]


def test_of_checkpoints_the_newest_alone_is_kept_and_its_file(store: Store) -> None:
    claim = claimed(store, "k")
    for number in (5, 10, 15):
        store.save_chunk(claim, number, f"after {number} steps".encode(), supersedes=True)
        assert store.chunks(claim.id) == {number: f"after {number} steps".encode()}
    assert [file.size for file in store._blobs.files()] == [len(b"after 15 steps")]
    store.save_chunk(claim, 15, b"after 15 steps", supersedes=True)
    assert store.chunks(claim.id) == {15: b"after 15 steps"}
    store.reap(owner="w")
    with pytest.raises(LeaseLost):
        store.save_chunk(claim, 20, b"of a frozen worker", supersedes=True)
    assert store.chunks(claim.id) == {15: b"after 15 steps"}
