"""When memory runs out late, earlier measurements are kept, and progress does not go back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import PAIRS, tiny_model

from arithmoscope import attribution, edges, stream
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.interventions import gradient_estimates
from arithmoscope.engine.methods import attribution as attribution_module
from arithmoscope.engine.methods import edges as edges_module
from arithmoscope.engine.methods import stream as stream_module

EQUAL = [PAIRS[0], PAIRS[1], PAIRS[5], PAIRS[2]]  # three of one length, and a shorter one


def test_running_out_in_the_last_group_leaves_the_first_as_it_was_measured():
    seen: list[tuple[list[int], int]] = []

    def measure(rows, plan):
        chunk = list(rows[: plan.pairs])
        if 4 in chunk and len(chunk) > 1:
            raise MemoryError
        seen.append((chunk, plan.pairs))
        return len(chunk)

    plan = run_in_chunks([[0, 1], [2, 3, 4, 5, 6, 7]], Plan(4, 8, 8, 8), measure)
    # 4 runs alone; later rows keep the plan that worked for it.
    assert seen == [([0, 1], 4), ([2, 3], 2), ([4], 1), ([5], 1), ([6], 1), ([7], 1)]
    assert plan == Plan(1, 2, 2, 2)


def failing_once(monkeypatch, module, name, call, middle=False, method=None):
    """Makes one ``call`` of a function run out of memory, or fail after its first results; returns the rows of each
    call. ``method``: the module that plans, if it is another one."""
    sizes: list[int] = []
    own = getattr(module, name)

    def counted(model: Any, encoded: Any, *rest: Any) -> Any:
        sizes.append(len(encoded))
        if len(sizes) == call:
            raise MemoryError
        return own(model, encoded, *rest)

    def in_the_middle(model: Any, encoded: Any, firsts: Any, rows: Any, *rest: Any) -> Any:
        sizes.append(len(rows))
        here = len(sizes)
        for more in own(model, encoded, firsts, rows, *rest):
            yield more
            if here == call:
                raise MemoryError

    monkeypatch.setattr(module, name, in_the_middle if middle else counted)
    monkeypatch.setattr(method or module, "plan_for", lambda *_: Plan(pairs=2, components=64, rows=64, tokens=64))
    return sizes


def measured(method, **settings):
    seen: list[tuple[int, int]] = []
    result = method(tiny_model("LlamaForCausalLM"), EQUAL, progress=lambda *at: seen.append(at), **settings)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    return result


def test_stream_goes_on_where_memory_ran_out_and_its_progress_waits(monkeypatch):
    whole = measured(stream)
    sizes = failing_once(monkeypatch, stream_module, "_measure", 2, middle=True)
    torch.testing.assert_close(measured(stream).effects, whole.effects, atol=1e-9, rtol=0, equal_nan=True)
    assert sizes == [2, 1, 1, 1]


def test_attribution_goes_on_where_memory_ran_out(monkeypatch):
    whole = measured(attribution)
    sizes = failing_once(monkeypatch, gradient_estimates, "_estimate_batch", 3, method=attribution_module)
    torch.testing.assert_close(measured(attribution).heads, whole.heads, atol=1e-9, rtol=0)
    assert sizes == [2, 1, 1, 1]


@pytest.mark.parametrize("call", [3, 6], ids=["while all edges are found", "while the first are verified"])
def test_edges_go_on_where_memory_ran_out(monkeypatch, call):
    whole = measured(edges, top=5)
    sizes = failing_once(monkeypatch, edges_module, "PairGroup", call)
    result = measured(edges, top=5)
    torch.testing.assert_close(result.directs, whole.directs, atol=1e-9, rtol=0)
    torch.testing.assert_close(result.effects, whole.effects, atol=1e-9, rtol=0)
    assert sizes == {3: [2, 1, 1, 1, 1, 1, 1, 1], 6: [2, 1, 1, 2, 1, 1, 1]}[call]


def test_edges_that_do_not_fit_into_memory_are_refused_with_both_numbers(monkeypatch):
    model = tiny_model("LlamaForCausalLM")
    needed = 3 * len(EQUAL) * 8 * 15 * 8  # three tables, 8 receivers, 15 senders, 8 bytes a number
    monkeypatch.setattr(edges_module, "budget_of", lambda _model: needed - 1)
    with pytest.raises(
        Refusal, match=f"needs {needed:,} bytes beyond the model; the budget is {needed - 1:,}"
    ) as refused:
        edges(model, EQUAL)
    assert refused.value.code == "out_of_memory"
    assert "fewer receivers" in refused.value.way_out
    monkeypatch.setattr(edges_module, "budget_of", lambda _model: needed)
    assert len(edges(model, EQUAL, top=0)) == len(EQUAL)
