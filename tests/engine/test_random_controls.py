"""Tests of random controls: the same draws for a small model as ever, and fast draws for a large one."""

from __future__ import annotations

import random
import time

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.engine.measures.random_controls import random_draws

LAYERS, HEADS = 4, 3


def plainly(chosen: list[Component], seed: int) -> list[tuple[Component, bool]]:
    """The rule taken literally, searching all components each time."""
    rng, drawn = random.Random(f"knockout {seed} 0"), []
    for component in chosen:
        taken = [pick for pick, _ in drawn]
        kind = [each for each in all_components(LAYERS, HEADS) if each.kind == component.kind and each not in taken]
        others = [each for each in kind if each not in chosen]
        beside = [each for each in others if each.layer == component.layer]
        drawn.append((rng.choice(beside or others or kind), bool(beside)))
    return drawn


def test_a_draw_follows_its_rule_however_many_are_chosen():
    everything = all_components(LAYERS, HEADS)
    for seed, many in enumerate((1, 4, 9, 13, len(everything))):
        chosen = random.Random(seed).sample(everything, many)
        (draw,) = random_draws(chosen, LAYERS, HEADS, 1, seed)
        assert list(zip(draw.components, draw.matched, strict=True)) == plainly(chosen, seed)


def test_all_components_of_a_large_model_are_drawn_in_no_time():
    everything = all_components(80, 64)
    began = time.process_time()
    (draw,) = random_draws(everything, 80, 64, 1, 0)
    assert time.process_time() - began < 2
    assert set(draw.components) == set(everything)
