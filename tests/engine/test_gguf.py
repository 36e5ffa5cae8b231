"""GGUF files: what they hold is known before they are unpacked, and what cannot run is refused by then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from tiny import WORDS

from contracts.errors import Refusal
from engine import load_model
from engine.catalogue import Catalogue
from engine.loading import read_tokenizer


def write_gguf(path: Path, architecture: str = "llama", chat: str | None = None, merges=("1 2",), **told: int) -> int:
    """A GGUF file of one small layer; how many numbers it holds."""
    numbers = {"block_count": 1, "embedding_length": 32, "feed_forward_length": 48, "context_length": 64, **told}
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
    monkeypatch.setattr("engine.placement.free_bytes", lambda _device: 1_000)
    monkeypatch.setattr("engine.model.read_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(Refusal, match=r"small\.gguf needs 67 MB in float32"):
        load_model(tmp_path / "small.gguf", device="cpu")


def test_a_gguf_file_in_8_bits_is_refused(tmp_path):
    write_gguf(tmp_path / "small.gguf")
    with pytest.raises(Refusal, match="unpacked") as caught:
        load_model(tmp_path / "small.gguf", device="cpu", dtype="int8")
    assert caught.value.code == "bad_setting"


@pytest.mark.parametrize("architecture", ["mamba", "t5", "qwen2moe", "nothing known"])
def test_a_gguf_file_of_an_unsupported_architecture_is_refused_by_name(tmp_path, architecture, monkeypatch):
    write_gguf(tmp_path / "small.gguf", architecture)
    monkeypatch.setattr("engine.model.read_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(Refusal, match=f"'{architecture}' is not supported") as caught:
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
