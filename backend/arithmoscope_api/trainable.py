"""Trainable parameters of a fine-tuning, counted from the model's card alone: the engine trains the same numbers."""

from __future__ import annotations

from collections import defaultdict

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.models import MAX_MODEL_ID, ModelCard, PartSizes
from arithmoscope.contracts.tuning_results import Tunable
from arithmoscope.contracts.tuning_terms import HeadPart

_HEAD_PARTS: tuple[HeadPart, ...] = ("q", "k", "v", "o")
# The optimiser keeps two moments for each trained parameter, in float32 or wider.
_MOMENTS = 2
_BYTES = {"float64": 8}
_UNTUNABLE = {
    "int8": "8-bit weights cannot be trained.",
    "float16": "Gradients in float16 underflow or overflow.",
}
# Length that tuning adds to a model's id: "-tuned-" and 8 characters of the experiment's id.
_ADDED_LENGTH = 7 + 8


def refuse_untunable(card: ModelCard, spec: FineTuneSpec, dtype: str) -> None:
    """Checks that a fine-tuning can run on a model.

    Raises:
        Refusal: Weights of this data type cannot be trained (``bad_setting``), offsets were requested on an MLP
            (``bad_component``), or the tuned model's id would be too long (``impossible_options``).
    """
    if dtype in _UNTUNABLE:
        raise Refusal(
            "bad_setting", _UNTUNABLE[dtype], "Start the workers with ARITHMOSCOPE_DTYPE=bfloat16 or float32."
        )
    if spec.tuner == "offsets":
        for name in spec.components:
            if Component.parse(name).head is None:
                raise Refusal(
                    "bad_component", f"Offsets apply to heads, and {name} is not a head.", "Choose heads only."
                )
    if len(card.id) + _ADDED_LENGTH > MAX_MODEL_ID:
        raise Refusal(
            "impossible_options",
            "This model has been tuned many times, and the id of the next tuned model would be too long.",
            "Tune one of the models it was tuned from, or export it under a short name into MODELS_DIR.",
        )


def trainable_parameters(card: ModelCard, spec: FineTuneSpec, dtype: str) -> Tunable:
    """Counts the parameters that a fine-tuning would train.

    Raises:
        Refusal: The sizes of the model's parts are not known before its weights are loaded (``impossible_options``).
    """
    tune: tuple[HeadPart, ...] = ()
    touched: tuple[str, ...] = ()
    chosen = tuple(map(Component.parse, spec.components))
    if spec.tuner == "full":
        trained = card.parameters
    elif spec.tuner == "full_matrices":
        trained = _count_all_matrices(card, _sizes_of(card))
    elif spec.tuner == "offsets":
        trained = len(chosen) * _sizes_of(card).head_dim
    else:
        heads = [component for component in chosen if component.head is not None]
        tune = _tuned_parts(card, spec) if heads else ()
        trained = _count_components(card, _sizes_of(card), chosen, tune, biases=spec.biases)
        if spec.tuner == "precise":
            touched = _also_changed(card, _sizes_of(card), heads, tune)
    whole = spec.tuner in ("full", "full_matrices")
    return Tunable(
        components=() if whole else spec.components,
        tune=tune if spec.tuner in ("precise", "random") else (),
        touched=touched,
        trained=trained,
        parameters=card.parameters,
        share=trained / card.parameters if card.parameters else 0.0,
        # LoRA adapters are on all layers.
        lowest=0 if whole or spec.tuner == "lora" else min(component.layer for component in chosen),
        optimiser_bytes=trained * _MOMENTS * _BYTES.get(dtype, 4),
    )


def _sizes_of(card: ModelCard) -> PartSizes:
    if card.sizes is None:
        raise Refusal(
            "impossible_options",
            f"The sizes of the components of {card.name} are not known before its weights are loaded.",
            "Start the fine-tuning without a preview; its result lists the trained parameters.",
        )
    return card.sizes


def _tuned_parts(card: ModelCard, spec: FineTuneSpec) -> tuple[HeadPart, ...]:
    if spec.tune is None:
        return ("q", "o") if card.kv_heads < card.heads else _HEAD_PARTS
    return tuple(part for part in _HEAD_PARTS if part in spec.tune)


def _count_components(
    card: ModelCard, sizes: PartSizes, chosen: tuple[Component, ...], tune: tuple[HeadPart, ...], *, biases: bool
) -> int:
    size_of = {part: getattr(sizes, part) for part in _HEAD_PARTS}
    mlp = sizes.mlp
    if biases:  # the output projection's bias belongs to all heads together
        size_of = {part: size + getattr(sizes, f"{part}_bias", 0) for part, size in size_of.items()}
        mlp += sizes.mlp_bias
    total = 0
    groups: defaultdict[int, set[int]] = defaultdict(set)
    for component in chosen:
        if component.head is None:
            total += mlp
        else:
            total += sum(size_of[part] for part in tune if part in ("q", "o"))
            groups[component.layer].add(_group_of(card, component.head))
    # The heads of a group share one key slice and one value slice.
    return total + sum(map(len, groups.values())) * sum(size_of[part] for part in tune if part in ("k", "v"))


def _also_changed(
    card: ModelCard, sizes: PartSizes, heads: list[Component], tune: tuple[HeadPart, ...]
) -> tuple[str, ...]:
    """Heads that change without being chosen: through shared keys or values, or a norm over all heads together."""
    changed: set[Component] = set()
    for component in heads:
        together = {component.head}
        if {"k", "v"} & {*tune}:
            group = _group_of(card, component.head or 0)
            together = {head for head in range(card.heads) if _group_of(card, head) == group}
        if sizes.normed_together and {"q", "k"} & {*tune}:
            together = {*range(card.heads)}
        changed |= {Component(component.layer, head) for head in together}
    others = sorted(changed - {*heads}, key=lambda component: (component.layer, component.head or 0))
    return tuple(map(str, others))


def _group_of(card: ModelCard, head: int) -> int:
    return head // (card.heads // card.kv_heads)


def _count_all_matrices(card: ModelCard, sizes: PartSizes) -> int:
    layer = card.heads * (sizes.q + sizes.o) + card.kv_heads * (sizes.k + sizes.v) + sizes.mlp
    return card.layers * layer
