"""Copies of a model that can be changed; unchanged parameters share the original's memory."""

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


def copy_model(model: LoadedModel, own: Collection[str] | None) -> LoadedModel:
    """The same model with the parameters named in ``own`` (None: all) in their own memory, the others in the
    original's.

    No parameter object is shared, so either model may be moved or converted. No parameter requires a gradient.
    """
    copies: dict[int, Any] = {}
    for name, weight in model.hf.named_parameters():
        values = weight.detach()
        copies[id(weight)] = nn.Parameter(values.clone() if own is None or name in own else values, requires_grad=False)
    hf = copy.deepcopy(model.hf, copies)
    return replace(model, hf=hf, layout=layout_of(hf))


def restore_grad_flags(model: LoadedModel, original: LoadedModel) -> None:
    """Sets a copy's ``requires_grad`` flags as in the original and drops its gradients."""
    flags = {name: weight.requires_grad for name, weight in original.hf.named_parameters()}
    for name, weight in model.hf.named_parameters():
        weight.grad = None
        weight.requires_grad_(flags.get(name, True))


def fingerprint(model: LoadedModel) -> str:
    """SHA-256 over the names, dtypes, shapes and values of all weights. Cost: each of them is read once."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.hf.named_parameters()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(tensor_bytes(weight))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> Any:
    """A tensor's values as they lie in memory."""
    values = tensor.detach().cpu().contiguous()
    return values.view(-1).view(torch.uint8).numpy()
