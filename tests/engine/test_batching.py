"""Tests that grouping prompts into batches changes no number."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model

from arithmoscope.engine.forward.activations import end_states, group_prompts

ids = st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple)


@given(st.lists(ids, min_size=1, max_size=12, unique=True))
def test_groups_hold_every_prompt_once_and_only_equal_lengths(prompts):
    groups = group_prompts(prompts)
    assert sorted(p for group in groups for p in group) == sorted(prompts)
    assert all(len({len(p) for p in group}) == 1 for group in groups)


def test_two_wordings_with_long_beginnings_of_their_own_are_run_apart():
    first = [(1,) * 60 + (n,) for n in range(10, 14)]
    second = [(2,) * 60 + (n,) for n in range(10, 14)]
    assert sorted(map(len, group_prompts(first + second))) == [4, 4]


def test_short_prompts_that_differ_at_once_are_run_together():
    assert len(group_prompts([(n, 1, 2) for n in range(20)])) == 1


def test_states_do_not_depend_on_what_else_is_run():
    model = tiny_model("MistralForCausalLM")  # its sliding window is shorter than the shared beginnings
    shared = tuple(range(1, 12))
    prompts = [(*shared, n, 3) for n in range(5)] + [(*shared, 4), (7, 7), shared[:4], (*shared, 2, 3)]
    together = end_states(model, prompts)
    for row, prompt in enumerate(prompts):
        alone = end_states(model, [prompt])
        torch.testing.assert_close(together.final[row], alone.final[0], atol=1e-9, rtol=0)
        torch.testing.assert_close(together.z[row], alone.z[0], atol=1e-9, rtol=0)
