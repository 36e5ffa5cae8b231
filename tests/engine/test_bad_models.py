"""Folders and files that are not valid models: one sentence each, and weights stay unread where possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import CONFIGS, PAIRS, WORDS, tiny_model, tiny_tokenizer
from tokenizers import Tokenizer

from arithmoscope import load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.weight_headers import INDEX


def save(folder: Path, architecture: str = "LlamaForCausalLM", **options: Any) -> Any:
    """A tiny model as a folder, and the model itself."""
    model = tiny_model(architecture, torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(folder, **options)
    model.tokenizer.save_pretrained(folder)
    return model


@pytest.fixture
def folder(tmp_path):
    """MODELS_DIR with one small model in it."""
    save(tmp_path / "tiny")
    return tmp_path


# Where a test accepts either (`except Refusal`), loading may succeed or be refused, and nothing else.
def rewrite(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "tiny" / "config.json").read_text())
    (folder / "tiny" / "config.json").write_text(json.dumps({**config, **changes}))


def refused(folder: Path, match: str) -> Refusal:
    with pytest.raises(Refusal, match=match) as caught:
        load_model("tiny", models_dir=folder, device="cpu")
    assert "\n" not in str(caught.value)
    return caught.value


def unread(monkeypatch) -> None:
    """Fails the test if a weights file is opened."""
    whole = Path.open

    def guarded(path: Path, *args: Any, **kwargs: Any) -> Any:
        # The model that comes with the package is listed beside the others.
        assert path.suffix != ".safetensors" or path.parent.name == "adder", f"{path.name} was opened"
        return whole(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    monkeypatch.setattr("arithmoscope.engine.models.loaded.read_model", lambda *_: pytest.fail("weights were read"))


# ---- architectures -------------------------------------------------------------------------------------------------

UNSUPPORTED = [
    "MixtralForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM",
    "MambaForCausalLM",
    "T5ForConditionalGeneration",
    "Gemma3ForConditionalGeneration",
    "Phi3SmallForCausalLM",
    "GraniteForCausalLM",
    "CohereForCausalLM",
    "BertForMaskedLM",
    "LlamaForSequenceClassification",
]


@pytest.mark.parametrize("architecture", UNSUPPORTED)
def test_an_unsupported_architecture_is_refused_by_name_and_its_weights_stay_unopened(
    folder, architecture, monkeypatch
):
    rewrite(folder, architectures=[architecture])
    (folder / "tiny" / "model.safetensors").write_bytes(b"\xff" * 100)
    unread(monkeypatch)
    refusal = refused(folder, f"'{architecture}' is not supported; supported are .*LlamaForCausalLM")
    assert refusal.code == "unsupported_architecture"
    assert "supported family" in refusal.way_out
    (card,) = [card for card in Catalogue(folder).cards() if card.id == "tiny"]
    assert not card.supported


@pytest.mark.parametrize(
    ("model_type", "name"), [("mixtral", "MixtralForCausalLM"), ("mamba", "MambaForCausalLM"), ("t5", "T5")]
)
def test_a_folder_that_names_one_architecture_and_is_configured_as_another_is_refused(
    folder, model_type, name, monkeypatch
):
    config = transformers.AutoConfig.for_model(model_type).to_dict()
    (folder / "tiny" / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForCausalLM"]}))
    monkeypatch.setattr(
        "transformers.AutoModelForCausalLM.from_pretrained", lambda *_, **__: pytest.fail("weights were read")
    )
    assert refused(folder, name).code == "unsupported_architecture"


def test_a_model_whose_tokens_look_ahead_is_refused(folder, monkeypatch):
    rewrite(folder, use_bidirectional_attention=True)
    with monkeypatch.context() as patch:
        unread(patch)
        assert refused(folder, "look ahead").code == "unsupported_architecture"
    config = CONFIGS["Gemma3ForCausalLM"]()
    config.use_bidirectional_attention = True
    with pytest.raises(Refusal, match="look ahead"):
        load_model(transformers.Gemma3ForCausalLM(config), tiny_tokenizer())


def test_weights_that_were_quantised_beforehand_are_refused_with_the_way_out(folder, monkeypatch):
    rewrite(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    unread(monkeypatch)
    assert refused(folder, r"quantised \(gptq\).*dtype int8").code == "bad_model_files"


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["3KB", "100KB"])
def test_a_model_in_shards_gives_the_numbers_of_the_whole_one(tmp_path, size):
    model = save(tmp_path / "whole")
    save(tmp_path / "tiny", max_shard_size=size)
    shards = list((tmp_path / "tiny").glob("model-*.safetensors"))
    assert len(shards) > 1
    loaded = load_model("tiny", models_dir=tmp_path, device="cpu")
    assert loaded.card.parameters == Catalogue(tmp_path).card("whole").parameters
    assert len(loaded.card.revision) == 64
    kept = dict(loaded.hf.named_parameters())
    assert all(torch.equal(kept[name], weight) for name, weight in model.hf.named_parameters())
    # The memory layout of a file's numbers decides which kernel multiplies them.
    torch.testing.assert_close(path_patching(loaded, PAIRS).heads, path_patching(model, PAIRS).heads, atol=1e-5, rtol=0)


def test_a_missing_shard_is_named(tmp_path):
    save(tmp_path / "tiny", max_shard_size="20KB")
    shard = min((tmp_path / "tiny").glob("model-*.safetensors"))
    shard.unlink()
    assert refused(tmp_path, f"The shard {shard.name} is missing").code == "bad_model_files"


@pytest.mark.parametrize(
    ("index", "why"),
    [
        (None, "index.json is missing"),
        ("[" * 100_000, "cannot be read"),
        ("{}", "cannot be read"),
        ('{"weight_map": {"a": "../tiny/model.safetensors"}}', "not a file in this folder"),
        ('{"weight_map": {"a": 5}}', "cannot be read"),
    ],
    ids=["none", "nested", "empty", "elsewhere", "number"],
)
def test_an_index_of_shards_that_cannot_be_followed_is_refused(tmp_path, index, why):
    save(tmp_path / "tiny", max_shard_size="20KB")
    if index is None:
        (tmp_path / "tiny" / INDEX).unlink()
    else:
        (tmp_path / "tiny" / INDEX).write_text(index)
    assert refused(tmp_path, why).code == "bad_model_files"


@pytest.mark.parametrize("part", [0.02, 0.5, 0.999])
def test_a_part_of_a_weights_file_is_refused_before_it_is_read(folder, part, monkeypatch):
    weights = folder / "tiny" / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * part)])
    monkeypatch.setattr("arithmoscope.engine.models.loaded.read_model", lambda *_: pytest.fail("weights were read"))
    assert refused(folder, "cut off" if part > 0.1 else "cannot be read").code == "bad_model_files"


def change_weights(folder: Path, name: str, change: Any) -> None:
    file = folder / "tiny" / "model.safetensors"
    tensors = load_file(file)
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.o_proj.weight"]
)
def test_weights_of_another_shape_are_refused(folder, name):
    change_weights(folder, name, lambda weight: weight[:-1])
    assert refused(folder, "tiny").code == "bad_model_files"


# ---- configurations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"num_attention_heads": 0},
        {"num_attention_heads": -4},
        {"num_attention_heads": "4"},
        {"num_attention_heads": 4.5},
        {"num_attention_heads": True},
        {"num_key_value_heads": 3},
        {"num_key_value_heads": -1},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": None, "n_layer": [3]},
        {"hidden_size": 0},
        {"hidden_size": "wide"},
        {"head_dim": -2},
        {"vocab_size": 10**12},
    ],
    ids=str,
)
def test_counts_that_are_nonsense_are_listed_with_the_reason_and_refused_unread(folder, settings, monkeypatch):
    rewrite(folder, **settings)
    unread(monkeypatch)
    (card,) = [card for card in Catalogue(folder).cards() if card.id == "tiny"]
    assert not card.supported
    assert "config.json says" in str(card.reason)
    assert refused(folder, "config.json says").code == "bad_model_files"


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_size": 16},
        {"hidden_size": 1},
        {"head_dim": 5},
        {"vocab_size": 10**7},
        {"intermediate_size": None},
        {"hidden_act": "no such function"},
        {"rope_parameters": {"rope_type": "moebius"}},
        {"rope_parameters": 7},
        {"model_type": "nothing known"},
        {"num_hidden_layers": 9},
        {"num_attention_heads": 8},
        {"rms_norm_eps": "small"},
        {"attn_implementation": "none such"},
        {"torch_dtype": "float3"},
    ],
    ids=str,
)
def test_a_configuration_that_fits_no_weights_never_raises_anything_but_a_refusal(folder, settings):
    rewrite(folder, **settings)
    try:
        load_model("tiny", models_dir=folder, device="cpu")
    except Refusal as refusal:
        assert refusal.code in ("bad_model_files", "unsupported_architecture")  # noqa: PT017
        assert "\n" not in str(refusal)  # noqa: PT017
    else:
        assert set(settings) <= {"attn_implementation", "torch_dtype"}, "only what transformers takes no notice of"


@pytest.mark.parametrize(
    "text", ["[" * 10_000_000, "[" * 500_000, '{"a":' * 100_000, "", "\x00", '{"architectures": [["Llama' + '"]]}'],
    ids=["10 MB", "500 kB", "objects", "empty", "zero", "list"],
)  # fmt: skip
def test_a_config_without_end_is_listed_with_the_reason(folder, text):
    (folder / "tiny" / "config.json").write_text(text)
    (card,) = [card for card in Catalogue(folder).cards() if card.id == "tiny"]
    assert not card.supported
    assert card.reason
    assert refused(folder, "cannot be read").code == "bad_model_files"


@pytest.mark.parametrize("name", ["generation_config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, "nonsense", "[]", "{}"], ids=["nested", "words", "list", "empty"])
def test_other_files_that_are_nonsense_never_raise_anything_but_a_refusal(folder, name, text):
    (folder / "tiny" / name).write_text(text)
    try:
        load_model("tiny", models_dir=folder, device="cpu")
    except Refusal as refusal:
        assert refusal.code in ("bad_model_files", "bad_tokenizer")  # noqa: PT017
    else:
        assert name != "tokenizer.json", "without its tokenizer a model cannot be used"


# ---- numbers -------------------------------------------------------------------------------------------------------

PLACES = {
    "embedding": "model.embed_tokens.weight",
    "unembedding": "lm_head.weight",
    "projection of heads": "model.layers.1.self_attn.o_proj.weight",
    "query": "model.layers.0.self_attn.q_proj.weight",
    "MLP": "model.layers.2.mlp.down_proj.weight",
    "norm": "model.layers.1.input_layernorm.weight",
    "final norm": "model.norm.weight",
}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("effect", ["direct", "through_mlps"])
def test_non_finite_weights_are_refused_in_every_place(folder, place, number, effect):
    change_weights(folder, PLACES[place], lambda weight: torch.full_like(weight, number))
    model = load_model("tiny", models_dir=folder, device="cpu")
    with pytest.raises(Refusal) as caught:
        path_patching(model, PAIRS[:2], effect=effect)
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize("effect", ["direct", "through_mlps"])
def test_a_token_of_the_counterfactual_alone_that_is_no_number_is_refused(folder, effect):
    at = WORDS.index("@") + 1
    change_weights(folder, PLACES["embedding"], lambda weight: weight.index_fill(0, torch.tensor([at]), torch.nan))
    model = load_model("tiny", models_dir=folder, device="cpu")
    with pytest.raises(Refusal) as caught:
        path_patching(model, PAIRS[:1], effect=effect)
    assert caught.value.code == "not_finite"


def test_a_token_that_no_prompt_uses_may_be_no_number(folder):
    model = load_model("tiny", models_dir=folder, device="cpu")
    expected = path_patching(model, PAIRS[:1]).heads
    change_weights(folder, PLACES["embedding"], lambda weight: weight.index_fill(0, torch.tensor([60]), torch.nan))
    harmed = load_model("tiny", models_dir=folder, device="cpu")
    assert torch.equal(path_patching(harmed, PAIRS[:1]).heads, expected)


# ---- tokenizers ----------------------------------------------------------------------------------------------------


def test_a_tokenizer_with_fewer_tokens_than_rows_works(folder):
    model = load_model("tiny", models_dir=folder, device="cpu")
    assert len(model.tokenizer) < model.embeddings
    assert path_patching(model, PAIRS[:1]).heads.isfinite().all()


def test_a_folder_with_another_models_tokenizer_is_refused(folder):
    file = folder / "tiny" / "tokenizer.json"
    settings = json.loads(file.read_text())
    settings["model"]["vocab"].update({f"word{n}": n for n in range(25, 100)})
    file.write_text(json.dumps(settings))
    assert refused(folder, "ids up to 99; the model has embeddings for 64").code == "bad_tokenizer"


@pytest.mark.parametrize(
    "architecture", ["Qwen2ForCausalLM", "LlamaForCausalLM", "Gemma2ForCausalLM", "GPT2LMHeadModel"]
)
@pytest.mark.parametrize("config", ["kept", "gone", "of the family"])
def test_the_run_tokenises_as_the_folders_tokenizer_says_and_so_as_the_preview_does(tmp_path, architecture, config):
    save(tmp_path / "tiny", architecture)
    file = tmp_path / "tiny" / "tokenizer_config.json"
    if config == "gone":
        file.unlink()
    elif config == "of the family":
        file.write_text(json.dumps({"tokenizer_class": architecture.replace("ForCausalLM", "Tokenizer")}))
    loaded = load_model("tiny", models_dir=tmp_path, device="cpu")
    text = Catalogue(tmp_path).tokenizer_json("tiny")
    assert text is not None
    preview = Tokenizer.from_str(text)
    for pair in PAIRS:
        expected = preview.encode(pair.reference, add_special_tokens=False).ids
        assert loaded.text.encode(pair.reference, add_special_tokens=False).ids == expected
        assert loaded.tokenizer.encode(pair.reference, add_special_tokens=False) == expected
