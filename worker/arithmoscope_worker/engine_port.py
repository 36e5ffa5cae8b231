"""The worker's interface to the engine, which separates job handling from the mathematics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds import KINDS
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.results import Partial
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.contracts.views import ViewKind
from arithmoscope_worker.config import WorkerConfig


class Result(Protocol):
    """``complete``: False if a cancellation cut the run short."""

    @property
    def complete(self) -> bool: ...


class Output(Protocol):
    """The output of a run: its result and all artifacts to store."""

    @property
    def result(self) -> Result: ...
    @property
    def artifacts(self) -> Mapping[str, bytes]: ...


@runtime_checkable
class TunedOutput(Output, Protocol):
    """The output of a fine-tuning: the card of the tuned model, if any, and the problem that ended the training early,
    if any; the model trained until then is kept."""

    @property
    def card(self) -> ModelCard | None: ...
    @property
    def problem(self) -> Refusal | None: ...


class Run(Protocol):
    """Runs one kind of experiment on a loaded model; returns None if it was stopped before it had any result.

    ``parent`` reads an artifact of the parent analysis; None if there is no parent.
    """

    def __call__(
        self,
        model: Any,
        spec: Any,
        experiment_id: str,
        *,
        parent: Callable[[str], bytes] | None,
        saved_chunks: Mapping[int, bytes],
        save_chunk: Callable[[int, bytes], None],
        on_progress: Callable[[Progress], None],
        on_partial: Callable[[Partial | TrainingCurve], None],
        should_stop: Callable[[], bool],
    ) -> Output | None: ...


@dataclass(frozen=True, slots=True)
class EnginePort:
    """The engine's operations.

    ``load(model id)`` loads a model into memory; ``runs`` has an entry for every kind of experiment;
    ``view_file(model, kind, which, read)`` computes a view of the analysis whose artifacts ``read`` returns, as a file;
    ``rebuild_tuned(base, card, deltas)`` applies a fine-tuning's deltas to its base model.
    """

    device: str
    load: Callable[[str], Any]
    runs: Mapping[str, Run]
    view_file: Callable[[Any, ViewKind, str, Callable[[str], bytes]], bytes]
    free_memory: Callable[[], None] = lambda: None
    rebuild_tuned: Callable[[Any, ModelCard, bytes], Any] = field(kw_only=True)


def load_engine(config: WorkerConfig) -> EnginePort:
    """The real engine. Imports torch, which takes seconds: called only in the process that computes."""
    import gc

    import torch

    from arithmoscope.engine.experiments import run_of
    from arithmoscope.engine.experiments.views import view_file
    from arithmoscope.engine.models.loaded import load_model
    from arithmoscope.engine.models.placement import best_device
    from arithmoscope.engine.tuning.rebuild import rebuild_tuned

    def load(model_id: str) -> Any:
        return load_model(
            model_id,
            models_dir=config.models_dir,
            device=config.device,
            dtype=config.dtype,
            allow_hub=config.allow_hub,
        )

    def free_memory() -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    device = best_device().type if config.device == "auto" else config.device
    runs = {kind: run_of(kind) for kind in KINDS}
    return EnginePort(device, load, runs, view_file, free_memory, rebuild_tuned=rebuild_tuned)
