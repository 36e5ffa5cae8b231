"""Deltas are saved separately, apply only to their own base model, and give other readers the same numbers."""

from __future__ import annotations

import copy
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny import CONFIGS, tiny_model
from tuning_cases import CHOSEN, LESSONS, QUICK, logits_of

from arithmoscope import Deltas, TrainingCallbacks, fine_tune, load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.tuners import TUNERS

HEADS = ["L1H2", "L2H3"]


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Simulates a full disk: the operating system fails every write beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("tuner", TUNERS)
def test_deltas_give_the_tuned_model_back_bit_for_bit(tuner, tmp_path: Path):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK, tuner=tuner)
    tuned.deltas.save(tmp_path / "deltas")
    read = Deltas.load(tmp_path / "deltas")
    assert read.to_bytes() == tuned.deltas.to_bytes()
    assert read.digest == tuned.deltas.digest
    again = read.apply(model)
    assert again.card == tuned.model.card
    assert again.card.revision == read.digest
    pairs = zip(again.hf.named_parameters(), tuned.model.hf.named_parameters(), strict=True)
    for (name, one), (its, other) in pairs:
        assert (name, one.requires_grad) == (its, other.requires_grad)
        assert torch.equal(one, other), name
    assert list(tmp_path.iterdir()) == [tmp_path / "deltas"]


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_model_that_comes_back_computes_what_was_trained(tuner):
    model = tiny_model("LlamaForCausalLM")
    last: list[torch.Tensor] = []
    callbacks = TrainingCallbacks(on_step=lambda _step, now: last.append(logits_of(now)))
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK, tuner=tuner, callbacks=callbacks)
    torch.testing.assert_close(logits_of(tuned.model), last[-1], atol=1e-9, rtol=0)
    assert not torch.allclose(last[-1], last[0])
    assert not torch.allclose(last[0], logits_of(model))


def test_deltas_are_as_large_as_what_was_tuned():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK)
    assert tuned.deltas.parameters == tuned.trained == select(model, HEADS).parameters
    assert len(tuned.deltas.to_bytes()) < 4 * tuned.trained + 4_000


def test_another_model_and_another_type_are_refused():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK)
    other = tiny_model("LlamaForCausalLM", torch.float32, seed=1)
    for wrong in (other, tiny_model("LlamaForCausalLM"), tuned.model):
        with pytest.raises(Refusal, match="These deltas belong to") as refused:
            tuned.deltas.apply(wrong)
        assert refused.value.code == "bad_request"


def test_bytes_that_are_no_deltas_are_refused(tmp_path: Path):
    data = fine_tune(tiny_model("LlamaForCausalLM"), HEADS, LESSONS, **QUICK).deltas.to_bytes()
    for rubbish in (b"", b"nonsense", data[:-1], data[: len(data) // 2]):
        with pytest.raises(Refusal, match="contain no deltas"):
            Deltas.from_bytes(rubbish)


def test_a_tuned_model_can_be_analysed_and_tuned_again():
    model = tiny_model("LlamaForCausalLM")
    once = fine_tune(model, HEADS, LESSONS, **QUICK)
    before = logits_of(once.model)
    twice = fine_tune(once.model, ["L0H1"], LESSONS, **QUICK)
    assert torch.equal(logits_of(once.model), before)
    assert twice.deltas.base == once.model.card.id != model.card.id
    assert torch.equal(logits_of(twice.deltas.apply(once.deltas.apply(model))), logits_of(twice.model))
    effects = path_patching(twice.model, LESSONS[:2])
    assert not torch.allclose(effects.heads, path_patching(model, LESSONS[:2]).heads)


def test_a_tuned_model_may_be_moved_or_converted_and_the_given_one_stays():
    model = tiny_model("LlamaForCausalLM")
    before = logits_of(model)
    tuned: Any = fine_tune(model, HEADS, LESSONS, **QUICK).model
    tuned.hf.to(torch.float32)
    assert {weight.dtype for weight in model.hf.parameters()} == {torch.float64}
    assert torch.equal(logits_of(model), before)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_an_exported_folder_loads_in_plain_transformers_with_equal_logits(architecture, tmp_path: Path):
    model = tiny_model(architecture, torch.float32)
    tuned = fine_tune(model, CHOSEN, LESSONS, **QUICK)
    tuned.export(tmp_path / "tuned")
    plain = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "tuned", attn_implementation=model.hf.config._attn_implementation
    ).eval()
    assert plain.dtype == torch.float32
    assert torch.equal(logits_of(tuned.model, plain), logits_of(tuned.model))
    again = load_model("tuned", models_dir=tmp_path, device="cpu")
    assert again.card.name == tuned.model.card.name
    metadata = json.loads((tmp_path / "tuned" / "arithmoscope.json").read_text(encoding="utf-8"))["tuned"]
    assert (metadata["components"], metadata["weights"]) == (CHOSEN, tuned.deltas.weights)


# peft calls transformers by a deprecated name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "GPT2LMHeadModel"])
def test_an_adapter_loads_in_peft_with_equal_logits(architecture, tmp_path: Path):
    peft = pytest.importorskip("peft")
    model = tiny_model(architecture)
    tuned = fine_tune(model, ["L1H2"], LESSONS, **QUICK, tune="qkvo" if architecture == "GPT2LMHeadModel" else "qo")
    tuned.deltas.export_adapter(model, tmp_path / "adapter")
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(model.hf), str(tmp_path / "adapter")).double()
    torch.testing.assert_close(logits_of(model, adapted), logits_of(tuned.model), atol=1e-9, rtol=0)
    assert not torch.allclose(logits_of(tuned.model), logits_of(model), atol=1e-3)


def test_what_an_adapter_cannot_say_is_refused(tmp_path: Path):
    model = tiny_model("GPT2LMHeadModel")
    cases: list[tuple[list[str], dict[str, Any]]] = [
        (["MLP1"], {}),
        (["L1H2"], {"biases": True}),
        ([], {"tuner": "full"}),
    ]
    for components, options in cases:
        tuned = fine_tune(model, components, LESSONS, **QUICK, **options)
        with pytest.raises(Refusal, match="no low rank") as refused:
            tuned.deltas.export_adapter(model, tmp_path / "adapter")
        assert refused.value.code == "impossible_options"
        assert not (tmp_path / "adapter").exists()


def test_offsets_are_exported_only_where_the_model_keeps_a_bias_for_them(tmp_path: Path):
    model = tiny_model("GPT2LMHeadModel", torch.float32)
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK, tuner="offsets")
    tuned.export(tmp_path / "tuned")
    plain = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()
    assert torch.equal(logits_of(tuned.model, plain), logits_of(tuned.model))
    without = fine_tune(tiny_model("Qwen3ForCausalLM"), HEADS, LESSONS, **QUICK, tuner="offsets")
    with pytest.raises(Refusal, match="Qwen3ForCausalLM of this configuration has none"):
        without.export(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_offsets_of_an_earlier_tuning_are_not_lost_when_a_later_one_is_exported(tmp_path: Path):
    offset = fine_tune(tiny_model("Qwen3ForCausalLM"), HEADS, LESSONS, **QUICK, tuner="offsets")
    again = fine_tune(offset.model, HEADS, LESSONS, **QUICK)
    with pytest.raises(Refusal, match=r"self_attn\.o_proj\.bias") as refused:
        again.export(tmp_path / "other")
    assert refused.value.code == "impossible_options"
    assert not (tmp_path / "other").exists()


def test_a_full_disk_leaves_nothing_and_what_was_there_as_it_was(tmp_path: Path):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    tuned = fine_tune(model, HEADS, LESSONS, **QUICK)
    file = tmp_path / "deltas"
    file.write_bytes(b"older")
    with no_file_larger_than(1_000):
        with pytest.raises(Refusal, match="could not be written") as refused:
            tuned.deltas.save(file)
        assert refused.value.code == "store_unavailable"
        with pytest.raises(Refusal, match="could not be written"):
            tuned.export(tmp_path / "tuned")
        with pytest.raises(Refusal, match="could not be written"):
            tuned.deltas.export_adapter(model, tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"older"


def test_a_folder_with_something_in_it_is_not_written_over(tmp_path: Path):
    tuned = fine_tune(tiny_model("LlamaForCausalLM"), HEADS, LESSONS, **QUICK)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(Refusal, match="mine already exists"):
        tuned.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text(encoding="utf-8") == "keep"
