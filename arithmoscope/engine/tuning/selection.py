"""Components as what is tuned of them: settled, counted and named before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.measures.random_controls import distinct_components
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.parts import Part, What, check_tunable, head_part, joined, mlp_parts


@dataclass(frozen=True)
class Selection:
    """The trained slices of a model.

    Attributes:
        components: The chosen components.
        tune: Trained slices of each head: some of q, k, v and o.
        touched: Heads that were not chosen and change all the same: they share tuned keys or values, or a norm over the
            queries or keys of all heads (OLMo-2).
        parts: The slices, one per weight or bias.
        parameters: Number of trained parameters.
        share: Their share of the model's parameters.
        lowest: Lowest layer with a trained slice: the backward pass ends there.
    """

    components: tuple[Component, ...]
    tune: tuple[What, ...]
    touched: tuple[Component, ...]
    parts: tuple[Part, ...]
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
    """What ``fine_tune`` would tune of these components, at no cost.

    ``tune``: some of ``q``, ``k``, ``v``, ``o``, for the heads; None: queries and outputs where heads share keys and
    values, else all four. ``biases``: those that belong to the chosen components alone, too.

    Refuses (``bad_component``) no components, one twice, and what the model does not have; (``bad_setting``) weights
    that cannot be tuned.
    """
    check_tunable(model)
    chosen = distinct_components(model, components)
    if not chosen:
        raise Refusal("bad_component", "No component is named, so there is nothing to tune.")
    layout = model.layout
    heads_of_group = layout.heads // layout.kv_heads
    asked = _asked(tune, shared=heads_of_group > 1)
    found: list[Part | None] = []
    touched: set[Component] = set()
    for component in chosen:
        leaves = ("weight", "bias") if biases else ("weight",)
        if component.head is None:
            found += [part for leaf in leaves for part in mlp_parts(model, component.layer, leaf)]
            continue
        group = component.head // heads_of_group
        for what in asked:
            number = group if what in ("k", "v") else component.head
            found += [head_part(model, component.layer, what, number, leaf) for leaf in leaves]
        first, last = component.head, component.head + 1
        if {"k", "v"} & {*asked}:
            first, last = group * heads_of_group, (group + 1) * heads_of_group
        if {"q", "k"} & {*asked} and _normed_together(model, component.layer):
            first, last = 0, layout.heads
        touched |= {Component(component.layer, head) for head in range(first, last)}
    parts = joined(part for part in found if part is not None)
    parameters = sum(part.size for part in parts)
    return Selection(
        components=chosen,
        tune=asked if any(component.head is not None for component in chosen) else (),
        touched=tuple(sorted(touched - {*chosen}, key=lambda each: (each.layer, each.head or 0))),
        parts=parts,
        parameters=parameters,
        share=parameters / parameters_of(model),
        lowest=min(component.layer for component in chosen),
    )


def parameters_of(model: LoadedModel) -> int:
    """How many numbers a model has, shared ones counted once."""
    return sum(weight.numel() for weight in model.hf.parameters())


def _normed_together(model: LoadedModel, layer: int) -> bool:
    """Whether a layer has norms over the queries and keys of all its heads together."""
    norm: Any = getattr(model.layout.blocks[layer].attention, "q_norm", None)
    return norm is not None and norm.weight.numel() > model.layout.head_dim


def _asked(tune: str | Iterable[str] | None, shared: bool) -> tuple[What, ...]:
    if tune is None:
        return ("q", "o") if shared else ("q", "k", "v", "o")
    wanted = set(tune)
    found = tuple(what for what in get_args(What) if what in wanted)
    if not found or wanted - {*found}:
        said = "".join(str(each) for each in tune)[:40]
        raise Refusal("bad_request", f"Of a head q, k, v and o can be tuned, not {said!r}.", "Write tune='qo'.")
    return found
