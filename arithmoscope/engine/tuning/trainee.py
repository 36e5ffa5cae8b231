"""What a tuner gives to the training loop: a copy of the model, and the numbers in it that may move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.selection import Selection
from arithmoscope.engine.tuning.weight_changes import Change


@dataclass(frozen=True)
class Wish:
    """What is to be tuned. ``selection`` is None where no component was named, which only whole models allow."""

    selection: Selection | None
    head_scale: bool
    seed: int

    @property
    def chosen(self) -> Selection:
        """The selection. Refuses (``bad_component``) where there is none."""
        if self.selection is None:
            raise Refusal("bad_component", "No component is named, so there is nothing to tune.")
        return self.selection


@dataclass(frozen=True)
class Trainee:
    """A model in which some numbers may move.

    model    a copy of the one that was given
    values   what the optimiser moves; ``rates``: a factor on the learning rate for each
    active   a block within which a backward pass computes their gradients
    settle   makes the model compute with what ``values`` are now
    changes  what is different from the model that was given
    first    what ``values`` began with; None where the one before the last step is kept instead
    """

    model: LoadedModel
    values: tuple[nn.Parameter, ...]
    rates: tuple[float, ...]
    active: Callable[[], AbstractContextManager[Any]]
    settle: Callable[[], None]
    changes: Callable[[], tuple[Change, ...]]
    first: Callable[[], Sequence[Tensor]] | None = None


def wide(tensor: Tensor) -> Tensor:
    """A tensor in float32 or wider: what an optimiser adds to narrow numbers would round to nothing."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
