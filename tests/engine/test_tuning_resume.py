"""An interrupted training ends with the weights of an uninterrupted one; a broken one keeps its last good weights."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import PAIRS, tiny_model
from tuning_cases import CHOSEN, LESSONS, QUICK, logits_of, weights_of

from arithmoscope import TrainingCallbacks, fine_tune
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.serialization import unpack
from arithmoscope.engine.tuning.loop import read_extra_state
from arithmoscope.engine.tuning.selection import select
from arithmoscope.engine.tuning.tuners import TUNERS

LONG: dict[str, Any] = {**QUICK, "steps": 7, "weight_decay": 0.1}


def same(one, other) -> bool:
    pairs = zip(one.model.hf.named_parameters(), other.model.hf.named_parameters(), strict=True)
    return all(name == its and torch.equal(weight, value) for (name, weight), (its, value) in pairs)


@pytest.mark.parametrize("tuner", [tuner for tuner in TUNERS if tuner != "random"])
def test_going_on_from_any_checkpoint_ends_with_the_bits_of_an_undisturbed_training(tuner):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    # An MLP before heads: the heads' factor puts them into another order in the optimiser.
    chosen = ["L1H2", "L2H3"] if tuner == "offsets" else ["MLP0", "L1H2", "MLP2", "L2H3"]
    options = {**LONG, "tuner": tuner, "head_scale": True}
    kept: list[bytes] = []
    undisturbed = fine_tune(
        model, chosen, LESSONS, **options, callbacks=TrainingCallbacks(save=kept.append, save_every=2)
    )
    assert len(kept) == 4, "after 2, 4, 6 and 7 of 7 steps"
    for data in (kept[0], kept[1], kept[3]):
        resumed = fine_tune(model, chosen, LESSONS, **options, resume=data)
        assert same(undisturbed, resumed)
        assert resumed.history.losses == undisturbed.history.losses
        assert resumed.deltas.digest == undisturbed.deltas.digest


def test_a_stopped_training_keeps_a_checkpoint_and_goes_on_from_it():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    undisturbed = fine_tune(model, CHOSEN, LESSONS, **LONG)
    seen: list[int] = []
    kept: list[bytes] = []
    stopped = fine_tune(
        model,
        CHOSEN,
        LESSONS,
        **LONG,
        callbacks=TrainingCallbacks(save=kept.append, should_stop=lambda: len(seen) == 3),
        progress=lambda done, total: seen.append(done) if total == 7 else None,
    )
    assert (stopped.history.ended, stopped.history.kept, seen) == ("stopped", 3, [1, 2, 3])
    assert stopped.history.losses == undisturbed.history.losses[:3]
    assert not same(stopped, undisturbed)
    (data,) = kept
    assert same(fine_tune(model, CHOSEN, LESSONS, **LONG, resume=data), undisturbed)


def test_a_checkpoint_is_released_when_it_is_resumed_and_holds_its_extra_data():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    kept: list[bytes] = []
    callbacks = TrainingCallbacks(save=kept.append, save_every=3, extra_state=lambda: {"seen": len(kept)})
    fine_tune(model, CHOSEN, LESSONS, **LONG, callbacks=callbacks)
    assert [read_extra_state(data) for data in kept] == [{"seen": 0}, {"seen": 1}, {"seen": 2}]
    assert read_extra_state(b"nonsense") is None
    (data,) = kept[:1]
    kept.clear()
    alone = sys.getrefcount(data)
    held: list[int] = []
    resume = [data].pop
    callbacks = TrainingCallbacks(on_step=lambda *_: held.append(sys.getrefcount(data)))
    fine_tune(model, CHOSEN, LESSONS, **LONG, resume=resume, callbacks=callbacks)
    assert set(held) == {alone}


def test_a_checkpoint_of_another_training_is_refused():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    kept: list[bytes] = []
    fine_tune(model, CHOSEN, LESSONS, **LONG, callbacks=TrainingCallbacks(save=kept.append, save_every=3))
    others = [
        ("settings", {"learning_rate": 0.02}, CHOSEN, LESSONS),
        ("data", {}, CHOSEN, PAIRS),
        ("components", {}, CHOSEN[:3], LESSONS),
        ("tune", {"tune": "v"}, CHOSEN, LESSONS),
    ]
    for what, changed, components, pairs in others:
        with pytest.raises(Refusal, match=what) as refused:
            fine_tune(model, components, pairs, **{**LONG, **changed}, resume=kept[0])
        assert refused.value.code == "bad_request"
    with pytest.raises(Refusal, match="weights differ"):
        fine_tune(tiny_model("LlamaForCausalLM", torch.float32, seed=1), CHOSEN, LESSONS, **LONG, resume=kept[0])
    for rubbish in (b"", b"nonsense", kept[0][:-1], kept[0][:9]):
        with pytest.raises(Refusal, match="not a checkpoint"):
            fine_tune(model, CHOSEN, LESSONS, **LONG, resume=rubbish)


def test_what_the_optimiser_keeps_grows_with_the_selection_alone():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    for components in (["L1H2"], ["L1H2", "L0H1"], ["MLP2"], CHOSEN):
        kept: list[bytes] = []
        fine_tune(model, components, LESSONS, **QUICK, callbacks=TrainingCallbacks(save=kept.append, save_every=2))
        held = [tensor for tensor in unpack(kept[0], "arithmoscope.training.1").values() if torch.is_tensor(tensor)]
        numbers = sum(tensor.numel() for tensor in held if tensor.dim())
        assert numbers == 3 * select(model, components).parameters, "the values and two moments of each"


@pytest.mark.parametrize("tuner", ["precise", "lora"])
def test_a_rate_that_breaks_the_model_ends_the_training_and_the_model_that_comes_back_is_whole(tuner):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    kept: list[bytes] = []
    breaking: dict[str, Any] = {"steps": 9, "learning_rate": 1e30, "batch_size": 7, "warmup": 0.0}
    callbacks = TrainingCallbacks(save=kept.append, save_every=1)
    broken = fine_tune(model, ["MLP2"], LESSONS, **breaking, tuner=tuner, callbacks=callbacks)
    assert broken.history.ended == "not_finite"
    assert (len(broken.history.steps), broken.history.kept, kept) == (1, 0, [])
    assert broken.history.problem is not None
    assert "learning rate" in broken.history.problem
    assert torch.equal(logits_of(broken.model), logits_of(model))


@pytest.mark.parametrize("last", [False, True])
def test_a_step_that_breaks_the_weights_is_taken_back_even_if_it_was_the_last(last):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    constant: dict[str, Any] = {**QUICK, "schedule": "constant", "warmup": 0.0}
    two_steps: dict[str, Any] = {**constant, "steps": 2}
    name = "model.layers.1.mlp.down_proj.weight"  # all of it is tuned

    def break_it(step, now) -> None:
        if step.number == 2:
            dict(now.hf.named_parameters())[name].data.fill_(math.nan)

    kept: list[bytes] = []
    options = {**constant, "steps": 3 if last else 6}
    callbacks = TrainingCallbacks(on_step=break_it, save=kept.append, save_every=1)
    broken = fine_tune(model, CHOSEN, LESSONS, **options, callbacks=callbacks)
    assert (broken.history.ended, broken.history.kept, len(broken.history.steps)) == ("not_finite", 2, 3)
    assert same(broken, fine_tune(model, CHOSEN, LESSONS, **two_steps))
    assert len(kept) == 2, "no checkpoint of weights that give no number"


def test_a_full_fine_tuning_that_breaks_ends_where_it_began():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    options: dict[str, Any] = {"steps": 5, "learning_rate": 1e30, "batch_size": 7, "warmup": 0.0}
    broken = fine_tune(model, [], LESSONS, **options, tuner="full")
    assert (broken.history.ended, broken.history.kept) == ("not_finite", 0)
    assert all(torch.equal(weights_of(model)[name], weight) for name, weight in weights_of(broken.model).items())


def test_a_model_that_gives_no_number_to_begin_with_is_refused():
    model = tiny_model("LlamaForCausalLM", torch.float32)
    with torch.no_grad():
        dict(model.hf.named_parameters())["model.layers.0.mlp.up_proj.weight"][0, 0] = math.nan
    with pytest.raises(Refusal, match="before any step") as refused:
        fine_tune(model, CHOSEN, LESSONS, **QUICK)
    assert refused.value.code == "not_finite"


CHILD = """
import os, sys, time
sys.path.insert(0, {here!r})
import torch
from tiny import tiny_model
from tuning_cases import CHOSEN, LESSONS
from arithmoscope import TrainingCallbacks, fine_tune
from test_tuning_resume import LONG
torch.set_num_threads(1)
def save(data):
    with open(sys.argv[1] + ".new", "wb") as out:
        out.write(data)
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(60)  # it is killed in here
callbacks = TrainingCallbacks(save=save, save_every=4)
fine_tune(tiny_model("LlamaForCausalLM", torch.float32), CHOSEN, LESSONS, **LONG, callbacks=callbacks)
"""


def test_a_process_that_was_killed_is_taken_up_by_another_one_to_the_same_bits(tmp_path: Path):
    file = tmp_path / "checkpoint"
    folder = str(Path(__file__).parent)
    root = Path(__file__).parent.parent.parent
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD.format(here=folder), str(file)], cwd=root)
    try:
        end = time.monotonic() + 200
        while not file.exists() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    model = tiny_model("LlamaForCausalLM", torch.float32)
    resumed = fine_tune(model, CHOSEN, LESSONS, **LONG, resume=file.read_bytes())
    assert same(resumed, fine_tune(model, CHOSEN, LESSONS, **LONG))
