"""Analyses in the command's own process, with no server: find the model, load it, run path patching."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.experiments.path_patching import RunOutput
    from arithmoscope.engine.models.loaded import LoadedModel


def locate_model(settings: Settings, model_id: str, bar: Bar) -> ModelLocation:
    """The model's location; the demo model is prepared first if needed.

    Raises Refusal, before torch is loaded, if the model cannot run here.
    """
    catalogue = Catalogue(settings.models_dir, settings.allow_hub)
    if model_id == DEMO_ID:
        catalogue.fetch(model_id, bar.stage)
    place = catalogue.locate(model_id)
    if place.card is not None and not place.card.supported:
        raise Refusal("unsupported_architecture", f"{place.card.id} cannot run here: {place.card.reason}")
    return place


def load_local_model(settings: Settings, model_id: str, bar: Bar) -> LoadedModel:
    """Loads the model. Raises Refusal as `locate_model` does."""
    locate_model(settings, model_id, bar)
    bar.stage("loading the model and PyTorch")
    from arithmoscope.engine.models.loaded import load_model

    return load_model(
        model_id,
        models_dir=settings.models_dir,
        device=settings.device,
        dtype=settings.dtype,
        allow_hub=settings.allow_hub,
    )


def run_analysis(
    model: LoadedModel, spec: PathPatchingSpec, on_progress: Callable[[Progress], None] = lambda _progress: None
) -> RunOutput:
    """Runs path patching to its end; no intermediate results are stored."""
    from arithmoscope.engine.experiments.path_patching import run_path_patching

    output = run_path_patching(
        model,
        spec,
        secrets.token_hex(12),
        saved_chunks={},
        save_chunk=lambda _number, _data: None,
        on_progress=on_progress,
        on_partial=lambda _partial: None,
        should_stop=lambda: False,
    )
    if output is None:
        raise Refusal("internal", "The analysis ended without a result.")
    return output
