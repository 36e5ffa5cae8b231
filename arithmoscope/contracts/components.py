"""One spelling for a component, everywhere: ``L14H2`` is head 2 of layer 14, ``MLP19`` the MLP of layer 19.

Both count from 0. Text is parsed once, at the edge; inside the house a component is a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from arithmoscope.contracts.errors import Refusal

ComponentKind = Literal["head", "mlp"]

_SPELLING = re.compile(r"L(?P<layer>0|[1-9]\d{0,3})H(?P<head>0|[1-9]\d{0,3})|MLP(?P<mlp>0|[1-9]\d{0,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Component:
    """An attention head or an MLP of one layer, written ``L14H2`` or ``MLP19``.

    Attributes:
        layer: The layer, from 0.
        head: The head, from 0; None for the MLP.

    Example:
        >>> am.Component.parse("L14H2")
        Component(layer=14, head=2)
        >>> str(am.Component(19))
        'MLP19'
    """

    layer: int
    head: int | None = None

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
        match = _SPELLING.fullmatch(text)
        if match is None:
            raise Refusal("bad_component", f"{text[:40]!r} is not a component.")
        if match["mlp"] is not None:
            return cls(int(match["mlp"]))
        return cls(int(match["layer"]), int(match["head"]))


def all_components(layers: int, heads: int) -> list[Component]:
    """Every component of a model, layer by layer, the heads of a layer before its MLP."""
    return [Component(layer, head) for layer in range(layers) for head in (*range(heads), None)]
