"""Deltas of a fine-tuning: the changed values, stored apart from the model, and applied to that model alone.

Values are stored as they are in the tuned weights, not as differences: in floating point base + (tuned - base) is not
tuned. So a model and its deltas reproduce the tuned model bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ModelCard, tuned_model_id
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult, pack, unpack
from arithmoscope.engine.tuning.atomic_write import write_bytes
from arithmoscope.engine.tuning.export import write_adapter, write_model
from arithmoscope.engine.tuning.model_copy import copy_model, fingerprint, restore_grad_flags, tensor_bytes
from arithmoscope.engine.tuning.weight_changes import Change, Product, Values, add, tensors_of
from arithmoscope.engine.tuning.weight_slices import write_slice

_ID_DIGITS = 8


@dataclass(frozen=True, eq=False)
class Deltas(TensorResult):
    """The weights that a fine-tuning changed, and the model they belong to.

    Attributes:
        base: The original model's id.
        revision: The revision of its weights' file.
        weights: SHA-256 of its weights in ``dtype``.
        dtype: The type that it was tuned in.
        tuner: The tuner, such as ``"precise"``.
        components: The chosen components.
        touched: Heads that were not chosen but changed as well, since they share weights.
        settings: The training's other settings.
        changes: The changed values, by weight.

    Example:
        >>> tuned = am.fine_tune(model, ["L1H2"], pairs, steps=2, learning_rate=1e-3, batch_size=4)
        >>> tuned.deltas.save("deltas.safetensors")
        >>> deltas = am.Deltas.load("deltas.safetensors")
        >>> again = deltas.apply(model)  # bit for bit tuned.model
        >>> deltas.export(model, "tuned-model")
        >>> deltas.export_adapter(model, "adapter")
        >>> deltas.card_of(model.card).revision == deltas.digest
        True
        >>> am.Deltas.from_bytes(deltas.to_bytes()).parameters == deltas.parameters
        True
    """

    file_format = "arithmoscope.deltas.1"
    noun = "deltas of a fine-tuning"

    base: str
    revision: str
    weights: str
    dtype: str
    tuner: str
    components: tuple[str, ...]
    touched: tuple[str, ...]
    settings: dict[str, Any]
    changes: tuple[Change, ...]

    @property
    def parameters(self) -> int:
        """Number of changed parameters."""
        return sum(tensor.numel() for change in self.changes for tensor in tensors_of(change).values())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the contents: the same for the same training on the same machine."""
        digest = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for change in self.changes:
            digest.update(json.dumps(_metadata(change), sort_keys=True).encode())
            for tensor in tensors_of(change).values():
                digest.update(tensor_bytes(tensor))
        return digest.hexdigest()

    @property
    def lineage(self) -> dict[str, Any]:
        """The origin of the tuned model, as JSON."""
        header = {name: list(value) if isinstance(value, tuple) else value for name, value in self._header().items()}
        return {**header, "deltas": self.digest}

    @check_arguments()
    def card_of(self, base: ModelCard) -> ModelCard:
        """The tuned model's card: the base's name with the start of the digest, which is its revision.

        Args:
            base: The original model's card.

        Returns:
            The card of the tuned model.
        """
        short = self.digest[:_ID_DIGITS]
        names = {"id": tuned_model_id(base.id, self.digest), "name": f"{base.name}, tuned ({self.tuner}, {short})"}
        return base.model_copy(update={**names, "revision": self.digest})

    @check_arguments()
    def apply(self, model: LoadedModel) -> LoadedModel:
        """The tuned model, from the original one; unchanged weights share memory.

        Args:
            model: The original model, in the same dtype.

        Returns:
            The tuned model, bit for bit.

        Raises:
            Refusal: ``bad_request`` for another model, another revision or another dtype.
        """
        self._check(model)
        return apply_changes(model, self.changes, self.card_of(model.card))

    @check_arguments()
    def export(self, model: LoadedModel, folder: str | os.PathLike[str]) -> None:
        """Writes the tuned model to a folder that transformers loads.

        A folder inside MODELS_DIR is also listed in the catalogue.

        Args:
            model: The original model, in the same dtype.
            folder: The folder to create.

        Raises:
            Refusal: As `apply`; ``bad_request`` for a folder that is not empty; ``impossible_options`` for offsets
                where the model has no biases for them; ``store_unavailable`` if the folder cannot be written, as on a
                full disk. Nothing is left behind then.
        """
        write_model(self.apply(model), self.lineage, folder)

    @check_arguments()
    def export_adapter(self, model: LoadedModel, folder: str | os.PathLike[str]) -> None:
        """Writes the changes as a LoRA adapter that PEFT loads onto the original model: head slices have a low rank.

        Args:
            model: The original model, in the same dtype.
            folder: The folder to create.

        Raises:
            Refusal: As `export`; ``impossible_options`` for whole matrices, biases and embeddings, which have no low
                rank.
        """
        self._check(model)
        write_adapter(model, self.changes, folder)

    @check_arguments()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes to a safetensors file, completely or not at all.

        Args:
            path: The file to write.

        Raises:
            Refusal: ``store_unavailable`` if the file cannot be written, as on a full disk.
        """
        write_bytes(Path(path), self.to_bytes())

    def _packed(self) -> bytes:
        changes: list[dict[str, Any]] = []
        tensors: dict[str, Any] = {}
        for number, change in enumerate(self.changes):
            tensors |= {f"{name}.{number}": tensor for name, tensor in tensors_of(change).items()}
            changes.append(_metadata(change))
        return pack(self.file_format, {**self._header(), "changes": changes, **tensors})

    @classmethod
    def _parsed(cls, data: bytes) -> Deltas:
        stored = unpack(data, cls.file_format)
        values = {field.name: stored[field.name] for field in fields(cls)}
        values |= {name: tuple(values[name]) for name in ("components", "touched")}
        changes = tuple(_change(number, metadata, stored) for number, metadata in enumerate(stored["changes"]))
        return cls(**{**values, "changes": changes})

    def _header(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "changes"}

    def _check(self, model: LoadedModel) -> None:
        if fingerprint(model) != self.weights:
            raise Refusal(
                "bad_request",
                f"These deltas belong to {self.base} in {self.dtype} (revision {self.revision[:12]}); the weights of "
                f"{model.card.id} differ, or have another dtype.",
                f"Load {self.base} as it was when it was tuned: dtype={self.dtype!r}.",
            )


def apply_changes(model: LoadedModel, changes: Sequence[Change], card: ModelCard) -> LoadedModel:
    """A copy of a model with the changes applied."""
    tuned = copy_model(model, {change.weight for change in changes})
    parameters = dict(tuned.hf.named_parameters())
    for change in changes:
        weight = parameters.get(change.weight)
        if weight is None:
            _add_bias(tuned.hf, change)
        elif isinstance(change, Values):
            write_slice(weight, change.axis, change.ranges, change.values)
        else:
            add(weight, change)
    restore_grad_flags(tuned, model)
    return LoadedModel(tuned.hf, tuned.tokenizer, tuned.layout, card, tuned.text)


def _add_bias(hf: nn.Module, change: Change) -> None:
    module_name, _, leaf = change.weight.rpartition(".")
    if leaf != "bias" or not isinstance(change, Values):
        raise Refusal("bad_request", f"The model has no {change.weight[:80]!r}.")
    module: Any = hf.get_submodule(module_name)
    module.bias = nn.Parameter(change.values.to(module.weight))


def _metadata(change: Change) -> dict[str, Any]:
    """Everything of a change except its tensors."""
    tensors = tensors_of(change)
    others = {name: value for name, value in vars(change).items() if name not in tensors}
    return {"kind": type(change).__name__, **others}


def _change(number: int, metadata: dict[str, Any], stored: dict[str, Any]) -> Change:
    values = {name: value for name, value in metadata.items() if name != "kind"}
    if "ranges" in values:
        values["ranges"] = tuple((start, stop) for start, stop in values["ranges"])
    make, names = _KINDS[metadata["kind"]]
    return make(**values, **{name: stored[f"{name}.{number}"] for name in names})


_KINDS: dict[str, tuple[Callable[..., Change], tuple[str, ...]]] = {
    "Values": (Values, ("values",)),
    "Product": (Product, ("reads", "writes")),
}
