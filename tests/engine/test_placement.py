"""A model is placed on the requested device if it fits; otherwise it is refused before a weight is read."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import pytest
import torch
from tiny import PAIRS, tiny_model, tiny_tokenizer
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from arithmoscope import load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families.layout import apply_norm
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.placement import (
    Placement,
    best_device,
    check_devices,
    check_memory,
    format_bytes,
    placement_of,
)
from arithmoscope.engine.models.weight_headers import Weights

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """MODELS_DIR with one small model in it."""
    model = tiny_model("LlamaForCausalLM", torch.float32)
    hf: Any = model.hf
    hf.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path


def free(monkeypatch, **by_device):
    monkeypatch.setattr(
        "arithmoscope.engine.models.placement.free_bytes", lambda device: by_device[str(device).replace(":", "")]
    )


def gpus(monkeypatch, count):
    """Pretends that the machine has several GPUs, by name only."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr("arithmoscope.engine.models.placement._existing_device", torch.device)


def test_a_model_that_does_not_fit_is_refused_with_needed_and_free_bytes_before_weights_load(folder, monkeypatch):
    free(monkeypatch, cpu=50_000_000)
    monkeypatch.setattr("arithmoscope.engine.models.loaded.read_model", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(
        Refusal, match=r"tiny needs 67 MB in float32 \(0 MB of weights\); cpu has 50 MB free"
    ) as refused:
        load_model("tiny", models_dir=folder, device="cpu")
    assert refused.value.code == "model_too_large"
    assert "smaller model or dtype" in refused.value.way_out


def test_a_model_that_fits_is_loaded(folder, monkeypatch):
    free(monkeypatch, cpu=100_000_000)
    assert load_model("tiny", models_dir=folder, device="cpu").card.id == "tiny"


def test_a_narrower_dtype_fits_where_a_wider_one_does_not(monkeypatch):
    free(monkeypatch, cuda0=8_000_000_000)
    weights = Weights(parameters=3_000_000_000, matrices=2_500_000_000, largest=100_000_000)
    placement = Placement((torch.device("cuda:0"),), {"": "cuda:0"})
    with pytest.raises(
        Refusal, match=r"big needs 12\.7 GB in float32 \(12\.0 GB of weights\); cuda:0 has 8\.0 GB free"
    ):
        check_memory("big", weights, "float32", placement)
    check_memory("big", weights, "bfloat16", placement)
    check_memory("big", weights, "int8", placement)


def test_several_devices_count_together(monkeypatch):
    free(monkeypatch, cuda0=300, cuda1=4_000_000_000)
    weights = Weights(parameters=500_000_000, matrices=0, largest=0)
    check_memory("m", weights, "float32", Placement((torch.device("cuda:0"), torch.device("cuda:1"))))
    with pytest.raises(Refusal, match="cuda:0 has 0 MB free"):
        check_memory("m", weights, "float32", Placement((torch.device("cuda:0"),)))


def test_what_is_unpacked_on_the_cpu_must_fit_there_too(monkeypatch):
    free(monkeypatch, cuda0=10**12, cpu=1_000_000_000)
    weights = Weights(parameters=500_000_000, matrices=0, largest=10, packed=True)
    with pytest.raises(Refusal, match=r"2\.0 GB of weights\); loading it, cpu has 1\.0 GB"):
        check_memory("m", weights, "float32", Placement((torch.device("cuda:0"),), {"": "cuda:0"}))


def test_the_memory_of_a_folder_is_that_of_the_loaded_model(folder):
    weights = Catalogue(folder).locate("tiny").weights
    assert weights is not None
    hf: Any = load_model("tiny", models_dir=folder, device="cpu").hf
    assert weights.bytes_in("float32") == sum(p.numel() * p.element_size() for p in hf.parameters())
    assert weights.largest == max(p.numel() for p in hf.parameters())
    in_layers = sum(p.numel() for p in hf.model.layers.parameters() if p.dim() == 2)
    assert weights.matrices == in_layers


@pytest.mark.parametrize(("size", "words"), [(538_060_032, "538 MB"), (13_476_839_424, "13.5 GB"), (300, "0 MB")])
def test_bytes_are_written_in_decimal_units(size, words):
    assert format_bytes(size) == words


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")], ids=str
)
def test_auto_is_cuda_else_mps_else_the_cpu(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device().type == best
    assert placement_of("auto", None, "float32").devices[0].type == best


def test_float64_on_mps_is_refused(monkeypatch):
    gpus(monkeypatch, 0)
    assert placement_of("mps", None, "float32").devices == (torch.device("mps"),)
    with pytest.raises(Refusal, match="MPS does not support float64") as refused:
        placement_of("mps", None, "float64")
    assert refused.value.code == "bad_setting"


@pytest.mark.parametrize("device", ["cuda:7", "mps", "toaster", "meta", "cuda:-1", "", "hpu"])
def test_a_device_that_is_not_there_is_refused(folder, device):
    with pytest.raises(Refusal) as refused:
        load_model("tiny", models_dir=folder, device=device)
    assert refused.value.code == "bad_setting"


@pytest.mark.parametrize("dtype", [["float32"], {"": "float32"}, torch.float32, "float31"], ids=str)
def test_a_dtype_that_is_none_of_the_names_is_refused(folder, dtype):
    with pytest.raises(Refusal, match=r"^[^:]+: dtype is .*float64") as refused:
        load_model("tiny", models_dir=folder, dtype=dtype)
    assert refused.value.code == "bad_request"


def test_a_device_map_of_one_word_is_that_device(monkeypatch):
    gpus(monkeypatch, 2)
    spread = placement_of("balanced", None, "float32")
    assert placement_of("auto", "auto", "float32") == spread
    assert placement_of("auto", "balanced", "float32") == spread
    gpus(monkeypatch, 1)
    assert placement_of("auto", "auto", "float32") == placement_of("auto", None, "float32")
    with pytest.raises(Refusal, match="over GPUs; there are 1"):
        placement_of("auto", "balanced", "float32")


@pytest.mark.parametrize("device_map", ["cuda:0", "sequential", 0, ["cpu"]], ids=str)
def test_a_device_map_that_is_no_map_is_refused_with_what_would_be_one(device_map):
    with pytest.raises(Refusal, match="is not a mapping") as refused:
        unwrap(placement_of)("auto", device_map, "float32")
    assert refused.value.code == "bad_setting"
    assert "Map each module to a device" in refused.value.way_out


def test_balanced_is_all_gpus_and_needs_two(monkeypatch):
    gpus(monkeypatch, 2)
    placement = placement_of("balanced", None, "float32")
    assert placement.devices == (torch.device("cuda:0"), torch.device("cuda:1"))
    assert placement.device_map == "balanced"
    gpus(monkeypatch, 1)
    with pytest.raises(Refusal, match="over GPUs; there are 1"):
        placement_of("balanced", None, "float32")


def test_a_device_map_names_the_devices_that_it_needs(monkeypatch):
    gpus(monkeypatch, 2)
    device_map = {"model.embed_tokens": 0, "model.layers": "cuda:1", "model.norm": torch.device("cuda:1"), "lm_head": 0}
    placement = placement_of("auto", device_map, "float32")
    assert placement.devices == (torch.device("cuda:0"), torch.device("cuda:1"))
    assert placement.device_map == device_map


@pytest.mark.parametrize(
    ("device_map", "why"),
    [
        ({"model": 0, "lm_head": "cpu"}, "on the CPU"),
        ({"model": 0, "lm_head": "disk"}, "on the disk"),
        ({"": "disk"}, "on the disk"),
        ({}, "empty"),
    ],
    ids=str,
)
def test_a_device_map_that_leaves_weights_elsewhere_is_refused(monkeypatch, device_map, why):
    gpus(monkeypatch, 1)
    with pytest.raises(Refusal, match=why) as refused:
        placement_of("auto", device_map, "float32")
    assert refused.value.code == "bad_setting"


def test_a_device_and_a_device_map_are_refused():
    with pytest.raises(Refusal, match="Both a device and a device map"):
        placement_of("cpu", {"": "cpu"}, "float32")


def test_a_device_map_of_the_cpu_alone_gives_the_same_numbers(folder):
    mapped = load_model("tiny", models_dir=folder, device_map={"": "cpu"})
    plain = load_model("tiny", models_dir=folder, device="cpu")
    assert mapped.devices == (CPU,)
    assert torch.equal(path_patching(mapped, PAIRS).heads, path_patching(plain, PAIRS).heads)


def test_a_device_map_that_forgets_a_module_is_refused():
    two = [("norm", torch.zeros(1)), ("lm_head", torch.zeros(1))]
    check_devices(two, Placement((CPU,)))
    with pytest.raises(Refusal, match="norm is on cpu, not on cuda:0"):
        check_devices(two, Placement((torch.device("cuda:0"),)))


def test_a_model_in_hand_that_is_offloaded_is_refused(folder):
    import accelerate
    import transformers

    hf: Any = transformers.LlamaForCausalLM.from_pretrained(folder / "tiny")
    accelerate.cpu_offload(hf)
    with pytest.raises(Refusal, match="is not in memory: it is offloaded") as refused:
        load_model(hf, tiny_tokenizer())
    assert refused.value.code == "bad_setting"
    with pytest.raises(Refusal, match="is not in memory"):
        load_model(tiny_model("LlamaForCausalLM").hf.to(device="meta"), tiny_tokenizer())  # pyright: ignore


@pytest.mark.parametrize("how", [{"device": "cpu"}, {"device_map": {"": "cpu"}}], ids=str)
def test_a_model_in_hand_stays_where_it_is(how):
    hf: Any = tiny_model("LlamaForCausalLM").hf
    with pytest.raises(Refusal, match="stays on its device"):
        load_model(hf, tiny_tokenizer(), **how)


@pytest.mark.parametrize(
    "architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM", "GPTNeoXForCausalLM", "GPT2LMHeadModel"]
)
def test_a_block_computes_on_its_own_device_and_answers_on_the_callers(architecture):
    """torch's fake tensors have devices but no numbers, and refuse to mix devices as GPU kernels would."""
    model = tiny_model(architecture, torch.float32)
    mode = FakeTensorMode()
    first, second = torch.device("cuda:0"), torch.device("cuda:1")

    def pretend(shape, device):
        return FakeTensor(mode, torch.empty(shape, device="meta"), device)

    layout, block = model.layout, model.layout.blocks[1]
    modules = [block.heads_out, block.mlp, block.mlp_norm, block.head_norm, block.mlp_post, layout.final_norm]
    for module in (m for whole in modules if whole is not None for m in whole.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(pretend(weight.shape, second), requires_grad=False))
    stream = pretend((5, layout.hidden), first)
    moved = pretend((layout.heads, 5, layout.head_dim), first)
    reference = pretend((5, layout.heads, layout.head_dim), first)
    with mode, torch.no_grad():
        with pytest.raises(RuntimeError, match=r"two devices|same device"):
            block.mlp(stream)
        assert block.device == second
        assert block.mlp_write(stream, torch.float32).device == first
        assert block.head_writes(moved, reference, torch.float32).device == first
        assert apply_norm(layout.final_norm, stream).device == first
