"""Tests of chat templates as frames: the text that the template itself renders, or a refusal that names the cause."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny import tiny_model, tiny_tokenizer
from tokenizers import AddedToken

from arithmoscope import PromptPair, load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import MAX_CHAT_CHARACTERS, ChatFrame
from arithmoscope.engine.models.chat_template import (
    _RENDERER,
    MAX_TEMPLATE_CHARACTERS,
    frame_of_folder,
    frame_of_tokenizer,
    has_template,
)

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
_TURN = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
_OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

# Written in the manner of the models that they are named after.
TEMPLATES = {
    "ChatML": _SYSTEM + _TURN + _OPEN,
    "ChatML without a generation prompt": _SYSTEM + _TURN,
    "Llama-2": (
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}"
        "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'].strip() + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "Llama-3": (
        "{%- set ns = namespace(date='26 Jul 2024') %}\n{%- if strftime_now is defined %}\n"
        "{%- set ns.date = strftime_now('%d %b %Y') %}\n{%- endif %}\n{{- bos_token }}\n"
        "{{- '<|header|>system<|end|>\n\nToday Date: ' + ns.date + '<|eot|>' }}\n"
        "{%- for message in messages %}\n"
        "{{- '<|header|>' + message['role'] + '<|end|>\n\n' + message['content'] | trim + '<|eot|>' }}\n"
        "{%- endfor %}\n{%- if add_generation_prompt %}\n{{- '<|header|>assistant<|end|>\n\n' }}\n{%- endif %}\n"
    ),
    "Gemma": (
        "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}\n"
        "{{ '<turn>' + role + '\n' + m['content'] | trim + '<end>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
    ),
    "Qwen3": (
        "{%- for m in messages %}{%- set c = m.content %}{%- if m.role == 'assistant' and '</think>' in c %}"
        "{%- set c = c.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
        "{{- '<|im_start|>' + m.role + '\n' }}{%- if m.role == 'assistant' and loop.last %}"
        "{{- '<think>\n\n</think>\n\n' }}{%- endif %}{{- c + '<|im_end|>\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
        "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
        "{%- endif %}"
    ),
    "loop controls, tojson and generation": (
        "{% for m in messages %}{% if m.role == 'tool' %}{% continue %}{% endif %}"
        "{% if tools is not none %}{{ tools | tojson(indent=2) }}{% endif %}"
        "{% if m.role == 'assistant' %}{% generation %}A:{{ m.content }}\n{% endgeneration %}"
        "{% else %}U:{{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    ),
}
TURNS = ["2 + 3 =", "2 + 3 = 5", "4 + 4 =", "4 + 4 = 8", "3 + 5 ="]


def tokenizer_with(template: Any) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({name: AddedToken(text, special=True) for name, text in TOKENS.items()})
    tokenizer.chat_template = template
    return tokenizer


def frame_of(template: Any) -> ChatFrame:
    return frame_of_tokenizer(tokenizer_with(template), "m")


def refusal_of(template: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        frame_of(template)
    return refused.value


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("turns", [1, 3, 5])
def test_a_frame_around_the_messages_is_what_transformers_renders(
    name: str, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the date is fixed by the test.
    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", _NewYear)
    tokenizer, frame = tokenizer_with(TEMPLATES[name]), frame_of(TEMPLATES[name])
    exchange = TURNS[:turns]
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(exchange)]
    opened = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    rendered = frame.before + exchange[0]
    for at, text in enumerate(exchange[1:]):
        rendered += (frame.reply, frame.next)[at % 2] + text
    expected = rendered + frame.after
    assert expected.startswith(opened)
    answered = [*messages, {"role": "assistant", "content": "8"}]
    whole = tokenizer.apply_chat_template(answered, tokenize=False, enable_thinking=False)
    assert whole.startswith(f"{expected}8")


class _NewYear:
    """Every day is the first of January 2025."""

    @classmethod
    def now(cls) -> Any:
        return datetime(2025, 1, 1)


@pytest.mark.parametrize(
    ("template", "code", "message"),
    [
        (None, "no_chat_template", "has no chat template"),
        ("  \n", "no_chat_template", "has no chat template"),
        ({"tool_use": "{{ messages[0].content }}"}, "no_chat_template", "has no chat template"),
        ("{{ raise_exception('only for machines') }}", "bad_chat_template", "only for machines"),
        ("{% for m in messages %}", "bad_chat_template", "TemplateSyntaxError"),
        ("{{ messages[9].content.lower() }}", "bad_chat_template", "UndefinedError"),
        ("{{ messages[0].content }}{{ open('/etc/passwd') }}", "bad_chat_template", "undefined"),
        ("{% include 'other' %}", "bad_chat_template", "loader"),
        ("{{ ''.__class__.__mro__ }}", "bad_chat_template", "SecurityError"),
        ("{{ namespace(__init__=1) }}", "bad_chat_template", "SecurityError"),
        ("{% set n = namespace() %}{% set n.__class__ = 1 %}", "bad_chat_template", "SecurityError"),
        ("{% for i in range(10**9) %}{% endfor %}", "bad_chat_template", "Range too big"),
        ("{% set x = 'a' * 10**10 %}", "bad_chat_template", "MemoryError"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "bad_chat_template", "RecursionError"),
        ("x" * (MAX_CHAT_CHARACTERS + 1) + TEMPLATES["ChatML"], "bad_chat_template", "writes more than"),
        ("{{ 'x' * 30000 }}", "bad_chat_template", "writes more than"),
        ("x" * (MAX_TEMPLATE_CHARACTERS + 1), "bad_chat_template", "longer than"),
        ("Hello!", "bad_chat_template", "every turn once"),
        ("{% for m in messages %}{{ m.content * 2 }}{% endfor %}", "bad_chat_template", "every turn once"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "bad_chat_template", "every turn once"),
        ("{% for m in messages | reverse %}{{ m.content }}{% endfor %}", "bad_chat_template", "every turn once"),
        ("{% for m in messages %}{{ loop.index }}{{ m.content }}{% endfor %}", "bad_chat_template", "same way"),
    ],
)
def test_what_is_no_template_is_refused_in_words_with_a_way_out(template: Any, code: str, message: str) -> None:
    refusal = refusal_of(template)
    assert (refusal.code, message in refusal.detail) == (code, True), refusal.detail
    assert "Switch the chat template off" in refusal.way_out


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_stopped(template: str) -> None:
    assert refusal_of(template).code == "bad_chat_template"


def test_a_template_reaches_no_file(tmp_path: Path) -> None:
    # Code that escaped the sandbox would be in a process that can open nothing.
    code = (
        "import runpy, sys; renderer = runpy.run_path(sys.argv[1]); renderer['_confine'](renderer['_environment']());"
        "open(sys.argv[2])"
    )
    tried = subprocess.run(
        [sys.executable, "-c", code, str(_RENDERER), __file__], capture_output=True, text=True, check=False
    )
    assert "Too many open files" in tried.stderr


@pytest.mark.parametrize("form", ["config", "named", "jinja", "both"])
def test_a_folder_has_the_frame_of_the_tokenizer_that_transformers_reads_there(form: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_with(TEMPLATES["Llama-2"])
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    if form != "jinja":
        other = TEMPLATES["ChatML"]
        named = [{"name": "default", "template": other}, {"name": "tool_use", "template": "{{ 1 / 0 }}"}]
        config["chat_template"] = named if form == "named" else other
    if form in ("config", "named"):
        (tmp_path / "chat_template.jinja").unlink()
    config["bos_token"] = {"__type": "AddedToken", "content": "<s>", "special": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    read = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert has_template(tmp_path)
    frame = frame_of_folder(tmp_path)
    assert frame == frame_of_tokenizer(read, "m")
    assert frame.before.startswith("<s>[INST] " if form in ("jinja", "both") else "<|im_start|>system")


def test_a_folder_without_a_template_says_so(tmp_path: Path) -> None:
    assert not has_template(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(Refusal) as refused:
        frame_of_folder(tmp_path)
    assert refused.value.code == "no_chat_template"


def test_a_model_in_hand_is_asked_through_its_tokenizers_template() -> None:
    hf = tiny_model("LlamaForCausalLM").hf
    model = load_model(hf, tokenizer_with(TEMPLATES["Llama-2"]))
    plain = PromptPair("2 + 3 = 5\n3 + 5 =", "2 + 3 = 5\n3 @ 5 =", "8")
    chat = PromptPair(plain.reference, plain.counterfactual, plain.answer, chat=True)
    effects = path_patching(model, [plain, chat])
    for row, pair in enumerate((plain, chat)):
        alone = path_patching(model, [pair])
        assert effects.heads[row].allclose(alone.heads[0], atol=1e-5)
    assert not effects.heads[0].allclose(effects.heads[1], atol=1e-5)


def test_a_model_without_a_template_refuses_a_chat_by_the_pairs_number() -> None:
    model = tiny_model("LlamaForCausalLM")
    pairs = [PromptPair("3 + 5 =", "3 @ 5 =", "8"), PromptPair("3 + 5 =", "3 @ 5 =", "8", chat=True)]
    with pytest.raises(Refusal, match=r"Pair 2: .* has no chat template") as refused:
        path_patching(model, pairs)
    assert refused.value.code == "no_chat_template"


@pytest.mark.parametrize("template", [r"{{ '\ud800' }}" + TEMPLATES["ChatML"], r"{{ raise_exception('\ud800') }}"])
def test_a_template_that_writes_half_a_character_is_refused_in_whole_ones(template: str) -> None:
    refusal = refusal_of(template)
    assert refusal.code == "bad_chat_template"
    assert refusal.detail.encode("utf-8")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_file_that_is_nested_without_end_brings_no_template(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"a":' * 100_000)
    with pytest.raises(Refusal) as refused:
        frame_of_folder(tmp_path)
    assert refused.value.code == "no_chat_template"
