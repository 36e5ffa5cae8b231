"""Models come from folders, the demo package or objects in hand; unsupported ones are refused early."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from tiny import CONFIGS, PAIRS, tiny_model, tiny_tokenizer

from arithmoscope import load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.folders import DEMO_ID, is_whole
from arithmoscope.prompts import generate


@pytest.fixture
def folder(tmp_path):
    """MODELS_DIR with one small model in it."""
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path


def rewrite(folder, **changes):
    config = json.loads((folder / "tiny" / "config.json").read_text())
    (folder / "tiny" / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_saved_model_gives_the_numbers_of_the_one_in_hand(architecture, tmp_path):
    model = tiny_model(architecture, torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    loaded = load_model("tiny", models_dir=tmp_path)
    assert loaded.card.supported
    assert (loaded.card.layers, loaded.card.heads) == (3, 4)
    assert loaded.card.parameters == sum(p.numel() for p in hf.parameters())
    same = path_patching(model, PAIRS)
    torch.testing.assert_close(path_patching(loaded, PAIRS).heads, same.heads, atol=1e-5, rtol=0)
    assert torch.equal(path_patching(loaded, PAIRS).competitors, same.competitors)


def test_a_folder_can_be_named_by_its_path(folder):
    assert load_model(folder / "tiny").card.id == "tiny"


def test_the_catalogue_names_the_demo_model_and_how_to_get_it(folder):
    demo, _adder, tiny = Catalogue(folder).cards()
    assert (demo.id, demo.supported) == (DEMO_ID, False)
    assert "arithmoscope models fetch" in str(demo.reason)
    assert (tiny.id, tiny.source, tiny.supported) == ("tiny", "folder", True)
    assert len(tiny.revision) == 64


def test_the_revision_follows_the_weights_and_nothing_else(folder):
    before = Catalogue(folder).card("tiny").revision
    rewrite(folder, rope_theta=5.0)
    assert Catalogue(folder).card("tiny").revision == before
    weights = folder / "tiny" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert Catalogue(folder).card("tiny").revision != before


def test_an_unsupported_architecture_is_refused_by_name_before_weights_are_read(folder):
    rewrite(folder, architectures=["MambaForCausalLM"])
    (folder / "tiny" / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}not weights")
    card = Catalogue(folder).card("tiny")
    assert not card.supported
    with pytest.raises(Refusal, match="MambaForCausalLM") as refused:
        load_model("tiny", models_dir=folder)
    assert refused.value.code == "unsupported_architecture"


def test_a_model_in_hand_of_another_family_is_refused_by_name():
    config = transformers.OPTConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, word_embed_proj_dim=16
    )
    with pytest.raises(Refusal, match="OPTForCausalLM"):
        load_model(transformers.OPTForCausalLM(config), tiny_tokenizer())


@pytest.mark.parametrize("harm", ["truncated", "header", "empty", "missing"])
def test_corrupt_weights_are_refused_in_one_sentence(folder, harm):
    from safetensors.torch import load_file, save_file

    weights = folder / "tiny" / "model.safetensors"
    data = weights.read_bytes()
    if harm == "missing":
        tensors = load_file(weights)
        tensors.pop("model.layers.1.mlp.up_proj.weight")
        save_file(tensors, weights, {"format": "pt"})
    else:
        weights.write_bytes({"truncated": data[: len(data) // 2], "header": b"\xff" * 64, "empty": b""}[harm])
    with pytest.raises(Refusal) as refused:
        load_model("tiny", models_dir=folder)
    assert refused.value.code == "bad_model_files"
    assert "\n" not in str(refused.value)


def test_a_folder_of_other_weight_formats_is_refused(folder):
    (folder / "tiny" / "model.safetensors").rename(folder / "tiny" / "pytorch_model.bin")
    with pytest.raises(Refusal, match="no safetensors file"):
        load_model("tiny", models_dir=folder)


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": "many"},
        {"architectures": 5},
        {"architectures": [["x"]]},
        {"num_attention_heads": [4, 4]},
        [],
        "words",
    ],
    ids=str,
)
def test_a_folder_that_says_nonsense_is_listed_with_the_reason(folder, config):
    (folder / "odd").mkdir()
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        (folder / "odd" / name).write_bytes((folder / "tiny" / name).read_bytes())
    if isinstance(config, dict):
        config = {**json.loads((folder / "tiny" / "config.json").read_text()), **config}
    (folder / "odd" / "config.json").write_text(json.dumps(config))
    cards = {card.id: card for card in Catalogue(folder).cards()}
    assert cards["tiny"].supported
    assert not cards["odd"].supported
    assert cards["odd"].reason


@pytest.mark.parametrize("header", [b"[]", b'{"a": 3}', b'{"a": {"dtype": "F32"}}', b'{"a": {"shape": null}}'], ids=str)
def test_a_safetensors_header_that_is_nonsense_is_listed_with_the_reason(folder, header):
    (folder / "tiny" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (card,) = [card for card in Catalogue(folder).cards() if card.id == "tiny"]
    assert not card.supported


def test_a_demo_model_whose_weights_were_cut_is_not_taken_for_whole(folder):
    (folder / DEMO_ID).mkdir()
    (folder / DEMO_ID / "arithmoscope.json").write_text(json.dumps({"revision": "r", "bytes": 10}))
    (folder / DEMO_ID / "model.safetensors").write_bytes(b"12345")
    assert not Catalogue(folder).card(DEMO_ID).supported
    assert not is_whole(folder / DEMO_ID)
    (folder / DEMO_ID / "model.safetensors").write_bytes(b"1234567890")
    assert is_whole(folder / DEMO_ID)


@pytest.mark.slow
def test_a_folder_with_one_gguf_file_is_a_model(tmp_path):
    from arithmoscope.engine.models.demo import demo_weights

    with demo_weights(tmp_path, lambda _line: None) as gguf:
        quantised, converted = load_model(str(gguf.parent)), load_model(DEMO_ID)
    pairs = generate(pairs=2, tokenizer=quantised.tokenizer)
    quantised_effects, converted_effects = (
        path_patching(quantised, pairs, effect="direct"),
        path_patching(converted, pairs, effect="direct"),
    )
    torch.testing.assert_close(quantised_effects.heads, converted_effects.heads, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["nothing-here", "../../etc", "/etc/passwd", "tiny\0x", "", "."])
def test_a_name_that_is_no_model_is_refused(folder, name):
    with pytest.raises(Refusal) as refused:
        Catalogue(folder).card(name)
    assert refused.value.code == "unknown_model"


def test_the_hub_is_off_unless_allowed(folder):
    with pytest.raises(Refusal, match="fetching models is off"):
        load_model("somebody/some-model", models_dir=folder, allow_hub=False)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused():
    config = CONFIGS["LlamaForCausalLM"]()
    config.vocab_size = 10
    with pytest.raises(Refusal, match="embeddings for 10 tokens"):
        load_model(transformers.LlamaForCausalLM(config), tiny_tokenizer())


def test_a_model_in_hand_without_a_tokenizer_is_refused():
    with pytest.raises(Refusal, match="second argument"):
        load_model(transformers.LlamaForCausalLM(CONFIGS["LlamaForCausalLM"]()))


def test_an_unknown_device_or_dtype_is_refused(folder):
    with pytest.raises(Refusal, match="cuda:7"):
        load_model("tiny", models_dir=folder, device="cuda:7")
    with pytest.raises(Refusal, match="dtype is 'int3'"):
        load_model("tiny", models_dir=folder, dtype="int3")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("architecture", CONFIGS)
def test_bfloat16_weights_keep_a_float32_residual_stream(architecture, tmp_path):
    exact = tiny_model(architecture, torch.float32)
    hf: Any = exact.hf
    hf.save_pretrained(tmp_path / "tiny")
    exact.tokenizer.save_pretrained(tmp_path / "tiny")
    narrow = load_model("tiny", models_dir=tmp_path, dtype="bfloat16")
    assert narrow.work_dtype == torch.float32
    effects, truth = path_patching(narrow, PAIRS, effect="direct"), path_patching(exact, PAIRS, effect="direct")
    assert effects.heads.dtype == torch.float32
    both = torch.stack([effects.heads.flatten(), truth.heads.flatten()])
    assert float(both.corrcoef()[0, 1]) > 0.99
