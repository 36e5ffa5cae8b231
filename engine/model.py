"""Loading a model: from the catalogue, a local folder, a GGUF file, the hub, or objects in hand.

Only safetensors and GGUF are read, and no code that a model brings along is ever run.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from contracts.errors import Refusal
from contracts.models import ModelCard
from engine.catalogue import Catalogue, card_of_config, default_models_dir
from engine.families import anatomy_of, is_architecture
from engine.families.anatomy import Anatomy
from prompts import number_token_values, number_word_values

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. ``hf`` is the transformers model, ``text`` the tokenizer as the prompts room reads it."""

    hf: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    card: ModelCard
    text: Tokenizer

    @property
    def device(self) -> torch.device:
        return self.anatomy.unembed.weight.device  # pyright: ignore[reportReturnType]

    @property
    def dtype(self) -> torch.dtype:
        """The weights' type."""
        return self.anatomy.unembed.weight.dtype  # pyright: ignore[reportReturnType]

    @property
    def work_dtype(self) -> torch.dtype:
        """The type of the residual stream, the deltas and the effects: never narrower than float32."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def context(self) -> int | None:
        """The most tokens that the model can read, where its configuration says so."""
        return getattr(self.hf.config, "max_position_embeddings", None)

    @property
    def embeddings(self) -> int:
        """How many tokens the model knows."""
        return len(self.anatomy.unembed.weight)  # pyright: ignore[reportArgumentType]

    @cached_property
    def word_values(self) -> dict[int, int]:
        """Token ids that read as a number word, with their values."""
        return number_word_values(self.text)

    @cached_property
    def number_values(self) -> dict[int, int]:
        """Token ids that read as a number, with their values."""
        return number_token_values(self.text)

    def token_text(self, token_id: int) -> str:
        """One token as a person reads it."""
        return self.text.decode([token_id], skip_special_tokens=False)


def load_model(
    model: str | os.PathLike[str] | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    models_dir: str | os.PathLike[str] | None = None,
    allow_hub: bool | None = None,
) -> LoadedModel:
    """A model ready to be analysed.

    ``model``: an id of the catalogue (``"smollm2-135m"``), a local folder or GGUF file, a hub name, or a
    transformers model, then with its ``tokenizer``; that one is put into evaluation mode, as a model from a folder is.
    ``device``: ``"auto"``, ``"cpu"``, ``"cuda:1"``.
    ``models_dir`` and ``allow_hub`` default to the environment (ARITHMOSCOPE_MODELS_DIR, ARITHMOSCOPE_ALLOW_HUB).

    Refuses unknown ids, unsupported architectures (before weights load), unreadable files and tokenizers that
    know more tokens than the model.
    """
    if not isinstance(model, str | os.PathLike):
        if tokenizer is None:
            raise Refusal("bad_tokenizer", "A model in hand needs its tokenizer as the second argument.")
        if device != "auto":
            raise Refusal("bad_setting", "A model in hand stays where it is.", "Move it with model.to(device) first.")
        return _in_hand(model, tokenizer, card=None)
    if dtype not in DTYPES:
        raise Refusal("bad_setting", f"dtype {dtype!r} is none of {', '.join(DTYPES)}.")
    if allow_hub is None:
        allow_hub = os.environ.get("ARITHMOSCOPE_ALLOW_HUB", "").lower() in ("1", "true", "yes", "on", "y", "t")
    catalogue = Catalogue(Path(models_dir) if models_dir else default_models_dir(), allow_hub=allow_hub)
    place = catalogue.locate(os.fspath(model))
    if not place.card.supported:
        reason = place.card.reason or "It cannot be loaded."
        raise Refusal("unsupported_architecture" if is_architecture(reason) else "bad_model_files", reason)
    hf, found = _read(place.path, place.gguf, DTYPES[dtype])
    return _in_hand(hf.to(_device(device)), tokenizer or found, card=place.card)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Refusal("bad_setting", f"The device {name!r} is not there: {str(error).splitlines()[0]}") from error
    return device


def _read(path: str, gguf: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils import logging as progress_bars

    options: dict[str, Any] = {"gguf_file": gguf} if gguf else {"use_safetensors": True}
    bars = progress_bars.is_progress_bar_enabled()
    progress_bars.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, trust_remote_code=False, output_loading_info=True, **options
        )
        hf, report = loaded
        reader: Any = PreTrainedTokenizerFast if _is_plain_tokenizer(path) else AutoTokenizer
        tokenizer = reader.from_pretrained(path, trust_remote_code=False, **({"gguf_file": gguf} if gguf else {}))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Refusal("bad_model_files", f"{Path(path).name}: {first[:200]}") from error
    finally:
        if bars:
            progress_bars.enable_progress_bar()
    wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if wrong:
        raise Refusal(
            "bad_model_files",
            f"{Path(path).name} lacks {len(wrong)} of the model's weights, such as {wrong[0]}.",
        )
    return hf, tokenizer


def _is_plain_tokenizer(path: str) -> bool:
    """Whether a folder says that its tokenizer.json is all there is to its tokenizer. transformers would still put
    the tokenizer of the model's family in its place."""
    try:
        said = json.loads((Path(path) / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")


def _in_hand(hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, card: ModelCard | None) -> LoadedModel:
    anatomy = anatomy_of(hf)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise Refusal("bad_tokenizer", "This tokenizer does not report character offsets; a fast tokenizer does.")
    # Our own copy: padding or truncation that somebody switched on does not follow us.
    text = Tokenizer.from_str(backend.to_str())
    text.no_padding()
    text.no_truncation()
    embeddings: Any = hf.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    # Tokens that somebody added, for padding say, may lie beyond: a prompt that uses one is refused then.
    highest = max(text.get_vocab(with_added_tokens=False).values(), default=-1)
    if highest >= rows:
        raise Refusal(
            "bad_tokenizer",
            f"It knows token ids up to {highest}, the model has embeddings for {rows} tokens.",
        )
    if card is None:
        card = card_of_config(
            hf.config.to_dict(),
            model_id=str(getattr(hf.config, "_name_or_path", "") or "in-hand"),
            architecture=type(hf).__name__,
            source="folder",
            revision="in-hand",
            parameters=sum(parameter.numel() for parameter in hf.parameters()),
        )
    return LoadedModel(hf=hf.eval(), tokenizer=tokenizer, anatomy=anatomy, card=card, text=text)
