"""The engine: which heads and MLPs of a language model carry an answer, exactly, and at the cost of two forward
passes and one wave. It knows no server.

Names are loaded on first use, so that `engine.catalogue` can be read without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contracts.prompts import PromptPair
    from engine.methods.attention import AttentionPatterns, attention
    from engine.methods.path_patching import PatchingEffects, path_patching
    from engine.model import LoadedModel, load_model

_HOMES = {
    "AttentionPatterns": "engine.methods.attention",
    "LoadedModel": "engine.model",
    "PatchingEffects": "engine.methods.path_patching",
    "PromptPair": "contracts.prompts",
    "attention": "engine.methods.attention",
    "load_model": "engine.model",
    "path_patching": "engine.methods.path_patching",
}

__all__ = [
    "AttentionPatterns",
    "LoadedModel",
    "PatchingEffects",
    "PromptPair",
    "attention",
    "load_model",
    "path_patching",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
