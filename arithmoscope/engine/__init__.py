"""The engine: which heads and MLPs of a language model carry an answer, exactly, and at the cost of two forward
passes and one wave. It knows no server.

Names are loaded on first use, so that `engine.catalogue` can be read without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arithmoscope.contracts.prompts import PromptPair
    from arithmoscope.engine.measures.knockout_result import Knockout
    from arithmoscope.engine.methods.attention import AttentionPatterns, attention
    from arithmoscope.engine.methods.attribution import Attribution, attribution
    from arithmoscope.engine.methods.edges import Edges, edges
    from arithmoscope.engine.methods.knockout import knockout
    from arithmoscope.engine.methods.lens import Lens, lens
    from arithmoscope.engine.methods.path_patching import PatchingEffects, path_patching
    from arithmoscope.engine.methods.roles import RoleAttention, attention_roles
    from arithmoscope.engine.methods.stream import StreamEffects, stream
    from arithmoscope.engine.methods.transfer import Transfer, transfer
    from arithmoscope.engine.methods.writes import Written, writes
    from arithmoscope.engine.models.loaded import LoadedModel, load_model
    from arithmoscope.engine.tuning.deltas import Deltas
    from arithmoscope.engine.tuning.fine_tune import FineTuned, fine_tune

_HOMES = {
    "AttentionPatterns": "arithmoscope.engine.methods.attention",
    "Attribution": "arithmoscope.engine.methods.attribution",
    "Deltas": "arithmoscope.engine.tuning.deltas",
    "Edges": "arithmoscope.engine.methods.edges",
    "FineTuned": "arithmoscope.engine.tuning.fine_tune",
    "Knockout": "arithmoscope.engine.measures.knockout_result",
    "Lens": "arithmoscope.engine.methods.lens",
    "LoadedModel": "arithmoscope.engine.models.loaded",
    "PatchingEffects": "arithmoscope.engine.methods.path_patching",
    "PromptPair": "arithmoscope.contracts.prompts",
    "RoleAttention": "arithmoscope.engine.methods.roles",
    "StreamEffects": "arithmoscope.engine.methods.stream",
    "Transfer": "arithmoscope.engine.methods.transfer",
    "Written": "arithmoscope.engine.methods.writes",
    "attention": "arithmoscope.engine.methods.attention",
    "attention_roles": "arithmoscope.engine.methods.roles",
    "attribution": "arithmoscope.engine.methods.attribution",
    "edges": "arithmoscope.engine.methods.edges",
    "fine_tune": "arithmoscope.engine.tuning.fine_tune",
    "knockout": "arithmoscope.engine.methods.knockout",
    "lens": "arithmoscope.engine.methods.lens",
    "load_model": "arithmoscope.engine.models.loaded",
    "path_patching": "arithmoscope.engine.methods.path_patching",
    "stream": "arithmoscope.engine.methods.stream",
    "transfer": "arithmoscope.engine.methods.transfer",
    "writes": "arithmoscope.engine.methods.writes",
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
