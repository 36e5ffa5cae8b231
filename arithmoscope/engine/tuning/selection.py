"""A selection: which weights of which components are tuned, resolved and counted before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.trainable import Choice, choose, refuse_untrainable
from arithmoscope.engine.measures.random_controls import distinct_components
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.weight_slices import WeightSlice, merge_slices, part_slices


@dataclass(frozen=True)
class Selection(Choice):
    """A choice of components with the slices of a model's weights that are trained for it.

    Attributes:
        components: The chosen components.
        tune: Trained parts of each head: some of q, k, v and o.
        parts: The trained parts, each once.
        touched: Heads that were not chosen but change as well: they share tuned keys or values, or a norm over the
            queries or keys of all heads (OLMo-2).
        slices: One per weight or bias.
        parameters: Number of trained parameters.
        share: Their share of the model's parameters.
    """

    slices: tuple[WeightSlice, ...]
    parameters: int
    share: float


def select(
    model: LoadedModel,
    components: Sequence[Component | str],
    tune: str | Iterable[str] | None = None,
    *,
    biases: bool = False,
) -> Selection:
    """The selection that ``fine_tune`` would tune for these components, without computing anything.

    Args:
        tune: A subset of ``q``, ``k``, ``v``, ``o``, for the heads. None: queries and outputs where heads share keys
            and values, else all four.
        biases: Also tune the biases that belong to the chosen components alone.

    Raises:
        Refusal: ``bad_component`` for no components, a repeated one, or one the model does not have; ``bad_setting``
            for weights that cannot be tuned.
    """
    refuse_untrainable(model.precision)
    chosen = distinct_components(model, components)
    if not chosen:
        raise Refusal("bad_component", "No component is named, so there is nothing to tune.")
    choice = choose(
        chosen,
        tune,
        heads=model.layout.heads,
        kv_heads=model.layout.kv_heads,
        normed_together=partial(_normed_together, model),
    )
    slices = merge_slices(each for part in choice.parts for each in part_slices(model, part, biases=biases))
    parameters = sum(each.size for each in slices)
    return Selection(**vars(choice), slices=slices, parameters=parameters, share=parameters / parameters_of(model))


def parameters_of(model: LoadedModel) -> int:
    """Number of parameters of a model, shared ones counted once."""
    return sum(weight.numel() for weight in model.hf.parameters())


def _normed_together(model: LoadedModel, layer: int) -> bool:
    """True if a layer has norms over the queries and keys of all its heads together."""
    norm: Any = getattr(model.layout.blocks[layer].attention, "q_norm", None)
    return norm is not None and norm.weight.numel() > model.layout.head_dim
