"""The catalogue of models that can run here. Loads no weights and no torch.

A model is a folder in MODELS_DIR (config.json, safetensors, tokenizer.json), the demo model, which is fetched into one,
the small model `adder` inside this package, a local GGUF file, or a Hugging Face hub name if the hub is allowed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.contracts.prompt_terms import DEFAULT_SHOTS
from arithmoscope.engine.families import GGUF_ARCHITECTURES, unsupported_gguf
from arithmoscope.engine.models.cards import broken_card, card_of_config, why_unusable, with_defaults
from arithmoscope.engine.models.chat_template import frame_of_folder, has_template
from arithmoscope.engine.models.component_sizes import part_sizes
from arithmoscope.engine.models.folders import (
    ADDER_FOLDER,
    ADDER_ID,
    DEMO_ID,
    DEMO_NAME,
    MANIFEST,
    is_whole,
    read_json,
    write_atomically,
)
from arithmoscope.engine.models.weight_headers import Weights, read_shapes, safetensors_files, weights_of

_REVISIONS = ".revisions.json"
# A real configuration has a few kB; the limit keeps hostile ones, nested without end, from the parser.
_MAX_CONFIG_BYTES = 2**20
# Bytes of a file's name: the limit of most file systems.
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """A model's files and its card. ``path`` is a folder, ``gguf`` the GGUF file in it, if it is one; ``weights`` is
    None if the files could not be read."""

    path: str
    gguf: str | None
    card: ModelCard
    weights: Weights | None = None


@dataclass(frozen=True)
class Catalogue:
    """The models in ``models_dir``. Every call reads the files again, so new folders appear immediately."""

    models_dir: Path
    allow_hub: bool = False

    def cards(self) -> list[ModelCard]:
        """All models, the demo model first, then `adder`. A card that is not supported has the reason."""
        folders = sorted(p for p in self.models_dir.iterdir() if p.is_dir()) if self.models_dir.is_dir() else []
        cards = [self._card(p) for p in folders if p.name not in (DEMO_ID, ADDER_ID) and not p.name.startswith(".")]
        return [self._demo_card(), self._adder_card(), *cards]

    def card(self, model_id: str) -> ModelCard:
        """One model's card.

        Raises:
            Refusal: ``unknown_model``.
        """
        if model_id == DEMO_ID:
            return self._demo_card()
        return self._adder_card() if model_id == ADDER_ID else self._card(self._folder(model_id))

    def tokenizer_json(self, model_id: str) -> str | None:
        """The text of the model's tokenizer.json; None if it has none."""
        path = self._folder(model_id) / "tokenizer.json"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def chat_frame(self, model_id: str) -> ChatFrame:
        """The model's chat template as a frame.

        Raises:
            Refusal: ``no_chat_template`` or ``bad_chat_template``.
        """
        return frame_of_folder(self._folder(model_id))

    def locate(self, model: str) -> ModelLocation:
        """The location of ``model``: a catalogue id, else a local path, else a hub name if the hub is allowed.

        Converts the demo model first if that has not been done.

        Raises:
            Refusal: ``unknown_model``, ``ambiguous_model`` or ``hub_not_allowed``.
        """
        if model == DEMO_ID:
            card = self._demo_card()
            return self._folder_location(self.models_dir / DEMO_ID, card if card.supported else self.fetch(DEMO_ID))
        if model == ADDER_ID:
            self.refuse_ambiguous(model)
            return self._folder_location(ADDER_FOLDER)
        if _is_plain_name(model) and (self.models_dir / model).is_dir():
            return self._folder_location(self.models_dir / model)
        path = _local_path(model)
        if path is not None and path.is_file() and path.suffix == ".gguf":
            return self._gguf_location(path)
        if path is not None and path.is_dir():
            files = sorted(path.glob("*.gguf"))
            if len(files) == 1 and not (path / "config.json").is_file():
                return self._gguf_location(files[0])
            return self._folder_location(path)
        if model.count("/") == 1 and not model.startswith((".", "/", "~")):
            if not self.allow_hub:
                raise Refusal("hub_not_allowed", f"{model!r} is not a local model, and fetching models is off.")
            return self._hub_location(model)
        raise Refusal("unknown_model", f"There is no model {model[:80]!r} here.")

    def fetch(self, model_id: str, say: Callable[[str], None] = lambda _line: None) -> ModelCard:
        """Prepares a model: converts the demo model once, or downloads a hub model if the hub is allowed. `adder` is
        always ready.

        ``say`` receives progress messages.
        """
        if model_id == ADDER_ID:
            card = self.locate(ADDER_ID).card
            say(f"{ADDER_ID} comes with Arithmoscope: there is nothing to fetch.")
            return card
        if model_id != DEMO_ID:
            return self.locate(model_id).card
        if not is_whole(self.models_dir / DEMO_ID):
            from arithmoscope.engine.models.demo import convert_demo_model

            convert_demo_model(self.models_dir, say)
        return self._demo_card()

    def _folder(self, model_id: str) -> Path:
        folder = ADDER_FOLDER if model_id == ADDER_ID else self.models_dir / model_id
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
            shots=DEFAULT_SHOTS,
            chat=True,
            supported=False,
            reason=f"Not converted yet: run arithmoscope models fetch {DEMO_ID}.",
        )

    def refuse_ambiguous(self, model_id: str) -> None:
        """Raises Refusal (``ambiguous_model``) if a folder in MODELS_DIR has the name of the model in this package.

        Neither of them has the id then, so that nobody gets the numbers of the other one.
        """
        own = self.models_dir / ADDER_ID
        if model_id == ADDER_ID and own.is_dir() and own.resolve() != ADDER_FOLDER:
            detail = f"{ADDER_ID} is the model that comes with Arithmoscope, and your folder {own}."
            raise Refusal("ambiguous_model", detail)

    def _adder_card(self) -> ModelCard:
        card = self._card(ADDER_FOLDER)
        try:
            self.refuse_ambiguous(ADDER_ID)
        except Refusal as refusal:
            return card.model_copy(update={"supported": False, "reason": str(refusal)})
        return card

    def _card(self, folder: Path) -> ModelCard:
        return self._folder_location(folder).card

    def _folder_location(self, folder: Path, card: ModelCard | None = None) -> ModelLocation:
        """The location of a model folder. Unreadable files give a card with the reason, never an error."""
        try:
            described, weights = self._describe(folder)
        except FileNotFoundError as error:
            described, weights = broken_card(folder.name, f"It has no {Path(error.filename or folder).name}."), None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error) as error:
            described, weights = broken_card(folder.name, f"Its files cannot be read: {_message(error)}"[:300]), None
        return ModelLocation(str(folder), None, card or described, weights)

    def _describe(self, folder: Path) -> tuple[ModelCard, Weights | None]:
        config, architecture = _read_config(folder)
        manifest = read_json(folder / MANIFEST)
        shapes, weights, revision, reason = {}, None, "", None
        if why_unusable(config, architecture) is None:  # otherwise the weights stay unopened
            files = safetensors_files(folder)
            if not files:
                reason = "It has no safetensors file; other weight formats are not supported."
            elif not (folder / "tokenizer.json").is_file():
                reason = "It has no tokenizer.json."
            elif (folder / "adapter_config.json").exists():
                # With PEFT installed, transformers would load the adapter's base model instead: other numbers.
                reason = "It contains an adapter (adapter_config.json): merge it into its base model first."
            shapes = read_shapes(files)
            weights = weights_of(shapes)
            revision = manifest.get("revision") or (self._revision(folder, files) if files else "")
        card = card_of_config(
            config,
            model_id=folder.name,
            architecture=architecture,
            source="bundled" if folder == ADDER_FOLDER else "demo" if folder.name == DEMO_ID else "folder",
            revision=str(revision),
            parameters=weights.parameters if weights else 0,
            name=manifest.get("name"),
            reason=reason,
        )
        sizes = part_sizes(shapes, card.heads, card.kv_heads)
        card = card.model_copy(update={"chat": has_template(folder), "sizes": sizes})
        return with_defaults(card, manifest), weights

    def _hub_location(self, name: str) -> ModelLocation:
        """The location of a hub model. Its configuration is checked before its weights are downloaded."""
        config_folder = Path(_from_hub(name, ["config.json"]))
        try:
            reason = why_unusable(*_read_config(config_folder))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = f"Its config.json cannot be read: {_message(error)}"[:300]
        if reason is not None:
            return ModelLocation(name, None, broken_card(name, reason, "hub"))
        folder = Path(_from_hub(name, ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]))
        location = self._folder_location(folder)
        # The hub's cache names the folder of a snapshot after its commit.
        update = {"id": name, "name": name, "source": "hub", "revision": folder.name}
        return replace(location, card=location.card.model_copy(update=update))

    def _gguf_location(self, path: Path) -> ModelLocation:
        from gguf import GGUFReader

        try:
            reader = GGUFReader(path)
            fields = reader.fields
            kind = str(fields["general.architecture"].contents())
            weights = weights_of({t.name: tuple(int(side) for side in t.shape) for t in reader.tensors}, packed=True)
        except (OSError, ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
            raise Refusal("bad_model_files", f"{path.name} is not a readable GGUF file.") from error

        def number(key: str, default: int) -> Any:
            field = fields.get(f"{kind}.{key}")
            return field.contents() if field is not None else default

        heads, experts = number("attention.head_count", 1), number("expert_count", 0)
        config = {
            "num_hidden_layers": number("block_count", 1),
            "num_attention_heads": heads,
            "num_key_value_heads": number("attention.head_count_kv", heads),
        }
        card = card_of_config(
            config,
            model_id=path.name,
            architecture=GGUF_ARCHITECTURES.get(kind, kind),
            source="folder",
            revision=self._revision(path.parent, [path]),
            parameters=weights.parameters,
        )
        update: dict[str, Any] = {"chat": "tokenizer.chat_template" in fields}
        if (reason := unsupported_gguf(kind, experts)) is not None:
            update |= {"supported": False, "reason": reason}
        card = card.model_copy(update=update)
        return ModelLocation(str(path.parent), path.name, card, weights)

    def _revision(self, folder: Path, files: list[Path]) -> str:
        """SHA-256 of the weight file, or of the shards' hashes; cached next to the models until a file changes."""
        stamp = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
        key = str(folder.resolve())
        cached = read_json(self.models_dir / _REVISIONS)
        if cached.get(key, {}).get("stamp") == stamp:
            return cached[key]["revision"]
        hashes = [_sha256(f) for f in files]
        revision = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        cached[key] = {"stamp": stamp, "revision": revision}
        with suppress(OSError):  # only a cache: on a full or read-only disk the hash is computed again
            write_atomically(self.models_dir / _REVISIONS, json.dumps(cached, indent=1))
        return revision


def _local_path(text: str) -> Path | None:
    """The path, its ``~`` expanded; None if there can be no such path."""
    try:
        path = Path(text).expanduser()
        path.exists()
    except (OSError, ValueError, RuntimeError):  # too long, not encodable, or without a home
        return None
    return path if text else None


def _is_plain_name(name: str) -> bool:
    """Whether a name can be that of a folder: no path, and no longer than a name can be."""
    if not name or name.startswith(".") or {"/", "\\", "\0"} & {*name}:
        return False
    return len(name.encode(errors="replace")) <= _MAX_NAME


def _read_config(folder: Path) -> tuple[dict[str, Any], str | None]:
    """A folder's configuration and the architecture that it names, if any. An invalid file raises the parser's error
    (OSError, ValueError, TypeError, AttributeError or RecursionError)."""
    size = (folder / "config.json").stat().st_size
    if size > _MAX_CONFIG_BYTES:
        raise ValueError(f"config.json has {size:,} bytes; a configuration has a few thousand.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = next(iter(config.get("architectures") or []), None)
    if not isinstance(architecture, str | None):
        raise TypeError("config.json does not give its architecture as a string.")
    return config, architecture


def _message(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _from_hub(name: str, files: list[str]) -> str:
    """The local folder of a hub model's files, downloaded unless cached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return snapshot_download(name, allow_patterns=files)
    except RepositoryNotFoundError as error:
        raise Refusal("unknown_model", f"The hub has no model {name!r}, or it is gated.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise Refusal("hub_unreachable", f"{name!r} could not be fetched.") from error
