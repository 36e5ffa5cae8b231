"""Workers as real process trees: Celery's parent and the child that computes, to be stopped, killed and frozen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.engine_port import EnginePort
from outputs import output

from arithmoscope.contracts.experiments import Progress
from benchmarks.patience import patience

CHUNKS = 6
SLOW = "9 + 9 ="


class Tree:
    """A worker that computes slowly (``real=False``) or with the engine; its log goes to ``log``."""

    def __init__(self, config: WorkerConfig, log: Path, *, real: bool = False) -> None:
        config_json = json.dumps({**asdict(config), "models_dir": str(config.models_dir)})
        folder = Path(__file__).parent
        path = f"import sys; sys.path.insert(0, {str(folder)!r})"
        code = f"{path}; import worker_trees; worker_trees.work({config_json!r}, {real})"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
        with log.open("ab") as out:
            self.process = subprocess.Popen([sys.executable, "-c", code], stdout=out, stderr=out, env=environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = self.children()
        self.process.kill()
        self.process.wait()
        for child in children:
            child.kill()

    def children(self) -> list[psutil.Process]:
        if self.process.poll() is not None:
            return []
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self) -> psutil.Process:
        """The process that computes."""
        wait_until(lambda: bool(self.children()), "the worker has no child")
        return self.children()[0]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20 * patience())


def wait_until(happened: Callable[[], bool], what: str, seconds: float = 30) -> None:
    started = time.monotonic()
    while not happened():
        if time.monotonic() > started + seconds * patience():
            raise AssertionError(f"{what}, after {seconds} s")
        time.sleep(0.02)


def work(config_json: str, real: bool) -> None:
    """The worker's process."""
    import logging

    from arithmoscope_worker.app import run

    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s")
    values: dict[str, Any] = json.loads(config_json)
    config = WorkerConfig(**{**values, "models_dir": Path(values["models_dir"])})
    status = run(config) if real else run(config, slow_engine)
    logging.info("torch in the parent: %s", "torch" in sys.modules)
    sys.exit(status)


def slow_engine(config: WorkerConfig) -> EnginePort:
    """An engine of six chunks, fast or (for ``SLOW``) slow; each chunk adds a line to the file ``computed``."""

    def run(
        model: object,
        spec: Any,
        experiment_id: str,
        *,
        parent: Callable[[str], bytes] | None,
        saved_chunks: Mapping[int, bytes],
        save_chunk: Callable[[int, bytes], None],
        on_progress: Callable[[Progress], None],
        on_partial: Callable[..., None],
        should_stop: Callable[[], bool],
    ) -> Any:
        seconds = 20.0 if spec.prompts.pairs[0].reference == SLOW else 0.15
        parts = dict(saved_chunks)
        for number in range(CHUNKS):
            if should_stop():
                return output(complete=False, result_json=b"".join(parts.values())) if parts else None
            if number not in parts:
                time.sleep(seconds)
                parts[number] = f"{number * number};".encode()
                save_chunk(number, parts[number])
                with (config.models_dir / "computed").open("a") as file:
                    file.write(f"{number}\n")
            on_progress(Progress(stage="pairs", done=number + 1, total=CHUNKS))
        return output(result_json=b"".join(parts[number] for number in range(CHUNKS)))

    return EnginePort(
        "cpu", lambda name: name, {"path_patching": run}, lambda *_: b"", rebuild_tuned=lambda base, *_: base
    )
