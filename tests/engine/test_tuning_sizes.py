"""The number of trained parameters is known before weights are loaded, and equals the number once they are."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest
import torch
from arithmoscope_api.trainable import trainable_parameters
from tiny import CONFIGS, LAYOUTS, tiny_model
from tuning_cases import CHOSEN

from arithmoscope import LoadedModel
from arithmoscope.contracts.components import all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.trainable import tunable
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS, Tuner
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.component_sizes import part_sizes
from arithmoscope.engine.tuning.selection import parameters_of, select
from arithmoscope.engine.tuning.trainable import TunerInput
from arithmoscope.engine.tuning.tuners import TUNERS, random_selection

PROMPTS = {"source": "custom", "shots": 0, "pairs": [{"reference": "3 + 5 ="}]}


def card_of(model: LoadedModel) -> ModelCard:
    """A model's card with the sizes derived from its weights' names and shapes."""
    shapes = {name: tuple(weight.shape) for name, weight in model.hf.named_parameters()}
    layout = model.layout
    return model.card.model_copy(update={"sizes": part_sizes(shapes, layout.heads, layout.kv_heads)})


def spec(**fields: Any) -> FineTuneSpec:
    defaults = {"kind": "fine_tune", "model": "tiny", "components": CHOSEN, "prompts": PROMPTS}
    return FineTuneSpec.model_validate({**defaults, **fields})


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_what_would_be_trained_of_every_family_is_what_the_engine_selects(architecture, config):
    model = tiny_model(architecture, torch.float32, config=config)
    card = card_of(model)
    everything = [str(each) for each in all_components(card.layers, card.heads)]
    for components, tune, biases in product((CHOSEN, everything, ["MLP2"]), (None, *"qkvo", "kv"), (False, True)):
        counts = trainable_parameters(
            card, spec(components=components, tune=tune and [*tune], biases=biases), "float32"
        )
        selection = select(model, components, tune, biases=biases)
        assert counts.trained == selection.parameters, (tune, biases)
        assert counts.touched == tuple(map(str, selection.touched)), (tune, biases)
        assert (counts.tune, counts.lowest) == (selection.tune, selection.lowest)
        assert counts.share == pytest.approx(selection.share)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_catalogue_knows_the_sizes_from_the_files_headers(architecture, tmp_path):
    model = tiny_model(architecture, torch.float32)
    model.hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    sizes = Catalogue(tmp_path).card("tiny").sizes
    assert sizes is not None
    assert sizes == card_of(model).sizes
    assert sizes.head_dim == model.layout.head_dim


@pytest.mark.parametrize("tuner", get_args(Tuner))
@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_what_a_tuner_would_train_is_what_the_optimiser_moves(architecture, config, tuner):
    model = tiny_model(architecture, torch.float32, config=config)
    components = [each for each in CHOSEN if tuner != "offsets" or each.startswith("L")]
    selection = None if tuner in WHOLE_TUNERS else select(model, components)
    if tuner == "random" and selection is not None:
        selection = random_selection(model, selection, biases=False, seed=0)
        components = [str(each) for each in selection.components]
    counts = trainable_parameters(card_of(model), spec(tuner=tuner, components=components), "float32")
    trainable = TUNERS[tuner](model, TunerInput(selection, head_scale=True, seed=0))
    trained = sum(value.numel() for value in trainable.values)
    if tuner == "lora" and selection is not None:
        trained = selection.parameters  # the rank is chosen to match this number
    described = tunable(tuner, selection, trained=trained, parameters=parameters_of(model), precision="float32")
    # Which other heads change with the random ones is unknown until they are drawn.
    assert counts == (described.model_copy(update={"touched": ()}) if tuner == "random" else described)
    assert counts.optimiser_bytes == 8 * trained


def test_differing_layers_and_unknown_layouts_have_no_sizes():
    shapes = {f"model.{name}": tuple(w.shape) for name, w in tiny_model("Qwen2ForCausalLM").hf.named_parameters()}
    assert part_sizes(shapes, 4, 2) is not None
    other = {**shapes, "model.model.layers.2.mlp.up_proj.weight": (96, 32)}
    assert part_sizes(other, 4, 2) is None
    assert part_sizes({name.replace("q_proj", "query"): shape for name, shape in shapes.items()}, 4, 2) is None
    assert part_sizes(shapes, 0, 0) is None
    card = card_of(tiny_model("Qwen2ForCausalLM")).model_copy(update={"sizes": None})
    with pytest.raises(Refusal, match="not known before its weights are loaded"):
        trainable_parameters(card, spec(), "float32")
    assert trainable_parameters(card, spec(tuner="full"), "float32").share == 1
