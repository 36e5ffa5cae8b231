"""Runs an experiment from beginning to end, without callbacks."""

from __future__ import annotations

from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.experiments.path_patching import RunOutput, run_path_patching
from arithmoscope.engine.models.loaded import LoadedModel


def whole_run(model: LoadedModel, spec: PathPatchingSpec) -> RunOutput:
    output = run_path_patching(
        model,
        spec,
        "x1",
        saved_chunks={},
        save_chunk=lambda _number, _data: None,
        on_progress=lambda _progress: None,
        on_partial=lambda _partial: None,
        should_stop=lambda: False,
    )
    assert output is not None
    return output
