"""``arithmoscope fine-tune`` on a tiny model on disk: what it trains, what it says, and what it leaves behind."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_model  # pyright: ignore[reportMissingImports]

from arithmoscope.cli import main
from arithmoscope.progress import Bar
from contracts.experiments import Progress
from engine import Deltas, load_model

QUICK = ("--steps", "3", "--batch-size", "4", "--learning-rate", "0.01", "--pairs", "60", "--operands", "10", "30")
SMALL = ("fine-tune", "--model", "tiny", "--shots", "1", *QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(folder))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_it_says_what_trains_and_what_that_changed_and_leaves_the_tuned_model(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    told = ("--components", "L1H2,L2H3", "--save", "plus", "--export", "whole", "--adapter", "part", "--csv", "all.csv")
    assert main([*SMALL, *told]) == 0
    text = capsys.readouterr().out
    assert "L1H2 L2H3: " in text
    assert "no operands shared" in text
    assert {"held-out questions", "other arithmetic"} <= set(text.splitlines())
    assert next(line for line in text.splitlines() if line.startswith("  held out")).count(" to ") == 1
    assert "plain text: perplexity" in text
    tuned = Deltas.load("plus").apply(load_model("tiny", models_dir=folder))
    exported = load_model("whole")
    for (name, weight), (_, other) in zip(tuned.hf.named_parameters(), exported.hf.named_parameters(), strict=True):
        assert torch.equal(weight, other), name
    assert Path("part", "adapter_config.json").is_file()
    with Path("all.csv").open(encoding="utf-8") as table:
        assert "held out" in {row["set"] for row in csv.DictReader(table)}


def test_the_components_that_matter_are_found_first_and_the_result_is_printed_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*SMALL, "--top-k", "2", "--among", "head", "--tuner", "random", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    chosen, drawn = result["spec"]["components"], result["tunable"]["components"]
    assert (len(chosen), len(drawn)) == (2, 2)
    assert not {*chosen} & {*drawn}
    assert result["complete"]
    assert [each["step"] for each in result["curve"]["validation"]] == [0, 3]


def test_own_questions_and_public_ones_are_trained_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("reference\n" + "".join(f"{a} + 1 =\n" for a in range(40)), encoding="utf-8")
    public = tmp_path / "gsm8k.jsonl"
    rows = [{"question": f"{a} plus 1 equals", "answer": f"so it is\n#### {a + 1}"} for a in range(40)]
    public.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for more in (("--file", str(own)), ("--file", str(public), "--public", "gsm8k")):
        assert main([*SMALL, "--components", "L1H2", *more, "--json"]) == 0
        split = json.loads(capsys.readouterr().out)["split"]
        assert (split["train"] + split["validation"] + split["test"], split["shared"]) == (40, 0)


def test_a_training_that_breaks_says_so_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    breaking = ("--components", "MLP2", "--clip", "0", "--warmup", "0", "--learning-rate", "1", "--weight-decay", "100")
    assert main([*SMALL, *breaking, "--steps", "40", "--schedule", "constant", "--save", "kept"]) == 2
    told = capsys.readouterr()
    assert told.err.splitlines()[-1].startswith("The loss became no number")
    assert Path("kept").stat().st_size > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--components", "L9H9"), "no L9H9"),
        (("--components", "L1H1,L1H1"), "must not repeat"),
        (("--components", "nonsense"), "not a component"),
        (("--components", "L1H1", "--steps", "0"), "--steps"),
        (("--components", "L1H1", "--learning-rate", "nan"), "--learning-rate"),
        (("--components", "L1H1", "--operands", "9", "1"), "smallest, largest"),
        (("--components", "L1H1", "--public", "gsm8k"), "--file"),
        (("--components", "L1H1", "--file", "nowhere.csv"), "nowhere.csv"),
        (("--components", "L1H1", "--export", "."), "There is something at --export ."),
        (("--components", "L1H1", "--save", "/proc/nowhere/x"), "--save"),
        (("--tuner", "magic"), "magic"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    more: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "there").touch()
    try:
        status = main([*SMALL, *more])
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_public_benchmarks_are_refused_before_the_model_is_loaded_where_lm_eval_is_not_installed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fine-tune", "--model", "nix", "--benchmarks", "gsm8k,arc_easy"]) == 2
    told = capsys.readouterr()
    assert "pip install lm-eval" in told.err
    assert told.out == ""


def test_a_bar_in_a_terminal_shows_the_loss_beside_it() -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    Bar(stream).show(Progress(stage="steps", done=3, total=6), "loss 1.250")
    assert stream.getvalue().endswith(" 50%  steps  loss 1.250")
    plain = io.StringIO()
    bar = Bar(plain)
    for done in range(3):
        bar.show(Progress(stage="steps", done=done, total=3), "loss 1.250")
    assert plain.getvalue() == "training ...\n"
