"""Settings of a training: one list of them for Python, specs and type checkers."""

from __future__ import annotations

import typing
from typing import Any

import pytest
import torch
from tiny import tiny_model
from tuning_cases import LESSONS, QUICK

from arithmoscope import TuningSettings, fine_tune
from arithmoscope.contracts.kinds.fine_tune import FineTuneSpec
from arithmoscope.contracts.tuning_settings import TuningOptions

CHANGED: dict[str, Any] = {**QUICK, "weight_decay": 0.1, "schedule": "linear", "clip": None, "head_scale": True}


def test_keyword_arguments_have_the_names_and_types_of_the_settings():
    settings, options = typing.get_type_hints(TuningSettings), typing.get_type_hints(TuningOptions)
    assert list(options) == list(TuningSettings.model_fields)
    assert {name: hint for name, hint in options.items() if name != "tune"} == {
        name: settings[name] for name in options if name != "tune"
    }


def test_a_spec_has_the_settings_between_its_other_fields_as_earlier_versions_stored_them():
    names = list(FineTuneSpec.model_fields)
    settings = list(TuningSettings.model_fields)
    before = ["kind", "model", "parent", "tuner", "components", "prompts", "validation", "test"]
    assert names == [*before, *settings, "validate_every", "seed"]


def test_settings_an_experiment_and_keyword_arguments_train_the_same():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    spec = FineTuneSpec.model_validate(
        {"kind": "fine_tune", "model": "tiny", "components": ["L1H2"], "prompts": {}, **CHANGED}
    )
    by_name = fine_tune(model, ["L1H2"], LESSONS, **CHANGED).deltas
    for settings in (TuningSettings(**CHANGED), spec):
        assert fine_tune(model, ["L1H2"], LESSONS, settings=settings).deltas.digest == by_name.digest


def test_a_keyword_argument_replaces_a_setting():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    tuned = fine_tune(model, ["L1H2"], LESSONS, settings=TuningSettings(**CHANGED), steps=1, tune="v")
    assert (len(tuned.history.steps), tuned.deltas.settings["tune"]) == (1, ["v"])
    assert tuned.deltas.settings["weight_decay"] == CHANGED["weight_decay"]


def test_an_unknown_setting_is_a_type_error_before_anything_is_computed():
    options: Any = {"step": 3}
    with pytest.raises(TypeError, match="unexpected keyword argument 'step'"):
        fine_tune(tiny_model("LlamaForCausalLM"), ["L1H2"], LESSONS, **options)
