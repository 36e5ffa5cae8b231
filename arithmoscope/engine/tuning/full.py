"""The tuners ``full`` and ``full_matrices``: ordinary training of whole parameters, the yardstick for the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.models.memory import free_bytes
from arithmoscope.engine.tuning.model_copy import copied
from arithmoscope.engine.tuning.parts import check_tunable, matrices_of
from arithmoscope.engine.tuning.trainee import Trainee, Wish, wide
from arithmoscope.engine.tuning.weight_changes import Values


def full(model: LoadedModel, _wish: Wish) -> Trainee:
    """Every parameter, embeddings, norms and biases included."""
    return _whole(model, {name for name, _ in model.hf.named_parameters()})


def full_matrices(model: LoadedModel, _wish: Wish) -> Trainee:
    """Every matrix of every layer."""
    return _whole(model, {f"{name}.weight" for name in matrices_of(model)})


def _whole(model: LoadedModel, names: set[str]) -> Trainee:
    """Ordinary training of whole parameters: autograd's own gradients. Narrow weights are stepped in float32, too.

    It is the yardstick for time and memory, so it keeps no copy to go back to: a training that breaks ends where it
    began.
    """
    check_tunable(model)
    _refuse_too_large(model, names)
    tuned = copied(model, names)
    weights = {name: weight for name, weight in tuned.hf.named_parameters() if name in names}
    original = dict(model.hf.named_parameters())
    for weight in weights.values():
        weight.requires_grad_(True)
    narrow = torch.promote_types(model.dtype, torch.float32) != model.dtype
    values = tuple(nn.Parameter(wide(weight.detach())) if narrow else weight for weight in weights.values())

    def active() -> Any:
        if not narrow:
            return nullcontext()
        return _widening(list(zip(weights.values(), values, strict=True)))

    @torch.no_grad()
    def settle() -> None:
        for weight, value in zip(weights.values() if narrow else (), values, strict=False):
            weight.copy_(value)

    def changes() -> tuple[Values, ...]:
        # No copies: they are as large as the model.
        return tuple(Values(n, 0, ((0, len(w)),), w.detach().cpu()) for n, w in weights.items())

    def first() -> Sequence[Tensor]:
        return [original[name].detach() for name in weights]

    return Trainee(tuned, values, (1.0,) * len(values), active, settle, changes, first)


def _refuse_too_large(model: LoadedModel, names: set[str]) -> None:
    """Before anything is taken: a copy in the weights' own type, and of each number that moves a gradient and two
    moments, with a wide twin of narrow ones."""
    needed: dict[torch.device, int] = defaultdict(int)
    for name, weight in model.hf.named_parameters():
        if name in names:
            own, moved = weight.itemsize, torch.promote_types(weight.dtype, torch.float32).itemsize
            needed[weight.device] += weight.numel() * (own + moved * (3 if own == moved else 4))
    for device, size in needed.items():
        free = free_bytes(device)
        if size > free:
            raise Refusal(
                "out_of_memory",
                f"Training all of {model.card.id} takes {size:,} bytes beside it for a copy, gradients and moments; "
                f"{free:,} are free on {device}.",
                "Use the tuner precise, or a smaller model.",
            )


class _widening:
    """Within the block a narrow parameter's gradient is added up in its wide twin, and freed."""

    def __init__(self, twins: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
        self._twins = twins

    def __enter__(self) -> None:
        self._hooks = [weight.register_post_accumulate_grad_hook(self._moved(wide)) for weight, wide in self._twins]

    def __exit__(self, *_error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _moved(self, wide: nn.Parameter) -> Callable[[Any], None]:
        def move(weight: Any) -> None:
            gradient = weight.grad.to(wide.dtype)
            wide.grad = gradient if wide.grad is None else wide.grad + gradient
            weight.grad = None

        return move
