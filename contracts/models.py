"""What is known of a model before its weights are loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.wire import Wire

ModelSource = Literal["demo", "folder", "hub"]

# A real template writes some hundred characters, and some thousand where it explains tools.
MAX_CHAT_CHARACTERS = 16_000
_Written = Annotated[str, Field(max_length=MAX_CHAT_CHARACTERS)]


class ChatFrame(Wire):
    """What a model's chat template writes around what is said, its special tokens spelled out.

    before  everything before a person's first turn
    reply   between a person's turn and the assistant's reply to it
    next    between a reply and the next turn of the person
    after   after the person's last turn, up to where the assistant's reply begins
    """

    before: _Written
    reply: _Written
    next: _Written
    after: _Written


class ModelCard(Wire):
    """A row of ``GET /api/models``. ``revision`` is the SHA-256 of the weights' file (or of their manifest); ``chat``
    says that the model brings a chat template along."""

    id: str
    name: str
    source: ModelSource
    revision: str
    layers: int
    heads: int
    kv_heads: int
    parameters: int
    shots: int
    chat: bool = False
    supported: bool
    reason: str | None = None


class ModelList(Wire):
    items: tuple[ModelCard, ...]
