"""Random control components: as many as were chosen, of the same layers and kinds, in one nested order for all k."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel

# A kind of component, and a subset of it: a layer's number, "all", or "others" (those not chosen).
_Pool = tuple[str, int | str]


@dataclass(frozen=True)
class Draw:
    """One random draw, in the order of the chosen components. ``matched``: whether each is of the layer of its
    counterpart and was not chosen itself."""

    components: tuple[Component, ...]
    matched: tuple[bool, ...]


def random_draws(chosen: Sequence[Component], layers: int, heads: int, draws: int, seed: int) -> list[Draw]:
    """Random controls for chosen components, in their order: the i-th of a draw stands for the i-th chosen component.

    Each is drawn among the components that were neither chosen nor drawn before: of the same layer and kind; if none is
    left, of the same kind in any layer (a layer has only one MLP); if all of a kind were chosen, among all of that
    kind. The first k of a draw are the draw for the first k. A draw depends only on the seed and its index.
    """
    every_component = all_components(layers, heads)
    excluded = frozenset(chosen)
    # Indices of components, ascending: all of a kind, those not chosen, and those not chosen by layer.
    pools: dict[_Pool, list[int]] = defaultdict(list)
    for index, component in enumerate(every_component):
        pools[component.kind, "all"].append(index)
        if component not in excluded:
            pools[component.kind, "others"].append(index)
            pools[component.kind, component.layer].append(index)
    result = []
    for number in range(draws):
        # A string seed gives the same draw on every machine and Python version.
        rng = random.Random(f"knockout {seed} {number}")
        remaining = defaultdict(list, {name: [*pool] for name, pool in pools.items()})
        order: list[Component] = []
        matched: list[bool] = []
        for component in chosen:
            kind = component.kind
            same_layer, others = remaining[kind, component.layer], remaining[kind, "others"]
            index = rng.choice(same_layer or others or remaining[kind, "all"])
            matched.append(bool(same_layer))
            order.append(every_component[index])
            for pool in (remaining[kind, "all"], others, remaining[kind, every_component[index].layer]):
                _remove_sorted(pool, index)
        result.append(Draw(tuple(order), tuple(matched)))
    return result


def _remove_sorted(numbers: list[int], number: int) -> None:
    """Removes a number from an ascending list, if it is there."""
    position = bisect_left(numbers, number)
    if position < len(numbers) and numbers[position] == number:
        del numbers[position]


def component_of(model: LoadedModel, component: Component | str) -> Component:
    """A component of this model, from a component or its name.

    Raises:
        Refusal: ``bad_component`` if the model has no such component.
    """
    parsed = Component.parse(component) if isinstance(component, str) else component
    if not isinstance(parsed, Component):
        raise Refusal("bad_component", f"{str(parsed)[:40]!r} is not a component.")
    layers, heads = model.layout.layers, model.layout.heads
    if not 0 <= parsed.layer < layers or not 0 <= (parsed.head or 0) < heads:
        raise Refusal("bad_component", f"There is no {parsed}; the model has {layers} layers of {heads} heads.")
    return parsed


def distinct_components(model: LoadedModel, components: Sequence[Component | str]) -> tuple[Component, ...]:
    """Distinct components of this model, from components or names.

    Raises:
        Refusal: ``bad_component`` if one is repeated or unknown, or if ``components`` is a string.
    """
    if isinstance(components, str | Component):
        raise Refusal("bad_component", f"The components are a list, not one {components}.", "Write them in a list.")
    parsed = tuple(component_of(model, component) for component in components)
    for index, component in enumerate(parsed):
        if component in parsed[:index]:
            raise Refusal("bad_component", f"{component} is named twice.", "Name every component once.")
    return parsed
