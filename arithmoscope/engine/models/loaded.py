"""Loads a model for analysis: from the catalogue, a local folder, a GGUF file, the hub, or a transformers model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments, refuse, whole_number
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.engine.families import is_architecture, layout_of
from arithmoscope.engine.families.layout import Layout, is_packed
from arithmoscope.engine.models.cards import card_of_config, why_not_causal
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.engine.models.chat_template import frame_of_tokenizer
from arithmoscope.engine.models.folders import default_models_dir
from arithmoscope.engine.models.loading import Dtype, plain_tokenizer, read_model, read_tokenizer
from arithmoscope.engine.models.placement import DeviceMap, check_devices, check_memory, placement_of
from arithmoscope.engine.serialization import file_errors
from arithmoscope.prompts import number_token_values, number_word_values

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, ready for every method.

    Attributes:
        hf: The transformers model.
        tokenizer: The transformers tokenizer.
        layout: The modules of its blocks.
        card: Its card: id, revision, numbers of layers and heads.
        text: The tokenizer of the `tokenizers` package that prompts are read with.
    """

    hf: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    layout: Layout
    card: ModelCard
    text: Tokenizer

    @property
    def device(self) -> torch.device:
        """The device of the unembedding, where measurements are kept."""
        return self.layout.unembed.weight.device  # pyright: ignore[reportReturnType]

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """Every device that holds a part of the model, `device` first."""
        return tuple(dict.fromkeys((self.device, *(block.device for block in self.layout.blocks))))

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model computes in."""
        return self.layout.unembed.weight.dtype  # pyright: ignore[reportReturnType]

    @property
    def precision(self) -> str:
        """The type that the weights are stored in, as in `load_model`: the name of `dtype`, or ``"int8"``."""
        packed = any(is_packed(block.heads_out) for block in self.layout.blocks)
        return "int8" if packed else str(self.dtype).removeprefix("torch.")

    @property
    def work_dtype(self) -> torch.dtype:
        """The type of the residual stream and the effects: float32, or float64 for a float64 model."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def runs_alone(self) -> bool:
        """True if prompts and patches must run one by one: a float64 model is for exact results, and the float32
        products or softmax inside its attention would depend on the batch."""
        # transformers' eager attention computes its softmax in float32.
        narrow = self.layout.float32_attention or self.hf.config._attn_implementation == "eager"
        return narrow and self.dtype == torch.float64

    @property
    def context(self) -> int | None:
        """Maximum number of tokens, if its configuration states it."""
        return getattr(self.hf.config, "max_position_embeddings", None)

    @property
    def embeddings(self) -> int:
        """Number of tokens of the unembedding."""
        return len(self.layout.unembed.weight)  # pyright: ignore[reportArgumentType]

    @cached_property
    def word_values(self) -> dict[int, int]:
        """Token ids that read as a number word, with their values."""
        return number_word_values(self.text)

    @cached_property
    def number_values(self) -> dict[int, int]:
        """Token ids that read as a number, with their values."""
        return number_token_values(self.text)

    @cached_property
    def chat(self) -> ChatFrame:
        """The text that the model's chat template adds.

        Raises:
            Refusal: ``no_chat_template`` or ``bad_chat_template``.
        """
        return frame_of_tokenizer(self.tokenizer, self.card.id)

    def token_text(self, token_id: int) -> str:
        """The text of a token.

        Args:
            token_id: The token's id.

        Returns:
            Its text, also of a special token; empty for an id that the tokenizer does not have.

        Raises:
            Refusal: ``bad_request`` if it is not a whole number from 0 on.

        Example:
            >>> model.token_text(model.tokenizer.convert_tokens_to_ids("8"))
            '8'
        """
        if type(token_id) is not int or not 0 <= token_id < 2**32:
            token_id = whole_number("token_id", token_id, Range(0, 2**32 - 1))
        return self.text.decode([token_id], skip_special_tokens=False)


def _source(model: Any) -> Any:
    if isinstance(model, str | os.PathLike) or (hasattr(model, "config") and hasattr(model, "named_parameters")):
        return model
    allowed = "the name of a model, a path, or a transformers model"
    raise refuse("model", model, allowed, "Write for example am.load_model('smollm2-135m').")


def _tokenizer(tokenizer: Any) -> Any:
    if tokenizer is None or hasattr(tokenizer, "convert_tokens_to_ids"):
        return tokenizer
    way_out = "Write for example transformers.AutoTokenizer.from_pretrained(...)."
    raise refuse("tokenizer", tokenizer, "a transformers tokenizer", way_out, "bad_tokenizer")


@check_arguments(model=_source, tokenizer=_tokenizer)
def load_model(
    model: str | os.PathLike[str] | PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    device: str = "auto",
    device_map: DeviceMap | str | None = None,
    dtype: Dtype | None = None,
    models_dir: str | os.PathLike[str] | None = None,
    allow_hub: bool | None = None,
) -> LoadedModel:
    """Loads a model for analysis.

    Args:
        model: An id of the catalogue (``"smollm2-135m"``), a local folder or GGUF file, a hub name, or a transformers
            model together with its ``tokenizer``; it is put into evaluation mode.
        tokenizer: The transformers tokenizer; None for the one next to the weights.
        device: ``"auto"`` (CUDA, else MPS, else the CPU), ``"cpu"``, ``"cuda:1"``, ``"mps"``, or ``"balanced"``: spread
            over all GPUs.
        device_map: Instead of ``device``, a device for each module by name, as in transformers, or ``"auto"``: over all
            GPUs if there are several.
        dtype: ``"float32"`` (None), ``"float64"``, ``"bfloat16"``, ``"float16"``, or ``"int8"``: the layers' matrices
            in 8 bits, everything else in float32.
        models_dir: The models folder; None for ARITHMOSCOPE_MODELS_DIR or the folder in the user's cache.
        allow_hub: Allow downloads from the model hub; None for ARITHMOSCOPE_ALLOW_HUB.

    Returns:
        The model on its devices, in evaluation mode.

    Raises:
        Refusal: `ModelNotFound` for an unknown id, or a hub that is off or unreachable; `UnsupportedModel` for an
            unsupported architecture, unreadable files or a tokenizer with more tokens than the model;
            ``model_too_large``, before weights load, if it does not fit; ``bad_request`` for an
            argument of another kind; ``bad_setting`` for a device or dtype that cannot be used.

    Example:
        >>> model = am.load_model("smollm2-135m")
        >>> model.device, model.dtype
        (device(type=...), torch.float32)
    """
    if not isinstance(model, str | os.PathLike):
        return _wrap_unchanged(model, tokenizer, placed=device != "auto" or device_map is not None, dtype=dtype)
    dtype = "float32" if dtype is None else dtype
    placement = placement_of(device, device_map, dtype)
    if allow_hub is None:
        allow_hub = os.environ.get("ARITHMOSCOPE_ALLOW_HUB", "").lower() in ("1", "true", "yes", "on", "y", "t")
    catalogue = Catalogue(Path(models_dir) if models_dir else default_models_dir(), allow_hub=allow_hub)
    location = catalogue.locate(os.fspath(model))
    if not location.card.supported:
        reason = location.card.reason or "It cannot be loaded."
        raise Refusal("unsupported_architecture" if is_architecture(reason) else "bad_model_files", reason)
    if location.weights is not None:
        check_memory(location.card.id, location.weights, dtype, placement)
    hf = read_model(location, dtype, placement)
    loaded = _wrap(hf, tokenizer or read_tokenizer(location), card=location.card)
    if tokenizer is None:
        loaded = _with_tokenizer_file(loaded, Path(location.path) / "tokenizer.json")
    if dtype == "int8" and not _computes_in_8_bits(loaded):
        raise Refusal(
            "bad_setting",
            f"A {type(hf).__name__} cannot compute with 8-bit weights.",
            "Choose float16 or bfloat16 for it.",
        )
    return loaded


@check_arguments()
def list_models(models_dir: str | os.PathLike[str] | None = None) -> list[ModelCard]:
    """The models that `load_model` knows by id: the demo model and the folders of the models folder.

    Args:
        models_dir: The models folder; None for ARITHMOSCOPE_MODELS_DIR or the folder in the user's cache.

    Returns:
        One card per model, the demo model first; a card that is not ``supported`` has the ``reason``.

    Raises:
        Refusal: ``bad_file`` if the models folder cannot be read.

    Example:
        >>> [card.id for card in am.list_models() if card.supported]
        ['smollm2-135m'...]
    """
    folder = Path(models_dir) if models_dir else default_models_dir()
    with file_errors(folder, "read"):
        return Catalogue(folder).cards()


def _computes_in_8_bits(model: LoadedModel) -> bool:
    """True if the layers' matrices are plain torch linear modules. GPT-2's are not, so they stay unquantised; Falcon's
    transpose the weight themselves, which 8-bit weights do not support."""
    block = model.layout.blocks[0]
    try:
        with torch.no_grad():
            block.mlp(torch.zeros(1, 1, model.layout.hidden, dtype=model.dtype, device=block.device))
    except NotImplementedError:
        return False
    return model.precision == "int8"


def _wrap_unchanged(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, *, placed: bool, dtype: str | None
) -> LoadedModel:
    """Wraps a transformers model that the caller passed; neither moves nor converts it. ``placed``: whether the caller
    also named a device."""
    if tokenizer is None:
        raise Refusal("bad_tokenizer", "A transformers model needs its tokenizer as the second argument.")
    if placed:
        raise Refusal(
            "bad_setting",
            "A transformers model stays on its device.",
            "Leave device and device_map out, and move the model with model.to(device) first.",
        )
    loaded = _wrap(hf, tokenizer, card=None)
    if dtype not in (None, loaded.precision):
        raise Refusal(
            "bad_setting",
            f"A transformers model keeps its dtype: {loaded.precision}, not {dtype}.",
            "Convert it with model.to(dtype) first, or leave dtype out.",
        )
    return loaded


def _wrap(hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, card: ModelCard | None) -> LoadedModel:
    config = {name: value for name, value in hf.config.to_dict().items() if name != "quantization_config"}
    reason = why_not_causal(config, type(hf).__name__)
    if reason is not None:
        raise Refusal("unsupported_architecture", reason)
    layout = layout_of(hf)
    check_devices(hf.named_parameters())
    if is_packed(layout.unembed):
        raise Refusal(
            "bad_setting",
            "The model's unembedding is quantised, and logits are read from its rows.",
            "Leave it as it is when the model is quantised (llm_int8_skip_modules, modules_to_not_convert).",
        )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise Refusal("bad_tokenizer", "This tokenizer does not report character offsets; a fast tokenizer does.")
    # A copy, without the padding or truncation that may be enabled on the caller's tokenizer.
    text = plain_tokenizer(backend.to_str())
    embeddings: Any = hf.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    # Added tokens, such as one for padding, may exceed the embeddings: only a prompt that uses one is rejected.
    highest = max(text.get_vocab(with_added_tokens=False).values(), default=-1)
    if highest >= rows:
        raise Refusal(
            "bad_tokenizer",
            f"The tokenizer has token ids up to {highest}; the model has embeddings for {rows} tokens.",
        )
    if card is None:
        card = card_of_config(
            config,
            model_id=str(getattr(hf.config, "_name_or_path", "") or "in-hand"),
            architecture=type(hf).__name__,
            source="folder",
            revision="in-hand",
            parameters=sum(parameter.numel() for parameter in hf.parameters()),
        )
    return LoadedModel(hf=hf.eval(), tokenizer=tokenizer, layout=layout, card=card, text=text)


def _with_tokenizer_file(loaded: LoadedModel, file: Path) -> LoadedModel:
    """The model with the tokenizer of ``file``, which the preview reads, too; unchanged if there is no such file.

    Raises:
        Refusal: ``bad_tokenizer`` if the file and transformers' tokenizer have different vocabularies.
    """
    if not file.is_file():
        return loaded
    text = plain_tokenizer(file.read_text(encoding="utf-8"))
    if text.get_vocab(with_added_tokens=False) != loaded.text.get_vocab(with_added_tokens=False):
        raise Refusal("bad_tokenizer", "Its tokenizer.json and the tokenizer in transformers have different tokens.")
    return replace(loaded, text=text)
