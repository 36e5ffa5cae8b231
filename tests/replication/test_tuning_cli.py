"""``arithmoscope fine-tune`` on a tiny model on disk: what it trains, prints, and writes."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from arithmoscope import Deltas, load_model
from arithmoscope.cli.interrupts import stop_on_ctrl_c
from arithmoscope.cli.lm_eval import parse_benchmarks
from arithmoscope.cli.main import main
from arithmoscope.cli.output_files import writable, write_atomically
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.experiments import Progress

QUICK = ("--steps", "3", "--batch-size", "4", "--learning-rate", "0.01")
OWN = ("fine-tune", "--model", "tiny", "--shots", "1", *QUICK)
SMALL = (*OWN, "--pairs", "60", "--operands", "10", "30", "--operations", "add")


@pytest.fixture(autouse=True)
def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(folder))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_it_says_what_trains_and_what_that_changed_and_leaves_the_tuned_model(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    arguments = (
        "--components",
        "L1H2,L2H3",
        "--save",
        "plus",
        "--export",
        "whole",
        "--adapter",
        "part",
        "--csv",
        "all.csv",
    )
    assert main([*SMALL, *arguments]) == 0
    text = capsys.readouterr().out
    assert "Components: L1H2 L2H3\n" in text
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
        assert main([*OWN, "--components", "L1H2", *more, "--json"]) == 0
        split = json.loads(capsys.readouterr().out)["split"]
        assert (split["train"] + split["validation"] + split["test"], split["shared"]) == (40, 0)


# A row in the set's published form, with other words.
WORDED = {
    "question": "A shop sold {} lamps in May. It sold half as many in June.\nHow many lamps did it sell altogether?",
    "answer": "It sold {0}/2 = <<{0}/2=9>>9 lamps in June.\nThat is <<{0}+9=27>>27 lamps.\n#### 27",
}


def test_components_for_a_public_set_are_found_on_sums_and_rows_that_are_too_long_are_left_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    public = tmp_path / "gsm8k.jsonl"
    rows = [{name: text.format(number) for name, text in WORDED.items()} for number in range(10, 22)]
    rows.append({**rows[0], "question": "It sold 7. " * 400})
    public.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main([*OWN, "--top-k", "1", "--file", str(public), "--public", "gsm8k", "--json"]) == 0
    stop = capsys.readouterr()
    assert "1 questions of more than 4000 characters are left out." in stop.err.splitlines()
    assert any("found on sums" in line for line in stop.err.splitlines())
    result = json.loads(stop.out)
    assert len(result["spec"]["components"]) == 1
    assert sum(result["split"][name] for name in ("train", "validation", "test")) == 12


def test_what_cannot_be_exported_takes_nothing_else_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    stop = ("--components", "L1H2", "--biases", "--save", "plus", "--adapter", "part")
    assert main([*SMALL, *stop]) == 2
    output = capsys.readouterr()
    assert "plain text: perplexity" in output.out
    assert "no low rank" in output.err.splitlines()[-1]
    assert Deltas.load("plus").components == ("L1H2",)
    assert not Path("part").exists()


def test_an_adapter_that_cannot_be_is_refused_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    for more, what in ((("--components", "L1H2,MLP1"), "MLP1"), (("--tuner", "full"), "tuner full")):
        assert main([*SMALL, *more, "--adapter", "part"]) == 2
        arguments = capsys.readouterr()
        assert arguments.out == ""
        assert what in arguments.err.splitlines()[-1]
    assert not Path("part").exists()


def test_a_file_stays_as_it_was_until_its_new_content_is_written_whole(tmp_path: Path) -> None:
    before, fresh = tmp_path / "before.csv", tmp_path / "fresh.csv"
    before.write_text("as it was", encoding="utf-8")
    with writable(str(before), "--csv") as kept, writable(str(fresh), "--csv") as fresh_file:
        assert kept == before
        assert fresh_file == fresh
    assert before.read_text(encoding="utf-8") == "as it was"
    assert not fresh.exists()
    link = tmp_path / "link.csv"
    link.symlink_to(before)
    inode = before.stat().st_ino
    write_atomically(link, b"new")
    assert (before.read_bytes(), link.is_symlink()) == (b"new", True)
    assert before.stat().st_ino != inode, "another file took its place in one step"


def test_nothing_is_fetched_where_benchmarks_are_named_and_otherwise_nothing_is_switched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switches = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    for name in switches:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    assert parse_benchmarks(None) == ()
    assert not any(name in os.environ for name in switches)
    assert parse_benchmarks("gsm8k, arc_easy") == ("gsm8k", "arc_easy")
    assert [os.environ.get(name) for name in switches] == ["1", "1"]


def test_a_training_that_breaks_says_so_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    breaking = ("--components", "MLP2", "--clip", "none", "--warmup", "0", "--learning-rate", "1", "--save", "kept")
    assert main([*SMALL, *breaking, "--weight-decay", "100", "--steps", "40", "--schedule", "constant"]) == 2
    stop = capsys.readouterr()
    assert stop.err.splitlines()[-1].startswith("The loss is not finite")
    assert Path("kept").stat().st_size > 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--components", "L9H9"), "no L9H9"),
        (("--components", "L1H1,L1H1"), "must not repeat"),
        (("--components", "nonsense"), "not a component"),
        (("--components", "L1H1", "--steps", "0"), "--steps"),
        (("--components", "L1H1", "--learning-rate", "nan"), "--learning-rate"),
        (("--components", "L1H1", "--operands", "9", "1"), "smallest, largest"),
        (("--components", "L1H1", "--public", "gsm8k"), "--file"),
        (("--components", "L1H1", "--file", "nowhere.csv"), "drawn from templates"),
        (("--components", "L1H1", "--export", "."), "--export . already exists"),
        (("--components", "L1H1", "--save", "/proc/nowhere/x"), "--save"),
        (("--tuner", "magic"), "magic"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "there").touch()
    try:
        status = main([*SMALL, *more])
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_public_benchmarks_are_refused_before_the_model_is_loaded_where_lm_eval_is_not_installed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["fine-tune", "--model", "nix", "--benchmarks", "gsm8k,arc_easy"]) == 2
    stop = capsys.readouterr()
    assert "pip install lm-eval" in stop.err
    assert stop.out == ""


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


def test_ctrl_c_keeps_what_was_trained_and_says_that_it_was_stopped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Bar.show

    def interrupt(bar: Bar, progress: Progress, *more: Any) -> None:
        if progress.stage == "steps" and progress.done == 2:
            signal.raise_signal(signal.SIGINT)
        show(bar, progress, *more)

    monkeypatch.setattr(Bar, "show", interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's tests ignore it
    try:
        status = main([*SMALL, "--components", "L1H2", "--steps", "9", "--save", "part", "--json"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert (result["ended"], result["kept"], result["evaluation"]) == ("stopped", 2, None)
    assert Deltas.load("part").components == ("L1H2",)
    assert output.err.endswith("Stopped.\n")


def test_a_command_that_was_started_to_ignore_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_ctrl_c() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
