"""What a fine-tuning would train, out of a model's card alone: the same numbers that the engine finds when it runs."""

from __future__ import annotations

from collections import defaultdict

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import MAX_MODEL_ID, ModelCard, PartSizes
from arithmoscope.contracts.specs import FineTuneSpec
from arithmoscope.contracts.tuning_results import Tunable
from arithmoscope.contracts.tuning_terms import HeadPart

_HEAD_PARTS: tuple[HeadPart, ...] = ("q", "k", "v", "o")
# Each number that is trained has two moments, in float32 or wider.
_MOMENTS = 2
_BYTES = {"float64": 8}
_UNTUNABLE = {
    "int8": "Weights in 8 bits cannot be tuned.",
    "float16": "Gradients in float16 vanish or overflow.",
}
# What a tuned model's id is longer than its base's: "-tuned-" and a piece of the experiment's id.
_LONGER = 7 + 8


def refuse_untunable(card: ModelCard, spec: FineTuneSpec, dtype: str) -> None:
    """Refuses (``bad_setting``) weights that gradients cannot move; (``bad_component``) offsets on MLPs;
    (``impossible_options``) a model that has been tuned so many times over that no name is left for another."""
    if dtype in _UNTUNABLE:
        raise Refusal(
            "bad_setting", _UNTUNABLE[dtype], "Start the workers with ARITHMOSCOPE_DTYPE=bfloat16 or float32."
        )
    if spec.tuner == "offsets":
        for name in spec.components:
            if Component.parse(name).head is None:
                raise Refusal("bad_component", f"Offsets are added to heads, and {name} is none.", "Name heads alone.")
    if len(card.id) + _LONGER > MAX_MODEL_ID:
        raise Refusal(
            "impossible_options",
            "This model has been tuned over and over, and its name would become too long.",
            "Tune one of those that it came from, or export it under a short name into MODELS_DIR.",
        )


def tunable_of(card: ModelCard, spec: FineTuneSpec, dtype: str) -> Tunable:
    """Refuses (``impossible_options``) a model of which it is not known before its weights are loaded."""
    tune: tuple[HeadPart, ...] = ()
    touched: tuple[str, ...] = ()
    chosen = tuple(map(Component.parse, spec.components))
    if spec.tuner == "full":
        trained = card.parameters
    elif spec.tuner == "full_matrices":
        trained = _all_matrices(card, _sizes_of(card))
    elif spec.tuner == "offsets":
        trained = len(chosen) * _sizes_of(card).head_dim
    else:
        heads = [component for component in chosen if component.head is not None]
        tune = _tuned_parts(card, spec) if heads else ()
        trained = _of_components(card, _sizes_of(card), chosen, tune, biases=spec.biases)
        if spec.tuner == "precise":
            touched = _touched(card, _sizes_of(card), heads, tune)
    whole = spec.tuner in ("full", "full_matrices")
    return Tunable(
        components=() if whole else spec.components,
        tune=tune if spec.tuner in ("precise", "random") else (),
        touched=touched,
        trained=trained,
        parameters=card.parameters,
        share=trained / card.parameters if card.parameters else 0.0,
        # Adapters are on all layers.
        lowest=0 if whole or spec.tuner == "lora" else min(component.layer for component in chosen),
        optimiser_bytes=trained * _MOMENTS * _BYTES.get(dtype, 4),
    )


def _sizes_of(card: ModelCard) -> PartSizes:
    if card.sizes is None:
        raise Refusal(
            "impossible_options",
            f"How many numbers a component of {card.name} has is not known before its weights are loaded.",
            "Start it all the same: its result says what was trained.",
        )
    return card.sizes


def _tuned_parts(card: ModelCard, spec: FineTuneSpec) -> tuple[HeadPart, ...]:
    if spec.tune is None:
        return ("q", "o") if card.kv_heads < card.heads else _HEAD_PARTS
    return tuple(part for part in _HEAD_PARTS if part in spec.tune)


def _of_components(
    card: ModelCard, sizes: PartSizes, chosen: tuple[Component, ...], tune: tuple[HeadPart, ...], *, biases: bool
) -> int:
    of = {part: getattr(sizes, part) for part in _HEAD_PARTS}
    mlp = sizes.mlp
    if biases:  # the output projection's is all heads'
        of = {part: size + getattr(sizes, f"{part}_bias", 0) for part, size in of.items()}
        mlp += sizes.mlp_bias
    total = 0
    groups: defaultdict[int, set[int]] = defaultdict(set)
    for component in chosen:
        if component.head is None:
            total += mlp
        else:
            total += sum(of[part] for part in tune if part in ("q", "o"))
            groups[component.layer].add(_group_of(card, component.head))
    # Heads of one group have one key and one value slice.
    return total + sum(map(len, groups.values())) * sum(of[part] for part in tune if part in ("k", "v"))


def _touched(card: ModelCard, sizes: PartSizes, heads: list[Component], tune: tuple[HeadPart, ...]) -> tuple[str, ...]:
    """Heads that change without having been chosen: by shared keys or values, or a norm over all heads together."""
    found: set[Component] = set()
    for component in heads:
        together = {component.head}
        if {"k", "v"} & {*tune}:
            group = _group_of(card, component.head or 0)
            together = {head for head in range(card.heads) if _group_of(card, head) == group}
        if sizes.normed_together and {"q", "k"} & {*tune}:
            together = {*range(card.heads)}
        found |= {Component(component.layer, head) for head in together}
    others = sorted(found - {*heads}, key=lambda each: (each.layer, each.head or 0))
    return tuple(map(str, others))


def _group_of(card: ModelCard, head: int) -> int:
    return head // (card.heads // card.kv_heads)


def _all_matrices(card: ModelCard, sizes: PartSizes) -> int:
    layer = card.heads * (sizes.q + sizes.o) + card.kv_heads * (sizes.k + sizes.v) + sizes.mlp
    return card.layers * layer
