"""What may move, by the name of the tuner: the chosen slices, or something to hold them against.

precise        the chosen heads' slices and the chosen MLPs
random         as many random components of the same layers, in the same way
offsets        one vector a chosen head, added to its output everywhere (LoFiT's second step)
lora           low-rank changes of all layers' matrices, of as many numbers as the chosen slices
full           everything
full_matrices  all layers' matrices; embeddings, norms and biases stay
"""

from __future__ import annotations

from collections.abc import Callable

from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.full import full, full_matrices
from arithmoscope.engine.tuning.head_offsets import offsets
from arithmoscope.engine.tuning.lora import lora
from arithmoscope.engine.tuning.precise import precise
from arithmoscope.engine.tuning.selection import Selection, select
from arithmoscope.engine.tuning.trainee import Trainee, Wish

TUNERS: dict[str, Callable[[LoadedModel, Wish], Trainee]] = {
    "precise": precise,
    "random": precise,  # of components that `at_random` draws
    "offsets": offsets,
    "lora": lora,
    "full": full,
    "full_matrices": full_matrices,
}
# Those that need no components.
WHOLE = ("full", "full_matrices")
# Those that train something else than the weights, which are changed in the end.
MERGED = ("offsets", "lora")


def at_random(model: LoadedModel, selection: Selection, *, biases: bool, seed: int) -> Selection:
    """As many components that were not chosen, of the same kinds and, where there are others, layers."""
    layout = model.layout
    (draw,) = random_draws(selection.components, layout.layers, layout.heads, 1, seed)
    return select(model, draw.components, selection.tune or None, biases=biases)
