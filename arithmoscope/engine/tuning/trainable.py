"""A tuner's output for the training loop: a copy of the model and the parameters to train."""

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
class TunerInput:
    """Input of a tuner. ``selection`` is None if no component was named, which only whole-model tuners allow."""

    selection: Selection | None
    head_scale: bool
    seed: int

    @property
    def chosen(self) -> Selection:
        """The selection. Raises Refusal (``bad_component``) if there is none."""
        if self.selection is None:
            raise Refusal("bad_component", "No component is named, so there is nothing to tune.")
        return self.selection


@dataclass(frozen=True)
class TrainableModel:
    """A model with the parameters to train.

    model           a copy of the given model
    values          the parameters that the optimiser updates; ``rates``: a factor on the learning rate for each
    gradients       context manager within which a backward pass computes their gradients
    write_back      copies ``values`` into the weights that the model computes with
    changes         the differences to the given model
    initial_values  the values at the start, to roll back to; None if those before the last step are kept instead
    """

    model: LoadedModel
    values: tuple[nn.Parameter, ...]
    rates: tuple[float, ...]
    gradients: Callable[[], AbstractContextManager[Any]]
    write_back: Callable[[], None]
    changes: Callable[[], tuple[Change, ...]]
    initial_values: Callable[[], Sequence[Tensor]] | None = None


def widen(tensor: Tensor) -> Tensor:
    """A tensor in float32 or wider: a small update of a narrow number would round to nothing."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
