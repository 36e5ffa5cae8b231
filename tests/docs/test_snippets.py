"""Tests that every Python example in the docs runs, on a tiny model with the layers and heads that they name."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from arithmoscope import LoadedModel, PromptPair, load_model
from arithmoscope.contracts.prompts import Operation
from arithmoscope.prompts import generate

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "engine"))
from tiny import tiny_tokenizer  # noqa: E402  # pyright: ignore[reportMissingImports]

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))]
CHAT = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}</{{ message.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=36,
        intermediate_size=24,
        num_hidden_layers=21,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=256,
    )
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    hf: Any = transformers.LlamaForCausalLM(config)
    for weight in hf.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.3)  # logits above 1, so that percentages are defined
    return load_model(hf, tokenizer)


@pytest.fixture
def namespace(model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The objects that the text around the examples introduces, in a temporary working folder."""
    (tmp_path / "test.jsonl").write_text('{"question": "Ann has 2 pens and 3 pencils?", "answer": "5\\n#### 5"}\n')
    monkeypatch.chdir(tmp_path)
    return {"model": model, "pairs": drawn(model), **kinds(model)}


def drawn(model: LoadedModel, *operations: Operation) -> list[PromptPair]:
    return list(generate(tokenizer=model.tokenizer, operations=operations or ("add",), pairs=12, shots=1))


def kinds(model: LoadedModel) -> dict[str, list[PromptPair]]:
    """The sets of docs/methods/transfer.md."""
    facts = [PromptPair(f"The {word} is", "The none is", "4") for word in ("sum", "sum of", "sum and")]
    return {"addition": drawn(model, "add"), "subtraction": drawn(model, "subtract"), "facts": facts}


def test_every_page_on_a_method_has_an_example() -> None:
    methods = {page.name for page in PAGES if page.parent.name == "methods"}
    assert methods == {page.name for page in (ROOT / "docs" / "methods").glob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_examples_of_a_page_run(page: Path, namespace: dict[str, Any]) -> None:
    for snippet in BLOCK.findall(page.read_text("utf-8")):
        shorter = snippet.replace("steps=80", "steps=2").replace("batch_size=32", "batch_size=4")
        exec(compile(shorter, page.name, "exec"), namespace)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=named)
def test_every_example_imports_the_one_name(page: Path) -> None:
    for snippet in BLOCK.findall(page.read_text("utf-8")):
        assert "am." not in re.sub(r"param\.", "", snippet) or "import arithmoscope as am" in snippet
        assert "from arithmoscope import" not in snippet.replace("from arithmoscope import prompts", "")
