"""Placement of a model on devices, and the memory check before any weight is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.memory import free_bytes
from arithmoscope.engine.models.weight_headers import Weights

SPREAD = "balanced"
DeviceMap = Mapping[str, int | str | torch.device]

# Memory beyond the weights that any run needs: activations of a short prompt, workspace of the kernels.
_WORK_BYTES = 64 * 2**20
_WORK_SHARE = 0.05
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """The ``devices`` that share the weights, and the ``device_map`` passed to transformers; None loads on the CPU."""

    devices: tuple[torch.device, ...]
    device_map: str | dict[str, int | str | torch.device] | None = None

    @property
    def name(self) -> str:
        return " and ".join(str(device) for device in self.devices)


def best_device() -> torch.device:
    """The device of ``"auto"``: CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps") if torch.backends.mps.is_available() else _CPU


def placement_of(device: str, device_map: DeviceMap | str | None, dtype: str) -> Placement:
    """The placement for a device (``"auto"``, a torch device, ``"balanced"`` over all GPUs) or a device map: modules to
    devices, as transformers takes it.

    As device maps, the strings ``"auto"`` and ``"balanced"`` spread the model over all GPUs; with fewer than two GPUs,
    ``"auto"`` is the device ``"auto"``.

    Raises:
        Refusal: ``bad_setting`` if a device is missing, or if the map offloads weights to the CPU or disk: offloaded
            weights cannot be read.
    """
    if device_map is not None:
        if device != "auto":
            raise Refusal("bad_setting", "Both a device and a device map are given.", "Give one of them.")
        device, device_map = _parse_device_map(device_map)
    if device_map is not None:
        placement = _mapped(device_map)
    elif device == SPREAD:
        placement = _spread()
    else:
        target = best_device() if device == "auto" else _existing_device(device)
        placement = Placement((target,), None if target.type == "cpu" else {"": target})
    if dtype == "float64" and any(device.type == "mps" for device in placement.devices):
        raise Refusal("bad_setting", "MPS does not support float64.", "Choose float32, or the device cpu.")
    return placement


def check_memory(name: str, weights: Weights, dtype: str, placement: Placement) -> None:
    """Checks that a model fits into its devices' free memory.

    Raises:
        Refusal: ``model_too_large``.
    """
    held = weights.bytes_in(dtype)
    transient = weights.transient_bytes(dtype)
    needed = held + transient + _WORK_BYTES + int(held * _WORK_SHARE)
    _check(name, dtype, held, needed, placement.name, sum(free_bytes(device) for device in placement.devices))
    if weights.packed and placement.devices != (_CPU,):  # dequantised in the machine's memory, then moved
        _check(name, dtype, held, held + transient, "loading it, cpu", free_bytes(_CPU))


def _check(name: str, dtype: str, held: int, needed: int, device: str, free: int) -> None:
    if needed > free:
        raise Refusal(
            "model_too_large",
            f"{name} needs {format_bytes(needed)} in {dtype} ({format_bytes(held)} of weights); "
            f"{device} has {format_bytes(free)} free.",
        )


def format_bytes(size: int) -> str:
    """A size in bytes as text, in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _existing_device(name: str) -> torch.device:
    try:
        device = torch.empty(0, device=name).device  # with its index: "cuda" may be any GPU
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        message = next(iter(str(error).splitlines()), type(error).__name__)
        raise Refusal("bad_setting", f"The device {name!r} is not available: {message}") from error
    if device.type == "meta":
        raise Refusal("bad_setting", "The device 'meta' stores no data.")
    return device


def _parse_device_map(device_map: object) -> tuple[str, DeviceMap | None]:
    """A device map as ``(device, None)`` if it is one of the known strings, or as ``("auto", mapping)``."""
    if isinstance(device_map, Mapping):
        return "auto", device_map
    if device_map == "auto":
        return (SPREAD if torch.cuda.device_count() > 1 else "auto"), None
    if device_map == SPREAD:
        return SPREAD, None
    raise Refusal(
        "bad_setting",
        f"The device map {str(device_map)[:80]!r} is not a mapping.",
        f"Map each module to a device ({{'': 'cuda:0'}} covers all), or use auto or {SPREAD}, "
        "or give a device instead.",
    )


def _spread() -> Placement:
    gpus = torch.cuda.device_count()
    if gpus < 2:
        raise Refusal(
            "bad_setting", f"The device {SPREAD!r} spreads a model over GPUs; there are {gpus}.", "Choose auto or cpu."
        )
    return Placement(tuple(torch.device("cuda", index) for index in range(gpus)), SPREAD)


def _mapped(device_map: DeviceMap) -> Placement:
    if not device_map:
        raise Refusal("bad_setting", "The device map is empty.")
    if "disk" in device_map.values():
        raise _offloading("the disk")
    devices = tuple(dict.fromkeys(_device_of(value) for value in device_map.values()))
    if len(devices) > 1 and _CPU in devices:
        raise _offloading("the CPU")
    return Placement(devices, dict(device_map))


def _device_of(value: int | str | torch.device) -> torch.device:
    return _existing_device(f"cuda:{value}" if isinstance(value, int) else str(value))


def _offloading(target: str) -> Refusal:
    return Refusal(
        "bad_setting",
        f"The device map keeps weights on {target} and loads them onto a GPU when needed, but they must stay in place.",
        "Spread the model over GPUs only, put all of it on the CPU, or choose a smaller dtype.",
    )


def check_devices(tensors: Iterable[tuple[str, torch.Tensor]], placement: Placement | None = None) -> None:
    """Checks that all weights, given as (name, tensor), are in memory and on the devices of ``placement``.

    Raises:
        Refusal: ``bad_setting``.
    """
    for name, tensor in tensors:
        if tensor.device.type == "meta":
            raise Refusal(
                "bad_setting",
                f"The model's {name} is not in memory: it is offloaded or was never loaded.",
                "Load the model so that all of it stays on its devices.",
            )
        if placement is not None and tensor.device not in placement.devices:
            raise Refusal(
                "bad_setting",
                f"The model's {name} is on {tensor.device}, not on {placement.name}.",
                "Name a device for every module in the device map.",
            )
