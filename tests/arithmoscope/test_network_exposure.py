"""Tests of what a real `serve` exposes: one loopback port by default, and more only with a token."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serve_tree import STRAIGHT

from arithmoscope.cli.main import main
from benchmarks.patience import patience

TOKEN = "a long and random token"


def test_another_address_without_a_token_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("ARITHMOSCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ARITHMOSCOPE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.chdir(tmp_path)
    for command in ("serve", "api"):
        for host in ("0.0.0.0", "::", "192.168.1.5", "lab.example", "localhost.evil.example", "0", ""):
            assert main([command, "--port", "0", "--host", host]) == 2, (command, host)
            output = capsys.readouterr()
            assert (output.out, output.err.count("\n")) == ("", 1), (command, host, output)
            assert "ARITHMOSCOPE_TOKEN" in output.err or "ARITHMOSCOPE_HOST" in output.err, (command, host)
            assert not (tmp_path / "data").exists(), (command, host)


def test_with_tokens_it_prints_a_link_that_opens_once_and_is_used_up_after_a_restart(tmp_path: Path) -> None:
    used = ""
    for first in (True, False):
        with _guarded(tmp_path) as link:
            address, _, query = link.partition("?")
            assert query.startswith("link=")
            assert TOKEN not in link
            assert _status(f"{address}api/models") == 401
            if first:
                used = query
                assert _follow(link) == 303
            assert _status(f"{address}?{used}") == 401
            assert _status(f"{address}api/models", {"Authorization": f"Bearer {TOKEN}"}) == 200


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def _follow(link: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        return opener.open(link, timeout=15 * patience()).status
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code


def _status(address: str, headers: dict[str, str] | None = None) -> int:
    try:
        with STRAIGHT.open(urllib.request.Request(address, headers=headers or {}), timeout=15 * patience()) as answer:
            return answer.status
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code


@contextmanager
def _guarded(folder: Path) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
    environment |= {"ARITHMOSCOPE_TOKEN": TOKEN, "ARITHMOSCOPE_MODELS_DIR": str(folder / "models")}
    process = subprocess.Popen(
        [sys.executable, "-m", "arithmoscope", "serve", "--port", "0", "--data-dir", str(folder / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=folder,
    )
    assert process.stdout is not None
    with process.stdout as out:
        try:
            match = re.fullmatch(r"Arithmoscope runs at (\S+) \(Ctrl-C stops it\)\n", out.readline())
            assert match
            yield match[1]
        finally:
            process.terminate()
            process.wait(15 * patience())
