"""The control tuners of precise fine-tuning do what their names say, and have its size."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from tiny import CONFIGS, PAIRS, tiny_model
from tuning_cases import CHOSEN, LESSONS, QUICK, logits_of, weights_of

from arithmoscope import TrainingCallbacks, fine_tune, load_model
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.hooks import on_input
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.tuners import TUNERS, random_selection


def test_random_components_are_others_of_the_same_layers_kinds_and_size():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    chosen = select(model, CHOSEN, "qo")
    drawn = random_selection(model, chosen, biases=False, seed=0)
    assert not {*drawn.components} & {*chosen.components}
    kinds = [(component.kind, component.layer) for component in chosen.components if component.head is not None]
    assert [(c.kind, c.layer) for c in drawn.components if c.head is not None] == kinds
    assert drawn.parameters == chosen.parameters
    assert random_selection(model, chosen, biases=False, seed=0) == drawn
    assert any(random_selection(model, chosen, biases=False, seed=seed) != drawn for seed in range(1, 5))
    tuned = fine_tune(model, CHOSEN, LESSONS, **QUICK, tuner="random")
    assert tuned.selection == drawn
    assert tuned.deltas.components == tuple(str(component) for component in drawn.components)
    moved = {n for n, w in weights_of(tuned.model).items() if not torch.equal(w, weights_of(model)[n])}
    assert moved == {part.name for part in drawn.slices}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_an_offset_is_a_vector_that_is_added_to_a_heads_output(architecture):
    model = tiny_model(architecture)
    caught: list[Any] = []
    tuned = fine_tune(
        model,
        ["L1H2"],
        PAIRS,
        **QUICK,
        tuner="offsets",
        callbacks=TrainingCallbacks(on_step=lambda _step, now: caught.append(logits_of(now))),
    )
    width = model.layout.head_dim
    assert tuned.trained == width
    torch.testing.assert_close(logits_of(tuned.model), caught[-1], atol=1e-9, rtol=0)
    # The same by hand: the bias gained the projection of one head's vector.
    out: Any = tuned.model.layout.blocks[1].heads_out
    old: Any = model.layout.blocks[1].heads_out
    gained = out.bias.detach() - (0 if old.bias is None else old.bias.detach())
    vector = torch.linalg.lstsq(model.layout.blocks[1].write[2].T, gained[:, None]).solution[:, 0]
    add = torch.zeros(4 * width, dtype=torch.float64).index_put((torch.arange(2 * width, 3 * width),), vector)
    with on_input([(old, lambda z: z + add)]):
        torch.testing.assert_close(logits_of(model), caught[-1], atol=1e-9, rtol=0)


def test_offsets_are_for_heads():
    with pytest.raises(Refusal, match="MLP1 is not a head"):
        fine_tune(tiny_model("LlamaForCausalLM"), ["L1H2", "MLP1"], LESSONS, **QUICK, tuner="offsets")


@pytest.mark.parametrize("architecture", CONFIGS)
def test_lora_trains_about_as_many_numbers_in_all_matrices_of_all_layers(architecture):
    pytest.importorskip("peft")
    model = tiny_model(architecture)
    caught: list[Any] = []
    components = [Component(layer, head) for layer in range(3) for head in (0, 1, None)]
    tuned = fine_tune(
        model,
        components,
        LESSONS,
        **QUICK,
        tuner="lora",
        callbacks=TrainingCallbacks(on_step=lambda _step, now: caught.append(logits_of(now))),
    )
    parameters = select(model, components).parameters
    assert 0.7 * parameters < tuned.trained < 1.3 * parameters
    torch.testing.assert_close(logits_of(tuned.model), caught[-1], atol=1e-9, rtol=0)
    before = weights_of(model)
    moved = {name for name, weight in weights_of(tuned.model).items() if not torch.equal(weight, before[name])}
    assert moved == {f"{each.weight}" for each in tuned.deltas.changes}
    assert not [name for name in tuned.model.hf.state_dict() if "lora" in name]


def test_lora_without_peft_is_refused_with_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_peft(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "peft":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(Refusal, match="needs the package peft") as refused:
        fine_tune(tiny_model("LlamaForCausalLM"), ["L1H2"], LESSONS, **QUICK, tuner="lora")
    assert "pip install peft" in refused.value.way_out


@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 16), (torch.bfloat16, 18)])
def test_a_whole_model_that_does_not_fit_is_refused_before_anything_is_taken(dtype, bytes_each, monkeypatch):
    model = tiny_model("LlamaForCausalLM", dtype)
    needed = bytes_each * sum(weight.numel() for weight in model.hf.parameters())
    monkeypatch.setattr("arithmoscope.engine.tuning.full_tuning.free_bytes", lambda _device: needed - 1)
    with pytest.raises(Refusal, match=f"takes {needed:,} bytes") as refused:
        fine_tune(model, [], LESSONS, **QUICK, tuner="full")
    assert refused.value.code == "out_of_memory"
    monkeypatch.setattr("arithmoscope.engine.tuning.full_tuning.free_bytes", lambda _device: needed)
    assert fine_tune(model, [], LESSONS, **QUICK, tuner="full").history.ended == "finished"


def test_narrow_weights_are_tuned_as_a_whole_in_float32_too():
    model = tiny_model("LlamaForCausalLM", torch.bfloat16)
    small = {"steps": 12, "learning_rate": 1e-4, "batch_size": 2, "schedule": "constant", "warmup": 0.0}
    tuned = fine_tune(model, [], PAIRS, **small, tuner="full")
    name = "model.layers.1.mlp.up_proj.weight"
    assert tuned.model.dtype == torch.bfloat16
    assert float((weights_of(tuned.model)[name] != weights_of(model)[name]).float().mean()) > 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"learning_rate": 1e31}, "learning_rate is 1e.31"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"warmup": 1.5}, "warmup is 1.5"),
        ({"clip": 0.0}, "clip is 0"),
        ({"callbacks": TrainingCallbacks(save_every=0)}, "save_every is 0"),
        ({"schedule": "steps"}, "schedule is 'steps'"),
        ({"tuner": "magic"}, "tuner is 'magic'"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_computed(options, message):
    with pytest.raises(Refusal, match=message) as refused:
        fine_tune(tiny_model("LlamaForCausalLM"), ["L1H2"], LESSONS, **{**QUICK, **options})
    assert refused.value.code == "bad_request"


def test_no_components_are_refused_by_all_tuners_but_those_of_whole_models():
    model = tiny_model("LlamaForCausalLM")
    for tuner in TUNERS:
        if tuner in ("full", "full_matrices"):
            continue
        with pytest.raises(Refusal, match="No component is named"):
            fine_tune(model, [], LESSONS, **QUICK, tuner=tuner)  # pyright: ignore[reportArgumentType]


def test_no_prompts_are_refused():
    with pytest.raises(Refusal) as refused:
        fine_tune(tiny_model("LlamaForCausalLM"), ["L1H2"], [], **QUICK)
    assert refused.value.code == "no_prompts"


def test_8_bit_weights_are_refused(tmp_path):
    pytest.importorskip("torchao")
    model: Any = tiny_model("LlamaForCausalLM", torch.float32)
    model.hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    packed = load_model("tiny", models_dir=tmp_path, device="cpu", dtype="int8")
    with pytest.raises(Refusal, match="8-bit weights") as refused:
        fine_tune(packed, ["L1H2"], LESSONS, **QUICK)
    assert refused.value.code == "bad_setting"
