"""Components of a model, in one spelling: ``L14H2`` is head 2 of layer 14, ``MLP19`` the MLP of layer 19.

Layers and heads count from 0. Text is parsed once, at the boundary; internally a component is a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from arithmoscope.contracts.argument_words import Range, shown
from arithmoscope.contracts.arguments import whole_number
from arithmoscope.contracts.errors import Refusal

ComponentKind = Literal["head", "mlp"]

_SPELLING = re.compile(r"L(?P<layer>0|[1-9]\d{0,3})H(?P<head>0|[1-9]\d{0,3})|MLP(?P<mlp>0|[1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Component:
    """An attention head or an MLP of one layer, written ``L14H2`` or ``MLP19``.

    Attributes:
        layer: The layer, from 0.
        head: The head, from 0; None for the MLP.

    Raises:
        Refusal: ``bad_request`` if the layer or the head is not a whole number from 0 on.

    Example:
        >>> am.Component.parse("L14H2")
        Component(layer=14, head=2)
        >>> str(am.Component(19))
        'MLP19'
    """

    layer: int
    head: int | None = None

    def __post_init__(self) -> None:
        # Plain numbers need no further check: components are made in large numbers.
        for name, value in (("layer", self.layer), ("head", 0 if self.head is None else self.head)):
            if type(value) is not int or value < 0:
                number = whole_number(name, value, Range(0))
                object.__setattr__(self, name, number)

    @property
    def kind(self) -> ComponentKind:
        """``"head"`` or ``"mlp"``."""
        return "mlp" if self.head is None else "head"

    def __str__(self) -> str:
        return f"MLP{self.layer}" if self.head is None else f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> Component:
        """The component that a text such as ``"L14H2"`` or ``"MLP19"`` names.

        Args:
            text: The text.

        Returns:
            The component.

        Raises:
            Refusal: ``bad_component`` for any other spelling.
        """
        match = _SPELLING.fullmatch(text) if isinstance(cast(object, text), str) else None
        if match is None:
            raise Refusal("bad_component", f"{shown(text)} is not a component.")
        if match["mlp"] is not None:
            return cls(int(match["mlp"]))
        return cls(int(match["layer"]), int(match["head"]))


def all_components(layers: int, heads: int) -> list[Component]:
    """Every component of a model, layer by layer, the heads of a layer before its MLP."""
    return [Component(layer, head) for layer in range(layers) for head in (*range(heads), None)]
