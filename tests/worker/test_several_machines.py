"""Several machines: PostgreSQL instead of SQLite, Debian's Redis over TCP instead of Valkey, S3 instead of a folder."""

from __future__ import annotations

import csv
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from installation import Installation
from services import (  # pyright: ignore[reportMissingImports]
    DATABASE_URL,
    REDIS_URL,
    Postgres,
    missing,
    postgres_server,
    redis_server,
    s3_server,
)
from store_helpers import Valkey  # pyright: ignore[reportMissingImports]
from test_faults import (  # noqa: F401  # the same laws, on these services
    config,
    submit,
    test_a_killed_child_is_replaced_and_its_job_continues,
    test_a_killed_worker_leaves_no_child_and_its_successor_continues,
    test_an_emptied_broker_delays_and_loses_nothing,
)
from worker_trees import wait_until

from arithmoscope.store import Store
from benchmarks.patience import patience
from benchmarks.soak.model import write_model


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres | None]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with s3_server("lab") as environment:
        yield environment


@pytest.fixture
def urls(postgres: Postgres | None, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    if postgres is None:
        missing("PostgreSQL", DATABASE_URL)
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    assert postgres is not None
    url = postgres.make()
    yield url, f"s3://lab/{url.rpartition('/')[2][:40].partition('?')[0]}"
    postgres.drop(url)


@pytest.fixture
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        if url is None:
            missing("Redis", REDIS_URL)
        server = Valkey(Path("/nowhere"))
        server.url = url
        yield server


@pytest.fixture
def installation(urls: tuple[str, str], valkey: Valkey, s3: dict[str, str], tmp_path: Path) -> Installation:
    models = tmp_path / "models"
    write_model(models)
    return Installation(
        tmp_path,
        {
            **s3,
            "ARITHMOSCOPE_DATABASE_URL": urls[0],
            "ARITHMOSCOPE_ARTIFACTS_URL": urls[1],
            "ARITHMOSCOPE_REDIS_URL": valkey.url,
            "ARITHMOSCOPE_MODELS_DIR": str(models),
            "ARITHMOSCOPE_DATA_DIR": str(tmp_path / "data"),
            "ARITHMOSCOPE_DEVICE": "cpu",
        },
    )


def question(seed: int, pairs: int) -> dict[str, Any]:
    prompts = {
        "source": "template",
        "operations": ["add"],
        "operands": [1, 9],
        "pairs": pairs,
        "shots": 2,
        "seed": seed,
    }
    return {"kind": "path_patching", "model": "tiny", "prompts": {**prompts, "keep_wrong": True}}


def test_a_whole_installation_answers_and_a_killed_workers_job_goes_on_soon(
    installation: Installation, urls: tuple[str, str], tmp_path: Path
) -> None:
    def state(name: str) -> str:
        return installation.get(f"/api/experiments/{name}")["state"]

    with (
        installation.api(),
        installation.part("worker", log_name="a") as a,
        installation.part("worker", log_name="b") as b,
        Store.open(*urls) as store,
    ):
        wait_until(lambda: len(installation.get("/api/health")["workers"]) == 2, "there are no two workers", 90)
        health = installation.get("/api/health")
        assert (health["status"], health["broker"], health["store"]) == ("ok", "ok", "ok")

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: installation.get("/api/experiments", question(1, 4))["id"], range(20)))
        first = answers[0]
        assert set(answers) == {first}
        wait_until(lambda: state(first) not in ("queued", "running"), "it does not end", 60)
        assert state(first) == "succeeded", installation.log("a") + installation.log("b")
        assert installation.get(f"/api/experiments/{first}/result")["complete"]
        rows = list(csv.DictReader(installation.read(f"/api/experiments/{first}/components.csv").decode().splitlines()))
        assert len(rows) == 12 * 9
        assert installation.read(f"/api/experiments/{first}/arrays.npz")[:2] == b"PK"
        weights = installation.get(f"/api/experiments/{first}/attention?layer=3&prompt=0")["weights"]
        assert all(abs(sum(row) - 1) < 1e-4 for head in weights for row in head)
        events = installation.read(f"/api/experiments/{first}/events").decode()
        assert "event: state" in events
        assert '"succeeded"' in events.rpartition("event:")[2]

        # A worker is killed in the middle of a job; the other one, which is idle, goes on.
        long = {**question(2, 128), "effect": "total", "positions": "all"}
        second = installation.get("/api/experiments", long)["id"]
        wait_until(lambda: len(store.chunks(second)) >= 1, "it has saved nothing", 60)
        worker = a if second in installation.log("a") else b
        children = psutil.Process(worker.pid).children(recursive=True)
        killed = time.monotonic()
        os.kill(worker.pid, signal.SIGKILL)
        before = store.experiment(second)
        assert before.state == "running"
        wait_until(lambda: not any(_lives(child) for child in children), "a child is left", 2)
        wait_until(
            lambda: store.experiment(second).attempt > before.attempt and state(second) != "queued", "nobody goes on"
        )
        # Ten on an idle machine, as the soak test measures.
        assert time.monotonic() - killed < 20 * patience()
        wait_until(lambda: state(second) not in ("queued", "running"), "it does not end", 90)
        assert state(second) == "succeeded"
        assert installation.get(f"/api/experiments/{second}/result")["complete"]


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
