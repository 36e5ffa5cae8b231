"""What commands without a server begin with: a model that can run here, in memory, and an analysis on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.specs import PathPatchingSpec
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.experiments.path_patching import RunOutput
    from arithmoscope.engine.models.loaded import LoadedModel


def runnable(settings: Settings, model_id: str, bar: Bar) -> ModelLocation:
    """Where the model is, the demo model made ready first. Refuses before torch is loaded what cannot run here."""
    catalogue = Catalogue(settings.models_dir, settings.allow_hub)
    if model_id == DEMO_ID:
        catalogue.fetch(model_id, bar.say)
    place = catalogue.locate(model_id)
    if place.card is not None and not place.card.supported:
        raise Refusal("unsupported_architecture", f"{place.card.id} cannot run here: {place.card.reason}")
    return place


def loaded(settings: Settings, model_id: str, bar: Bar) -> LoadedModel:
    """The model in memory. Refuses as `runnable`."""
    runnable(settings, model_id, bar)
    bar.say("loading the model and PyTorch")
    from arithmoscope.engine.models.loaded import load_model

    return load_model(
        model_id,
        models_dir=settings.models_dir,
        device=settings.device,
        dtype=settings.dtype,
        allow_hub=settings.allow_hub,
    )


def analysed(
    model: LoadedModel, spec: PathPatchingSpec, on_progress: Callable[[Progress], None] = lambda _progress: None
) -> RunOutput:
    """A whole analysis, of which nothing is kept on the way."""
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
