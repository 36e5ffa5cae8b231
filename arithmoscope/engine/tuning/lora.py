"""The tuner ``lora``: low-rank changes of all layers' matrices, by the package peft."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.models.loading import quiet
from arithmoscope.engine.tuning.model_copy import copy_model
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput, widen
from arithmoscope.engine.tuning.weight_changes import Product
from arithmoscope.engine.tuning.weight_slices import projection_names


def lora(model: LoadedModel, options: TunerInput) -> TrainableModel:
    """PEFT's low-rank adapters on all matrices of all layers, of the rank whose size is nearest to the selection's."""
    try:
        with quiet():
            from peft import LoraConfig, inject_adapter_in_model
            from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise Refusal(
            "bad_setting",
            "The tuner lora needs the package peft, which is not installed.",
            "Install it (pip install peft), or choose another tuner.",
        ) from error
    selection = options.chosen
    targets = projection_names(model)
    sizes = [sum(model.hf.get_submodule(name).weight.shape) for name in targets]  # pyright: ignore
    rank = max(1, round(selection.parameters / sum(sizes)))
    tuned = copy_model(model, ())
    transposed = isinstance(model.hf.get_submodule(targets[0]), Conv1D)
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, fan_in_fan_out=transposed, bias="none")
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        inject_adapter_in_model(config, tuned.hf)
    for name, weight in tuned.hf.named_parameters():
        if "lora_" in name:
            weight.data = widen(weight.data)
    layers: dict[str, Any] = {n: module for n, module in tuned.hf.named_modules() if isinstance(module, LoraLayer)}
    values = tuple(weight for name, weight in tuned.hf.named_parameters() if "lora_" in name)
    for value in values:
        value.requires_grad_(True)

    def changes() -> tuple[Product, ...]:
        products = []
        for name, module in layers.items():
            read, written = (each["default"].weight.detach().cpu() for each in (module.lora_A, module.lora_B))
            products.append(Product(f"{name}.weight", read, written, float(module.scaling["default"]), transposed))
        return tuple(products)

    return TrainableModel(tuned, values, (1.0,) * len(values), nullcontext, lambda: None, changes)
