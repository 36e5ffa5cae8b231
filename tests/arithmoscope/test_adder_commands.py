"""`adder` through the command line and a real ``serve``: there with an empty models folder, and analysed there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from serve_tree import Serve, eventually

from arithmoscope.cli.main import main
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.engine.models.folders import ADDER_FOLDER

ANALYZE = ("analyze", "12 + 35 =", "--model", "adder")
PROMPT = {"source": "custom", "pairs": [{"reference": "12 + 35 ="}], "shots": 0}


@pytest.fixture(autouse=True)
def models_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "models"


def test_it_is_listed_checked_and_fetching_it_says_that_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "check", "fetch"):
        assert main(["models", command, *(() if command == "list" else ("adder",))]) == 0
        output = capsys.readouterr()
        assert "4 layers x 8 heads, 1.0 M parameters" in output.out
        assert ("nothing to fetch" in output.err) == (command == "fetch")


def test_a_sum_of_two_digits_is_analysed_and_the_note_says_which_token_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*ANALYZE]) == 0
    text = capsys.readouterr().out
    assert "12 + 35 = 4   adder" in text
    assert "answers right" in text
    assert "36 components: 32 heads, 4 MLPs" in text
    assert "Note: of the answer 47 its first token is measured: 4\n" in text


def test_every_command_takes_the_models_treatment_of_longer_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "lens", "12 + 35 =", "--model", "adder", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"].strip() == "4"
    few = ("--model", "adder", "--operands", "10", "40", "--pairs", "8", "--controls", "2", "--top-k", "2", "--json")
    assert main(["knockout", *few]) == 0
    assert json.loads(capsys.readouterr().out)["n_pairs"] > 0


def test_worked_examples_are_none_unless_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, shots in (((), 0), (("--shots", "2"), 2)):
        assert main([*ANALYZE, "--effect", "direct", "--json", *argv]) == 0
        result = PathPatchingResult.model_validate_json(capsys.readouterr().out)
        assert (result.spec.prompts.shots, result.spec.prompts.answer) == (shots, "first")
        assert result.pairs[0].correct


def test_a_folder_of_the_same_name_is_refused_everywhere_with_the_way_out(
    capsys: pytest.CaptureFixture[str], models_dir: Path
) -> None:
    (models_dir / "adder").mkdir(parents=True)
    for argv in (("models", "check", "adder"), ("models", "fetch", "adder"), ANALYZE):
        assert main([*argv]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"your folder {models_dir / 'adder'}. Rename your folder" in line
    assert main(["models", "list"]) == 0
    assert "adder         cannot run: Two models have this name" in capsys.readouterr().out


@pytest.mark.slow
def test_a_server_without_a_models_folder_lists_it_previews_it_and_analyses_on_it(tmp_path: Path) -> None:
    serve = Serve(tmp_path)
    try:
        assert eventually(lambda: any(card["id"] == "adder" for card in serve.get("/api/models")["items"]), 60)
        (card,) = (card for card in serve.get("/api/models")["items"] if card["id"] == "adder")
        assert (card["source"], card["supported"], card["shots"], card["answer"]) == ("bundled", True, 0, "first")
        assert card["revision"] == json.loads((ADDER_FOLDER / "arithmoscope.json").read_text())["revision"]

        prompts = {**PROMPT, "answer": card["answer"]}
        with serve.open("/api/prompts/preview", {"model": "adder", "prompts": prompts}) as answer:
            (item,) = json.load(answer)["items"]
        assert (item["answer"], item["places"], item["problem"]) == ("47", 2, None)

        experiment = serve.submit(model="adder", effect="direct", prompts=prompts)
        row = f"/api/experiments/{experiment}"
        assert eventually(lambda: serve.get(row)["state"] in ("succeeded", "failed"), 120)
        result = PathPatchingResult.model_validate(serve.get(f"{row}/result"))
        assert (result.complete, result.n_correct, result.model.layers) == (True, 1, 4)
        assert (result.pairs[0].answer.strip(), result.pairs[0].correct) == ("4", True)
        assert result.provenance.seconds < 20
        # Over HTTP nothing is chosen for the model: an answer of two tokens needs a word about it.
        with serve.open("/api/prompts/preview", {"model": "adder", "prompts": PROMPT}) as answer:
            (item,) = json.load(answer)["items"]
        assert "measure the first token of its answer" in item["problem"]
    finally:
        serve.end()
