"""Parameters that a fine-tuning trains: one rule for the engine, which has the weights, and for the API, which has only
a model's card.

A choice of components determines the parts that are trained and the heads that change with them. The sizes of the parts
come from the weights in the engine, and from the card in the API; a test holds both to the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.tuning_results import Tunable
from arithmoscope.contracts.tuning_terms import HeadPart, Tuner

# The optimiser keeps two moments for each trained parameter.
_MOMENTS = 2
_UNTRAINABLE = {
    "int8": "8-bit weights cannot be trained.",
    "float16": "Gradients in float16 underflow or overflow.",
}
_LOAD_WIDER = "Load the model in bfloat16, which has the range of float32, or in float32."


@dataclass(frozen=True, slots=True)
class Part:
    """A trained part of a layer.

    Attributes:
        layer: The layer, from 0.
        name: A projection of a head, or the whole MLP.
        number: The head; for ``k`` and ``v`` the group of heads that share keys and values; 0 for the MLP.
    """

    layer: int
    name: HeadPart | Literal["mlp"]
    number: int = 0


@dataclass(frozen=True)
class Choice:
    """The parts trained for a choice of components.

    Attributes:
        components: The chosen components.
        tune: Trained parts of each head: some of q, k, v and o.
        parts: The trained parts, each once, in the order of the components.
        touched: Heads that were not chosen but change as well: they share tuned keys or values, or a norm over the
            queries or keys of all heads (OLMo-2).
    """

    components: tuple[Component, ...]
    tune: tuple[HeadPart, ...]
    parts: tuple[Part, ...]
    touched: tuple[Component, ...]

    @property
    def lowest(self) -> int:
        """Lowest layer with a trained part: the backward pass ends there."""
        return min(component.layer for component in self.components)


def choose(
    components: Sequence[Component],
    tune: Iterable[str] | None,
    *,
    heads: int,
    kv_heads: int,
    normed_together: Callable[[int], bool],
) -> Choice:
    """The parts that are trained for these components.

    Args:
        components: Distinct components of the model, at least one.
        tune: A subset of ``q``, ``k``, ``v``, ``o``, for the heads. None: queries and outputs where heads share keys
            and values, else all four.
        heads: Query heads per layer.
        kv_heads: Key/value heads per layer.
        normed_together: True for a layer that normalises the queries or keys of all its heads together.

    Raises:
        Refusal: ``bad_request`` if ``tune`` is empty or names anything else.
    """
    tuned, group_size = _tuned(tune, shared=kv_heads < heads), heads // kv_heads
    parts: dict[Part, None] = {}
    changed: set[Component] = set()
    for component in components:
        if component.head is None:
            parts[Part(component.layer, "mlp")] = None
            continue
        group = component.head // group_size
        for name in tuned:
            parts[Part(component.layer, name, group if name in ("k", "v") else component.head)] = None
        first, last = component.head, component.head + 1
        if {"k", "v"} & {*tuned}:
            first, last = group * group_size, (group + 1) * group_size
        if {"q", "k"} & {*tuned} and normed_together(component.layer):
            first, last = 0, heads
        changed |= {Component(component.layer, head) for head in range(first, last)}
    return Choice(
        components=tuple(components),
        tune=tuned if any(component.head is not None for component in components) else (),
        parts=tuple(parts),
        touched=tuple(sorted(changed - {*components}, key=lambda each: (each.layer, each.head or 0))),
    )


def tunable(tuner: Tuner, choice: Choice | None, *, trained: int, parameters: int, precision: str) -> Tunable:
    """The description of a fine-tuning's trained parameters.

    Args:
        tuner: The tuner.
        choice: The chosen components; None for a tuner of the whole model.
        trained: Number of trained parameters.
        parameters: Number of the model's parameters.
        precision: Data type of the weights, such as ``"bfloat16"``.
    """
    slices = choice if tuner in ("precise", "random") else None
    return Tunable(
        components=() if choice is None else tuple(map(str, choice.components)),
        tune=() if slices is None else slices.tune,
        touched=() if slices is None else tuple(map(str, slices.touched)),
        trained=trained,
        parameters=parameters,
        share=trained / parameters if parameters else 0.0,
        # LoRA adapters are on all layers.
        lowest=0 if choice is None or tuner == "lora" else choice.lowest,
        optimiser_bytes=_MOMENTS * bytes_per_trained(precision) * trained,
    )


def bytes_per_trained(precision: str) -> int:
    """Bytes of a trained parameter, and of each of its moments: training computes in float32 or wider."""
    return 8 if precision == "float64" else 4


def refuse_untrainable(precision: str, way_out: str = _LOAD_WIDER) -> None:
    """Raises Refusal (``bad_setting``) if weights of this data type cannot be trained by gradients."""
    if precision in _UNTRAINABLE:
        raise Refusal("bad_setting", _UNTRAINABLE[precision], way_out)


def refuse_offsets_of_mlps(components: Iterable[Component]) -> None:
    """Raises Refusal (``bad_component``) if one of these components of the tuner ``offsets`` is an MLP."""
    for component in components:
        if component.head is None:
            raise Refusal(
                "bad_component", f"Offsets apply to heads, and {component} is not a head.", "Choose heads only."
            )


def _tuned(tune: Iterable[str] | None, *, shared: bool) -> tuple[HeadPart, ...]:
    if tune is None:
        return ("q", "o") if shared else ("q", "k", "v", "o")
    letters = set(tune)
    tuned = tuple(part for part in get_args(HeadPart) if part in letters)
    if not tuned or letters - {*tuned}:
        text = "".join(str(each) for each in tune)[:40]
        raise Refusal(
            "bad_request", f"In a head only q, k, v and o can be tuned, not {text!r}.", "Write for example tune='qo'."
        )
    return tuned
