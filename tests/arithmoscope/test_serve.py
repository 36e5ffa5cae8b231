"""``arithmoscope serve`` as a real process tree: what dies comes back, and nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_tree import Serve, alive, eventually, store_of

from contracts.experiments import PathPatchingSpec
from contracts.models import ModelCard

CARD = ModelCard(
    id="tiny", name="Tiny", source="folder", revision="r", layers=1, heads=1, kv_heads=1, parameters=1, shots=0,
    supported=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={text: place for place, text in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: str) -> Iterator[Serve]:
    """One tree for all tests of this file, the killing ones last."""
    running = Serve(tmp_path_factory.mktemp("serve"))
    with store_of(running.data) as store:
        store.register_model(CARD, tokenizer_json)
    yield running
    running.process.kill()
    running.process.wait(10)
    running.rest_of_output()


def test_it_answers_at_the_address_that_it_printed(serve: Serve) -> None:
    health = serve.get("/api/health")
    assert (health["broker"], health["store"]) == ("ok", "ok")
    assert [model["id"] for model in serve.get("/api/models")["items"]] == ["smollm2-135m", "tiny"]


def test_the_first_progress_comes_within_three_hundred_milliseconds_of_the_question(serve: Serve) -> None:
    serve.submit("1 + 2 =")
    started = time.perf_counter()
    experiment_id = serve.submit("1 + 3 =")
    with serve.open(f"/api/experiments/{experiment_id}/events") as events:
        while (line := events.readline()) != b"event: progress\n":
            assert line
        seconds = time.perf_counter() - started
    assert seconds < 0.3


def test_a_second_serve_on_the_same_folder_is_refused_in_one_line(serve: Serve) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "arithmoscope.cli", "serve", "--port", "0", "--data-dir", str(serve.data)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second.returncode, second.stdout, second.stderr.count("\n")) == (2, "", 1)
    assert f"process {serve.process.pid}" in second.stderr
    assert "--data-dir" in second.stderr


def test_its_files_are_for_its_user_alone(serve: Serve) -> None:
    assert serve.data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("part", ["api", "broker", "worker"])
def test_a_part_that_was_killed_is_started_again_at_the_same_address(serve: Serve, part: str) -> None:
    before = serve.child(part)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: f"The {part} ended (signal 9)" in serve.err.read_text())
    assert eventually(lambda: serve.child(part) not in (None, before))
    assert eventually(lambda: serve.get("/api/health")["broker"] == "ok")
    assert eventually(lambda: alive([before]) == [])


def test_while_the_api_comes_back_nobody_is_turned_away(serve: Serve) -> None:
    api = serve.child("api")
    assert api is not None
    os.kill(api, signal.SIGKILL)
    assert serve.get("/api/health")["store"] == "ok"


def test_when_it_is_killed_nothing_is_left_after_two_seconds(serve: Serve) -> None:
    children = list(serve.family())
    assert len(children) >= 4
    serve.process.kill()
    serve.process.wait(5)
    time.sleep(2)
    assert alive(children) == []


def test_it_stops_within_ten_seconds_with_an_open_stream_and_can_be_started_again(tmp_path: Path) -> None:
    first = Serve(tmp_path)
    experiment_id = _held_by_another_machine(first.data)
    children = list(first.family())
    with first.open(f"/api/experiments/{experiment_id}/events") as events:
        assert events.readline()
        started = time.monotonic()
        first.process.terminate()
        assert first.process.wait(10) == 0
    assert time.monotonic() - started < 10
    assert alive(children) == []
    assert first.rest_of_output() == ""
    second = Serve(tmp_path)
    assert second.get(f"/api/experiments/{experiment_id}")["state"] == "running"
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(10) == 0
    assert second.rest_of_output() == ""


def test_a_data_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b#ü%?"
    folder.mkdir()
    running = Serve(folder)
    try:
        assert eventually(lambda: running.get("/api/health")["broker"] == "ok")
        assert eventually(lambda: running.get("/api/health")["workers"], 30)
        assert running.get("/api/experiments/example/result")["experiment_id"] == "example"
        assert {"arithmoscope.db", "artifacts", "redis.sock"} <= {each.name for each in running.data.iterdir()}
    finally:
        running.process.terminate()
        assert running.process.wait(10) == 0
    assert [each.name for each in tmp_path.iterdir()] == [folder.name]
    assert running.rest_of_output() == ""


def _held_by_another_machine(data: Path) -> str:
    """An experiment that runs elsewhere, so that its stream has no end of its own."""
    spec = PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": "tiny", "prompts": {"source": "template", "pairs": 1}}
    )
    with store_of(data) as store:
        experiment, _ = store.submit(spec, key="held")
        assert store.claim(experiment.id, 1, owner="elsewhere", lease_s=600) is not None
    return experiment.id
