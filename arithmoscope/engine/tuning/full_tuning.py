"""The tuners ``full`` and ``full_matrices``: ordinary training of whole parameters, the baseline for the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.trainable import refuse_untrainable
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.models.memory import free_bytes
from arithmoscope.engine.tuning.model_copy import copy_model
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput, widen
from arithmoscope.engine.tuning.weight_changes import Values
from arithmoscope.engine.tuning.weight_slices import projection_names


def full(model: LoadedModel, _options: TunerInput) -> TrainableModel:
    """Trains every parameter, embeddings, norms and biases included."""
    return _trainable_copy(model, {name for name, _ in model.hf.named_parameters()})


def full_matrices(model: LoadedModel, _options: TunerInput) -> TrainableModel:
    """Trains every matrix of every layer."""
    return _trainable_copy(model, {f"{name}.weight" for name in projection_names(model)})


def _trainable_copy(model: LoadedModel, names: set[str]) -> TrainableModel:
    """Ordinary training of whole parameters with autograd's own gradients. Narrow weights are updated in float32 here,
    too.

    It is the baseline for time and memory, so it keeps no copy to roll back to: a training that breaks ends with the
    initial weights.
    """
    refuse_untrainable(model.precision)
    _refuse_too_large(model, names)
    tuned = copy_model(model, names)
    weights = {name: weight for name, weight in tuned.hf.named_parameters() if name in names}
    original = dict(model.hf.named_parameters())
    for weight in weights.values():
        weight.requires_grad_(True)
    narrow = torch.promote_types(model.dtype, torch.float32) != model.dtype
    values = tuple(nn.Parameter(widen(weight.detach())) if narrow else weight for weight in weights.values())

    def gradients() -> Any:
        if not narrow:
            return nullcontext()
        return _AccumulateWide(list(zip(weights.values(), values, strict=True)))

    @torch.no_grad()
    def write_back() -> None:
        for weight, value in zip(weights.values() if narrow else (), values, strict=False):
            weight.copy_(value)

    def changes() -> tuple[Values, ...]:
        # No copies: these are as large as the model.
        return tuple(Values(n, 0, ((0, len(w)),), w.detach().cpu()) for n, w in weights.items())

    def initial_values() -> Sequence[Tensor]:
        return [original[name].detach() for name in weights]

    return TrainableModel(tuned, values, (1.0,) * len(values), gradients, write_back, changes, initial_values)


def _refuse_too_large(model: LoadedModel, names: set[str]) -> None:
    """Raises Refusal (``out_of_memory``) before anything is allocated. Needed: a copy in the weights' own dtype, and
    per trained number a gradient and two moments, plus a wide copy of narrow ones.
    """
    needed: dict[torch.device, int] = defaultdict(int)
    for name, weight in model.hf.named_parameters():
        if name in names:
            own, trained = weight.itemsize, torch.promote_types(weight.dtype, torch.float32).itemsize
            needed[weight.device] += weight.numel() * (own + trained * (3 if own == trained else 4))
    for device, size in needed.items():
        free = free_bytes(device)
        if size > free:
            raise Refusal(
                "out_of_memory",
                f"Training all of {model.card.id} takes {size:,} bytes beyond the model for a copy, gradients and "
                f"moments; {free:,} are free on {device}.",
                "Use the tuner precise, or a smaller model.",
            )


class _AccumulateWide:
    """Within the block a narrow parameter's gradient is accumulated in its wide copy, and freed."""

    def __init__(self, copies: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
        self._copies = copies

    def __enter__(self) -> None:
        self._hooks = [weight.register_post_accumulate_grad_hook(self._hook(widen)) for weight, widen in self._copies]

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, widen: nn.Parameter) -> Callable[[Any], None]:
        def accumulate(weight: Any) -> None:
            gradient = weight.grad.to(widen.dtype)
            widen.grad = gradient if widen.grad is None else widen.grad + gradient
            weight.grad = None

        return accumulate
