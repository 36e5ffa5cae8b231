"""Output of ``arithmoscope knockout``, ``transfer`` and ``inspect`` on a tiny model on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arithmoscope.cli.main import main

SMALL = ("--model", "tiny", "--pairs", "40", "--shots", "0", "--controls", "3", "--top-k", "2")


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(folder))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path))


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, *SMALL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("here")
def test_an_answer_that_is_written_whole_begins_with_its_first_token(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "knockout", "--answer-tokens", "2")
    assert (told["ablation"], told["positions"], told["seed"], told["answer_tokens"]) == ("mean", "end", 0, 2)
    assert (told["effect"], told["metric"], told["dtype"]) == ("through_mlps", "logit_difference", "float32")
    curve = {(row["metric"], row["k"]): row for row in told["curves"]}
    assert {metric for metric, _ in curve} == {"accuracy", "probability", "logit_difference", "exact_match"}
    for k in range(3):
        assert curve["exact_match", k]["mean"] <= curve["accuracy", k]["mean"]
        assert curve["accuracy", k]["n_pairs"] == told["sets"][0]["judged"]


@pytest.mark.usefixtures("here")
def test_each_token_of_an_answer_is_a_pair_and_the_operands_are_what_is_resampled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, each = (said(capsys, "knockout", "--answer", answer)["sets"][0] for answer in ("first", "each"))
    assert first["found"] + first["judged"] < each["found"] + each["judged"]
    assert each["judged_operands"] < each["judged"]


@pytest.mark.usefixtures("here")
def test_the_text_of_a_knock_out_has_where_the_random_draws_lie(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [word for word in SMALL if word not in ("--top-k", "2")]
    assert main(["knockout", *asked, "--components", "L0H1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.lstrip().startswith("k "))
    assert header.split() == ["k", "removed", "accuracy", "95", "%", "random", "95", "%", "p"]
    assert next(line for line in lines if "L0H1" in line).count(" to ") == 2


@pytest.mark.usefixtures("here")
def test_a_transfer_says_its_selections_and_how_far_they_agree(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "transfer", "--sets", "addition", "subtraction")
    assert told["found_on"] == list(told["selections"]) == ["addition", "subtraction"]
    one, two = (set(heads) for heads in told["selections"].values())
    assert told["jaccard"][0][1] == pytest.approx(len(one & two) / len(one | two))
    assert [told["rank_correlation"][at][at] for at in (0, 1)] == pytest.approx([1, 1])
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in told["matrix"])
    assert main(["transfer", "--sets", "addition", "subtraction", *SMALL]) == 0
    text = capsys.readouterr().out
    assert all(" ".join(heads) in text for heads in told["selections"].values())
    assert "Jaccard" in text


@pytest.mark.usefixtures("here")
def test_a_look_is_what_the_api_would_give_and_can_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["3 + 5 =", "--model", "tiny", "--shots", "0"]
    views = {"key": [], "roles": [], "lens": [], "stages": [], "writes": ["--component", "MLP1"], "attention": []}
    told = {}
    for view, more in views.items():
        file = tmp_path / f"{view}.json"
        assert main(["inspect", view, *asked, *more, "--out", str(file)]) == 0
        assert "1 prompt, for example" in capsys.readouterr().out
        told[view] = json.loads(file.read_text())
    assert all(sum(head["mass"]) == pytest.approx(1) for head in told["roles"]["heads"])
    assert sum(told["attention"]["weights"][0][-1]) == pytest.approx(1)
    assert told["lens"]["layers"][0]["layer"] == -1
    assert told["writes"]["component"] == "MLP1"


@pytest.mark.usefixtures("here")
def test_a_look_at_a_file_names_the_rows_it_cannot_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_bytes(b"reference,answer\n3 + 5 =,8\ncaf\xe9,1\n2 + 4 =,6\n")
    assert main(["inspect", "key", "--file", str(file), "--model", "tiny", "--shots", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert "row 3: " in said.err
    assert json.loads(said.out)["tables"][0]["questions"] == 2
