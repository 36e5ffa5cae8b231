"""The architectures that the engine can take apart: one row each, one adapter file a family.

Reading this table loads no torch; an adapter is imported when a model of its family is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from arithmoscope.contracts.errors import Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from arithmoscope.engine.families.layout import Layout

# transformers' class name -> the module with its `layout(hf) -> Layout`
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

# GGUF writes `general.architecture` instead of a class name. Only those of which transformers reads what tells models
# of the kind apart: of Gemma it leaves out how scores are scaled, of Phi-3 and StableLM how positions are rotated, of
# Falcon the layout, and the numbers would be another model's.
GGUF_ARCHITECTURES: dict[str, str] = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}


_UNSUPPORTED = "The architecture"


def why_unsupported(architecture: str | None) -> str | None:
    """A sentence for an architecture that no row knows, None for a supported one."""
    return None if architecture in FAMILIES else unsupported(architecture)


def unsupported(architecture: str | None, how: str = "") -> str:
    """The sentence for an architecture that cannot be taken apart, ``how`` saying what about it if not its name."""
    known = ", ".join(sorted(FAMILIES))
    named = " ".join(filter(None, (repr(str(architecture)[:80]), how)))
    return f"{_UNSUPPORTED} {named} is not supported; supported are {known}."


def unsupported_gguf(architecture: str, experts: int = 0) -> str | None:
    """A sentence for a GGUF file's architecture that cannot be read or taken apart, None for a supported one."""
    if experts:
        return unsupported(architecture, f"with {experts} experts")
    if architecture in GGUF_ARCHITECTURES:
        return None
    known = ", ".join(sorted(GGUF_ARCHITECTURES))
    return f"{_UNSUPPORTED} {architecture[:80]!r} is not supported as a GGUF file; supported as one are {known}."


def is_architecture(reason: str) -> bool:
    """Whether a model's reason is that its architecture is not supported."""
    return reason.startswith(_UNSUPPORTED)


def layout_of(hf: PreTrainedModel) -> Layout:
    """Where the heads, MLPs and norms of a loaded model are. Refuses (``unsupported_architecture``) others."""
    architecture = type(hf).__name__
    reason = why_unsupported(architecture)
    if reason is not None:
        raise Refusal("unsupported_architecture", reason)
    return importlib.import_module(FAMILIES[architecture]).layout(hf)
