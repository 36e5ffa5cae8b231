"""``arithmoscope analyze`` with the real model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from arithmoscope.cli import main
from contracts.ranking import COLUMNS
from contracts.results import PathPatchingResult

pytestmark = pytest.mark.slow


def test_the_ranking_is_on_stdout_and_the_progress_on_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "ranking.csv"
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--csv", str(file)]) == 0
    told = capsys.readouterr()
    assert "3 + 5 = 8   SmolLM2-135M-Instruct" in told.out
    assert "300 components: 270 heads, 30 MLPs" in told.out
    assert "computing ..." in told.err
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert (len(rows), tuple(rows[0])) == (300, COLUMNS)
    assert told.out.count(f"{rows[0]['component']} ") == 1
    assert [float(row["effect_mean"]) for row in rows] == sorted(float(row["effect_mean"]) for row in rows)


def test_json_is_the_whole_result_and_shots_are_the_models_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--json"]) == 0
    result = PathPatchingResult.model_validate(json.loads(capsys.readouterr().out))
    assert result.spec.prompts.shots == 2
    assert main(["analyze", "3 + 5 =", "--effect", "direct", "--json", "--shots", "0"]) == 0
    result = PathPatchingResult.model_validate(json.loads(capsys.readouterr().out))
    assert result.spec.prompts.shots == 0


@pytest.mark.parametrize(("prompt", "said"), [("hello", "hello"), ("30 + 50 =", "80"), ("  ", "empty")])
def test_a_prompt_that_cannot_run_is_refused_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], prompt: str, said: str
) -> None:
    assert main(["analyze", prompt]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert said in told.err


def test_a_ranking_that_cannot_be_written_is_refused_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["analyze", "3 + 5 =", "--csv", str(tmp_path / "no" / "such" / "folder.csv")]) == 2
    assert "--csv" in capsys.readouterr().err
