"""Trainable parameters of a fine-tuning, from the model's card alone, by the rule that the engine trains by."""

from __future__ import annotations

from dataclasses import replace

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.models import ModelCard, PartSizes
from arithmoscope.contracts.trainable import Part, choose, tunable
from arithmoscope.contracts.tuning_results import Tunable


def trainable_parameters(card: ModelCard, spec: FineTuneSpec, dtype: str) -> Tunable:
    """Counts the parameters that a fine-tuning would train.

    Raises:
        Refusal: The sizes of the model's parts are not known before its weights are loaded (``impossible_options``).
    """
    if spec.tuner == "full":
        return tunable(spec.tuner, None, trained=card.parameters, parameters=card.parameters, precision=dtype)
    sizes, whole = _sizes_of(card), spec.tuner == "full_matrices"
    choice = choose(
        all_components(card.layers, card.heads) if whole else [Component.parse(name) for name in spec.components],
        "qkvo" if whole else spec.tune,
        heads=card.heads,
        kv_heads=card.kv_heads,
        normed_together=lambda _: sizes.normed_together,
    )
    if spec.tuner == "offsets":
        trained = len(choice.components) * sizes.head_dim
    else:
        trained = sum(_size_of(sizes, part, biases=spec.biases and not whole) for part in choice.parts)
    if spec.tuner == "random":  # the heads that change are those of the components that the run draws
        choice = replace(choice, touched=())
    return tunable(spec.tuner, None if whole else choice, trained=trained, parameters=card.parameters, precision=dtype)


def _sizes_of(card: ModelCard) -> PartSizes:
    if card.sizes is None:
        raise Refusal(
            "impossible_options",
            f"The sizes of the components of {card.name} are not known before its weights are loaded.",
            "Start the fine-tuning without a preview; its result lists the trained parameters.",
        )
    return card.sizes


def _size_of(sizes: PartSizes, part: Part, *, biases: bool) -> int:
    # There is no "o_bias": the output projection's bias belongs to all heads together.
    return getattr(sizes, part.name) + (getattr(sizes, f"{part.name}_bias", 0) if biases else 0)
