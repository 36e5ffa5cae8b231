"""`adder`, the model that comes with the package: listed and ready, unambiguous, and it answers as its card says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from whole_run import whole_run

from arithmoscope import LoadedModel, Refusal, UnsupportedModel, list_models, load_model
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import ADDER_FOLDER, ADDER_ID
from arithmoscope.prompts import Tokenizer, prepare, preview
from benchmarks.adder.__main__ import RESULTS
from benchmarks.adder.card import card
from benchmarks.adder.exam import Group, Row, examine, groups
from benchmarks.adder.rule import shipped_seed
from benchmarks.adder.vocabulary import build_tokenizer

PROMPT = {"source": "custom", "pairs": [{"reference": "12 + 35 ="}], "shots": 0, "answer": "first"}
# Questions of a row that are asked again.
AGAIN = 20


@pytest.fixture(scope="module")
def adder() -> LoadedModel:
    return load_model(ADDER_ID)


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def analysis(**more) -> PathPatchingSpec:
    return PathPatchingSpec.model_validate({"kind": "path_patching", "model": ADDER_ID, **more})


def test_it_is_listed_after_the_demo_model_and_ready_without_being_fetched(tmp_path: Path):
    demo, own = list_models(tmp_path)
    assert (own.id, own.source, own.supported, own.shots, own.answer) == (ADDER_ID, "bundled", True, 0, "first")
    assert not demo.supported
    lines: list[str] = []
    assert Catalogue(tmp_path).fetch(ADDER_ID, lines.append) == own
    assert lines == ["adder comes with Arithmoscope: there is nothing to fetch."]
    assert list(tmp_path.iterdir()) == []
    assert load_model(ADDER_ID, models_dir=tmp_path).card == own


def test_the_manifest_has_the_size_and_the_hash_of_the_weights():
    weights = (ADDER_FOLDER / "model.safetensors").read_bytes()
    manifest = json.loads((ADDER_FOLDER / "arithmoscope.json").read_text(encoding="utf-8"))
    assert manifest["bytes"] == len(weights) < 5_000_000
    assert manifest["revision"] == hashlib.sha256(weights).hexdigest() == Catalogue(Path()).card(ADDER_ID).revision


def test_a_folder_of_the_same_name_makes_the_id_ambiguous_and_takes_nothing_over(tmp_path: Path):
    shutil.copytree(ADDER_FOLDER, tmp_path / ADDER_ID)
    catalogue = Catalogue(tmp_path)
    own = catalogue.card(ADDER_ID)
    assert [each for each in catalogue.cards() if each.id == ADDER_ID] == [own]
    assert not own.supported
    assert str(tmp_path / ADDER_ID) in (own.reason or "")
    assert "Rename your folder" in (own.reason or "")
    for action in (catalogue.fetch, catalogue.locate, lambda name: load_model(name, models_dir=tmp_path)):
        with pytest.raises(UnsupportedModel, match="your folder") as refused:
            action(ADDER_ID)
        assert refused.value.code == "ambiguous_model"
    # By its path it is the folder, and renamed it is a model like any other.
    assert load_model(str(tmp_path / ADDER_ID), models_dir=tmp_path).card.source == "folder"
    (tmp_path / ADDER_ID).rename(tmp_path / "mine")
    assert {each.id: each.source for each in catalogue.cards() if each.supported} == {
        ADDER_ID: "bundled",
        "mine": "folder",
    }


def test_a_link_to_the_shipped_folder_is_not_another_model(tmp_path: Path):
    (tmp_path / ADDER_ID).symlink_to(ADDER_FOLDER)
    assert Catalogue(tmp_path).card(ADDER_ID).supported


def test_the_shipped_tokenizer_is_that_of_the_training_and_of_transformers(adder: LoadedModel):
    ours = build_tokenizer()
    shipped = Tokenizer.from_file(str(ADDER_FOLDER / "tokenizer.json"))
    assert json.loads(shipped.to_str()) == json.loads(ours.to_str())
    text = "Q: What is 12 plus 35? A: 47\n12 + 35 ="
    ids = adder.tokenizer.encode(text)
    assert ids == ours.encode(text).ids == adder.text.encode(text).ids
    assert adder.tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_shipped_seed_is_the_one_that_the_rule_chooses_and_its_card_is_generated(results):
    seeds = {int(seed): [Row(**row) for row in each["rows"]] for seed, each in results["seeds"].items()}
    assert seeds
    assert shipped_seed(seeds) == results["shipped"]
    assert (ADDER_FOLDER / "README.md").read_text(encoding="utf-8") == card(results)


def test_it_answers_as_its_card_says(adder: LoadedModel, results):
    """A part of every row again: where the card says all, all of them; otherwise within chance of the card's share."""
    said = {
        (row.part, row.name, row.held_out): row
        for row in (Row(**each) for each in results["seeds"][str(results["shipped"])]["rows"])
        if row.shots == 0
    }
    asked = [Group(g.part, g.name, g.held_out, g.lines[:AGAIN]) for g in groups()]
    again = examine(adder.hf, asked, shots_of=(0,))
    assert {(row.part, row.name, row.held_out) for row in again} == said.keys()
    for row in again:
        card_row = said[row.part, row.name, row.held_out]
        if card_row.right == card_row.n:
            assert row.right == row.n, row
        assert card_row.right - (card_row.n - row.n) <= row.right <= card_row.right, row


def test_held_out_sums_and_differences_and_the_controls_are_answered(results):
    for row in (Row(**each) for each in results["seeds"][str(results["shipped"])]["rows"]):
        if row.part == "plain wordings" and row.held_out and row.name in ("add, up to 99", "subtract, up to 99"):
            assert row.share >= 0.98, row
        if row.part == "controls" and row.shots == 0:
            assert row.right == row.n, row


def test_a_sum_of_two_digits_is_analysed_at_the_first_token_of_its_answer(adder: LoadedModel):
    spec = analysis(prompts=PROMPT, effect="direct")
    (item,) = preview(spec.prompts, adder.text).items
    assert (item.answer, item.place, item.places, item.problem) == ("47", 0, 2, None)
    assert [token.role for token in item.reference] == [
        "first", "operand_a", "operand_a", "operator", "operand_b", "operand_b", "equals",
    ]  # fmt: skip
    output = whole_run(adder, spec)
    (pair,) = output.result.pairs
    assert (pair.answer.strip(), pair.correct) == ("4", True)
    assert output.result.checks.spot_check_error < 1e-3


def test_each_token_of_an_answer_is_measured_on_request(adder: LoadedModel):
    spec = analysis(prompts={**PROMPT, "answer": "each"}, effect="direct")
    pairs = whole_run(adder, spec).result.pairs
    assert [(pair.answer.strip(), pair.correct) for pair in pairs] == [("4", True), ("7", True)]


def test_an_answer_of_two_tokens_is_refused_with_the_way_out_where_one_is_wanted(adder: LoadedModel):
    spec = analysis(prompts={**PROMPT, "answer": "whole"})
    with pytest.raises(Refusal, match=r"'47' is 2 tokens .* measure the first token of its answer"):
        prepare(spec.prompts, adder.text)
