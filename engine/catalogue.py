"""Which models can run here, known before any weights are loaded, and without torch.

A model is a folder of MODELS_DIR (config.json, safetensors, tokenizer.json), the demo model that a package brings
along, or a hub name where the hub is allowed.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.errors import Refusal
from contracts.models import ModelCard, ModelSource
from engine.families import GGUF_ARCHITECTURES, is_architecture, why_unsupported

DEMO_ID = "smollm2-135m"
DEMO_NAME = "SmolLM2-135M-Instruct (Q4_1, dequantised)"
# Solved examples that are put before a bare sum unless told otherwise: the demo model answers almost nothing without.
RECOMMENDED_SHOTS = 2
MANIFEST = "arithmoscope.json"
_REVISIONS = ".revisions.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's files are, and what is known of it."""

    path: str
    gguf: str | None
    card: ModelCard


def default_models_dir() -> Path:
    """ARITHMOSCOPE_MODELS_DIR, else the folder in the user's cache."""
    told = os.environ.get("ARITHMOSCOPE_MODELS_DIR")
    return Path(told).expanduser() if told else cached_models_dir()


def cached_models_dir() -> Path:
    """A folder in the user's cache, shared by all data folders: models are large and can be fetched again."""
    if sys.platform == "darwin":
        cache = Path("~/Library/Caches")
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return cache.expanduser() / "arithmoscope" / "models"


@dataclass(frozen=True)
class Catalogue:
    """The models under ``models_dir``. Reads files at each call: a folder that was just copied in is there."""

    models_dir: Path
    allow_hub: bool = False

    def cards(self) -> list[ModelCard]:
        """Every model, the demo model first; what cannot run says why."""
        folders = sorted(p for p in self.models_dir.iterdir() if p.is_dir()) if self.models_dir.is_dir() else []
        cards = [self._card(p) for p in folders if p.name != DEMO_ID and not p.name.startswith(".")]
        return [self._demo_card(), *cards]

    def card(self, model_id: str) -> ModelCard:
        """One model. Refuses ``unknown_model``."""
        if model_id == DEMO_ID:
            return self._demo_card()
        return self._card(self._folder(model_id))

    def tokenizer_json(self, model_id: str) -> str | None:
        """The text of the folder's tokenizer.json; None if there is none."""
        path = self._folder(model_id) / "tokenizer.json"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def locate(self, model: str) -> Place:
        """Where to load ``model`` from: a catalogue id first, then a local path, then a hub name where allowed.

        The demo model is converted first if need be. Refuses ``unknown_model``, ``hub_not_allowed``.
        """
        if model == DEMO_ID:
            card = self._demo_card()
            return Place(str(self.models_dir / DEMO_ID), None, card if card.supported else self.fetch(DEMO_ID))
        if _is_plain_name(model) and (self.models_dir / model).is_dir():
            return Place(str(self.models_dir / model), None, self._card(self.models_dir / model))
        path = Path(model).expanduser()
        if path.is_file() and path.suffix == ".gguf":
            return Place(str(path.parent), path.name, self._gguf_card(path))
        if path.is_dir():
            files = sorted(path.glob("*.gguf"))
            if len(files) == 1 and not (path / "config.json").is_file():
                return Place(str(path), files[0].name, self._gguf_card(files[0]))
            return Place(str(path), None, self._card(path))
        if model.count("/") == 1 and not model.startswith((".", "/", "~")):
            if not self.allow_hub:
                raise Refusal("hub_not_allowed", f"{model!r} is no local model, and fetching models is off.")
            return self._hub_place(model)
        raise Refusal("unknown_model", f"There is no model {model[:80]!r} here.")

    def fetch(self, model_id: str, say: Callable[[str], None] = lambda _line: None) -> ModelCard:
        """Make a model ready: convert the demo model once, or download a hub model where that is allowed."""
        if model_id != DEMO_ID:
            return self.locate(model_id).card
        if not is_whole(self.models_dir / DEMO_ID):
            from engine.demo import convert_demo_model

            convert_demo_model(self.models_dir, say)
        return self._demo_card()

    def _folder(self, model_id: str) -> Path:
        folder = self.models_dir / model_id
        if not _is_plain_name(model_id) or not folder.is_dir():
            raise Refusal("unknown_model", f"There is no model {model_id[:80]!r} here.")
        return folder

    def _demo_card(self) -> ModelCard:
        folder = self.models_dir / DEMO_ID
        if is_whole(folder):
            return self._card(folder)
        return ModelCard(
            id=DEMO_ID,
            name=DEMO_NAME,
            source="demo",
            revision="",
            layers=30,
            heads=9,
            kv_heads=3,
            parameters=134_515_008,
            shots=RECOMMENDED_SHOTS,
            supported=False,
            reason=f"Not converted yet: run arithmoscope models fetch {DEMO_ID}.",
        )

    def _card(self, folder: Path) -> ModelCard:
        """What a folder says of itself; a folder that says nonsense is a card with the reason, never an error."""
        try:
            return self._read_card(folder)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error) as error:
            return _broken(folder.name, f"Its files cannot be read: {type(error).__name__}: {error}"[:300])

    def _read_card(self, folder: Path) -> ModelCard:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        # Other safetensors files beside them are copies in other layouts, which nobody loads.
        files = sorted(folder.glob("model*.safetensors"))
        parameters = _count_parameters(files)
        manifest = _read_json(folder / MANIFEST)
        reason = None
        if not files:
            reason = "It has no safetensors file; other weight formats are not read."
        elif not (folder / "tokenizer.json").is_file():
            reason = "It has no tokenizer.json."
        revision = manifest.get("revision") or (self._revision(folder, files) if files else "")
        return card_of_config(
            config,
            model_id=folder.name,
            architecture=next(iter(config.get("architectures") or []), None),
            source="demo" if folder.name == DEMO_ID else "folder",
            revision=str(revision),
            parameters=parameters,
            name=manifest.get("name"),
            reason=reason,
        )

    def _hub_place(self, name: str) -> Place:
        """A hub model, its configuration looked at before its weights are fetched."""
        peek = self._card_as(name, Path(_from_hub(name, ["config.json"])))
        if is_architecture(peek.reason or ""):
            return Place(name, None, peek)
        folder = Path(_from_hub(name, ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]))
        return Place(str(folder), None, self._card_as(name, folder))

    def _card_as(self, name: str, folder: Path) -> ModelCard:
        # The hub keeps a commit's files in a folder called like the commit.
        return self._card(folder).model_copy(
            update={"id": name, "name": name, "source": "hub", "revision": folder.name}
        )

    def _gguf_card(self, path: Path) -> ModelCard:
        from gguf import GGUFReader

        try:
            fields = GGUFReader(path).fields
            kind = str(fields["general.architecture"].contents())
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise Refusal("bad_model_files", f"{path.name} is not a readable GGUF file.") from error

        def number(key: str, default: int) -> int:
            field = fields.get(f"{kind}.{key}")
            return int(field.contents()) if field is not None else default

        heads = number("attention.head_count", 1)
        config = {
            "num_hidden_layers": number("block_count", 1),
            "num_attention_heads": heads,
            "num_key_value_heads": number("attention.head_count_kv", heads),
        }
        return card_of_config(
            config,
            model_id=path.name,
            architecture=GGUF_ARCHITECTURES.get(kind, kind),
            source="folder",
            revision=self._revision(path.parent, [path]),
            parameters=0,
        )

    def _revision(self, folder: Path, files: list[Path]) -> str:
        """SHA-256 of the weights' file, or of the shards' hashes; kept beside the models until a file changes."""
        stamp = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        key = str(folder.resolve())
        known = _read_json(self.models_dir / _REVISIONS)
        if known.get(key, {}).get("stamp") == stamp:
            return known[key]["revision"]
        hashes = [_sha256(f) for f in files]
        revision = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        known[key] = {"stamp": stamp, "revision": revision}
        with suppress(OSError):  # only remembered to save time: a full or read-only disk costs a hash, no more
            write_whole(self.models_dir / _REVISIONS, json.dumps(known, indent=1))
        return revision


def is_whole(folder: Path) -> bool:
    """Whether a converted demo model is there, its weights as long as they were when they were written."""
    try:
        size = (folder / "model.safetensors").stat().st_size
    except OSError:
        return False
    return size > 0 and _read_json(folder / MANIFEST).get("bytes") == size


def card_of_config(
    config: Mapping[str, Any],
    *,
    model_id: str,
    architecture: str | None,
    source: ModelSource,
    revision: str,
    parameters: int,
    name: str | None = None,
    reason: str | None = None,
) -> ModelCard:
    """A card out of a transformers config. ``reason``: why it cannot run, besides its architecture."""
    heads = int(config.get("num_attention_heads") or config.get("n_head") or 0)
    reason = why_unsupported(architecture) or reason
    return ModelCard(
        id=model_id,
        name=name or model_id,
        source=source,
        revision=revision,
        layers=int(config.get("num_hidden_layers") or config.get("n_layer") or 0),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        parameters=parameters,
        shots=RECOMMENDED_SHOTS,
        supported=reason is None,
        reason=reason,
    )


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: readers see the old text or the new, never half."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as out:
        try:
            out.write(text)
            out.flush()
            os.replace(out.name, path)
        except OSError:
            os.unlink(out.name)
            raise


def _broken(model_id: str, reason: str) -> ModelCard:
    return ModelCard(
        id=model_id,
        name=model_id,
        source="folder",
        revision="",
        layers=0,
        heads=0,
        kv_heads=0,
        parameters=0,
        shots=0,
        supported=False,
        reason=reason,
    )


def _is_plain_name(name: str) -> bool:
    return bool(name) and "/" not in name and "\\" not in name and not name.startswith(".") and "\0" not in name


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _count_parameters(files: list[Path]) -> int:
    """Numbers in some safetensors files, from their headers alone."""
    total = 0
    for file in files:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > 100_000_000:
                raise ValueError(f"{file.name} has no safetensors header.")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                size = 1
                for side in entry["shape"]:
                    size *= side
                total += size
    return total


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_hub(name: str, files: list[str]) -> str:
    """The local folder of a hub model's files, downloaded if need be."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return snapshot_download(name, allow_patterns=files)
    except RepositoryNotFoundError as error:
        raise Refusal("unknown_model", f"The hub knows no model {name!r}, or it is gated.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Refusal("hub_unreachable", f"{name!r} could not be fetched.") from error
