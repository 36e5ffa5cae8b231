"""The demo model's real tokenizer, as the package `prompts` reads it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import DEMO_ID, default_models_dir
from arithmoscope.prompts import encode_pair, generate, number_token_values


@pytest.fixture(scope="module")
def tokenizer():
    catalogue = Catalogue(default_models_dir())
    catalogue.fetch(DEMO_ID)
    return Tokenizer.from_str(catalogue.tokenizer_json(DEMO_ID) or "")


def test_a_spaced_prompt_ends_with_the_bare_space_before_the_digit(tokenizer):
    encoded = encode_pair(PromptPair("3 + 5 =", "3 @ 5 =", "8"), tokenizer)
    assert [token.text for token in encoded.reference_tokens] == ["3", " +", " ", "5", " =", " "]
    assert encoded.answer_text == "8"


def test_a_compact_prompt_ends_at_the_sign_and_a_word_takes_its_space_along(tokenizer):
    assert [t.text for t in encode_pair(PromptPair("3+5=", "3@5=", "8"), tokenizer).reference_tokens][-1] == "="
    words = encode_pair(PromptPair("three plus five equals", "three none five equals", "eight"), tokenizer)
    assert words.reference_tokens[-1].text == " equals"
    assert words.answer_text == " eight"


def test_the_templates_offer_all_one_digit_sums_but_the_two_shots(tokenizer):
    pairs = generate(operands=(0, 9), pairs=100, tokenizer=tokenizer)
    assert len({pair.reference for pair in pairs}) == 53


def test_digits_are_single_tokens_and_numbers_have_their_value(tokenizer):
    values = number_token_values(tokenizer)
    assert {values[tokenizer.token_to_id(digit)] for digit in "0123456789"} == set(range(10))
