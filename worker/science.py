"""What the worker wants of the engine, so that the life of a job can be told apart from the mathematics in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from contracts.experiments import Progress
from contracts.results import Partial, PathPatchingResult
from contracts.specs import Kind
from worker.config import WorkerConfig


class Output(Protocol):
    """A result, and every file that is kept of it."""

    @property
    def result(self) -> PathPatchingResult: ...
    @property
    def artifacts(self) -> Mapping[str, bytes]: ...


class Run(Protocol):
    """One kind of experiment, from a loaded model and a spec to its output; None when it was stopped with nothing."""

    def __call__(
        self,
        model: Any,
        spec: Any,
        experiment_id: str,
        *,
        saved_chunks: Mapping[int, bytes],
        save_chunk: Callable[[int, bytes], None],
        on_progress: Callable[[Progress], None],
        on_partial: Callable[[Partial], None],
        should_stop: Callable[[], bool],
    ) -> Output | None: ...


@dataclass(frozen=True, slots=True)
class Science:
    """``load(model id)`` brings a model into memory; ``runs`` has a row for every kind of experiment;
    ``attend(model, spec, prompt, hash)`` gives the attention of one prompt of the set with that hash as a file."""

    device: str
    load: Callable[[str], Any]
    runs: Mapping[Kind, Run]
    attend: Callable[[Any, Any, int, str], bytes]
    free: Callable[[], None] = lambda: None


def engine_science(config: WorkerConfig) -> Science:
    """The engine itself. Imports torch, which takes seconds: only ever called in the process that computes."""
    import gc

    import torch

    from engine import load_model
    from engine.placement import best_device
    from engine.run import attention_file, run_path_patching

    def load(model_id: str) -> Any:
        return load_model(
            model_id,
            models_dir=config.models_dir,
            device=config.device,
            dtype=config.dtype,
            allow_hub=config.allow_hub,
        )

    def free() -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    device = best_device().type if config.device == "auto" else config.device
    return Science(device, load, {"path_patching": run_path_patching}, attention_file, free)
