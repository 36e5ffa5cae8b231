"""A model's folder is data: no code in it ever runs."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tiny import tiny_model

from arithmoscope import load_model
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder, trace = tmp_path / "models" / "tiny", tmp_path / "it-ran"
    model = tiny_model("LlamaForCausalLM", dtype=torch.float32)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    evil = f"open({str(trace)!r}, 'w').close()\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "__init__.py"):
        (folder / name).write_text(evil)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_evil.LlamaConfig",
        "AutoModelForCausalLM": "modeling_evil.LlamaForCausalLM",
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer_config["auto_map"] = {"AutoTokenizer": ["tokenization_evil.Tokenizer", "tokenization_evil.Tokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    Catalogue(folder.parent).cards()
    with suppress(Refusal):
        load_model("tiny", models_dir=folder.parent)
    assert not trace.exists()


def test_an_adapter_in_a_models_folder_is_not_followed_to_another_model(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    model = tiny_model("LlamaForCausalLM", dtype=torch.float32)
    model.hf.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    assert Catalogue(folder.parent).card("tiny").supported
    elsewhere = {"base_model_name_or_path": "somebody/another", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(elsewhere))
    card = Catalogue(folder.parent).card("tiny")
    assert not card.supported
    assert "adapter" in str(card.reason)
    with pytest.raises(Refusal, match="adapter"):
        load_model("tiny", models_dir=folder.parent)
