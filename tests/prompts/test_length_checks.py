"""Prompts that are patched position by position have equal lengths."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts
from arithmoscope.contracts.terms import Positions, Source
from arithmoscope.prompts import EncodedPair, prepare, refuse_unequal_lengths

ALIKE = CustomPair(reference="3 + 5 =")
LONGER = CustomPair(reference="2 + 2 =", counterfactual="2 @ @ 2 =")


def encoded(tokenizer: Tokenizer, *pairs: CustomPair) -> tuple[EncodedPair, ...]:
    return prepare(CustomPrompts(source="custom", shots=0, pairs=pairs), tokenizer).pairs


def test_the_first_pair_of_unequal_lengths_is_named_with_both_counts(tokenizer: Tokenizer):
    pairs = encoded(tokenizer, ALIKE, LONGER)
    with pytest.raises(Refusal, match="Pair 2") as refused:
        refuse_unequal_lengths(pairs, "all", "counterfactual")
    assert refused.value.code == "lengths_differ"
    for ids in (pairs[1].reference_ids, pairs[1].counterfactual_ids):
        assert str(len(ids)) in refused.value.detail


@pytest.mark.parametrize(("positions", "source"), [("end", "counterfactual"), ("all", "zero")])
def test_lengths_matter_only_where_positions_are_matched(tokenizer: Tokenizer, positions: Positions, source: Source):
    refuse_unequal_lengths(encoded(tokenizer, LONGER), positions, source)


def test_the_usual_counterfactual_has_as_many_tokens(tokenizer: Tokenizer):
    refuse_unequal_lengths(encoded(tokenizer, ALIKE), "all", "counterfactual")
