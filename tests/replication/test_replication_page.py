"""The replication report of a tiny model: relations between its numbers, and a page made of the JSON file alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from tiny import tiny_model  # pyright: ignore[reportMissingImports]

from arithmoscope.replication.claims import CLAIMS
from arithmoscope.replication.figures import figures_of
from arithmoscope.replication.measure import Sizes, measure_all, write_report
from arithmoscope.replication.page import page_of
from arithmoscope.replication.prompt_sets import ADDITION, POWERS, SETS

DOCS = Path(__file__).parents[2] / "docs" / "findings"
COMMITTED = sorted(DOCS.glob("*.json"))
CHOSEN = (ADDITION, "subtraction", "two digits, second digit", "facts", "sequences", POWERS)
SMALL = Sizes(
    pairs=12,
    questions=80,
    transfer_pairs=4,
    transfer_questions=24,
    written_pairs=4,
    draws=3,
    sets=tuple(row for row in SETS if row.name in CHOSEN),
)


@pytest.fixture(scope="module")
def numbers() -> dict[str, Any]:
    """All numbers of the report of a tiny random model, which answers no sum: wrong answers are kept."""
    return measure_all(tiny_model("LlamaForCausalLM", torch.float32), SMALL, lambda _line: None, quick=True)


def test_with_nothing_out_every_knock_out_says_the_same_of_the_same_pairs(numbers: dict[str, Any]) -> None:
    whole = [row for row in numbers["knockouts"] if row["ablation"] != "mean"]
    for metric in ("accuracy", "probability", "logit_difference"):
        assert len({row["curves"][metric]["mean"][0] for row in whole}) == 1
        for row in whole:
            curve = row["curves"][metric]
            assert curve["control"][0] == pytest.approx(curve["mean"][0], abs=1e-6)
            assert len(curve["mean"]) == len(row["components"]) + 1
    assert {row["name"].partition(",")[0] for row in numbers["knockouts"]} == {"heads", "heads and MLPs"}


def test_the_mean_is_over_other_pairs_than_those_judged_and_forms_with_too_few_are_counted(
    numbers: dict[str, Any],
) -> None:
    for row in numbers["knockouts"]:
        assert row["pairs"] + row["left_out"] == numbers["addition"]["judged"]
        assert row["left_out"] == 0 or row["ablation"] == "mean"


def test_every_share_of_attention_sums_to_one_and_classes_count_every_head(numbers: dict[str, Any]) -> None:
    roles = numbers["roles"]
    for mass in (roles["average_head"], *(row["mass"] for row in roles["rows"])):
        assert sum(mass) == pytest.approx(1, abs=1e-3)
    assert sum(roles["counts"].values()) == numbers["model"]["layers"] * numbers["model"]["heads"]
    assert sum(roles["counts_among"].values()) == len(roles["rows"])


def test_the_transfer_matrix_knows_its_sets_and_a_set_shares_all_heads_with_itself(numbers: dict[str, Any]) -> None:
    table = numbers["transfer"]
    assert table["sets"] == [each["name"] for each in numbers["sets"]]
    assert set(table["controls"]) <= {"facts", "sequences"}
    for at, selection in enumerate(table["selections"]):
        assert table["shared"][at][at] == len(selection)
        assert table["rank_correlation"][at][at] == pytest.approx(1)
        assert len(table["probability"]["value"][at]) == len(table["sets"])


def test_a_set_that_cannot_be_asked_is_named_with_the_reason(numbers: dict[str, Any]) -> None:
    # The tiny vocabulary has no word that answers a fact.
    refused = {row["name"]: row["reason"] for row in numbers["not_asked"]}
    assert refused
    assert all(f"- {name}: not asked. {reason}" in page_of(numbers) for name, reason in refused.items())
    assert not refused.keys() & set(numbers["transfer"]["sets"])


def test_kinds_of_numbers_on_top_are_shares(numbers: dict[str, Any]) -> None:
    shares = numbers["lens"]["on_top"]["share"]
    assert all(0 <= sum(stage) <= 1 + 1e-4 for stage in zip(*shares, strict=True))


def test_every_claim_has_a_verdict_and_a_reason_and_stands_on_the_page(numbers: dict[str, Any]) -> None:
    assert [row["says"] for row in numbers["claims"]] == [claim.statement for claim in CLAIMS]
    page = page_of(numbers)
    for row in numbers["claims"]:
        assert row["agrees"] in ("yes", "no", "not tested")
        assert row["shows"]
        assert row["says"] in page


def test_the_page_and_the_figures_are_made_of_the_json_file_alone(numbers: dict[str, Any], tmp_path: Path) -> None:
    page = write_report(numbers, tmp_path)
    kept = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8") == page_of(kept)
    assert "A quick run" in page_of(kept)
    for name, text in figures_of(kept).items():
        assert (tmp_path / numbers["model"]["file"] / name).read_text(encoding="utf-8") == text
        ElementTree.fromstring(text)
    for target in re.findall(r"\]\(([\w./-]+\.(?:svg|json))\)", page_of(kept)):
        assert (tmp_path / target).exists(), target


def test_no_number_on_the_page_is_a_list_or_a_table(numbers: dict[str, Any]) -> None:
    assert not re.search(r"\[[-\d.e]+, [-\d.e]+, |\{'", page_of(numbers))


def test_the_demo_models_report_is_committed() -> None:
    assert (DOCS / "smollm2-135m.json").exists(), "run make replicate"


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_a_committed_report_is_what_its_numbers_make_and_of_a_whole_run(file: Path) -> None:
    numbers = json.loads(file.read_text(encoding="utf-8"))
    assert not numbers["run"]["quick"]
    assert file.with_suffix(".md").read_text(encoding="utf-8") == page_of(numbers), "run make replicate"
    for name, text in figures_of(numbers).items():
        assert (DOCS / file.stem / name).read_text(encoding="utf-8") == text, "run make replicate"
