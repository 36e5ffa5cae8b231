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
    from engine.methods.attribution import Attribution, attribution
    from engine.methods.edges import Edges, edges
    from engine.methods.knockout import Knockout, knockout
    from engine.methods.path_patching import PatchingEffects, path_patching
    from engine.methods.stream import StreamEffects, stream
    from engine.methods.writes import Written, writes
    from engine.model import LoadedModel, load_model

_HOMES = {
    "AttentionPatterns": "engine.methods.attention",
    "Attribution": "engine.methods.attribution",
    "Edges": "engine.methods.edges",
    "Knockout": "engine.methods.knockout",
    "LoadedModel": "engine.model",
    "PatchingEffects": "engine.methods.path_patching",
    "PromptPair": "contracts.prompts",
    "StreamEffects": "engine.methods.stream",
    "Written": "engine.methods.writes",
    "attention": "engine.methods.attention",
    "attribution": "engine.methods.attribution",
    "edges": "engine.methods.edges",
    "knockout": "engine.methods.knockout",
    "load_model": "engine.model",
    "path_patching": "engine.methods.path_patching",
    "stream": "engine.methods.stream",
    "writes": "engine.methods.writes",
}

__all__ = [
    "AttentionPatterns",
    "Attribution",
    "Edges",
    "Knockout",
    "LoadedModel",
    "PatchingEffects",
    "PromptPair",
    "StreamEffects",
    "Written",
    "attention",
    "attribution",
    "edges",
    "knockout",
    "load_model",
    "path_patching",
    "stream",
    "writes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
