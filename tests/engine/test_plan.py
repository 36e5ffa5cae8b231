"""Memory plans: budgets are respected, out-of-memory errors halve the plan, and a resumed experiment keeps its own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_run import MANY, ObservedRun, spec_of
from tiny import CONFIGS, PAIRS, tiny_model

from arithmoscope import path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.batching import Plan, Shape, bytes_of, is_out_of_memory, plan_for, retry_on_oom
from arithmoscope.engine.interventions import patching
from arithmoscope.engine.methods import path_patching as method

SHAPE = Shape("through_mlps", length=10, positions=1, pairs=64)


def test_a_plan_is_the_same_on_every_machine_with_ample_memory():
    model = tiny_model("LlamaForCausalLM")
    assert plan_for(model, SHAPE, 2**32) == plan_for(model, SHAPE, 2**40)


@pytest.mark.parametrize("effect", ["direct", "through_mlps", "total"])
@pytest.mark.parametrize("budget", [2**20, 2**21, 2**23, 2**26, 2**30])
def test_a_plan_keeps_to_its_budget_by_its_own_count(effect, budget):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    shape = Shape(effect, length=20, positions=20 if effect == "total" else 1, pairs=512, probability=True)
    assert sum(bytes_of(model, shape, plan_for(model, shape, budget)).values()) <= budget


def test_an_impossible_memory_budget_is_refused_with_the_required_and_allowed_bytes():
    with pytest.raises(Refusal, match=r"need [\d,]+ bytes beyond the model; the budget is 1,000") as refused:
        path_patching(tiny_model("LlamaForCausalLM"), PAIRS, memory=1000)
    assert refused.value.code == "out_of_memory"


@pytest.mark.parametrize(("effect", "positions"), [("direct", "end"), ("through_mlps", "end"), ("total", "all")])
@pytest.mark.parametrize(
    "architecture",
    ["LlamaForCausalLM", "GPTNeoXForCausalLM", "Gemma2ForCausalLM"],
)
@pytest.mark.parametrize("plan", [Plan(1, 1, 1, 1), Plan(2, 3, 5, 7), Plan(4, 1_000, 1, 30)], ids=str)
def test_however_small_the_plan_the_effects_are_the_same(architecture, effect, positions, plan, monkeypatch):
    model = tiny_model(architecture)
    pairs = [PAIRS[0], PAIRS[1], PAIRS[2], PAIRS[5]]
    settings = {"effect": effect, "positions": positions, "probability": True}
    whole = path_patching(model, pairs, **settings)
    monkeypatch.setattr(method, "plan_for", lambda *_: plan)
    pieces = path_patching(model, pairs, **settings)
    for field in dataclasses.fields(whole):
        was, now = getattr(whole, field.name), getattr(pieces, field.name)
        if isinstance(was, torch.Tensor) and was.is_floating_point():
            torch.testing.assert_close(now, was, atol=1e-9, rtol=0)
        elif isinstance(was, torch.Tensor):
            assert torch.equal(now, was)


def test_progress_of_a_cut_measurement_grows_up_to_its_total(monkeypatch):
    monkeypatch.setattr(method, "plan_for", lambda *_: Plan(2, 3, 64, 64))
    seen = []
    path_patching(
        tiny_model("LlamaForCausalLM"), PAIRS, effect="total", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (9, 9)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_running_out_of_memory_halves_the_plan_until_it_fits(error):
    tried = []

    def run(plan):
        tried.append(plan)
        if plan.pairs > 2:
            raise error
        return "done"

    assert retry_on_oom(Plan(16, 300, 2048, 8192), run) == ("done", Plan(2, 37, 256, 1024))
    assert [plan.pairs for plan in tried] == [16, 8, 4, 2]


def test_when_nothing_is_left_to_halve_it_is_refused_and_other_errors_pass():
    def full(plan):
        raise MemoryError

    with pytest.raises(Refusal) as refused:
        retry_on_oom(Plan(4, 4, 4, 4), full)
    assert refused.value.code == "out_of_memory"

    def broken(plan):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        retry_on_oom(Plan(4, 4, 4, 4), broken)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def running_out(monkeypatch, times):
    """Raises out-of-memory in the middle of the next ``times`` waves."""
    left = [times]
    carry = patching.carry

    def failing(*args, **kwargs):
        if left[0] > 0:
            left[0] -= 1
            raise MemoryError
        return carry(*args, **kwargs)

    monkeypatch.setattr(patching, "carry", failing)


def test_effects_after_an_out_of_memory_error_are_the_same(monkeypatch):
    model = tiny_model("LlamaForCausalLM")
    whole = path_patching(model, PAIRS)
    running_out(monkeypatch, 2)
    torch.testing.assert_close(path_patching(model, PAIRS).heads, whole.heads, atol=1e-9, rtol=0)


@pytest.mark.parametrize("source", ["counterfactual", "mean"])
def test_a_resumed_experiment_keeps_the_plan_that_memory_forced_on_it(monkeypatch, source):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    spec = spec_of({"source": "custom", "shots": 0, "pairs": MANY}, source=source)
    with monkeypatch.context() as patch:
        running_out(patch, 1)
        whole = ObservedRun()
        undisturbed = whole.run(model, spec)
    with monkeypatch.context() as patch:
        running_out(patch, 1)
        stopped = ObservedRun(stop_after=6 + (source == "mean"))  # computing the means checks once
        stopped.run(model, spec)
    resumed = ObservedRun()  # memory is ample now: a new plan would be larger
    output = resumed.run(model, spec, stopped.chunks)
    assert undisturbed is not None
    assert output is not None
    assert list(resumed.chunks) == [1, 2]
    for number in (1, 2):
        assert resumed.chunks[number] == whole.chunks[number]
    assert output.artifacts["components.logit.csv"] == undisturbed.artifacts["components.logit.csv"]


MEASURED = """
import sys, threading, time
import psutil, torch, transformers
sys.path.insert(0, {here!r})
from tiny import PAIRS, tiny_model
from arithmoscope import path_patching

sizes = dict(hidden_size=256, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2, intermediate_size=1024)
model = tiny_model("LlamaForCausalLM", torch.float32, config=lambda: transformers.LlamaConfig(vocab_size=64, **sizes))
pairs = [pair for pair in PAIRS if pair is not PAIRS[4]] * 6
settings = dict(effect={effect!r}, positions={positions!r})
path_patching(model, pairs[:5], **settings)
process, peak, done = psutil.Process(), [0], threading.Event()
before = process.memory_info().rss

def sample():
    while not done.is_set():
        peak[0] = max(peak[0], process.memory_info().rss - before)
        time.sleep(0.001)

thread = threading.Thread(target=sample)
thread.start()
path_patching(model, pairs, memory={budget}, **settings)
done.set()
thread.join()
print(peak[0])
"""


@pytest.mark.parametrize(
    ("effect", "positions"),
    [
        ("total", "all"),
        *(pytest.param(effect, "end", marks=pytest.mark.slow) for effect in ("direct", "through_mlps")),
    ],
)
def test_the_peak_of_a_process_stays_within_the_budget(effect, positions):
    budget = 24 * 2**20
    folder = str(Path(__file__).parent)
    program = MEASURED.format(here=folder, effect=effect, positions=positions, budget=budget)
    # Freed memory goes back to the system at once, so that the peak counts memory in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert 0 < int(done.stdout) <= budget


def test_chunks_of_another_precision_are_computed_again():
    spec = spec_of({"source": "custom", "shots": 0, "pairs": MANY[:3]}, source="counterfactual")
    narrow, wide = ObservedRun(), ObservedRun()
    narrow.run(tiny_model("LlamaForCausalLM", torch.float32), spec)
    wide.run(tiny_model("LlamaForCausalLM", torch.float64), spec, narrow.chunks)
    assert list(wide.chunks) == [0]


def test_a_kept_plan_is_gone_on_with_however_little_is_free_now(monkeypatch):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    spec = spec_of({"source": "custom", "shots": 0, "pairs": MANY}, source="counterfactual")
    stopped = ObservedRun(stop_after=6)
    stopped.run(model, spec)
    monkeypatch.setattr("arithmoscope.engine.forward.batching.free_bytes", lambda _device: 1000)
    assert ObservedRun().run(model, spec, stopped.chunks) is not None
    with pytest.raises(Refusal, match="bytes beyond the model"):
        ObservedRun().run(model, spec)


def test_a_cpu_exceeds_its_preferred_batch_memory_if_a_single_prompt_needs_it(monkeypatch):
    model = tiny_model("LlamaForCausalLM", torch.float32)
    monkeypatch.setattr("arithmoscope.engine.forward.batching._CPU_BYTES", 1000)
    assert path_patching(model, PAIRS[:1]).heads.any()


def test_every_family_has_a_plan():
    for architecture in CONFIGS:
        assert plan_for(tiny_model(architecture), SHAPE, 2**30).pairs == 64
