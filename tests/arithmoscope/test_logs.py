"""Tests of the logs: one JSON object per line for any input, with the experiment's id and without secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmoscope.contracts.log_context import working_on
from arithmoscope.serve.logs import HIDDEN, JsonLines, last_message, log_to_file, secrets_in
from arithmoscope.serve.processes import Child


@contextmanager
def logging_to(part: str = "api", secrets: tuple[str, ...] = ()) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own, and its output."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLines(part, secrets))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    yield logger, out


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@given(st.text(st.characters(codec=None, categories=None), max_size=200))
def test_any_message_is_one_line_of_json_that_reads_back(message: str) -> None:
    with logging_to() as (logger, out):
        logger.info("%s", message)
    text = out.getvalue()
    assert text.count("\n") == 1
    assert all(" " <= character <= "~" for character in text[:-1])
    assert lines(text)[0]["message"] == message


def test_a_line_has_time_process_and_message() -> None:
    with logging_to("worker") as (logger, out):
        logger.warning("the %s is gone", "broker")
    (line,) = lines(out.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning", "part": "worker", "pid": os.getpid(), "logger": "test", "message": "the broker is gone",
    }  # fmt: skip


def test_lines_carry_the_experiment_that_is_worked_on_and_only_in_its_thread() -> None:
    with logging_to() as (logger, out):
        with working_on("e1"):
            logger.info("a line of any library")
            with working_on("e2"):
                logger.info("inside")
            other = threading.Thread(target=logger.info, args=("elsewhere",))
            other.start()
            other.join()
        logger.info("afterwards")
        logger.info("told", extra={"experiment_id": "e3"})
    assert [line.get("experiment_id") for line in lines(out.getvalue())] == ["e1", "e2", None, None, "e3"]


def test_an_exception_is_a_field_of_its_line() -> None:
    with logging_to() as (logger, out):
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logger.exception("it broke")
    (line,) = lines(out.getvalue())
    assert line["message"] == "it broke"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("first\nsecond")


def test_a_secret_is_hidden_in_every_place_and_spelling() -> None:
    with logging_to(secrets=("sesame+open", "sesame+open/longer")) as (logger, out):
        logger.info("GET /?token=sesame+open/longer and sesame%2Bopen and /?a=1&link=abc.def HTTP/1.1")
        try:
            raise OSError("redis://:sesame+open@host")
        except OSError:
            logger.exception("down", extra={"experiment_id": "sesame+open"})
    assert "sesame" not in out.getvalue()
    assert "abc.def" not in out.getvalue()
    assert lines(out.getvalue())[0]["message"] == f"GET /?token={HIDDEN} and {HIDDEN} and /?a=1&link={HIDDEN} HTTP/1.1"


def test_the_secrets_of_a_configuration_are_its_tokens_and_the_passwords_in_its_addresses() -> None:
    record = {
        "tokens": ["first-token", "second-token"],
        "redis_url": "redis://:p%40ss@host:6379/0",
        "database_url": "postgresql+psycopg://user:word@host/name",
        "artifacts_url": None,
        "host": "127.0.0.1",
    }
    assert secrets_in(record) == {"first-token", "second-token", "p%40ss", "p@ss", "word"}
    assert secrets_in({"token": "first-token, second-token"}) == {"first-token", "second-token"}
    url = "postgresql://host/name?user=u&password=w%2Bord&sslpassword=other&connect_timeout=5"
    assert secrets_in({"database_url": url}) == {"w+ord", "other"}
    assert secrets_in({"token": None, "redis_url": "unix:///a/b"}) == set()


def test_a_message_with_the_wrong_number_of_arguments_is_logged_anyway() -> None:
    with logging_to() as (logger, out):
        logger.info("two %s %s", "one")
    assert lines(out.getvalue())[0]["message"] == "two %s %s"


def test_a_process_that_dies_of_an_exception_logs_it_in_one_line() -> None:
    code = """
import threading, warnings
from arithmoscope.serve.logs import log_to_stderr
log_to_stderr("worker", ["hush-hush"])
warnings.warn("beware")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
raise RuntimeError("hush-hush\\nis broken")
"""
    died = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False)
    assert died.returncode == 1
    warned, in_thread, at_last = lines(died.stderr)
    assert "beware" in warned["message"]
    assert in_thread["message"].startswith("ZeroDivisionError")
    assert (at_last["level"], at_last["message"]) == ("critical", f"RuntimeError: {HIDDEN}\nis broken")


def test_a_forked_process_has_its_own_part_in_the_log() -> None:
    code = """
import logging, os
from arithmoscope.serve.logs import log_to_stderr
log_to_stderr("worker")
if os.fork() == 0:
    logging.info("child"); os._exit(0)
os.wait(); logging.info("parent")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [(line["part"], line["message"]) for line in lines(ran.stderr)] == [
        ("worker child", "child"), ("worker", "parent"),
    ]  # fmt: skip


def test_the_file_of_the_supervisor_ends_with_it_and_cannot_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arithmoscope.serve.logs.MAX_FILE_BYTES", 2_000)
    path = tmp_path / "serve.log"
    with log_to_file(path, "serve"):
        for number in range(100):
            logging.getLogger("test").warning("%d", number)
    logging.getLogger("test").warning("not in the file")
    assert lines(path.read_text())[-1]["message"] == "99"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4_000
    assert {file.name for file in tmp_path.iterdir()} == {"serve.log", "serve.old.log"}


def test_the_log_of_a_part_that_writes_and_writes_stays_small_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arithmoscope.serve.logs.MAX_FILE_BYTES", 20_000)
    child = Child("broker", lambda: {"argv": ["/bin/sh", "-c", "yes line-of-it; exit 0"]}, tmp_path / "api.log")
    child.start()
    try:
        first, emptied = child.pid, 0
        until = time.monotonic() + 30
        while emptied < 3 and time.monotonic() < until:
            time.sleep(0.01)
            before = child.log.stat().st_size
            assert child.poll() is None
            emptied += before > child.log.stat().st_size
        assert (emptied, child.pid) == (3, first)
        assert (tmp_path / "api.old.log").stat().st_size <= 20_000
        assert b"line-of-it" in (tmp_path / "api.old.log").read_bytes()
    finally:
        child.terminate()
        child.wait(time.monotonic() + 2)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (json.dumps({"message": "A setting cannot be used: x. Do y."}), "A setting cannot be used: x. Do y."),
        ("Segmentation fault", "Segmentation fault"),
        ("[1]", "[1]"),
    ],
)
def test_the_last_words_of_a_part_are_for_people(tmp_path: Path, last: str, expected: str) -> None:
    log = tmp_path / "api.log"
    log.write_text(f"an earlier line\n{last}\n")
    assert last_message(last) == expected
    assert Child("api", dict, log).last_log_message() == expected
