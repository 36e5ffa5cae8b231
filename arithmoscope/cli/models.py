"""``arithmoscope models``: lists, checks and fetches models."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelCard
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.folders import MANIFEST
from arithmoscope.settings import Settings

_MAX_NAME = 200
# Files of a hub model that are read.
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def table(settings: Settings) -> str:
    """All models, one per line."""
    cards = _catalogue(settings).cards()
    width = max(len(card.id) for card in cards)
    return "\n".join(f"{card.id:<{width}}  {_summary(card)}" for card in cards)


def check(settings: Settings, model_id: str) -> str:
    """One line about a model that can run. Raises Refusal, with the reason, if it cannot."""
    catalogue = _catalogue(settings)
    catalogue.refuse_ambiguous(_checked_id(model_id))
    card = catalogue.card(model_id)
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.id} cannot run here: {card.reason}")
    return f"{card.id}: {_summary(card)}"


def fetch(
    settings: Settings,
    model_id: str,
    report: Callable[[str], None],
    locate: Callable[[str], ModelLocation] | None = None,
) -> str:
    """Makes a model ready to run; returns one line about it.

    ``locate`` downloads a hub model's files (default: the catalogue's); it then becomes a folder of MODELS_DIR like any
    other. ``report`` receives lines of progress.
    """
    catalogue = _catalogue(settings)
    model_id = _checked_id(model_id)
    if _is_hub_name(model_id):
        place = (locate or catalogue.locate)(model_id)
        if not place.card.supported:
            raise Refusal("unsupported_architecture", f"{model_id} cannot run here: {place.card.reason}")
        report(f"Copying {model_id} into {settings.models_dir} ...")
        card = catalogue.card(_install(settings.models_dir, model_id, Path(place.path)))
    else:
        card = catalogue.fetch(model_id, report)
    return f"{card.id}: {_summary(card)}"


def _is_hub_name(model_id: str) -> bool:
    return model_id.count("/") == 1 and not model_id.startswith((".", "/", "~")) and not Path(model_id).exists()


def _install(models_dir: Path, model_id: str, fetched: Path) -> str:
    """Creates the folder of a hub model in one step; returns its name, which becomes the model's id."""
    name = model_id.replace("/", "--")
    models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=models_dir) as folder:
        unfinished = Path(folder) / "new"
        unfinished.mkdir()
        for pattern in _FILES:
            for file in fetched.glob(pattern):
                _link_or_copy(file.resolve(), unfinished / file.name)
        (unfinished / MANIFEST).write_text(json.dumps({"name": model_id}), encoding="utf-8")
        if (models_dir / name).exists():
            (models_dir / name).rename(Path(folder) / "old")
        unfinished.rename(models_dir / name)
    return name


def _link_or_copy(file: Path, to: Path) -> None:
    """Links the file if the hub's cache is on the same disk, which saves gigabytes; the link outlives the cache."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)


def _checked_id(model_id: str) -> str:
    if len(model_id.encode(errors="replace")) > _MAX_NAME:  # longer than any folder name
        raise Refusal("unknown_model", f"There is no model {model_id[:80]!r} here.")
    return model_id


def _catalogue(settings: Settings) -> Catalogue:
    return Catalogue(settings.models_dir, settings.allow_hub)


def _summary(card: ModelCard) -> str:
    if not card.supported:
        return f"cannot run: {card.reason}"
    return (
        f"{card.name}, {card.layers} layers x {card.heads} heads, "
        f"{card.parameters / 1e6:.1f} M parameters, revision {card.revision[:12]}"
    )
