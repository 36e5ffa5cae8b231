"""Tests of the command line: its output, and that every refusal is one line and exit code 2."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from arithmoscope.cli.main import main
from arithmoscope.cli.output_files import writable
from arithmoscope.contracts.errors import Refusal


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("ARITHMOSCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)


def run(*argv: str) -> int:
    try:
        return main(argv)
    except SystemExit as left:
        return int(left.code or 0)


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["serve", "--help"], ["models", "check", "--help"]])
def test_questions_about_the_command_itself_exit_0(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 0
    assert "arithmoscope" in capsys.readouterr().out


def test_the_installed_command_is_this_one(capsys: pytest.CaptureFixture[str]) -> None:
    run("--version")
    command = Path(sys.executable).with_name("arithmoscope")
    completed = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert completed.stdout == capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "COMMAND"),
        (["dance"], "dance"),
        (["serve", "--port", "many"], "ARITHMOSCOPE_PORT"),
        (["serve", "--port", "99999"], "ARITHMOSCOPE_PORT"),
        (["serve", "--host", "0.0.0.0"], "ARITHMOSCOPE_TOKEN"),
        (["serve", "--host", "no.such.host.invalid"], "ARITHMOSCOPE_TOKEN"),
        (["serve", "--data-dir", "/proc/nowhere"], "cannot be written"),
        (["serve", "--loud"], "--loud"),
        (["api"], "ARITHMOSCOPE_REDIS_URL"),
        (["worker"], "ARITHMOSCOPE_REDIS_URL"),
        (["analyze", "3 + 5 =", "--model", "nix"], "nix"),
        (["analyze", "3 + 5 =", "--model", "../nix"], "nix"),
        (["analyze", "3 + 5 =", "--model", "some/model"], "ARITHMOSCOPE_ALLOW_HUB"),
        (["analyze", "3 + 5 =", "--effect", "sideways"], "sideways"),
        (["analyze", "3 + 5 =", "--shots", "few"], "few"),
        (["analyze", "3 + 5 =", "--positions", "all"], "'total'"),
        (["analyze", "3 + 5 =", "--source", "zero", "--direction", "denoising"], "'noising'"),
        (["analyze", "3 + 5 =", "--source", "resample"], "'resample'"),
        (["analyze", "3 + 5 =", "--source", "thin air"], "thin air"),
        (["models", "check", "nix"], "nix"),
        (["models", "check", "smollm2-135m"], "models fetch smollm2-135m"),
        (["models", "fetch", "nix"], "nix"),
        (["models", "burn"], "burn"),
        (["models", "check", "m" * 300], "There is no model"),
        (["models", "fetch", "m" * 300], "There is no model"),
        (["analyze", "\udcff + 5 ="], "UTF-8"),
        (["knockout", "--topic", "facts", "--operations", "power"], "no arithmetic"),
        (["knockout", "--operands", "9", "1"], "smallest, largest"),
        (["knockout", "--components", "L1H1", "--top-k", "3"], "not both"),
        (["knockout", "--answer-tokens", "0"], "1 to 16"),
        (["knockout", "--answer-tokens", "2", "--answer", "each"], "first token"),
        (["knockout", "--model", "nix"], "nix"),
        (["transfer", "--sets", "addition", "poems"], "'poems'"),
        (["transfer", "--shots", "99"], "shots"),
        (["transfer", "--sets", "facts", "grammar"], "controls alone"),
        (["replicate", "nix"], "nix"),
        (["inspect", "writes", "3 + 5 ="], "--component"),
        (["inspect", "writes", "3 + 5 =", "--component", "L1"], "L1"),
        (["inspect", "lens", "3 + 5 =", "--file", "own.csv"], "one of them"),
        (["inspect", "key", "--file", "own.txt"], ".csv"),
        (["inspect", "key", "--file", "gone.csv"], "gone.csv"),
        (["inspect", "key", "--operands", "9", "1"], "smallest, largest"),
        (["inspect", "key", "3 + 5 =", "--model", "nix"], "nix"),
    ],
)
def test_a_refusal_is_one_line_on_stderr_and_exit_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*argv) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err


def test_a_run_that_is_refused_leaves_no_empty_file_and_takes_none_that_was_there(tmp_path: Path) -> None:
    existing, empty, link = tmp_path / "there.csv", tmp_path / "empty.csv", tmp_path / "link.csv"
    existing.write_text("of yesterday")
    empty.touch()
    link.symlink_to("named.csv")
    for file in (existing, empty, link, tmp_path / "fresh.csv"):
        with pytest.raises(Refusal), writable(str(file), "--csv"):
            raise Refusal("internal", "The model is gone.")
    assert {path.name for path in tmp_path.iterdir()} == {"there.csv", "empty.csv", "link.csv"}
    assert existing.read_text() == "of yesterday"


REDIS = {"ARITHMOSCOPE_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        (command, {**REDIS, f"ARITHMOSCOPE_{name}": value}, message)
        for command in ("serve", "api", "worker")
        for name, value, message in (
            ("DATA_DIR", "/proc/nowhere", "Choose a folder"),
            ("DATABASE_URL", "foo", "ARITHMOSCOPE_DATABASE_URL"),
            ("DATABASE_URL", "foo://x/y", "ARITHMOSCOPE_DATABASE_URL"),
            ("DATABASE_URL", "mysql+mysqldb://x/y", "ARITHMOSCOPE_DATABASE_URL"),
            ("ARTIFACTS_URL", "s3://bucket/x", "AWS_ACCESS_KEY_ID"),
            ("ARTIFACTS_URL", "foo://x", "ARITHMOSCOPE_ARTIFACTS_URL"),
            ("REDIS_URL", "redis://127.0.0.1:many/0", "ARITHMOSCOPE_REDIS_URL"),
        )
    ],
)
def test_settings_that_lead_nowhere_are_refused_in_one_line(
    command: str,
    settings: dict[str, str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The environment of the test run may set a store of its own.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    nowhere = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    for name, value in {**nowhere, **settings}.items():
        monkeypatch.setenv(name, value)
    port = [] if command == "worker" else ["--port", "0"]
    assert run(command, *port) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1), output.err
    assert message in output.err


def test_a_settings_file_that_is_not_utf8_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"ARITHMOSCOPE_TOKEN=\xff\xff")
    assert run("models") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_models_folder_that_cannot_be_made_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", "/proc/nowhere/models")
    assert run("models", "fetch", "smollm2-135m") == 2
    lines = capsys.readouterr().err.splitlines()
    assert "/proc/nowhere" in lines[-1]
    assert "Traceback" not in "".join(lines)


def test_an_api_on_a_port_that_is_taken_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_REDIS_URL", REDIS["ARITHMOSCOPE_REDIS_URL"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert run("api", "--port", str(taken.getsockname()[1])) == 2
    output = capsys.readouterr().err
    assert output.startswith("The port is in use")
    assert output.count("\n") == 1


def test_output_cut_off_by_its_reader_is_no_error() -> None:
    command = Path(sys.executable).with_name("arithmoscope")
    completed = subprocess.run(
        ["/bin/sh", "-c", f"'{command}' models list | true"], capture_output=True, text=True, check=True
    )
    assert completed.stderr == ""


def test_a_model_that_cannot_run_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"architectures": ["Odd"], "num_hidden_layers": 1}')
    assert run("analyze", "3 + 5 =", "--model", "mine") == 2
    assert "mine cannot run here" in capsys.readouterr().err


def test_the_models_are_listed_with_the_reason_of_those_that_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["models"], ["models", "list"]):
        assert run(*argv) == 0
        assert "smollm2-135m  cannot run: Not converted yet" in capsys.readouterr().out


def test_a_port_that_is_taken_is_refused_before_anything_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", "--port", str(port)) == 2
    assert f"Port {port} of 127.0.0.1" in capsys.readouterr().err
    assert not (tmp_path / "data" / "arithmoscope.db").exists()
