"""Random components to hold chosen ones against: as many, of the same layers and kinds, the same draw for every k."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.components import Component, all_components
from contracts.errors import Refusal
from engine.model import LoadedModel


@dataclass(frozen=True)
class Draw:
    """One random order of components; ``matched``: whether each is of its layer and was not chosen."""

    components: tuple[Component, ...]
    matched: tuple[bool, ...]


def drawn(chosen: Sequence[Component], layers: int, heads: int, draws: int, seed: int) -> list[Draw]:
    """Draws for chosen components, in their order: the i-th of a draw stands for the i-th that was chosen.

    It is drawn among what was neither chosen nor drawn before: of the same layer and kind; where there is none, of the
    same kind in any layer (an MLP is alone in its layer); where all of a kind were chosen, among all of that kind.
    The first k of a draw are the draw for the first k. A draw depends on the seed and its number alone.
    """
    everything = all_components(layers, heads)
    found = []
    for number in range(draws):
        # Seeded by a text: the same on every machine and version.
        rng = random.Random(f"knockout {seed} {number}")
        taken: set[Component] = set()
        order: list[Component] = []
        matched: list[bool] = []
        for component in chosen:
            kind = [each for each in everything if each.kind == component.kind and each not in taken]
            others = [each for each in kind if each not in chosen]
            beside = [each for each in others if each.layer == component.layer]
            pick = rng.choice(beside or others or kind)
            taken.add(pick)
            order.append(pick)
            matched.append(bool(beside))
        found.append(Draw(tuple(order), tuple(matched)))
    return found


def known(model: LoadedModel, component: Component | str) -> Component:
    """A component of this model, by its value or its name. Refuses (``bad_component``) any other."""
    found = Component.parse(component) if isinstance(component, str) else component
    if not isinstance(found, Component):
        raise Refusal("bad_component", f"{str(found)[:40]!r} is not a component.")
    layers, heads = model.anatomy.layers, model.anatomy.heads
    if not 0 <= found.layer < layers or not 0 <= (found.head or 0) < heads:
        raise Refusal("bad_component", f"There is no {found}; the model has {layers} layers of {heads} heads.")
    return found


def distinct(model: LoadedModel, components: Sequence[Component | str]) -> tuple[Component, ...]:
    """Components of this model, none of them twice. Refuses (``bad_component``) a repetition, and a plain text."""
    if isinstance(components, str | Component):
        raise Refusal("bad_component", f"The components are a list, not one {components}.", "Write them in a list.")
    found = tuple(known(model, component) for component in components)
    for at, component in enumerate(found):
        if component in found[:at]:
            raise Refusal("bad_component", f"{component} is named twice.", "Name every component once.")
    return found
