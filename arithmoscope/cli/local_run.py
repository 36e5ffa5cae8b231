"""Experiments in the command's own process, with no server: the same checks and the same runs as theirs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arithmoscope.checks import Analysis, PromptReader, check_of
from arithmoscope.cli.interrupts import stop_on_ctrl_c
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds import ExperimentSpec, PathPatchingSpec
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.chat_template import frame_of_folder
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.prompts import Tokenizer
from arithmoscope.prompts.sets.default_shots import with_defaults_everywhere
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

# The id of an analysis that exists in this process alone.
LOCAL_ANALYSIS = "analysis"


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


def check(
    settings: Settings, place: ModelLocation, spec: ExperimentSpec, analysed: PathPatchingSpec | None = None
) -> None:
    """Checks a spec, with the model's defaults, by the model's card and tokenizer, before the weights are loaded.

    What they cannot tell is left to the run: without a card, without a tokenizer.json, or with a chat template inside a
    GGUF file.
    """
    if place.card is None:
        return
    card, spec = place.card, with_defaults_everywhere(spec, place.card)
    analysis = None if analysed is None else Analysis(with_defaults_everywhere(analysed, card), card.revision)
    checks = check_of(spec)
    checks.check_spec(spec, card, analysis, settings.dtype)
    tokenizer, chats = Path(place.path) / "tokenizer.json", any(each.chat for each in checks.sets_read(spec, analysis))
    if tokenizer.is_file() and not (place.gguf and chats):
        chat = frame_of_folder(Path(place.path)) if chats else None
        checks.check_prompts(spec, analysis, PromptReader(Tokenizer.from_file(str(tokenizer)), chat))


def run(
    model: LoadedModel,
    spec: ExperimentSpec,
    *,
    parent: Mapping[str, bytes] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_partial: Callable[[Any], None] = lambda _: None,
) -> Any:
    """Runs an experiment as a worker does; returns its output. ``parent``: the files of the analysis that it builds on.

    Ctrl-C ends it with what is finished, if anything is; else KeyboardInterrupt is raised.
    """
    from arithmoscope.engine.experiments import run_of

    with stop_on_ctrl_c() as should_stop:
        output = run_of(spec.kind)(
            model,
            with_defaults_everywhere(spec, model.card),
            secrets.token_hex(12),
            parent=None if parent is None else parent.__getitem__,
            saved_chunks={},
            save_chunk=lambda _number, _data: None,
            on_progress=on_progress,
            on_partial=on_partial,
            should_stop=should_stop,
        )
    if output is None:
        raise KeyboardInterrupt
    return output
