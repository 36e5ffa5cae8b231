"""``arithmoscope models``: which models can run here, and why others cannot."""

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
# What is read of a hub model.
_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def table(settings: Settings) -> str:
    """All models, one a line."""
    cards = _catalogue(settings).cards()
    width = max(len(card.id) for card in cards)
    return "\n".join(f"{card.id:<{width}}  {_facts(card)}" for card in cards)


def check(settings: Settings, model_id: str) -> str:
    """One line about a model that can run. Refuses one that cannot, with the reason."""
    card = _catalogue(settings).card(_short(model_id))
    if not card.supported:
        raise Refusal("unsupported_architecture", f"{card.id} cannot run here: {card.reason}")
    return f"{card.id}: {_facts(card)}"


def fetch(
    settings: Settings, model_id: str, say: Callable[[str], None], locate: Callable[[str], ModelLocation] | None = None
) -> str:
    """Get a model ready to run; one line about it.

    ``locate`` brings a hub model's files to this machine; it then becomes a folder of MODELS_DIR like any other.
    """
    catalogue = _catalogue(settings)
    model_id = _short(model_id)
    if _is_hub_name(model_id):
        place = (locate or catalogue.locate)(model_id)
        if not place.card.supported:
            raise Refusal("unsupported_architecture", f"{model_id} cannot run here: {place.card.reason}")
        say(f"Putting {model_id} into {settings.models_dir} ...")
        card = catalogue.card(_put(settings.models_dir, model_id, Path(place.path)))
    else:
        card = catalogue.fetch(model_id, say)
    return f"{card.id}: {_facts(card)}"


def _is_hub_name(model_id: str) -> bool:
    return model_id.count("/") == 1 and not model_id.startswith((".", "/", "~")) and not Path(model_id).exists()


def _put(models_dir: Path, model_id: str, fetched: Path) -> str:
    """A folder with a hub model's files, there in one step; its name, which is the model's id from now on."""
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
    """Gigabytes once, where the hub's cache is on the same disk: it may be emptied then, and this file stays."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)


def _short(model_id: str) -> str:
    if len(model_id.encode(errors="replace")) > _MAX_NAME:  # no folder can be called like that
        raise Refusal("unknown_model", f"There is no model {model_id[:80]!r} here.")
    return model_id


def _catalogue(settings: Settings) -> Catalogue:
    return Catalogue(settings.models_dir, settings.allow_hub)


def _facts(card: ModelCard) -> str:
    if not card.supported:
        return f"cannot run: {card.reason}"
    return (
        f"{card.name}, {card.layers} layers x {card.heads} heads, "
        f"{card.parameters / 1e6:.1f} M parameters, revision {card.revision[:12]}"
    )
