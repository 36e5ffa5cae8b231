"""GGUF files: their contents are read before they are unpacked, and unsupported ones are refused by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map
from tiny import CONFIGS, PAIRS, WORDS, tiny_model, tiny_tokenizer

from arithmoscope import load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.loading import read_tokenizer


def write_gguf(
    path: Path, architecture: str = "llama", chat: str | None = None, merges=("1 2",), **settings: int
) -> int:
    """Writes a GGUF file of one small layer; returns its number of parameters."""
    numbers = {"block_count": 1, "embedding_length": 32, "feed_forward_length": 48, "context_length": 64, **settings}
    writer = GGUFWriter(path, architecture)
    for key, value in {"attention.head_count": 4, "attention.head_count_kv": 2, **numbers}.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<unk>", *WORDS])
    writer.add_token_merges(list(merges))
    if chat is not None:
        writer.add_chat_template(chat)
    shapes = {"token_embd": (26, 32), "output_norm": (32,), "output": (26, 32)}
    layer = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    layer |= {"ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48), "attn_norm": (32,), "ffn_norm": (32,)}
    shapes |= {f"blk.0.{name}": shape for name, shape in layer.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sum(int(np.prod(shape)) for shape in shapes.values())


def write_weights(path: Path, architecture: str, hf: Any) -> None:
    """A model's own weights and settings as a GGUF file."""
    config = hf.config
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<unk>", *WORDS])
    writer.add_token_merges(["1 2"])
    kind = next(kind for kind, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(kind, config.num_hidden_layers)
    for name, weight in hf.state_dict().items():
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            writer.add_tensor(str(names.get_name(name, (".weight", ".bias"))), weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize(
    ("architecture", "name", "head_dim"), [("qwen2", "Qwen2ForCausalLM", 8), ("qwen3", "Qwen3ForCausalLM", 128)]
)
def test_a_gguf_file_has_the_effects_of_the_weights_that_it_was_made_of(tmp_path, architecture, name, head_dim):
    config: Any = CONFIGS[name]()
    # Settings missing from the file have the architecture's defaults; those in the file are read.
    config.update({"head_dim": head_dim, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}})
    model = tiny_model(name, torch.float32, config=lambda: config)
    write_weights(tmp_path / "small.gguf", architecture, model.hf)
    read = load_model(tmp_path / "small.gguf", model.tokenizer, device="cpu")
    assert type(read.hf).__name__ == name
    own_effects, gguf_effects = path_patching(model, PAIRS, effect="total"), path_patching(read, PAIRS, effect="total")
    assert float(own_effects.heads.abs().max()) > 0.1
    torch.testing.assert_close(gguf_effects.heads, own_effects.heads, atol=1e-5, rtol=0)
    torch.testing.assert_close(gguf_effects.mlps, own_effects.mlps, atol=1e-5, rtol=0)


def test_a_gguf_file_whose_heads_are_of_another_width_than_its_kind_has_is_refused(tmp_path):
    write_weights(tmp_path / "small.gguf", "qwen3", tiny_model("Qwen3ForCausalLM", torch.float32).hf)
    with pytest.raises(Refusal, match=r"small\.gguf") as caught:
        load_model(tmp_path / "small.gguf", tiny_tokenizer(), device="cpu")
    assert caught.value.code == "bad_model_files"


def test_a_gguf_file_says_how_many_numbers_it_holds(tmp_path):
    numbers = write_gguf(tmp_path / "small.gguf")
    place = Catalogue(tmp_path).locate(str(tmp_path / "small.gguf"))
    assert place.card.supported
    assert (place.card.parameters, place.card.layers, place.card.heads, place.card.kv_heads) == (numbers, 1, 4, 2)
    assert place.weights is not None
    assert place.weights.packed
    assert place.weights.largest == 48 * 32
    assert place.weights.matrices == numbers - 2 * 26 * 32 - 3 * 32


def test_a_gguf_file_says_whether_it_brings_a_chat_template(tmp_path):
    write_gguf(tmp_path / "plain.gguf")
    write_gguf(tmp_path / "small.gguf", chat="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    says = [Catalogue(tmp_path).locate(str(tmp_path / f"{name}.gguf")).card.chat for name in ("plain", "small")]
    assert says == [False, True]


def test_a_gguf_file_that_does_not_fit_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    write_gguf(tmp_path / "small.gguf")
    monkeypatch.setattr("arithmoscope.engine.models.placement.free_bytes", lambda _device: 1_000)
    monkeypatch.setattr("arithmoscope.engine.models.loaded.read_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(Refusal, match=r"small\.gguf needs 67 MB in float32"):
        load_model(tmp_path / "small.gguf", device="cpu")


def test_a_gguf_file_in_8_bits_is_refused(tmp_path):
    write_gguf(tmp_path / "small.gguf")
    with pytest.raises(Refusal, match="dequantised when they are read") as caught:
        load_model(tmp_path / "small.gguf", device="cpu", dtype="int8")
    assert caught.value.code == "bad_setting"


@pytest.mark.parametrize("architecture", ["mamba", "t5", "qwen2moe", "gemma2", "nothing known"])
def test_a_gguf_file_of_an_unsupported_architecture_is_refused_by_name(tmp_path, architecture, monkeypatch):
    write_gguf(tmp_path / "small.gguf", architecture)
    monkeypatch.setattr("arithmoscope.engine.models.loaded.read_model", lambda *_: pytest.fail("weights were read"))
    message = (
        f"'{architecture}' is not supported as a GGUF file; supported as one are gpt2, llama, mistral, qwen2, qwen3"
    )
    with pytest.raises(Refusal, match=message) as caught:
        load_model(tmp_path / "small.gguf", device="cpu")
    assert caught.value.code == "unsupported_architecture"


def test_a_gguf_file_with_experts_is_refused_though_it_calls_itself_llama(tmp_path):
    write_gguf(tmp_path / "small.gguf", expert_count=8)
    with pytest.raises(Refusal, match="'llama' with 8 experts is not supported") as caught:
        load_model(tmp_path / "small.gguf", device="cpu")
    assert caught.value.code == "unsupported_architecture"


@pytest.mark.parametrize("harm", ["half", "header", "words", "empty"])
def test_a_gguf_file_that_is_harmed_is_refused(tmp_path, harm):
    file = tmp_path / "small.gguf"
    write_gguf(file)
    data = file.read_bytes()
    file.write_bytes({"half": data[: len(data) // 2], "header": data[:40], "words": b"words " * 99, "empty": b""}[harm])
    with pytest.raises(Refusal, match=r"small\.gguf is not a readable GGUF file") as caught:
        load_model(file, device="cpu")
    assert caught.value.code == "bad_model_files"


def test_a_gguf_file_whose_merges_are_of_unknown_tokens_is_refused(tmp_path):
    write_gguf(tmp_path / "small.gguf", merges=["no such"])
    with pytest.raises(Refusal, match="out of vocabulary") as caught:
        read_tokenizer(Catalogue(tmp_path).locate(str(tmp_path / "small.gguf")))
    assert caught.value.code == "bad_model_files"
