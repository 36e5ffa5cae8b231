"""The real chat model, asked through its own template."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_run import whole_run

from arithmoscope import LoadedModel, PromptPair, load_model, path_patching
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import DEMO_ID, default_models_dir
from arithmoscope.prompts import encode_pair, generate


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(DEMO_ID)


def test_the_converted_model_brings_its_template(model: LoadedModel) -> None:
    catalogue = Catalogue(default_models_dir())
    assert catalogue.card(DEMO_ID).chat
    assert catalogue.chat_frame(DEMO_ID) == model.chat
    assert (Path(default_models_dir()) / DEMO_ID / "chat_template.jinja").is_file()


def test_a_chat_prompt_is_the_tokens_that_transformers_makes_of_the_conversation(model: LoadedModel) -> None:
    pair = PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 =", "8", chat=True)
    encoded = encode_pair(pair, model.text, model.chat)
    contents = ["2 + 3 =", "2 + 3 = 5", "3 + 5 =", "3 + 5 = 8"]
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]
    whole = model.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert list(whole)[: len(encoded.reference_ids) + 1] == [*encoded.reference_ids, encoded.answer_id]
    # Golden: the model's own system prompt, one exchange, the question, and the question again.
    starts, ends = 1, 2
    ids = encoded.reference_ids
    assert [at for at, token in enumerate(ids) if token == starts] == [0, 21, 31, 44, 54]
    assert [at for at, token in enumerate(ids) if token == ends] == [19, 29, 42, 52]
    assert [model.token_text(token) for token in ids[54:]] == [
        "<|im_start|>", "ass", "istant", "\n", "3", " +", " ", "5", " =", " ",
    ]  # fmt: skip
    assert model.token_text(encoded.answer_id) == "8"


def test_a_chat_model_answers_as_a_chat_what_it_does_not_answer_plainly(model: LoadedModel) -> None:
    plain = generate(pairs=16, shots=0, tokenizer=model.text)
    chat = generate(pairs=16, shots=0, tokenizer=model.text, chat=model.chat)
    right = [int(path_patching(model, pairs, effect="direct").correct.sum()) for pairs in (plain, chat)]
    assert right[0] <= 4
    assert right[1] >= 12


def test_a_chat_experiment_runs_end_to_end(model: LoadedModel) -> None:
    prompts = {"source": "template", "operands": [1, 9], "pairs": 4, "shots": 2, "chat": True, "keep_wrong": True}
    spec = PathPatchingSpec.model_validate(
        {"kind": "path_patching", "model": DEMO_ID, "effect": "direct", "prompts": prompts}
    )
    output = whole_run(model, spec)
    result = output.result
    assert result.n_correct == 4
    assert result.checks.spot_check_error < 1e-3
    for pair in result.pairs:
        assert pair.reference[0].text == "<|im_start|>"
        roles = [token.role for token in pair.reference]
        assert {roles.count(role) for role in ("operand_a", "operator", "operand_b", "equals")} == {2}
    assert result.attention_pairs == (0, 1, 2, 3)
