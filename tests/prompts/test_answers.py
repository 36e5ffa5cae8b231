"""Answers of several tokens: refused, measured at the first token, or at each token given those before it."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_PAIRS, CustomPrompts, Preview, PromptPair, TemplatePrompts
from arithmoscope.prompts import EncodedPair, encode_pair, prepare, preview
from arithmoscope.prompts.tokens.encoded import can_answer, encode_answer
from arithmoscope.prompts.tokens.tokenization import pieces_of


def custom(*pairs: str, **changes: Any) -> CustomPrompts:
    return CustomPrompts.model_validate(
        {"source": "custom", "shots": 0, "pairs": [{"reference": p} for p in pairs], **changes}
    )


PAIR = PromptPair("2 + 3 = 5\n57 + 68 =", "2 + 3 = 5\n57 @ 68 =", "125")


def test_an_answer_by_its_digits_worked_by_hand(tokenizer: Tokenizer):
    with pytest.raises(Refusal) as refused:
        encode_answer(PAIR, tokenizer, tokens="whole")
    assert refused.value.code == "answer_several_tokens"
    (first,) = encode_answer(PAIR, tokenizer, tokens="first", index=4)
    assert (first.answer_text, first.place, first.places, first.index) == ("1", 0, 3, 4)
    each = encode_answer(PAIR, tokenizer, tokens="each", index=4)
    assert [(pair.answer_text, pair.place, pair.places, pair.index) for pair in each] == [
        ("1", 0, 3, 4),
        ("2", 1, 3, 4),
        ("5", 2, 3, 4),
    ]
    assert each[0] == first
    assert ["".join(token.text for token in pair.counterfactual_tokens) for pair in each] == [
        "2 + 3 = 5\n57 @ 68 = ",
        "2 + 3 = 5\n57 @ 68 = 1",
        "2 + 3 = 5\n57 @ 68 = 12",
    ]
    assert {pair.question for pair in each} == {"57 + 68 ="}
    assert [token.role for token in each[2].reference_tokens[-4:]] == ["equals", "other", "other", "other"]


@given(a=st.integers(0, 9_999), b=st.integers(0, 9_999), sign=st.sampled_from(["+", "*"]))
def test_prompt_and_answer_are_the_tokens_of_the_whole_text(
    a: int, b: int, sign: str, vocabularies: dict[str, Tokenizer]
):
    answer = a + b if sign == "+" else a * b
    for name, tokenizer in vocabularies.items():
        pair = PromptPair(f"{a} {sign} {b} =", f"{a} @ {b} =", str(answer))
        if name in ("unigram_with_eos", "whole_words"):  # they lack most numbers
            continue
        each = encode_answer(pair, tokenizer, tokens="each")
        pieces = [piece for piece in pieces_of(f"{pair.reference} {answer}", tokenizer) if piece.text != "</s>"]
        assert [*each[-1].reference_ids, each[-1].answer_id] == [piece.id for piece in pieces]
        assert [pair.place for pair in each] == list(range(each[0].places))
        for before, after in itertools.pairwise(each):
            assert after.reference_ids == (*before.reference_ids, before.answer_id)
            assert after.counterfactual_ids == (*before.counterfactual_ids, before.answer_id)
        assert each[:1] == encode_answer(pair, tokenizer, tokens="first")
        if len(each) == 1:
            assert each[0] == encode_pair(pair, tokenizer)


def test_a_set_measured_at_each_token_keeps_its_questions_apart(tokenizer: Tokenizer):
    spec = custom("57 + 68 =", "3 + 5 =", "99 + 1 =", answer="each", shots=1)
    prompts = prepare(spec, tokenizer)
    assert [(pair.index, pair.place) for pair in prompts.pairs] == [
        (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2),
    ]  # fmt: skip
    assert prompts.n_distinct == len({pair.question for pair in prompts.pairs}) == 3
    assert [pair.index for pair in prepare(custom("57 + 68 =", "3 + 5 =", answer="first"), tokenizer).pairs] == [0, 1]


def test_a_preview_shows_every_token_of_an_answer(tokenizer: Tokenizer):
    prompts = custom("57 + 68 =", "3 + 5 =", answer="each")
    previewed = preview(prompts, tokenizer)
    assert Preview.model_validate_json(previewed.model_dump_json()) == previewed
    prepared = prepare(prompts, tokenizer).pairs
    assert [(item.place, item.places, item.answer_id) for item in previewed.items] == [
        (pair.place, pair.places, pair.answer_id) for pair in prepared
    ]
    assert [item.reference for item in previewed.items] == [pair.reference_tokens for pair in prepared]
    assert [item.answer for item in previewed.items] == ["125"] * 3 + ["8"]


def test_templates_measured_at_the_first_token_have_answers_of_any_length(tokenizer: Tokenizer):
    spec = TemplatePrompts(source="template", operands=(10, 99), pairs=200, answer="first")
    prompts = prepare(spec, tokenizer)
    assert prompts.n_distinct == 90 * 90
    assert {pair.places for pair in prompts.pairs} == {2, 3}
    assert all(pair.pair.answer.startswith(pair.answer_text) for pair in prompts.pairs)
    assert len(preview(spec, tokenizer).items) == 64
    each = prepare(spec.model_copy(update={"answer": "each"}), tokenizer)
    assert sum(pair.places for pair in prompts.pairs) == len(each.pairs)
    assert [pair for pair in each.pairs if pair.place == 0] == list(prompts.pairs)


def test_more_pairs_than_a_set_may_have_are_refused(tokenizer: Tokenizer):
    prompts = TemplatePrompts(source="template", operands=(1_000, 9_999), pairs=MAX_PAIRS // 3, answer="each")
    with pytest.raises(Refusal) as refused:
        prepare(prompts, tokenizer)
    assert refused.value.code == "impossible_options"
    assert str(MAX_PAIRS) in refused.value.detail


def test_too_many_pairs_are_refused_before_the_rest_of_them_is_made(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
):
    encoded: list[PromptPair] = []

    def counted(pair: PromptPair, *rest: Any) -> Sequence[EncodedPair]:
        encoded.append(pair)
        return encode_answer(pair, *rest)

    monkeypatch.setattr("arithmoscope.prompts.sets.prompt_sets.MAX_PAIRS", 5)
    monkeypatch.setattr("arithmoscope.prompts.sets.prompt_sets.encode_answer", counted)
    with pytest.raises(Refusal):
        prepare(custom(*["57 + 68 ="] * 9, answer="each"), tokenizer)
    assert len(encoded) == 2


def test_an_answer_that_is_another_token_after_the_counterfactual_is_refused(vocabularies: dict[str, Tokenizer]):
    tokenizer = vocabularies["spaced_numbers"]
    odd = PromptPair("3+5=", "The war lasted from 1723 to 172", "8")
    with pytest.raises(Refusal) as refused:
        encode_answer(odd, tokenizer, tokens="each")
    assert refused.value.code == "answer_not_a_token"
    assert not can_answer(odd, tokenizer, tokens="each")
    assert can_answer(PromptPair("3+5=", "3@5=", "8"), tokenizer, tokens="each")


@pytest.mark.parametrize("reference", ["", "hello", "8 + "])
def test_what_cannot_run_is_told_in_the_preview(reference: str, tokenizer: Tokenizer):
    (item,) = preview(custom(reference, answer="each"), tokenizer).items
    assert item.problem is not None
    assert (item.place, item.places) == (0, 1)
