"""Output of ``arithmoscope knockout``, ``transfer`` and ``inspect`` on a tiny model on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arithmoscope import Transfer
from arithmoscope.cli.main import main

SMALL = ("--model", "tiny", "--pairs", "40", "--shots", "0", "--controls", "3", "--top-k", "2")
# A random model answers almost nothing right.
ALL = ("--keep-wrong", "--operands", "0", "9")


@pytest.fixture
def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(folder))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path))


def json_output(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, *SMALL, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("working_folder")
def test_an_answer_that_is_written_whole_begins_with_its_first_token(capsys: pytest.CaptureFixture[str]) -> None:
    result = json_output(capsys, "knockout", "--answer-tokens", "2", *ALL)
    spec = result["spec"]
    assert (spec["ablation"], spec["positions"], spec["seed"], spec["answer_tokens"]) == ("mean", "end", 0, 2)
    assert (spec["metric"], result["provenance"]["dtype"]) == ("relative_logit", "float32")
    assert result["curves"].keys() == {"accuracy", "probability", "logit_difference", "exact_match"}
    for exact, first in zip(*(result["curves"][name]["mean"] for name in ("exact_match", "accuracy")), strict=True):
        assert exact <= first


@pytest.mark.usefixtures("working_folder")
def test_each_token_of_an_answer_is_a_pair(capsys: pytest.CaptureFixture[str]) -> None:
    first, each = (
        json_output(capsys, "knockout", "--answer", answer, "--keep-wrong", "--operands", "0", "60")["n_pairs"]
        for answer in ("first", "each")
    )
    assert first < each


@pytest.mark.usefixtures("working_folder")
def test_held_out_finds_on_one_half_of_the_operands_and_measures_on_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    same, other = (json_output(capsys, "knockout", *ALL, *more) for more in ((), ("--held-out",)))
    assert (same["spec"]["prompts"], same["shared_questions"]) == (None, same["n_pairs"])
    assert (other["spec"]["prompts"]["half"], other["shared_questions"]) == ("second", 0)
    assert 0 < other["n_pairs"] < same["n_pairs"]


@pytest.mark.usefixtures("working_folder")
def test_the_text_of_a_knock_out_has_where_the_random_draws_lie(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table = tmp_path / "curve.csv"
    arguments = [word for word in SMALL if word not in ("--top-k", "2")]
    assert main(["knockout", *arguments, *ALL, "--components", "L0H1", "--csv", str(table)]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    header = next(line for line in lines if line.lstrip().startswith("k "))
    assert header.split() == ["k", "removed", "mean", "95", "%", "random", "95", "%", "p"]
    assert next(line for line in lines if "L0H1" in line).count(" to ") == 2
    assert "Replace with: mean" in text
    assert len(table.read_text().splitlines()) == 1 + 3 * 2


@pytest.mark.usefixtures("working_folder")
def test_a_transfer_says_its_selections_and_how_far_they_agree(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = json_output(capsys, "transfer", "--sets", "addition", "subtraction")
    assert [each["name"] for each in result["found_on"]] == ["add", "subtract"]
    assert [each["is_control"] for each in result["evaluated_on"]] == [False, False]
    arrays = tmp_path / "arrays.safetensors"
    assert main(["transfer", "--sets", "addition", "subtraction", *SMALL, "--out", str(arrays)]) == 0
    text = capsys.readouterr().out
    assert all((" ".join(heads) or "none") in text for heads in result["selections"])
    assert "Jaccard" in text
    assert Transfer.load(arrays).found_on == ("add", "subtract")


@pytest.mark.usefixtures("working_folder")
def test_inspect_prints_the_apis_view_in_readable_form(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["3 + 5 =", "--model", "tiny", "--shots", "0"]
    views = {"key": [], "roles": [], "lens": [], "stages": [], "writes": ["--component", "MLP1"], "attention": []}
    text = {}
    for view, more in views.items():
        file = tmp_path / f"{view}.json"
        assert main(["inspect", view, *arguments, *more, "--out", str(file)]) == 0
        assert "of 1 prompt answered right" in capsys.readouterr().out
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
