"""Loads weights and tokenizers into memory: safetensors and GGUF only, and never code shipped with a model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families import why_unsupported
from arithmoscope.engine.models.catalogue import ModelLocation
from arithmoscope.engine.models.memory import release_freed_memory
from arithmoscope.engine.models.placement import SPREAD, Placement, check_devices
from arithmoscope.engine.models.weight_headers import INT8_REST

Dtype = Literal["float32", "float64", "bfloat16", "float16", "int8"]
DTYPES: dict[Dtype, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": getattr(torch, INT8_REST),  # of everything but the layers' matrices
}

# Errors that reading untrusted files may raise; most come from an invalid configuration.
_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, ImportError, ArithmeticError)
_NO_MEMORY = "can't allocate memory"  # torch's message in a plain RuntimeError on the CPU


def read_model(location: ModelLocation, dtype: str, placement: Placement) -> Any:
    """The transformers model of a location, on its devices. ``dtype`` is a key of `DTYPES`.

    Raises:
        Refusal: ``bad_model_files`` if files cannot be read or weights are missing; ``model_too_large`` if memory runs
            out while loading.
    """
    name = Path(location.gguf or location.path).name
    options: dict[str, Any] = {"gguf_file": location.gguf} if location.gguf else {"use_safetensors": True}
    if dtype == "int8":
        options["quantization_config"] = _int8_config(location)
    # A GGUF file is dequantised on the CPU and moved afterwards.
    if placement.device_map is not None and not location.gguf:
        options["device_map"] = placement.device_map
    with quiet(), _load_errors_as_refusals(name):
        from transformers import AutoModelForCausalLM

        if not location.gguf:
            _check_class(location.path)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            location.path, dtype=DTYPES[dtype], trust_remote_code=False, output_loading_info=True, **options
        )
        hf, report = loaded
    wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if wrong:
        raise Refusal("bad_model_files", f"{name} lacks {len(wrong)} of the model's weights, such as {wrong[0]}.")
    if placement.device_map == SPREAD and {"cpu", "disk"} & {str(d) for d in hf.hf_device_map.values()}:
        raise Refusal("model_too_large", f"{name} does not fit on {placement.name} together.")
    if placement.device_map is not None and location.gguf:
        with _load_errors_as_refusals(name):
            hf = hf.to(placement.devices[0])
    if placement.device_map is not None:
        check_devices(hf.named_parameters(), placement)
    release_freed_memory()
    return hf


def read_tokenizer(location: ModelLocation) -> Any:
    """The tokenizer of a location, read from its tokenizer.json if there is one.

    AutoTokenizer would use the tokenizer class of the model's family instead, and the preview, which reads the file,
    would show other tokens than the run.
    """
    with quiet(), _load_errors_as_refusals(Path(location.path).name):
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        reader: Any = PreTrainedTokenizerFast if (Path(location.path) / "tokenizer.json").is_file() else AutoTokenizer
        options = {"gguf_file": location.gguf} if location.gguf else {}
        return reader.from_pretrained(location.path, trust_remote_code=False, **options)


def plain_tokenizer(source: str) -> Tokenizer:
    """A tokenizer from the text of a tokenizer.json, without padding and truncation."""
    text = Tokenizer.from_str(source)
    text.no_padding()
    text.no_truncation()
    return text


def _check_class(path: str) -> None:
    """Checks that a folder's configuration has the class of the architecture that it names.

    Raises:
        Refusal: ``unsupported_architecture``.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = type(AutoConfig.from_pretrained(path, trust_remote_code=False))
    table: Any = AutoModelForCausalLM._model_mapping
    reason = why_unsupported(table[kind].__name__ if kind in table else kind.__name__)
    if reason is not None:
        raise Refusal("unsupported_architecture", reason)


def _int8_config(location: ModelLocation) -> Any:
    """torchao's weight-only int8: one scale per matrix row, activations not rounded, so that the result of one row of
    a batch does not depend on the others."""
    if location.gguf:
        raise Refusal(
            "bad_setting",
            "The dtype int8 is not supported for GGUF files, which are dequantised when they are read.",
            "Choose float16 or bfloat16 for it.",
        )
    with quiet():
        from transformers.utils.import_utils import is_torchao_available

        if not is_torchao_available():
            raise Refusal(
                "bad_setting",
                "The dtype int8 needs the package torchao, which is not installed.",
                "Install it (pip install 'arithmoscope[int8]'), or choose float16 or bfloat16.",
            )
        from torchao.quantization import Int8WeightOnlyConfig  # pyright: ignore[reportMissingImports]
        from transformers import TorchAoConfig

        return TorchAoConfig(Int8WeightOnlyConfig())


@contextmanager
def _load_errors_as_refusals(name: str) -> Iterator[None]:
    """Turns errors raised while loading the model ``name`` into refusals."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Refusal("model_too_large", f"Memory ran out while {name} was loaded.") from error
    except Exception as error:
        # tokenizers raises bare Exceptions, for example for merges of unknown tokens.
        if not isinstance(error, _unreadable()) and type(error) is not Exception:
            raise
        if _NO_MEMORY in str(error):
            raise Refusal("model_too_large", f"Memory ran out while {name} was loaded.") from error
        message = " ".join(str(error).split()) or type(error).__name__
        raise Refusal("bad_model_files", f"{name}: {message[:200]}") from error


def _unreadable() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (*_UNREADABLE, SafetensorError, StrictDataclassError)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences progress bars, and torchao's messages about kernels for other machines, which transformers triggers."""
    from transformers.utils import logging as progress_bars

    bars = progress_bars.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    progress_bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            progress_bars.enable_progress_bar()
