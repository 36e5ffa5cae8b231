"""The prompt ends just before the answer's first token, for every tokenizer's treatment of spaces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from vocabularies import digits_and_bare_spaces

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompt_terms import MAX_PROMPT_TOKENS
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts import encode_pair, number_token_values, number_word_values
from arithmoscope.prompts.tokens.encoded import answer_space, prompt_tokens
from tests.tables import table

SUM = PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 =", "8")


def refusal_of(pair: PromptPair, tokenizer: Tokenizer) -> str:
    with pytest.raises(Refusal) as caught:
        encode_pair(pair, tokenizer)
    return caught.value.code


def test_a_bare_space_token_belongs_to_the_prompt(tokenizer: Tokenizer):
    encoded = encode_pair(SUM, tokenizer)
    assert [token.text for token in encoded.reference_tokens][-2:] == [" =", " "]
    assert encoded.answer_text == "8"
    assert encoded.answer_id == tokenizer.token_to_id("8")


@pytest.mark.parametrize("name", ["spaced_numbers", "spaced_numbers_trimmed"])
def test_a_space_that_is_part_of_the_answer_token_does_not(name: str, vocabularies: dict[str, Tokenizer]):
    encoded = encode_pair(SUM, vocabularies[name])
    assert encoded.reference_tokens[-1].text == " ="
    assert encoded.answer_text == " 8"
    assert encoded.answer_id == vocabularies[name].token_to_id("Ġ8")


def test_a_beginning_of_sequence_token_comes_first(vocabularies: dict[str, Tokenizer]):
    encoded = encode_pair(SUM, vocabularies["metaspace_with_bos"])
    assert (encoded.reference_tokens[0].text, encoded.reference_tokens[0].role) == ("<s>", "first")
    assert encoded.answer_text == "8"


def test_an_end_of_sequence_token_is_left_out(vocabularies: dict[str, Tokenizer]):
    tokenizer = vocabularies["unigram_with_eos"]
    encoded = encode_pair(SUM, tokenizer)
    assert tokenizer.token_to_id("</s>") not in encoded.reference_ids
    assert encoded.answer_text == "8"


def test_prompt_and_answer_are_the_tokens_of_the_text_read_as_one(any_tokenizer: Tokenizer):
    encoded = encode_pair(SUM, any_tokenizer)
    for prompt, ids in ((SUM.reference, encoded.reference_ids), (SUM.counterfactual, encoded.counterfactual_ids)):
        whole = any_tokenizer.encode(f"{prompt} 8").ids
        assert tuple(whole[: len(ids) + 1]) == (*ids, encoded.answer_id)


def test_tokens_show_the_prompt_as_it_was_typed(any_tokenizer: Tokenizer):
    encoded = encode_pair(SUM, any_tokenizer)
    text = "".join(token.text for token in encoded.reference_tokens if token.text != "<s>")
    assert text.strip() == SUM.reference
    assert [token.id for token in encoded.reference_tokens] == list(encoded.reference_ids)
    assert [token.id for token in encoded.counterfactual_tokens] == list(encoded.counterfactual_ids)


def test_the_question_is_the_last_one_of_the_reference(tokenizer: Tokenizer):
    assert encode_pair(SUM, tokenizer).question == "3 + 5 ="


@pytest.mark.parametrize(
    ("prompt", "answer", "space"),
    [
        ("3 + 5 =", "8", " "),
        ("3 + 5 =", " 8", " "),
        ("3 + 5 =", "\n8", "\n"),
        ("3 + 5 = ", "8", " "),
        ("3 + 5 =\n", "8", "\n"),
        ("3+5=", "8", ""),
        ("3+5=", " 8", " "),
        ("from 1723 to 172", "8", ""),
        ("What is 3 + 5", "8", " "),
        ("Subtract three from 5", "2", " "),
        ("three plus five is", "eight", " "),
        ("the answer is 4 or", "8", " "),
        ("room 4", "eight", " "),
        ("=", "8", " "),
    ],
)
def test_the_space_before_the_answer_follows_what_was_typed(prompt: str, answer: str, space: str):
    assert answer_space(prompt, answer) == space


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (PromptPair("3 + 5 =", "3 @ 5 =", "8"), PromptPair("3 + 5 = ", "3 @ 5 = ", "8")),
        (PromptPair("3 + 5 =", "3 @ 5 =", "8"), PromptPair("3 + 5 =", "3 @ 5 =", " 8")),
        (PromptPair("3 + 5 =", "3 @ 5 =", "8"), PromptPair("3 + 5 =", "3 @ 5 = ", "8 ")),
        (PromptPair("3 + 5 = ", "3 @ 5 =", "8"), PromptPair("3 + 5 =", "3 @ 5 =", "8")),
    ],
)
def test_the_same_text_cut_elsewhere_is_the_same_pair(first: PromptPair, second: PromptPair, any_tokenizer: Tokenizer):
    one, other = encode_pair(first, any_tokenizer), encode_pair(second, any_tokenizer)
    assert one.reference_ids == other.reference_ids
    assert one.counterfactual_ids == other.counterfactual_ids
    assert one.answer_id == other.answer_id


def test_a_year_is_completed_digit_by_digit(tokenizer: Tokenizer):
    pair = PromptPair("The war lasted 5 years from 1723 to 172", "The war lasted none years from 1723 to 172", "8")
    encoded = encode_pair(pair, tokenizer)
    assert [token.text for token in encoded.reference_tokens][-3:] == ["1", "7", "2"]
    assert encoded.answer_text == "8"


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (PromptPair("", "3 @ 5 =", "8"), "empty_prompt"),
        (PromptPair(" \n", "3 @ 5 =", "8"), "empty_prompt"),
        (PromptPair("3 + 5 =", "", "8"), "empty_prompt"),
        (PromptPair("\ud83d\n3 + 5 =", "3 @ 5 =", "8"), "bad_request"),
        (PromptPair("3 + 5 =", "3 @ 5 =", ""), "answer_not_a_token"),
        (PromptPair("3 + 5 =", "3 @ 5 =", "  "), "answer_not_a_token"),
        (PromptPair("8 + 5 =", "8 @ 5 =", "13"), "answer_several_tokens"),
        (PromptPair("3 + 5 =", "3 @ 5 =", "8 apples"), "answer_several_tokens"),
        (PromptPair("3 + 5 =", "3 @ 5 =", "😀"), "answer_several_tokens"),
        (PromptPair("3 + " * MAX_PROMPT_TOKENS + "5 =", "3 @ 5 =", "8"), "prompt_too_long"),
        (PromptPair("3 + 5 =", "3 + " * MAX_PROMPT_TOKENS + "5 =", "8"), "prompt_too_long"),
    ],
)
def test_a_pair_without_a_place_for_one_answer_token_is_refused(pair: PromptPair, code: str, tokenizer: Tokenizer):
    assert refusal_of(pair, tokenizer) == code


def test_an_answer_that_begins_inside_a_token_is_refused(vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("from 1723 to 172", "none 1723 to 172", "8")
    assert refusal_of(pair, vocabularies["spaced_numbers"]) == "answer_not_a_token"


def test_a_counterfactual_that_swallows_the_answer_is_refused(vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("3+5=", "The war lasted from 1723 to 172", "8")
    assert refusal_of(pair, vocabularies["spaced_numbers"]) == "answer_not_a_token"


def test_a_counterfactual_after_which_the_answer_is_another_token_is_refused():
    pieces = Tokenizer.from_str(
        '{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},"model":{"type":"WordPiece",'
        '"unk_token":"?","continuing_subword_prefix":"##","max_input_chars_per_word":100,'
        '"vocab":{"?":0,"3":1,"+":2,"5":3,"=":4,"8":5,"##8":6,"is":7}}}'
    )
    assert encode_pair(PromptPair("3+5=", "3=", "8"), pieces).answer_id == 5
    assert refusal_of(PromptPair("3+5=", "is", "8"), pieces) == "answer_not_a_token"


@pytest.mark.parametrize("name", ["whole_words", "unigram_with_eos"])
def test_an_answer_that_the_vocabulary_does_not_know_is_refused(name: str, vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("3 + 5 =", "3 @ 5 =", "😀")
    assert refusal_of(pair, vocabularies[name]) == "answer_not_a_token"


def test_padding_is_no_part_of_the_prompt():
    plain, padded = digits_and_bare_spaces(), digits_and_bare_spaces()
    padded.add_special_tokens(["<pad>"])
    padded.enable_padding(direction="left", length=64, pad_token="<pad>", pad_id=padded.token_to_id("<pad>"))
    assert encode_pair(SUM, padded).reference_ids == encode_pair(SUM, plain).reference_ids


@pytest.mark.parametrize("direction", ["left", "right"])
def test_a_tokeniser_that_cuts_the_prompt_is_refused_rather_than_believed(direction: str):
    tokenizer = digits_and_bare_spaces()
    tokenizer.enable_truncation(10, direction=direction)
    assert refusal_of(SUM, tokenizer) == "prompt_too_long"


HOSTILE = [
    "😀",
    "שלום",
    "\u202e",
    "<img onerror=alert(1)>",
    "</script>",
    "=",
    "=cmd|' /C calc'!A0",
    "\x00",
    "a\u0301",
    "½",
    "日本",
]


@table("text", HOSTILE)
def test_hostile_text_is_only_text(text: str, any_tokenizer: Tokenizer):
    pair = PromptPair(f"{text} is here.\n3 + 5 =", f"{text} is here.\n3 @ 5 =", "8")
    encoded = encode_pair(pair, any_tokenizer)
    assert encoded.question == "3 + 5 ="
    assert "operator" in [token.role for token in encoded.reference_tokens]


@table("text", HOSTILE)
def test_byte_fragments_have_some_text_and_everything_else_its_own(text: str, tokenizer: Tokenizer):
    tokens = prompt_tokens(f"{text} +", tokenizer)
    assert all(token.text for token in tokens)
    whole = "".join(token.text for token in tokens)
    assert "\ufffd" in whole or whole == f"{text} +"


@settings(max_examples=200)
@given(reference=st.text(max_size=60), counterfactual=st.text(max_size=60), answer=st.text(max_size=4))
def test_any_text_is_encoded_or_refused(
    reference: str, counterfactual: str, answer: str, vocabularies: dict[str, Tokenizer]
):
    for tokenizer in vocabularies.values():
        try:
            encoded = encode_pair(PromptPair(reference, counterfactual, answer), tokenizer)
        except Refusal:
            continue
        assert encoded.reference_ids
        assert encoded.counterfactual_ids
        assert len(encoded.reference_tokens) == len(encoded.reference_ids)


def test_number_tokens_are_found_with_and_without_their_space(vocabularies: dict[str, Tokenizer]):
    spaced = vocabularies["spaced_numbers"]
    values = number_token_values(spaced)
    number_values = {text: values.get(token_id) for text, token_id in spaced.get_vocab().items()}
    assert (number_values["8"], number_values["Ġ8"], number_values["Ġ18"], number_values["Ġis"]) == (8, 8, 18, None)
    bare = vocabularies["digits_and_bare_spaces"]
    assert number_token_values(bare) == {bare.token_to_id(str(digit)): digit for digit in range(10)}


def test_only_ascii_digits_are_number_tokens():
    tokenizer = Tokenizer.from_str(
        '{"version":"1.0","added_tokens":[],"model":{"type":"WordLevel","unk_token":"?","vocab":'
        '{"?":0,"7":1,"Ġ07":2,"▁12":3," 5":4,"ĠĠ5":5,"٣":6,"²":7,"-3":8,"1.5":9,"x":10,"":11,"Ġ":12}}}'
    )
    assert number_token_values(tokenizer) == {1: 7, 2: 7, 3: 12, 4: 5}


@pytest.mark.parametrize(
    ("prompt", "answer", "space"),
    [
        ("3 + 5 = ", " 8", " "),
        ("3 + 5 =", " 8", " "),
        ("3 - 5 = -", "2", ""),
        ("= (", "8", ""),
        ("it costs $", "8", ""),
        ('"3+5" -> "', "8", ""),
        ('He said "3 + 5"', "8", " "),
        ("five-", "8", " "),
    ],
)
def test_white_space_is_typed_once_and_never_after_an_opening_sign(prompt, answer, space):
    assert answer_space(prompt, answer) == space


def test_number_words_are_found_whole_and_with_their_value():
    words = Tokenizer(models.WordLevel({"eight": 0, " Nine": 1, "eighteen": 2, "eights": 3, "8": 4}, unk_token="8"))
    assert number_word_values(words) == {0: 8, 1: 9, 2: 18}
