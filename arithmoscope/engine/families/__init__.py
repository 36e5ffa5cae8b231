"""Supported architectures: one row per transformers class, one adapter module per family.

Importing this table loads no torch; an adapter is imported when a model of its family is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from arithmoscope.contracts.errors import Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from arithmoscope.engine.families.layout import Layout

# transformers' class name -> the module that defines its `layout(hf) -> Layout`
FAMILIES: dict[str, str] = {
    "LlamaForCausalLM": "arithmoscope.engine.families.llama",
    "MistralForCausalLM": "arithmoscope.engine.families.llama",
    "Qwen2ForCausalLM": "arithmoscope.engine.families.llama",
    "Qwen3ForCausalLM": "arithmoscope.engine.families.llama",
    "SmolLM3ForCausalLM": "arithmoscope.engine.families.llama",
    "Phi3ForCausalLM": "arithmoscope.engine.families.llama",
    "StableLmForCausalLM": "arithmoscope.engine.families.llama",
    "Gemma2ForCausalLM": "arithmoscope.engine.families.gemma",
    "Gemma3ForCausalLM": "arithmoscope.engine.families.gemma",
    "Olmo2ForCausalLM": "arithmoscope.engine.families.olmo2",
    "GPTNeoXForCausalLM": "arithmoscope.engine.families.neox",
    "GPTJForCausalLM": "arithmoscope.engine.families.gptj",
    "FalconForCausalLM": "arithmoscope.engine.families.falcon",
    "GPT2LMHeadModel": "arithmoscope.engine.families.gpt2",
}

# GGUF files give `general.architecture` instead of a class name. Only architectures whose GGUF metadata transformers
# reads completely are listed. It drops the scaling of scores for Gemma, the rotation of positions for Phi-3 and
# StableLM, and the block layout for Falcon; the numbers would be those of a different model.
GGUF_ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


_UNSUPPORTED = "The architecture"


def why_unsupported(architecture: str | None) -> str | None:
    """The reason why an architecture is not supported; None if it is."""
    return None if architecture in FAMILIES else unsupported(architecture)


def unsupported(architecture: str | None, variant: str = "") -> str:
    """The message for an unsupported architecture. ``variant`` describes the feature at fault if it is not the
    architecture itself."""
    supported = ", ".join(sorted(FAMILIES))
    name = " ".join(filter(None, (repr(str(architecture)[:80]), variant)))
    return f"{_UNSUPPORTED} {name} is not supported; supported are {supported}."


def unsupported_gguf(architecture: str, experts: int = 0) -> str | None:
    """The reason why a GGUF file's architecture is not supported; None if it is. ``experts``: its expert count."""
    if experts:
        return unsupported(architecture, f"with {experts} experts")
    if architecture in GGUF_ARCHITECTURES:
        return None
    supported = ", ".join(sorted(GGUF_ARCHITECTURES))
    return f"{_UNSUPPORTED} {architecture[:80]!r} is not supported as a GGUF file; supported as one are {supported}."


def is_architecture(reason: str) -> bool:
    """True if a card's ``reason`` is an unsupported architecture."""
    return reason.startswith(_UNSUPPORTED)


def layout_of(hf: PreTrainedModel) -> Layout:
    """The layout of a loaded model: its heads, MLPs and norms.

    Raises:
        Refusal: ``unsupported_architecture``.
    """
    architecture = type(hf).__name__
    reason = why_unsupported(architecture)
    if reason is not None:
        raise Refusal("unsupported_architecture", reason)
    return importlib.import_module(FAMILIES[architecture]).layout(hf)
