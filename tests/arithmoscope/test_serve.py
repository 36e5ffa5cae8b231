"""``arithmoscope serve`` as a real process tree: what dies comes back, and nothing outlives it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.experiments import PathPatchingSpec
from contracts.models import ModelCard
from store import Store

STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
CARD = ModelCard(
    id="tiny", name="Tiny", source="folder", revision="r", layers=1, heads=1, kv_heads=1, parameters=1, shots=0,
    supported=True,
)  # fmt: skip


class Serve:
    """A ``serve`` on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.err = folder / "stderr"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
        environment |= {"ARITHMOSCOPE_MODELS_DIR": str(folder / "models"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "arithmoscope.cli", "serve", "--port", "0", "--data-dir", str(self.data)]
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=err, text=True, env=environment, cwd=folder
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"Arithmoscope runs at (http://127\.0\.0\.1:\d+)/ \(Ctrl-C stops it\)\n", line)
        assert found, (line, self.err.read_text())
        self.address = found[1]

    def open(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        return STRAIGHT.open(request, timeout=15)

    def get(self, path: str) -> Any:
        with self.open(path) as answer:
            return json.load(answer)

    def submit(self, reference: str = "3 + 5 =") -> str:
        prompts = {"source": "custom", "pairs": [{"reference": reference}]}
        with self.open("/api/experiments", {"kind": "path_patching", "model": "tiny", "prompts": prompts}) as answer:
            return json.load(answer)["id"]

    def rest_of_output(self) -> str:
        """What was printed after the address, once the process has ended."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            return stdout.read()

    def family(self) -> dict[int, str]:
        return family(self.process.pid)

    def child(self, part: str) -> int | None:
        """The process of a part; the broker's is a server of another name."""
        name = "valkey-server" if part == "broker" else f"arithmoscope.child {part}"
        found = [pid for pid, command in family(self.process.pid, deep=False).items() if name in command]
        return found[0] if found else None


def store_of(data: Path) -> Store:
    return Store.open(f"sqlite:///{data / 'arithmoscope.db'}", (data / "artifacts").as_uri())


def family(root: int, *, deep: bool = True) -> dict[int, str]:
    """Everything below a process (or its own children alone), by id, with its command line."""
    listed = subprocess.run(
        ["ps", "-e", "-ww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    found: dict[int, str] = {}
    parents = {root}
    while parents:
        below = {int(pid): command for pid, ppid, state, command in rows if int(ppid) in parents and state[0] != "Z"}
        found |= below
        parents = set(below) if deep else set()
    return found


def alive(pids: list[int]) -> list[int]:
    listed = subprocess.run(["ps", "-e", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    running = {int(pid) for pid, state in (line.split() for line in listed.splitlines()) if state[0] != "Z"}
    return [pid for pid in pids if pid in running]


def eventually(what: Callable[[], Any], within_s: float = 15.0) -> Any:
    until = time.monotonic() + within_s
    while True:
        try:
            found = what()
        except (OSError, ValueError):
            found = None
        if found or time.monotonic() > until:
            return found
        time.sleep(0.05)


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


def _held_by_another_machine(data: Path) -> str:
    """An experiment that runs elsewhere, so that its stream has no end of its own."""
    spec = PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": "tiny", "prompts": {"source": "template", "pairs": 1}}
    )
    with store_of(data) as store:
        experiment, _ = store.submit(spec, key="held")
        assert store.claim(experiment.id, 1, owner="elsewhere", lease_s=600) is not None
    return experiment.id
