"""Where a model goes, and whether it fits there: settled before a weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.memory import free_bytes
from arithmoscope.engine.models.weight_headers import Weights

SPREAD = "balanced"
DeviceMap = Mapping[str, int | str | torch.device]

# What a model needs beside its weights before it answers anything: activations of a short prompt, kernels' workspace.
_WORK_BYTES = 64 * 2**20
_WORK_SHARE = 0.05
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """``devices`` that share the weights; ``device_map``: what transformers is told, None to load where files are."""

    devices: tuple[torch.device, ...]
    device_map: str | dict[str, int | str | torch.device] | None = None

    @property
    def name(self) -> str:
        return " and ".join(str(device) for device in self.devices)


def best_device() -> torch.device:
    """What ``"auto"`` stands for: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps") if torch.backends.mps.is_available() else _CPU


def placement_of(device: str, device_map: DeviceMap | str | None, dtype: str) -> Placement:
    """``"auto"``, a device, ``"balanced"`` over all GPUs, or a map from modules to devices as transformers takes it.

    As a device map, the words ``"auto"`` and ``"balanced"`` spread over all GPUs; ``"auto"`` is the device of that name
    where there are not several.

    Refuses (``bad_setting``) what is not there, and maps that leave weights on the CPU or the disk to be fetched
    each time: weights that are not in their place cannot be read.
    """
    if device_map is not None:
        if device != "auto":
            raise Refusal("bad_setting", "Both a device and a device map are given.", "Give one of them.")
        device, device_map = _worded(device_map)
    if device_map is not None:
        placement = _mapped(device_map)
    elif device == SPREAD:
        placement = _spread()
    else:
        there = best_device() if device == "auto" else _present(device)
        placement = Placement((there,), None if there.type == "cpu" else {"": there})
    if dtype == "float64" and any(there.type == "mps" for there in placement.devices):
        raise Refusal("bad_setting", "MPS computes no float64.", "Choose float32, or the device cpu.")
    return placement


def check_memory(name: str, weights: Weights, dtype: str, placement: Placement) -> None:
    """Refuses (``model_too_large``) a model that does not fit into what its devices have free."""
    held = weights.bytes_in(dtype)
    passing = weights.passing_bytes(dtype)
    needed = held + passing + _WORK_BYTES + int(held * _WORK_SHARE)
    _check(name, dtype, held, needed, placement.name, sum(free_bytes(device) for device in placement.devices))
    if weights.packed and placement.devices != (_CPU,):  # unpacked in the machine's memory, then moved
        _check(name, dtype, held, held + passing, "loading it, cpu", free_bytes(_CPU))


def _check(name: str, dtype: str, held: int, needed: int, place: str, free: int) -> None:
    if needed > free:
        raise Refusal(
            "model_too_large",
            f"{name} needs {format_bytes(needed)} in {dtype} ({format_bytes(held)} of weights); "
            f"{place} has {format_bytes(free)} free.",
        )


def format_bytes(size: int) -> str:
    """Bytes as people say them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _present(name: str) -> torch.device:
    try:
        device = torch.empty(0, device=name).device  # with its number: "cuda" is some GPU
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise Refusal("bad_setting", f"The device {name!r} is not there: {said}") from error
    if device.type == "meta":
        raise Refusal("bad_setting", "The device 'meta' holds no numbers.")
    return device


def _worded(device_map: object) -> tuple[str, DeviceMap | None]:
    """A device map as the device that its word stands for, or as the mapping that it is."""
    if isinstance(device_map, Mapping):
        return "auto", device_map
    if device_map == "auto":
        return (SPREAD if torch.cuda.device_count() > 1 else "auto"), None
    if device_map == SPREAD:
        return SPREAD, None
    raise Refusal(
        "bad_setting",
        f"The device map {str(device_map)[:80]!r} is no map.",
        f"Name a device for each module, as {{'': 'cuda:0'}} does for all; or say auto or {SPREAD}; "
        "or give a device instead.",
    )


def _spread() -> Placement:
    found = torch.cuda.device_count()
    if found < 2:
        raise Refusal(
            "bad_setting", f"The device {SPREAD!r} spreads a model over GPUs; there are {found}.", "Choose auto or cpu."
        )
    return Placement(tuple(torch.device("cuda", number) for number in range(found)), SPREAD)


def _mapped(device_map: DeviceMap) -> Placement:
    if not device_map:
        raise Refusal("bad_setting", "The device map is empty.")
    if "disk" in device_map.values():
        raise _offloading("the disk")
    devices = tuple(dict.fromkeys(_of_map(place) for place in device_map.values()))
    if len(devices) > 1 and _CPU in devices:
        raise _offloading("the CPU")
    return Placement(devices, dict(device_map))


def _of_map(place: int | str | torch.device) -> torch.device:
    return _present(f"cuda:{place}" if isinstance(place, int) else str(place))


def _offloading(where: str) -> Refusal:
    return Refusal(
        "bad_setting",
        f"The device map keeps weights on {where}, from where they visit a GPU; they must stay in their place.",
        "Spread the model over GPUs alone, put it on the CPU as a whole, or choose a smaller dtype.",
    )


def check_devices(tensors: Iterable[tuple[str, torch.Tensor]], placement: Placement | None = None) -> None:
    """Refuses (``bad_setting``) a model some of whose weights, given with their names, are not in memory, or not where
    they were told to be."""
    for name, tensor in tensors:
        if tensor.device.type == "meta":
            raise Refusal(
                "bad_setting",
                f"The model's {name} is not in memory, but offloaded or never loaded.",
                "Load the model so that all of it stays on its devices.",
            )
        if placement is not None and tensor.device not in placement.devices:
            raise Refusal(
                "bad_setting",
                f"The model's {name} is on {tensor.device}, not on {placement.name}.",
                "Name a device for every module in the device map.",
            )
