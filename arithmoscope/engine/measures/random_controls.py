"""Random components to hold chosen ones against: as many, of the same layers and kinds, the same draw for every k."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel

# A kind of component, and which of it: a layer's number, or a word.
_Pool = tuple[str, int | str]


@dataclass(frozen=True)
class Draw:
    """One random order of components; ``matched``: whether each is of its layer and was not chosen."""

    components: tuple[Component, ...]
    matched: tuple[bool, ...]


def random_draws(chosen: Sequence[Component], layers: int, heads: int, draws: int, seed: int) -> list[Draw]:
    """Draws for chosen components, in their order: the i-th of a draw stands for the i-th that was chosen.

    It is drawn among what was neither chosen nor drawn before: of the same layer and kind; where there is none, of the
    same kind in any layer (an MLP is alone in its layer); where all of a kind were chosen, among all of that kind.
    The first k of a draw are the draw for the first k. A draw depends on the seed and its number alone.
    """
    everything = all_components(layers, heads)
    picked = frozenset(chosen)
    # Numbers of components, ascending: of a kind, those of them that were not chosen, and these by layer.
    pools: dict[_Pool, list[int]] = defaultdict(list)
    for at, each in enumerate(everything):
        pools[each.kind, "all"].append(at)
        if each not in picked:
            pools[each.kind, "others"].append(at)
            pools[each.kind, each.layer].append(at)
    found = []
    for number in range(draws):
        # Seeded by a text: the same on every machine and version.
        rng = random.Random(f"knockout {seed} {number}")
        left = defaultdict(list, {name: [*pool] for name, pool in pools.items()})
        order: list[Component] = []
        matched: list[bool] = []
        for component in chosen:
            kind = component.kind
            beside, others = left[kind, component.layer], left[kind, "others"]
            at = rng.choice(beside or others or left[kind, "all"])
            matched.append(bool(beside))
            order.append(everything[at])
            for pool in (left[kind, "all"], others, left[kind, everything[at].layer]):
                _drop(pool, at)
        found.append(Draw(tuple(order), tuple(matched)))
    return found


def _drop(numbers: list[int], number: int) -> None:
    """Out of an ascending list, if it is in it."""
    place = bisect_left(numbers, number)
    if place < len(numbers) and numbers[place] == number:
        del numbers[place]


def component_of(model: LoadedModel, component: Component | str) -> Component:
    """A component of this model, by its value or its name. Refuses (``bad_component``) any other."""
    found = Component.parse(component) if isinstance(component, str) else component
    if not isinstance(found, Component):
        raise Refusal("bad_component", f"{str(found)[:40]!r} is not a component.")
    layers, heads = model.layout.layers, model.layout.heads
    if not 0 <= found.layer < layers or not 0 <= (found.head or 0) < heads:
        raise Refusal("bad_component", f"There is no {found}; the model has {layers} layers of {heads} heads.")
    return found


def distinct_components(model: LoadedModel, components: Sequence[Component | str]) -> tuple[Component, ...]:
    """Components of this model, none of them twice. Refuses (``bad_component``) a repetition, and a plain text."""
    if isinstance(components, str | Component):
        raise Refusal("bad_component", f"The components are a list, not one {components}.", "Write them in a list.")
    found = tuple(component_of(model, component) for component in components)
    for at, component in enumerate(found):
        if component in found[:at]:
            raise Refusal("bad_component", f"{component} is named twice.", "Name every component once.")
    return found
