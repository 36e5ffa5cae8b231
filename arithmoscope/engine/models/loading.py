"""Reading weights and tokenizers into memory. Only safetensors and GGUF, and no code that a model brings along."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.families import why_unsupported
from arithmoscope.engine.models.catalogue import ModelLocation
from arithmoscope.engine.models.memory import release_freed_memory
from arithmoscope.engine.models.placement import SPREAD, Placement, check_devices
from arithmoscope.engine.models.weight_headers import INT8_REST

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": getattr(torch, INT8_REST),  # what everything but the layers' matrices is kept in
}

# What reading files that somebody else wrote may raise: most of it comes from a configuration that says nonsense.
_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, ImportError, ArithmeticError)
_NO_MEMORY = "can't allocate memory"  # torch says so in a plain RuntimeError on the CPU


def read_model(place: ModelLocation, dtype: str, placement: Placement) -> Any:
    """The transformers model of a place, on its devices. ``dtype`` is a key of `DTYPES`.

    Refuses (``bad_model_files``) what cannot be read or lacks weights, and (``model_too_large``) what did not fit
    after all.
    """
    name = Path(place.gguf or place.path).name
    options: dict[str, Any] = {"gguf_file": place.gguf} if place.gguf else {"use_safetensors": True}
    if dtype == "int8":
        options["quantization_config"] = _eight_bits(place)
    # A GGUF file is unpacked where it is, and moved when it is whole.
    if placement.device_map is not None and not place.gguf:
        options["device_map"] = placement.device_map
    with quiet(), _refusing(name):
        from transformers import AutoModelForCausalLM

        if not place.gguf:
            _check_class(place.path)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            place.path, dtype=DTYPES[dtype], trust_remote_code=False, output_loading_info=True, **options
        )
        hf, report = loaded
    wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if wrong:
        raise Refusal("bad_model_files", f"{name} lacks {len(wrong)} of the model's weights, such as {wrong[0]}.")
    if placement.device_map == SPREAD and {"cpu", "disk"} & {str(d) for d in hf.hf_device_map.values()}:
        raise Refusal("model_too_large", f"{name} does not fit on {placement.name} together.")
    if placement.device_map is not None and place.gguf:
        with _refusing(name):
            hf = hf.to(placement.devices[0])
    if placement.device_map is not None:
        check_devices(hf.named_parameters(), placement)
    release_freed_memory()
    return hf


def read_tokenizer(place: ModelLocation) -> Any:
    """The tokenizer of a place: what its tokenizer.json says wherever there is one.

    transformers would put the tokenizer of the model's family in its place, and the preview, which reads the file,
    would show other tokens than the run.
    """
    with quiet(), _refusing(Path(place.path).name):
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        reader: Any = PreTrainedTokenizerFast if (Path(place.path) / "tokenizer.json").is_file() else AutoTokenizer
        options = {"gguf_file": place.gguf} if place.gguf else {}
        return reader.from_pretrained(place.path, trust_remote_code=False, **options)


def plain_tokenizer(source: str) -> Tokenizer:
    """A tokenizer.json's text as a tokenizer, without the padding or truncation that somebody switched on."""
    text = Tokenizer.from_str(source)
    text.no_padding()
    text.no_truncation()
    return text


def _check_class(path: str) -> None:
    """Refuses a folder whose configuration is of another class than the architecture it names."""
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = type(AutoConfig.from_pretrained(path, trust_remote_code=False))
    table: Any = AutoModelForCausalLM._model_mapping
    reason = why_unsupported(table[kind].__name__ if kind in table else kind.__name__)
    if reason is not None:
        raise Refusal("unsupported_architecture", reason)


def _eight_bits(place: ModelLocation) -> Any:
    """8-bit weights by torchao: each row of a matrix has its scale, and what a token reads is not rounded, so that a
    row's result depends on no other row."""
    if place.gguf:
        raise Refusal("bad_setting", "A GGUF file is unpacked when it is read.", "Choose float16 or bfloat16 for it.")
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
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise Refusal("model_too_large", f"Memory ran out while {name} was loaded.") from error
    except Exception as error:
        # The tokenizers' own errors are of no class of their own: a bare Exception, as for merges of unknown tokens.
        if not isinstance(error, _unreadable()) and type(error) is not Exception:
            raise
        if _NO_MEMORY in str(error):
            raise Refusal("model_too_large", f"Memory ran out while {name} was loaded.") from error
        said = " ".join(str(error).split()) or type(error).__name__
        raise Refusal("bad_model_files", f"{name}: {said[:200]}") from error


def _unreadable() -> tuple[type[Exception], ...]:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (*_UNREADABLE, SafetensorError, StrictDataclassError)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no lines of torchao about kernels of other machines, which transformers makes it say."""
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
