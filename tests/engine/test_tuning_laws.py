"""Precise fine-tuning changes the selected parameters and no others, exactly as full fine-tuning would."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from float64_everywhere import EverywhereDouble
from tiny import CONFIGS, LAYOUTS, PAIRS, VARIANTS, tiny_model
from torch.nn.functional import log_softmax
from tuning_cases import CHOSEN, LESSONS, QUICK, logits_of, mask_of, quick, weights_of

from arithmoscope import fine_tune
from arithmoscope.contracts.components import all_components
from arithmoscope.engine.forward.hooks import on_output
from arithmoscope.engine.tuning.gradient_checkpointing import checkpointed
from arithmoscope.engine.tuning.history import rate_at
from arithmoscope.engine.tuning.precise import precise
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.trainable import TunerInput
from arithmoscope.engine.tuning.training_examples import answer_loss, batches, examples_of


@pytest.mark.parametrize(("architecture", "config"), LAYOUTS)
def test_unselected_weights_keep_their_bits_under_any_weight_decay(architecture, config):
    model = tiny_model(architecture, torch.float32, config=config)
    before = weights_of(model)
    chosen = select(model, CHOSEN, "qkvo", biases=True)
    parts = {part.name: part for part in chosen.slices}
    tuned = fine_tune(model, CHOSEN, LESSONS, **QUICK, tune="qkvo", biases=True, weight_decay=0.5)
    after = weights_of(tuned.model)
    assert after.keys() == before.keys()
    for name, weight in after.items():
        moves = mask_of(weight, parts.get(name))
        assert torch.equal(weight[~moves], before[name][~moves]), name
        # Some biases have no effect (a key's adds equally to all scores): weight decay shrinks them all the same.
        assert bool((weight[moves] != before[name][moves]).float().mean() > 0.9) or not moves.any(), name
    for name, weight in model.hf.named_parameters():
        assert torch.equal(weight, before[name]), f"the given model's {name}"
    assert tuned.history.ended == "finished"


@pytest.mark.parametrize("architecture", CONFIGS)
def test_tuning_all_heads_and_mlps_is_full_fine_tuning_of_all_matrices(architecture):
    with EverywhereDouble():
        model = tiny_model(architecture)
        everything = all_components(model.layout.layers, model.layout.heads)
        options = {**QUICK, "clip": 0.5, "weight_decay": 0.1}
        precise = fine_tune(model, everything, LESSONS, tune="qkvo", **options)
        full = fine_tune(model, [], LESSONS, tuner="full_matrices", **options)
        for (name, weight), other in zip(precise.model.hf.named_parameters(), full.model.hf.parameters(), strict=True):
            torch.testing.assert_close(weight, other, atol=1e-9, rtol=0, msg=name)
        assert precise.history.losses == pytest.approx(full.history.losses, abs=1e-9)
        assert [s.norm for s in precise.history.steps] == pytest.approx([s.norm for s in full.history.steps], rel=1e-9)
        assert not torch.equal(logits_of(precise.model), logits_of(model))


def test_full_matrices_leave_embeddings_norms_and_biases_and_full_leaves_nothing():
    model = tiny_model("GPT2LMHeadModel", torch.float32)
    before = weights_of(model)
    whole = weights_of(fine_tune(model, [], LESSONS, **QUICK, tuner="full").model)
    matrices = weights_of(fine_tune(model, [], LESSONS, **QUICK, tuner="full_matrices").model)
    assert not [name for name, weight in whole.items() if torch.equal(weight, before[name])]
    stayed = {name for name, weight in matrices.items() if torch.equal(weight, before[name])}
    assert stayed == {name for name in before if "wte" in name or "wpe" in name or "ln_" in name or "bias" in name}


def test_no_gradient_reaches_the_layers_below_and_none_is_as_large_as_a_matrix():
    model = tiny_model("LlamaForCausalLM")
    trainee = precise(model, TunerInput(select(model, ["L1H2", "L2H0"]), head_scale=False, seed=0))
    followed: dict[int, bool] = {}
    blocks = enumerate(trainee.model.layout.blocks)

    def follow(layer: int) -> Any:
        return lambda written: followed.update({layer: written.requires_grad})

    watched = [(block.mlp, follow(at)) for at, block in blocks]
    with trainee.gradients(), on_output(watched):
        answer_loss(trainee.model, examples_of(model, LESSONS)).backward()
    assert followed == {0: False, 1: True, 2: True}
    assert all(weight.grad is None for weight in trainee.model.hf.parameters())
    for value in trainee.values:
        assert value.grad is not None
        assert bool(value.grad.any())
        assert value.grad.shape == value.shape
    assert sum(value.numel() for value in trainee.values) == select(model, ["L1H2", "L2H0"]).parameters


def test_the_loss_is_over_the_answers_tokens_alone_however_prompts_are_put_together():
    model = tiny_model("LlamaForCausalLM")
    expected = 0.0
    for pair in LESSONS:
        prompt = model.text.encode(pair.reference).ids
        answer_ids = model.text.encode(pair.answer).ids
        for place, token in enumerate(answer_ids):
            with torch.no_grad():
                logits = model.hf(input_ids=torch.tensor([prompt + answer_ids[:place]]), use_cache=False).logits[0, -1]
            expected -= float(log_softmax(logits.double(), -1)[token])
    with torch.no_grad():
        together = answer_loss(model, examples_of(model, LESSONS))
    assert float(together) == pytest.approx(expected, abs=1e-5)
    assert sum(each.answer_length for each in examples_of(model, LESSONS)) == len(LESSONS) + 1


@pytest.mark.parametrize("variant", ["Phi-3 beyond its original length"])
def test_lengths_are_never_mixed_where_numbers_depend_on_the_length_of_the_pass(variant):
    architecture, config = VARIANTS[variant]
    model = tiny_model(architecture, config=config)
    one = fine_tune(model, ["L2H0"], LESSONS, steps=1, learning_rate=0.1, batch_size=len(LESSONS), warmup=0.0)
    with torch.no_grad():
        alone = [float(answer_loss(model, [each])) for each in examples_of(model, LESSONS)]
    assert one.history.losses[0] == pytest.approx(sum(alone) / (len(LESSONS) + 1), abs=1e-6)


def test_a_batch_in_parts_gives_the_same_but_for_rounding():
    with EverywhereDouble():
        model = tiny_model("LlamaForCausalLM")
        plain = fine_tune(model, CHOSEN, LESSONS, **quick(batch_size=7))
        for parts in (3, 7, 20):
            retry_on_oom = fine_tune(model, CHOSEN, LESSONS, **quick(batch_size=7), accumulate=parts)
            for weight, other in zip(plain.model.hf.parameters(), retry_on_oom.model.hf.parameters(), strict=True):
                torch.testing.assert_close(weight, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_layers_that_are_computed_twice_give_the_same_bits(architecture):
    model = tiny_model(architecture, torch.float32)
    plain, twice = (
        fine_tune(model, CHOSEN, LESSONS, **QUICK, checkpointing=checkpointing) for checkpointing in (False, True)
    )
    assert plain.history.losses == twice.history.losses
    for weight, other in zip(plain.model.hf.parameters(), twice.model.hf.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_with_checkpointing_layers_keep_what_they_read_and_no_more():
    model = tiny_model("LlamaForCausalLM")
    sizes = {}
    for checkpointing in (False, True):
        trainee = precise(model, TunerInput(select(model, ["L0H0"]), head_scale=False, seed=0))
        held: list[int] = []

        def keep(tensor, held=held):
            held.append(tensor.numel())
            return tensor

        saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with trainee.gradients(), checkpointed(trainee.model, checkpointing), saved:
            loss = answer_loss(trainee.model, examples_of(model, LESSONS))
        sizes[checkpointing] = sum(held)
        del loss
        assert "forward" not in trainee.model.hf.model.layers[0].__dict__
    assert sizes[True] < sizes[False] / 4


def test_the_same_seed_gives_the_same_bits_and_another_one_other_batches():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    one, again, other = (fine_tune(model, CHOSEN, LESSONS, **QUICK, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.model.hf.parameters(), again.model.hf.parameters(), strict=True))
    assert one.deltas.digest == again.deltas.digest != other.deltas.digest
    assert one.history.losses == again.history.losses != other.history.losses


def test_all_pairs_are_seen_before_one_is_seen_again():
    examples = examples_of(tiny_model("LlamaForCausalLM"), LESSONS)
    stream = batches(examples, 3, seed=5, first=0)
    seen = [example for _ in range(7) for example in next(stream)]
    for epoch in range(3):
        assert {*seen[7 * epoch : 7 * epoch + 7]} == {*examples}
    assert seen[:7] != seen[7:14]
    later = batches(examples, 3, seed=5, first=4)
    assert next(later) == seen[12:15]


def test_narrow_weights_are_stepped_in_float32_and_rounded_once():
    model = tiny_model("LlamaForCausalLM", torch.bfloat16)
    before = weights_of(model)
    # A step is 1e-4: alone it is lost in most bfloat16 numbers (the spacing near 0.3 is 0.001).
    tiny_steps = {"steps": 40, "learning_rate": 1e-4, "batch_size": 2, "schedule": "constant", "warmup": 0.0}
    tuned = fine_tune(model, ["L2H1"], PAIRS, **tiny_steps)
    (part, *_) = select(model, ["L2H1"]).slices
    after = dict(tuned.model.hf.named_parameters())[part.name]
    moves = mask_of(after, part)
    assert after.dtype == torch.bfloat16
    assert float((after[moves] != before[part.name][moves]).float().mean()) > 0.5
    assert torch.equal(after[~moves], before[part.name][~moves])


def test_the_rate_rises_and_falls_as_its_schedule_says():
    assert [rate_at(step, 10, 2, "constant") for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert [rate_at(step, 6, 2, "linear") for step in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    cosine = [rate_at(step, 4, 0, "cosine") for step in range(4)]
    assert cosine == pytest.approx([1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2])
    model = tiny_model("LlamaForCausalLM", torch.float32)
    history = fine_tune(model, CHOSEN, LESSONS, **quick(steps=10), warmup=0.2, schedule="linear").history
    assert history.steps[0].rate == pytest.approx(0.005)
    assert max(step.rate for step in history.steps) == pytest.approx(0.01)


def test_the_papers_factor_is_one_on_the_heads_learning_rate():
    model = tiny_model("LlamaForCausalLM")
    scaled = fine_tune(model, ["L1H2", "L2H3", "MLP1"], LESSONS, **QUICK, head_scale=True, clip=None)
    heads = fine_tune(model, ["L1H2", "L2H3"], LESSONS, **quick(learning_rate=0.06), clip=None)
    again = fine_tune(model, ["L1H2", "L2H3"], LESSONS, **QUICK, head_scale=True, clip=None)
    assert again.history.losses == pytest.approx(heads.history.losses, abs=1e-12), "12 heads over 2 tuned ones"
    mlp = "model.layers.1.mlp.up_proj.weight"
    first = fine_tune(model, ["MLP1"], LESSONS, **quick(steps=1), warmup=0.0, clip=None)
    one = fine_tune(model, ["L1H2", "MLP1"], LESSONS, **quick(steps=1), warmup=0.0, clip=None, head_scale=True)
    assert torch.equal(weights_of(one.model)[mlp], weights_of(first.model)[mlp]), "MLPs keep the rate"
    assert scaled.history.ended == "finished"


def test_training_lowers_the_loss():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    options = {"steps": 40, "learning_rate": 1e-2, "batch_size": len(LESSONS)}
    losses = fine_tune(model, [*CHOSEN, "MLP2"], LESSONS, **options).history.losses
    assert losses[-1] < losses[0] / 4
