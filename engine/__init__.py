"""The engine: which heads and MLPs of a language model carry an answer, exactly, and at the cost of two forward
passes and one wave. It knows no server.

Names are loaded on first use, so that `engine.catalogue` can be read without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contracts.prompts import PromptPair
    from engine.knocked import Knockout
    from engine.methods.attention import AttentionPatterns, attention
    from engine.methods.attribution import Attribution, attribution
    from engine.methods.edges import Edges, edges
    from engine.methods.knockout import knockout
    from engine.methods.lens import Lens, lens
    from engine.methods.path_patching import PatchingEffects, path_patching
    from engine.methods.roles import RoleAttention, attention_roles
    from engine.methods.stream import StreamEffects, stream
    from engine.methods.transfer import Transfer, transfer
    from engine.methods.writes import Written, writes
    from engine.model import LoadedModel, load_model
    from engine.tuning.deltas import Deltas
    from engine.tuning.fine_tune import FineTuned, fine_tune

_HOMES = {
    "AttentionPatterns": "engine.methods.attention",
    "Attribution": "engine.methods.attribution",
    "Deltas": "engine.tuning.deltas",
    "Edges": "engine.methods.edges",
    "FineTuned": "engine.tuning.fine_tune",
    "Knockout": "engine.knocked",
    "Lens": "engine.methods.lens",
    "LoadedModel": "engine.model",
    "PatchingEffects": "engine.methods.path_patching",
    "PromptPair": "contracts.prompts",
    "RoleAttention": "engine.methods.roles",
    "StreamEffects": "engine.methods.stream",
    "Transfer": "engine.methods.transfer",
    "Written": "engine.methods.writes",
    "attention": "engine.methods.attention",
    "attention_roles": "engine.methods.roles",
    "attribution": "engine.methods.attribution",
    "edges": "engine.methods.edges",
    "fine_tune": "engine.tuning.fine_tune",
    "knockout": "engine.methods.knockout",
    "lens": "engine.methods.lens",
    "load_model": "engine.model",
    "path_patching": "engine.methods.path_patching",
    "stream": "engine.methods.stream",
    "transfer": "engine.methods.transfer",
    "writes": "engine.methods.writes",
}

__all__ = [
    "AttentionPatterns",
    "Attribution",
    "Deltas",
    "Edges",
    "FineTuned",
    "Knockout",
    "Lens",
    "LoadedModel",
    "PatchingEffects",
    "PromptPair",
    "RoleAttention",
    "StreamEffects",
    "Transfer",
    "Written",
    "attention",
    "attention_roles",
    "attribution",
    "edges",
    "fine_tune",
    "knockout",
    "lens",
    "load_model",
    "path_patching",
    "stream",
    "transfer",
    "writes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
