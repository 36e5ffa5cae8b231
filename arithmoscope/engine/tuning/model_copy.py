"""A model that may be changed beside the one that it was copied from: what is not changed is the same memory."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.engine.families import layout_of
from arithmoscope.engine.models.loaded import LoadedModel


def copied(model: LoadedModel, own: Collection[str] | None) -> LoadedModel:
    """The same model, the parameters named in ``own`` (None: all) in memory of their own, the others in the original's.

    No parameter object is shared, so that either may be moved or converted. No gradient is asked for.
    """
    known: dict[int, Any] = {}
    for name, weight in model.hf.named_parameters():
        values = weight.detach()
        known[id(weight)] = nn.Parameter(values.clone() if own is None or name in own else values, requires_grad=False)
    hf = copy.deepcopy(model.hf, known)
    return replace(model, hf=hf, layout=layout_of(hf))


def as_it_was(model: LoadedModel, original: LoadedModel) -> None:
    """Lets a copy's parameters ask for gradients as the original's do, and forget those that they have."""
    asked = {name: weight.requires_grad for name, weight in original.hf.named_parameters()}
    for name, weight in model.hf.named_parameters():
        weight.grad = None
        weight.requires_grad_(asked.get(name, True))


def fingerprint(model: LoadedModel) -> str:
    """SHA-256 over the names, types, shapes and numbers of all weights. Cost: each of them is read once."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.hf.named_parameters()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(bytes_of(weight))
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> Any:
    """A tensor's numbers as they lie in memory."""
    held = tensor.detach().cpu().contiguous()
    return held.view(-1).view(torch.uint8).numpy()
