"""What is known of a model before its weights are loaded."""

from __future__ import annotations

from typing import Literal

from contracts.wire import Wire

ModelSource = Literal["demo", "folder", "hub"]


class ModelCard(Wire):
    """A row of ``GET /api/models``. ``revision`` is the SHA-256 of the weights' file (or of their manifest)."""

    id: str
    name: str
    source: ModelSource
    revision: str
    layers: int
    heads: int
    kv_heads: int
    parameters: int
    shots: int
    supported: bool
    reason: str | None = None


class ModelList(Wire):
    items: tuple[ModelCard, ...]
