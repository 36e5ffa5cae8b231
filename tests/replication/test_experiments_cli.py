"""Output of ``arithmoscope knockout``, ``transfer`` and ``inspect`` on a tiny model on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arithmoscope.cli.main import main

SMALL = ("--model", "tiny", "--pairs", "40", "--shots", "0", "--controls", "3", "--top-k", "2")


@pytest.fixture
def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(folder))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path))


def json_output(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, *SMALL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("working_folder")
def test_an_answer_that_is_written_whole_begins_with_its_first_token(capsys: pytest.CaptureFixture[str]) -> None:
    result = json_output(capsys, "knockout", "--answer-tokens", "2")
    assert (result["ablation"], result["positions"], result["seed"], result["answer_tokens"]) == ("mean", "end", 0, 2)
    assert (result["effect"], result["metric"], result["dtype"]) == ("through_mlps", "logit_difference", "float32")
    curve = {(row["metric"], row["k"]): row for row in result["curves"]}
    assert {metric for metric, _ in curve} == {"accuracy", "probability", "logit_difference", "exact_match"}
    for k in range(3):
        assert curve["exact_match", k]["mean"] <= curve["accuracy", k]["mean"]
        assert curve["accuracy", k]["n_pairs"] == result["sets"][0]["judged"]


@pytest.mark.usefixtures("working_folder")
def test_each_token_of_an_answer_is_a_pair_and_the_operands_are_what_is_resampled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, each = (json_output(capsys, "knockout", "--answer", answer)["sets"][0] for answer in ("first", "each"))
    assert first["found"] + first["judged"] < each["found"] + each["judged"]
    assert each["judged_operands"] < each["judged"]


@pytest.mark.usefixtures("working_folder")
def test_the_text_of_a_knock_out_has_where_the_random_draws_lie(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [word for word in SMALL if word not in ("--top-k", "2")]
    assert main(["knockout", *arguments, "--components", "L0H1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    header = next(line for line in lines if line.lstrip().startswith("k "))
    assert header.split() == ["k", "removed", "accuracy", "95", "%", "random", "95", "%", "p"]
    assert next(line for line in lines if "L0H1" in line).count(" to ") == 2


@pytest.mark.usefixtures("working_folder")
def test_a_transfer_says_its_selections_and_how_far_they_agree(capsys: pytest.CaptureFixture[str]) -> None:
    result = json_output(capsys, "transfer", "--sets", "addition", "subtraction")
    assert result["found_on"] == list(result["selections"]) == ["addition", "subtraction"]
    one, two = (set(heads) for heads in result["selections"].values())
    assert result["jaccard"][0][1] == pytest.approx(len(one & two) / len(one | two))
    assert [result["rank_correlation"][at][at] for at in (0, 1)] == pytest.approx([1, 1])
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in result["matrix"])
    assert main(["transfer", "--sets", "addition", "subtraction", *SMALL]) == 0
    text = capsys.readouterr().out
    assert all(" ".join(heads) in text for heads in result["selections"].values())
    assert "Jaccard" in text


@pytest.mark.usefixtures("working_folder")
def test_inspect_prints_the_apis_view_in_readable_form(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["3 + 5 =", "--model", "tiny", "--shots", "0"]
    views = {"key": [], "roles": [], "lens": [], "stages": [], "writes": ["--component", "MLP1"], "attention": []}
    text = {}
    for view, more in views.items():
        file = tmp_path / f"{view}.json"
        assert main(["inspect", view, *arguments, *more, "--out", str(file)]) == 0
        assert "1 prompt, for example" in capsys.readouterr().out
        text[view] = json.loads(file.read_text())
    assert all(sum(head["mass"]) == pytest.approx(1) for head in text["roles"]["heads"])
    assert sum(text["attention"]["weights"][0][-1]) == pytest.approx(1)
    assert text["lens"]["layers"][0]["layer"] == -1
    assert text["writes"]["component"] == "MLP1"


@pytest.mark.usefixtures("working_folder")
def test_inspect_of_a_file_names_the_unusable_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_bytes(b"reference,answer\n3 + 5 =,8\ncaf\xe9,1\n2 + 4 =,6\n")
    assert main(["inspect", "key", "--file", str(file), "--model", "tiny", "--shots", "0", "--json"]) == 0
    output = capsys.readouterr()
    assert "row 3: " in output.err
    assert json.loads(output.out)["tables"][0]["questions"] == 2
