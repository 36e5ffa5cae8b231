"""Every token has exactly one role."""

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.prompts import encode_pair
from arithmoscope.prompts.language.arithmetic import read
from arithmoscope.prompts.language.roles import counterfactual_spans, role_of


def roles(pair: PromptPair, tokenizer: Tokenizer) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(token, role) of reference and counterfactual, without what is "other"."""
    encoded = encode_pair(pair, tokenizer)
    both = encoded.reference_tokens, encoded.counterfactual_tokens
    reference, counterfactual = ([(t.text.strip(), t.role) for t in side if t.role != "other"] for side in both)
    return reference, counterfactual


def test_a_sum_with_an_example(tokenizer: Tokenizer):
    reference, counterfactual = roles(PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 =", "8"), tokenizer)
    examples = [("2", "first"), ("+", "shot"), ("", "shot"), ("3", "shot"), ("=", "shot"), ("", "shot"), ("5", "shot")]
    question = [("3", "operand_a"), ("+", "operator"), ("5", "operand_b"), ("=", "equals")]
    assert reference == [*examples, ("", "shot"), *question]
    question[1] = ("@", "operator")
    assert counterfactual == [*examples, ("", "shot"), *question]


def test_the_first_token_has_the_role_first_for_any_text(vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("3 + 5 =", "3 @ 5 =", "8")
    assert roles(pair, vocabularies["digits_and_bare_spaces"])[0][0] == ("3", "first")
    assert roles(pair, vocabularies["metaspace_with_bos"])[0][:2] == [("<s>", "first"), ("3", "operand_a")]


@pytest.mark.parametrize(
    ("reference", "counterfactual", "operator"),
    [
        ("3 plus 5 is", "3 none 5 is", ["none"]),
        ("3 plus 5 is", "3 nothing at all 5 is", ["nothing at all"]),
        ("The sum of 3 and 5 is", "The none of 3 and 5 is", ["none"]),
        ("Subtract 3 from 5 =", "none 3 from 5 =", ["none"]),
        ("3 multiplied by 5 is", "3 none 5 is", ["none"]),
        ("3 + 3 + 3 =", "3 @ 3 @ 3 =", ["@", "@"]),
        ("3+5=", "3<5=", ["<"]),
        ("Q: What is the sum of 3 and 5?\nA:", "Q: What is the none of 3 and 5?\nA:", ["none"]),
        ("3 + 5 =", "3 * 5 =", ["*"]),
        ("3 + 5 =", "hello", []),
        ("3 + 5 =", "3 @ 6 =", []),
        ("3 + 5 =", "", []),
        ("hello", "3 @ 5 =", []),
        ("hello", "3 + 5 =", ["+"]),
    ],
)
def test_the_text_at_the_position_of_the_operator_has_the_operator_role(
    reference: str, counterfactual: str, operator: list[str]
):
    spans = counterfactual_spans(PromptPair(reference, counterfactual, "8"), read(reference))
    assert [counterfactual[slice(*span)] for span, role in spans if role == "operator"] == operator


def test_all_operands_after_the_first_are_the_second(vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("3 + 5 + 1 =", "3 @ 5 @ 1 =", "9")
    reference, counterfactual = roles(pair, vocabularies["metaspace_with_bos"])
    parts = ["first", "operand_a", "operator", "operand_b", "operator", "operand_b", "equals"]
    assert [role for _, role in reference] == [role for _, role in counterfactual] == parts


def test_a_counterfactual_of_another_length_keeps_its_roles(vocabularies: dict[str, Tokenizer]):
    pair = PromptPair("3 multiplied by 2 is", "3 none 2 is", "6")
    _, counterfactual = roles(pair, vocabularies["metaspace_with_bos"])
    assert [role for _, role in counterfactual if role != "operator"] == ["first", "operand_a", "operand_b", "equals"]


@pytest.mark.parametrize(
    ("token", "role"),
    [((0, 1), "operand_a"), ((0, 3), "operand_a"), ((1, 5), "operator"), ((4, 7), "operator"), ((8, 9), "other")],
)
def test_a_token_over_two_parts_plays_the_larger(token: tuple[int, int], role: str):
    prompt = "22 ++ 3  "
    assert role_of(prompt, token, [((0, 2), "operand_a"), ((3, 5), "operator"), ((6, 7), "operand_b")]) == role


def test_an_unreadable_prompt_has_examples_and_the_rest(tokenizer: Tokenizer):
    encoded = encode_pair(PromptPair("a b\nhello you", "a b\nhello none", "8"), tokenizer)
    assert {token.role for token in encoded.reference_tokens} == {"first", "shot", "other"}
