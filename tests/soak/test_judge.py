"""Tests that the soak test's judge detects lost, duplicated and differing results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from store_helpers import spec_of  # pyright: ignore[reportMissingImports]

from arithmoscope.store import Store
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.verdict import Answer, Verdict, comparable_digest, is_compared, judge

FILES = {"result.json": "one", "arrays.npz": "two"}
GOOD = Answer("q1", "succeeded", 1, FILES)
UNDISTURBED = {"q1": FILES, "q2": {"result.json": "other"}}


def test_experiments_that_finished_once_with_identical_files_are_clean() -> None:
    verdict = judge({"a": GOOD, "b": Answer("q2", "succeeded", 1, {"result.json": "other"})}, UNDISTURBED)
    assert verdict == Verdict(2)
    assert verdict.is_clean


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled", "gone"])
def test_an_experiment_that_did_not_succeed_counts_as_lost(state: str) -> None:
    verdict = judge({"a": GOOD, "b": replace(GOOD, state=state, finishes=0, files={})}, UNDISTURBED)
    assert verdict.lost == {"b": state}
    assert not verdict.is_clean


@pytest.mark.parametrize(("state", "finishes"), [("succeeded", 2), ("succeeded", 0), ("running", 1)])
def test_what_succeeded_more_than_once_or_uncounted_is_found(state: str, finishes: int) -> None:
    verdict = judge({"a": replace(GOOD, state=state, finishes=finishes)}, UNDISTURBED)
    assert verdict.twice == {"a": finishes}
    assert not verdict.is_clean


@pytest.mark.parametrize(
    "files",
    [
        {"result.json": "one", "arrays.npz": "changed"},
        {"result.json": "one"},
        {**FILES, "more.csv": "x"},
        {"result.json": "other"},
    ],
)
def test_another_bit_a_missing_file_and_one_too_many_differ(files: dict[str, str]) -> None:
    verdict = judge({"a": replace(GOOD, files=files)}, UNDISTURBED)
    assert list(verdict.differing) == ["a"]
    assert not verdict.is_clean


RESULT = {
    "experiment_id": "a",
    "metrics": {"logit": [0.1]},
    "provenance": {"created_at": "2026-01-01", "seconds": 1.5, "torch": "2"},
}


def _result(**changes: object) -> str:
    return comparable_digest("result.json", json.dumps({**RESULT, **changes}).encode())


def test_a_result_is_the_same_for_any_experiment_id_and_time() -> None:
    later = {"created_at": "2027-01-01", "seconds": 99, "torch": "2"}
    assert _result() == _result(experiment_id="b", provenance=later)
    assert _result() != _result(metrics={"logit": [0.1000000001]})
    assert _result() != _result(provenance={**later, "torch": "3"})


def test_a_ranking_is_the_same_but_for_the_experiments_id() -> None:
    table = "rank,effect_mean,experiment_id\n1,-0.5,{}\n"
    one, other = (comparable_digest("components.logit.csv", table.format(name).encode()) for name in ("a", "b"))
    assert one == other
    assert one != comparable_digest("components.logit.csv", table.format("a").replace("0.5", "0.6").encode())


def test_every_other_file_is_compared_as_it_is_and_descriptions_are_not() -> None:
    assert comparable_digest("arrays.npz", b"a") != comparable_digest("arrays.npz", b"b")
    assert is_compared("attention.safetensors")
    assert is_compared("components.logit.csv")
    assert not is_compared("components.logit.csv-metadata.json")


def test_the_database_itself_counts_every_success(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path / 'arithmoscope.db'}", (tmp_path / "artifacts").as_uri()) as store:
        ledger = Ledger(tmp_path)
        ledger.count_finishes()
        once, twice, never = (store.submit(spec_of(), key=key)[0].id for key in ("a", "b", "c"))
        for question in (once, twice):
            claim = store.claim(question, 1, owner="w", lease_s=60)
            assert claim is not None
            store.succeed(claim, {"result.json": b"{}"})
        with store._database.write() as connection:  # a worker that was frozen, and whose write is not fenced
            connection.exec_driver_sql("UPDATE experiments SET state = 'succeeded' WHERE id = ?", (twice,))
        assert ledger.finishes() == {once: 1, twice: 2}
        assert {name: row.state for name, row in ledger.rows().items()} == {
            once: "succeeded",
            twice: "succeeded",
            never: "queued",
        }
