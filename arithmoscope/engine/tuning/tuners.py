"""The tuners by name: precise fine-tuning, and the baselines to compare it with.

precise        slices of the chosen heads, and the chosen MLPs
random         the same for as many random components of the same layers
offsets        one vector per chosen head, added to its output at every position (LoFiT's second step)
lora           low-rank changes of all layers' matrices, with as many parameters as the chosen slices
full           all parameters
full_matrices  all layers' matrices; embeddings, norms and biases stay
"""

from __future__ import annotations

from collections.abc import Callable

from arithmoscope.engine.measures.random_controls import random_draws
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.full_tuning import full, full_matrices
from arithmoscope.engine.tuning.head_offsets import offsets
from arithmoscope.engine.tuning.lora import lora
from arithmoscope.engine.tuning.precise import precise
from arithmoscope.engine.tuning.selection import Selection, select
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput

TUNERS: dict[str, Callable[[LoadedModel, TunerInput], TrainableModel]] = {
    "precise": precise,
    "random": precise,  # of components that `random_selection` draws
    "offsets": offsets,
    "lora": lora,
    "full": full,
    "full_matrices": full_matrices,
}
# Tuners that need no components.
WHOLE_MODEL = ("full", "full_matrices")
# Tuners that train something other than the weights, which are changed at the end.
MERGED = ("offsets", "lora")


def random_selection(model: LoadedModel, selection: Selection, *, biases: bool, seed: int) -> Selection:
    """As many unchosen components, of the same kinds and, where there are others, of the same layers."""
    layout = model.layout
    (draw,) = random_draws(selection.components, layout.layers, layout.heads, 1, seed)
    return select(model, draw.components, selection.tune or None, biases=biases)
