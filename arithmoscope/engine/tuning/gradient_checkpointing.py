"""Gradient checkpointing: layers are recomputed in the backward pass instead of keeping their activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel


@contextmanager
def checkpointed(model: LoadedModel, enabled: bool) -> Iterator[None]:
    """Within the block every layer keeps only its input, if ``enabled``. Cost: one more forward pass over the layers
    that a gradient flows through.
    """
    with ExitStack() as stack:
        for layer in _layers(model) if enabled else ():
            # A layer has its own forward attribute only if it was set, for instance by accelerate over several
            # devices.
            stack.callback(_restore, layer, layer.__dict__.get("forward"))
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        yield


def _restore(layer: Any, forward: Any) -> None:
    if forward is None:
        del layer.forward
    else:
        layer.forward = forward


def _layers(model: LoadedModel) -> list[Any]:
    layout = model.layout
    for module in layout.decoder.children():
        if isinstance(module, nn.ModuleList) and len(module) == layout.layers:
            return list(module)
    raise Refusal("unsupported_architecture", f"The layers of a {type(model.hf).__name__} cannot be checkpointed.")
