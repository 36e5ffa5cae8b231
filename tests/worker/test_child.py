"""The child process of a worker, while it starts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import pytest
from arithmoscope_worker.child import Child
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.engine_port import EnginePort, Run
from outputs import output
from store_helpers import Valkey, files_no_larger_than, spec_of  # pyright: ignore[reportMissingImports]

from arithmoscope.store import Store
from benchmarks.patience import patience


def test_a_worker_that_starts_on_a_full_disk_works_when_there_is_room(
    store: Store, urls: tuple[str, str], broker_of_all: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment_id = store.submit(spec_of(), key="k")[0].id
    assert store.claim(experiment_id, 1, owner="w", lease_s=60) is not None
    run = cast(Run, lambda *_, **__: output(result_json=b"{}"))
    engine = EnginePort(
        "cpu", lambda name: name, {"path_patching": run}, lambda *_: b"", rebuild_tuned=lambda base, *_: base
    )
    config = WorkerConfig(
        redis_url=broker_of_all.url,
        database_url=urls[0],
        artifacts_url=urls[1],
        models_dir=tmp_path / "models",
        name="w",
    )
    child = Child(config, lambda _: engine, lambda: False)
    with files_no_larger_than(4096):
        child.start()
        deadline = time.monotonic() + 10 * patience()
        while "the store is not available yet" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "the store is not available yet" in caplog.text
    try:
        child.run_job(experiment_id, 2)
        assert store.experiment(experiment_id).state == "succeeded"
    finally:
        child.stop()
