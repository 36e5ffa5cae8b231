"""A selection: which weights of which components are tuned, resolved and counted before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.measures.random_controls import distinct_components
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.weight_slices import (
    Projection,
    WeightSlice,
    check_tunable,
    head_slice,
    merge_slices,
    mlp_slices,
)


@dataclass(frozen=True)
class Selection:
    """The trained slices of a model.

    Attributes:
        components: The chosen components.
        tune: Trained slices of each head: some of q, k, v and o.
        touched: Heads that were not chosen but change as well: they share tuned keys or values, or a norm over the
            queries or keys of all heads (OLMo-2).
        slices: One per weight or bias.
        parameters: Number of trained parameters.
        share: Their share of the model's parameters.
        lowest: Lowest layer with a trained slice: the backward pass ends there.
    """

    components: tuple[Component, ...]
    tune: tuple[Projection, ...]
    touched: tuple[Component, ...]
    slices: tuple[WeightSlice, ...]
    parameters: int
    share: float
    lowest: int


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
    check_tunable(model)
    chosen = distinct_components(model, components)
    if not chosen:
        raise Refusal("bad_component", "No component is named, so there is nothing to tune.")
    layout = model.layout
    heads_of_group = layout.heads // layout.kv_heads
    projections = _projections(tune, shared=heads_of_group > 1)
    slices: list[WeightSlice | None] = []
    touched: set[Component] = set()
    for component in chosen:
        leaves = ("weight", "bias") if biases else ("weight",)
        if component.head is None:
            slices += [each for leaf in leaves for each in mlp_slices(model, component.layer, leaf)]
            continue
        group = component.head // heads_of_group
        for projection in projections:
            number = group if projection in ("k", "v") else component.head
            slices += [head_slice(model, component.layer, projection, number, leaf) for leaf in leaves]
        first, last = component.head, component.head + 1
        if {"k", "v"} & {*projections}:
            first, last = group * heads_of_group, (group + 1) * heads_of_group
        if {"q", "k"} & {*projections} and _normed_together(model, component.layer):
            first, last = 0, layout.heads
        touched |= {Component(component.layer, head) for head in range(first, last)}
    merged = merge_slices(each for each in slices if each is not None)
    parameters = sum(each.size for each in merged)
    return Selection(
        components=chosen,
        tune=projections if any(component.head is not None for component in chosen) else (),
        touched=tuple(sorted(touched - {*chosen}, key=lambda each: (each.layer, each.head or 0))),
        slices=merged,
        parameters=parameters,
        share=parameters / parameters_of(model),
        lowest=min(component.layer for component in chosen),
    )


def parameters_of(model: LoadedModel) -> int:
    """Number of parameters of a model, shared ones counted once."""
    return sum(weight.numel() for weight in model.hf.parameters())


def _normed_together(model: LoadedModel, layer: int) -> bool:
    """True if a layer has norms over the queries and keys of all its heads together."""
    norm: Any = getattr(model.layout.blocks[layer].attention, "q_norm", None)
    return norm is not None and norm.weight.numel() > model.layout.head_dim


def _projections(tune: str | Iterable[str] | None, shared: bool) -> tuple[Projection, ...]:
    if tune is None:
        return ("q", "o") if shared else ("q", "k", "v", "o")
    letters = set(tune)
    projections = tuple(each for each in get_args(Projection) if each in letters)
    if not projections or letters - {*projections}:
        text = "".join(str(each) for each in tune)[:40]
        raise Refusal(
            "bad_request", f"In a head only q, k, v and o can be tuned, not {text!r}.", "Write for example tune='qo'."
        )
    return projections
