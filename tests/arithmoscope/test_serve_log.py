"""Tests of the logs of a real ``serve``: an experiment can be traced through every process; no secrets appear."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from serve_tree import STRAIGHT, Serve, eventually

from benchmarks.patience import patience

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))

TOKEN = "sesame-open-the-door"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real model of the smallest size."""
    import torch
    from tiny import tiny_model  # pyright: ignore[reportMissingImports]

    folder = tmp_path_factory.mktemp("models")
    model = tiny_model("LlamaForCausalLM", dtype=torch.float32)
    model.hf.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    return folder


def logged(data: Path) -> list[dict[str, Any]]:
    """All log lines of all processes in order of time; fails unless each is JSON."""
    lines = []
    for name in ("serve", "api", "worker"):
        lines += [json.loads(line) for line in (data / "log" / f"{name}.log").read_text("ascii").splitlines()]
    return sorted(lines, key=lambda line: line["time"])


def test_one_experiment_is_followed_from_its_submit_over_a_lost_worker_to_its_end(
    tmp_path: Path, models_dir: Path
) -> None:
    serve = Serve(tmp_path, models_dir)
    try:
        assert eventually(lambda: serve.get("/api/health")["workers"], 30)
        prompts = {"source": "template", "pairs": 200, "operands": [0, 9], "operations": ["add", "subtract"]}
        experiment_id = serve.submit(effect="total", positions="all", prompts={**prompts, "keep_wrong": True})
        log = serve.data / "log" / "worker.log"
        assert eventually(lambda: f"chunk 0 of {experiment_id}" in log.read_text() and serve.computing(), 60)
        computing = serve.computing()
        assert computing is not None
        os.kill(computing, signal.SIGKILL)
        assert eventually(
            lambda: serve.get(f"/api/experiments/{experiment_id}")["state"] in ("succeeded", "failed"), 120
        )
        # The store has the final state before the log does.
        assert eventually(lambda: f"{experiment_id} ends: succeeded" in log.read_text(), 20)
        parent = serve.child("worker")
        assert parent is not None
        os.kill(parent, signal.SIGKILL)
        assert eventually(lambda: "The worker ended" in (serve.data / "log" / "serve.log").read_text(), 20)
    finally:
        serve.process.terminate()
        serve.process.wait(15 * patience())
        serve.rest_of_output()
    lines = logged(serve.data)
    own = [line for line in lines if line.get("experiment_id") == experiment_id]
    parts = {line["part"] for line in own}
    assert {"api", "worker", "worker child"} <= parts
    messages = [line["message"] for line in own]
    for words in (
        "is accepted",
        "attempt 1",
        "received attempt",
        "was lost; it is now queued",
        "continues after",
        "ends: succeeded",
    ):
        assert any(words in message for message in messages), (words, messages)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"]) for line in lines)
    assert any(line["part"] == "worker" and "signal 9 (SIGKILL)" in line["message"] for line in lines)
    assert {"serve starts", "serve ends"} <= {line["message"] for line in lines if line["part"] == "serve"}


def test_the_token_is_in_no_log_for_any_request_with_it(tmp_path: Path, models_dir: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
    environment |= {"ARITHMOSCOPE_TOKEN": TOKEN, "ARITHMOSCOPE_MODELS_DIR": str(models_dir)}
    command = [
        sys.executable,
        "-m",
        "arithmoscope",
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path / "data"),
    ]
    with (tmp_path / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment, cwd=tmp_path
        )
    assert process.stdout is not None
    try:
        printed = re.search(r"(http://127\.0\.0\.1:\d+)/\?(\S+)", process.stdout.readline())
        assert printed is not None
        address = printed[1]
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        for path, headers, method in (
            (f"/?token={TOKEN}", {}, "GET"),
            (f"/?{printed[2]}", {}, "GET"),
            (f"/api/health?token={TOKEN}", bearer, "GET"),
            (f"/api/experiments/x/cancel?token={TOKEN}", bearer, "POST"),
            (f"/api/experiments/{TOKEN}", bearer, "DELETE"),
            ("/metrics", bearer, "GET"),
            ("/api/health", {"Authorization": f"Bearer {TOKEN}x"}, "GET"),
        ):
            request = urllib.request.Request(address + path, headers=headers, method=method)
            try:
                STRAIGHT.open(request, timeout=15 * patience()).close()
            except urllib.error.HTTPError as error:
                error.close()
    finally:
        process.terminate()
        process.wait(15 * patience())
        process.stdout.close()
    logs = {path.name: path.read_text("utf-8") for path in (tmp_path / "data" / "log").iterdir()}
    assert {"serve.log", "api.log", "worker.log"} <= logs.keys()
    link = printed[2].partition("=")[2]
    for name, text in logs.items():
        assert TOKEN not in text, name
        assert link not in text, name
    assert logged(tmp_path / "data")
