"""Tests of ``arithmoscope analyze`` with the real model."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from arithmoscope.cli.main import main
from arithmoscope.cli.output_files import metadata_file
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.contracts.ranking import COLUMNS


def test_the_ranking_is_on_stdout_and_the_progress_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ranking#1.csv"
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--csv", str(file)]) == 0
    output = capsys.readouterr()
    assert "3 + 5 = 8   SmolLM2-135M-Instruct" in output.out
    assert "300 components: 270 heads, 30 MLPs" in output.out
    assert "computing ..." in output.err
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert (len(rows), tuple(rows[0])) == (300, COLUMNS)
    assert output.out.count(f"{rows[0]['component']} ") == 1
    assert [float(row["effect_mean"]) for row in rows] == sorted(float(row["effect_mean"]) for row in rows)
    assert "direct effect, patched at the last position from the counterfactual" in output.out
    assert re.search(r"noise floor \S+ logits; L\d+H\d+, MLP\d+, \w+ by brute force: within \S+ logits", output.out)
    described = json.loads((tmp_path / "ranking#1.csv-metadata.json").read_text())
    assert (described["url"], len(described["tableSchema"]["columns"])) == ("ranking%231.csv", len(COLUMNS))


def test_json_is_the_whole_result_and_shots_default_to_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--json"]) == 0
    result = PathPatchingResult.model_validate(json.loads(capsys.readouterr().out))
    assert result.spec.prompts.shots == 2
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--json", "--shots", "0"]) == 0
    result = PathPatchingResult.model_validate(json.loads(capsys.readouterr().out))
    assert result.spec.prompts.shots == 0


@pytest.mark.parametrize(("prompt", "message"), [("hello", "hello"), ("30 + 50 =", "80"), ("  ", "empty")])
def test_a_prompt_that_cannot_run_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, prompt: str, message: str
) -> None:
    assert main(["analyze", prompt, "--csv", str(tmp_path / "ranking.csv")]) == 2
    assert not list(tmp_path.iterdir())
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert message in output.err


def test_a_ranking_that_cannot_be_written_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["analyze", "3 + 5 =", "--csv", str(tmp_path / "no" / "such" / "folder.csv")]) == 2
    assert "--csv" in capsys.readouterr().err
    (tmp_path / "taken.csv-metadata.json").mkdir()
    assert main(["analyze", "3 + 5 =", "--csv", str(tmp_path / "taken.csv")]) == 2
    assert "taken.csv-metadata.json" in capsys.readouterr().err
    assert not (tmp_path / "taken.csv").exists()


def test_a_ranking_into_a_pipe_has_no_description_beside_it(tmp_path: Path) -> None:
    assert metadata_file(Path("/dev/null")) is None
    (tmp_path / "a.csv").touch()
    assert metadata_file(tmp_path / "a.csv") == str(tmp_path / "a.csv-metadata.json")


def test_prompts_of_unequal_lengths_are_refused_at_all_positions_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Words for signs are several tokens to this model, and the counterfactual has "none" in their place.
    argv = ["analyze", "3 multiplied by 2 equals to", "--effect", "total", "--positions", "all"]
    assert main(argv) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert "differ in length" in output.err


def test_denoising_is_named_and_what_restores_most_comes_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ranking.csv"
    argv = ["analyze", "3 + 5 =", "--effect", "direct", "--direction", "denoising", "--csv", str(file)]
    assert main(argv) == 0
    output = capsys.readouterr().out
    assert "restored at the last position of the counterfactual\n" in output
    rows = list(csv.DictReader(file.read_text().splitlines()))
    means = [float(row["effect_mean"]) for row in rows]
    assert means == sorted(means)
    assert [int(row["rank"]) for row in rows] == list(range(1, 301))
    # The table begins at the file's other end, with the file's ranks.
    ranking = re.findall(r"^ *(\d+)  (\w+) +[+-]\d", output, re.MULTILINE)
    assert ranking == [(row["rank"], row["component"]) for row in rows[:-16:-1]]


def test_a_sum_is_asked_as_a_chat_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--shots", "0", "--chat"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("<|im_start|>system\n")
    assert "<|im_start|>assistant\n3 + 5 = 8   SmolLM2-135M-Instruct (Q4_1, dequantised) answers right" in output
