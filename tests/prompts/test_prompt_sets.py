"""A spec becomes encoded pairs, a preview, or a refusal that names the pair."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import CustomPrompts, Preview, TemplatePrompts
from arithmoscope.prompts import PromptPair, generate, prepare
from arithmoscope.prompts.sets.prompt_sets import PREVIEWED_PAIRS, preview


def custom(*pairs: str | dict[str, Any], **changes: Any) -> CustomPrompts:
    listed = [{"reference": pair} if isinstance(pair, str) else pair for pair in pairs]
    return CustomPrompts.model_validate({"source": "custom", "shots": 0, "pairs": listed, **changes})


def only_pair(prompts: CustomPrompts, tokenizer: Tokenizer) -> PromptPair:
    (encoded,) = prepare(prompts, tokenizer).pairs
    return encoded.pair


def refusal_of(prompts: CustomPrompts, tokenizer: Tokenizer) -> Refusal:
    with pytest.raises(Refusal) as caught:
        prepare(prompts, tokenizer)
    return caught.value


def test_a_bare_sum_is_completed(tokenizer: Tokenizer):
    assert only_pair(custom("3 + 5 ="), tokenizer) == PromptPair("3 + 5 =", "3 @ 5 =", "8")


def test_examples_are_put_before_both_prompts(tokenizer: Tokenizer):
    examples = "2 + 3 = 5\n1 + 7 = 8\n"
    expected = PromptPair(f"{examples}3 + 5 =", f"{examples}3 @ 5 =", "8")
    assert only_pair(custom("3 + 5 =", shots=2), tokenizer) == expected


def test_an_explicit_counterfactual_and_answer_are_used_as_given(tokenizer: Tokenizer):
    pair = {"reference": "3 + 5 =", "counterfactual": "3 < 5 =", "answer": "7"}
    assert only_pair(custom(pair), tokenizer) == PromptPair("3 + 5 =", "3 < 5 =", "7")
    previewed = only_pair(custom(pair, shots=1), tokenizer)
    assert previewed == PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 < 5 =", "7")


def test_words_are_answered_in_words(vocabularies: dict[str, Tokenizer]):
    tokenizer = vocabularies["spaced_numbers"]
    prompts = custom("three plus five is")
    assert only_pair(prompts, tokenizer) == PromptPair("three plus five is", "three none five is", "eight")
    assert prepare(prompts, tokenizer).pairs[0].answer_text == " eight"


def test_a_prompt_that_is_no_arithmetic_runs_with_answer_and_counterfactual(tokenizer: Tokenizer):
    war = "The war lasted 5 years from 1723 to 172"
    pair = {"reference": war, "counterfactual": war.replace("5", "none"), "answer": "8"}
    assert only_pair(custom(pair), tokenizer).answer == "8"


@pytest.mark.parametrize(
    ("pair", "shots", "code"),
    [
        ("", 0, "empty_prompt"),
        ("  ", 2, "empty_prompt"),
        ("hello", 0, "no_arithmetic"),
        ("hello", 2, "no_arithmetic"),
        ({"reference": "hello", "counterfactual": "none"}, 0, "no_arithmetic"),
        ({"reference": "hello", "answer": "8"}, 0, "no_counterfactual"),
        ({"reference": "hello", "answer": "8", "counterfactual": "none"}, 1, "no_arithmetic"),
        ({"reference": "3 + 5 =", "counterfactual": " "}, 2, "empty_prompt"),
        ({"reference": "3 + 5 =", "answer": ""}, 0, "answer_not_a_token"),
        ("8 + 5 =", 0, "answer_several_tokens"),
        ("3 - 5 =", 0, "answer_several_tokens"),
        ("7 / 2 =", 0, "no_arithmetic"),
    ],
)
def test_a_pair_that_cannot_run_is_refused_by_its_number(
    pair: str | dict[str, str], shots: int, code: str, tokenizer: Tokenizer
):
    refusal = refusal_of(custom("3 + 5 =", pair, shots=shots), tokenizer)
    assert refusal.code == code
    assert refusal.detail.startswith("Pair 2: ")
    assert refusal.way_out


def test_a_sum_without_such_a_counterfactual_is_refused(tokenizer: Tokenizer):
    assert refusal_of(custom("0 + 0 =", corruption="operator_swap"), tokenizer).code == "no_counterfactual"


def test_a_long_prompt_is_quoted_in_part(tokenizer: Tokenizer):
    assert len(refusal_of(custom("hello " * 500), tokenizer).detail) < 200


def test_repeated_questions_are_kept_and_counted(tokenizer: Tokenizer):
    prompts = prepare(custom("3 + 5 =", "2 + 2 =", "3 + 5 ="), tokenizer)
    assert [pair.question for pair in prompts.pairs] == ["3 + 5 =", "2 + 2 =", "3 + 5 ="]
    assert prompts.n_distinct == 2
    assert prompts.notes == ("3 pairs ask 2 different questions.",)


@settings(max_examples=30)
@given(
    order=st.permutations(["3 + 5 =", "4 + 4 =", "9 - 2 =", "2 + 3 =", "The sum of 3 and 1 is"]),
    corruption=st.sampled_from(["null_operator", "operand_swap", "operand_swap_same_answer", "operator_swap"]),
)
def test_a_pair_is_the_same_beside_any_other_pairs(
    order: list[str], corruption: str, vocabularies: dict[str, Tokenizer]
):
    tokenizer = vocabularies["digits_and_bare_spaces"]
    together = prepare(custom(*order, shots=2, corruption=corruption), tokenizer).pairs
    alone = [prepare(custom(one, shots=2, corruption=corruption), tokenizer).pairs[0] for one in order]
    assert [replace(pair, index=0) for pair in together] == alone
    assert [pair.index for pair in together] == list(range(len(order)))


def test_generate_gives_the_strings_of_the_template_set(tokenizer: Tokenizer):
    pairs = generate(pairs=5, tokenizer=tokenizer)
    prepared = prepare(TemplatePrompts(source="template", pairs=5), tokenizer)
    assert pairs == [encoded.pair for encoded in prepared.pairs]
    assert len(pairs) == 5
    assert generate(["multiply"], ["question"], (2, 3), 9, 0, "operand_swap", 7, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operands": (9, 1)}, r"operands must be \[smallest, largest\]"),
        ({"pairs": 0}, "pairs is 0; it must be a whole number from 1 to 10000"),
        ({"pairs": 10**6}, "pairs is 1000000; it must be .* to 10000"),
        ({"pairs": "many"}, "pairs is 'many'; it must be a whole number"),
        ({"shots": -1}, "shots is -1; it must be a whole number from 0 to 8"),
        ({"operations": "add"}, "operations is 'add'; it must be a list"),
        ({"operations": ["root"]}, r"operations\[0\] is 'root'; .*'add'"),
        ({"operations": 5}, "operations is 5; it must be a list"),
        ({"styles": []}, "styles is an empty list: at least one is needed"),
        ({"corruption": "none"}, "corruption is 'none'; it must be one of"),
    ],
)
def test_generate_refuses_what_no_set_can_be(fields: dict[str, Any], message: str, tokenizer: Tokenizer):
    with pytest.raises(Refusal, match=message) as refused:
        generate(**fields, tokenizer=tokenizer)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("no_tokenizer", [None, "smollm2-135m", object()])
def test_generate_refuses_what_is_no_tokenizer(no_tokenizer: object):
    with pytest.raises(Refusal) as refused:
        generate(tokenizer=no_tokenizer)
    assert refused.value.code == "bad_tokenizer"


@pytest.mark.parametrize("wrong", [{"answer": 8}, {"reference": None}, {"counterfactual": b"3 @ 5 ="}])
def test_a_pair_of_anything_but_texts_is_refused_with_the_way_to_write_it(wrong: dict[str, Any]):
    (name,) = wrong
    with pytest.raises(Refusal, match=f"{name} is .*; it must be a text") as refused:
        PromptPair(**{"reference": "3 + 5 =", "counterfactual": "3 @ 5 =", "answer": "8", **wrong})
    assert name in refused.value.way_out


def test_a_preview_shows_what_will_run(tokenizer: Tokenizer):
    prompts = custom("3 + 5 =", shots=2)
    (item,) = preview(prompts, tokenizer).items
    (encoded,) = prepare(prompts, tokenizer).pairs
    assert (item.reference, item.counterfactual) == (encoded.reference_tokens, encoded.counterfactual_tokens)
    assert (item.answer, item.answer_id, item.problem) == ("8", encoded.answer_id, None)


def test_a_preview_of_templates_shows_the_first_pairs_and_counts_all(vocabularies: dict[str, Tokenizer]):
    prompts = TemplatePrompts(source="template", operations=("add", "subtract"), operands=(0, 99), pairs=500)
    tokenizer = vocabularies["spaced_numbers"]
    previewed, prepared = preview(prompts, tokenizer), prepare(prompts, tokenizer)
    assert len(previewed.items) == PREVIEWED_PAIRS < len(prepared.pairs)
    assert (previewed.n_distinct, previewed.notes) == (prepared.n_distinct, prepared.notes)
    assert [item.reference for item in previewed.items] == [
        encoded.reference_tokens for encoded in prepared.pairs[:PREVIEWED_PAIRS]
    ]


def test_a_preview_of_many_custom_pairs_counts_all(tokenizer: Tokenizer):
    previewed = preview(custom(*[f"{a} + {b} =" for a in range(10) for b in range(10)]), tokenizer)
    assert (len(previewed.items), previewed.n_distinct) == (PREVIEWED_PAIRS, 100)


@pytest.mark.parametrize(
    ("pair", "answer", "problem"),
    [
        ("8 + 5 =", "13", "2 tokens"),
        ("hello you", None, "not arithmetic"),
        ({"reference": "hello you", "answer": "8"}, "8", "no counterfactual"),
        ({"reference": "3 + 5 =", "counterfactual": ""}, "8", "counterfactual prompt is empty"),
        ("", None, "empty"),
    ],
)
def test_a_problem_is_told_beside_what_could_be_read(
    pair: str | dict[str, str], answer: str | None, problem: str, tokenizer: Tokenizer
):
    prompts = custom("3 + 5 =", pair)
    good, bad = preview(prompts, tokenizer).items
    assert good.problem is None
    assert bad.problem is not None
    assert problem in bad.problem
    assert bad.answer == answer
    assert bad.answer_id is None
    assert "".join(token.text for token in bad.reference) == prompts.pairs[1].reference


def test_roles_are_shown_even_when_the_answer_has_several_tokens(tokenizer: Tokenizer):
    (item,) = preview(custom("8 + 5 ="), tokenizer).items
    for tokens in (item.reference, item.counterfactual):
        assert [token.role for token in tokens if token.role != "other"] == ["first", "operator", "operand_b", "equals"]


@given(
    reference=st.text(max_size=80),
    counterfactual=st.none() | st.text(max_size=80),
    answer=st.none() | st.text(max_size=5),
    shots=st.integers(0, 8),
)
def test_no_typed_text_breaks_a_preview(
    reference: str,
    counterfactual: str | None,
    answer: str | None,
    shots: int,
    vocabularies: dict[str, Tokenizer],
):
    pair = {"reference": reference, "counterfactual": counterfactual, "answer": answer}
    prompts = custom(pair, shots=shots)
    for tokenizer in vocabularies.values():
        previewed = preview(prompts, tokenizer)
        assert Preview.model_validate_json(previewed.model_dump_json()) == previewed
        (item,) = previewed.items
        if item.problem:
            refusal_of(prompts, tokenizer)
        else:
            assert prepare(prompts, tokenizer).pairs[0].answer_id == item.answer_id


def test_importing_the_package_loads_no_torch_or_numpy():
    heavy = "{'torch', 'transformers', 'numpy', 'safetensors'}"
    code = f"import sys, arithmoscope.prompts; print(sorted({heavy} & set(sys.modules)))"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert fresh.stdout.strip() == "[]"


def test_a_line_end_behind_a_question_is_not_part_of_it(tokenizer: Tokenizer) -> None:
    typed, plain = (only_pair(custom(text, shots=2), tokenizer) for text in ("3 + 5 =\r\n", "3 + 5 ="))
    assert typed == plain
