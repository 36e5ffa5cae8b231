"""What the worker wants of the engine, so that the life of a job can be told apart from the mathematics in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.results import Partial
from arithmoscope.contracts.specs import Kind
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.contracts.views import ViewKind
from arithmoscope_worker.config import WorkerConfig


class Result(Protocol):
    """``complete``: false where a cancel cut it short."""

    @property
    def complete(self) -> bool: ...


class Output(Protocol):
    """A result, and every file that is kept of it."""

    @property
    def result(self) -> Result: ...
    @property
    def artifacts(self) -> Mapping[str, bytes]: ...


@runtime_checkable
class TunedOutput(Output, Protocol):
    """Of a fine-tuning: the card of the model that it made, if it changed any, and why it could not go on, if so. What
    it made until then is kept all the same."""

    @property
    def card(self) -> ModelCard | None: ...
    @property
    def problem(self) -> Refusal | None: ...


class Run(Protocol):
    """One kind of experiment, from a loaded model and a spec to its output; None when it was stopped with nothing.

    ``parent`` reads an artifact of the analysis that it is asked of; None where it is asked of none.
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
class Science:
    """``load(model id)`` brings a model into memory; ``runs`` has a row for every kind of experiment;
    ``look(model, kind, which, read)`` gives a view of the analysis whose artifacts ``read`` gives as a file;
    ``tuned(model, card, deltas)`` makes the model of that card out of the one that it was tuned from."""

    device: str
    load: Callable[[str], Any]
    runs: Mapping[Kind, Run]
    look: Callable[[Any, ViewKind, str, Callable[[str], bytes]], bytes]
    free: Callable[[], None] = lambda: None
    tuned: Callable[[Any, ModelCard, bytes], Any] = field(kw_only=True)


def engine_science(config: WorkerConfig) -> Science:
    """The engine itself. Imports torch, which takes seconds: only ever called in the process that computes."""
    import gc

    import torch

    from arithmoscope.engine.experiments.fine_tune import run_fine_tune
    from arithmoscope.engine.experiments.knockout import run_knockout
    from arithmoscope.engine.experiments.path_patching import run_path_patching
    from arithmoscope.engine.experiments.transfer import run_transfer
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

    def free() -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    device = best_device().type if config.device == "auto" else config.device
    runs: dict[Kind, Run] = {
        "path_patching": run_path_patching,
        "knockout": run_knockout,
        "transfer": run_transfer,
        "fine_tune": run_fine_tune,
    }
    return Science(device, load, runs, view_file, free, tuned=rebuild_tuned)
