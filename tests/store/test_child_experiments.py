"""Experiments on a parent analysis run after it."""

from __future__ import annotations

from store_helpers import Clock, finish, spec_of

from arithmoscope.contracts.kinds.knockout import KnockoutSpec
from arithmoscope.contracts.kinds.transfer import TransferSpec
from arithmoscope.store import Store

SETS = ({"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]},)


def asked_of(store: Store, parent: str) -> str:
    spec = KnockoutSpec(kind="knockout", parent=parent)
    return store.submit(spec, key="of it", model="tiny", parent=parent)[0].id


def is_had(store: Store, experiment_id: str) -> bool:
    return store.claim(experiment_id, 1, owner="w", lease_s=10) is not None


def test_a_knockout_waits_while_its_analysis_runs_again_and_is_sent_when_that_has_ended(
    store: Store, clock: Clock
) -> None:
    parent = store.submit(spec_of(), key="k")[0].id
    store.request_cancel(parent)
    knockout = asked_of(store, parent)
    store.mark_sent(*store.unsent())
    store.retry(parent)
    assert not is_had(store, knockout)
    claim = store.claim(parent, 2, owner="w", lease_s=10)
    assert claim is not None
    assert not is_had(store, knockout)
    assert store.unsent() == []
    store.succeed(claim, {"result.json": b"{}"})
    assert [each.id for each in store.unsent()] == [knockout]
    assert is_had(store, knockout)


def test_a_knockout_of_what_was_deleted_does_not_wait_for_ever(store: Store) -> None:
    parent = store.submit(spec_of(), key="k")[0].id
    knockout = asked_of(store, parent)
    assert not is_had(store, knockout)
    store.delete(parent)
    assert is_had(store, knockout)


def test_a_transfer_waits_for_no_analysis(store: Store) -> None:
    parent = store.submit(spec_of(), key="k")[0].id
    spec = {"kind": "transfer", "model": "tiny", "parent": parent, "found_on": SETS, "evaluated_on": SETS}
    transfer = store.submit(TransferSpec.model_validate(spec), key="t", parent=parent)[0].id
    store.mark_sent(*store.unsent())
    finish(store, parent)
    assert store.unsent() == []
    assert is_had(store, transfer)
