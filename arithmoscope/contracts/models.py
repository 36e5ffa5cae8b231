"""What is known of a model before its weights are loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from arithmoscope.contracts.base import Wire

ModelSource = Literal["demo", "folder", "hub", "tuned"]

# Of a model's name in specs and in the store.
MAX_MODEL_ID = 200
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


class PartSizes(Wire):
    """How many numbers there are of each part that can be tuned: of one head's query and output slice, of one key or
    value slice, which heads may share, of the MLP of a layer; and the length of what a head writes into its output
    projection. ``biases``: the same of biases. ``normed_together``: a norm covers the queries of all heads, so that
    tuning one head's moves all."""

    q: int
    k: int
    v: int
    o: int
    mlp: int
    head_dim: int
    q_bias: int = 0
    k_bias: int = 0
    v_bias: int = 0
    mlp_bias: int = 0
    normed_together: bool = False


class ModelCard(Wire):
    """A model of the catalogue, known before its weights are loaded.

    ``revision`` is the SHA-256 of the weights' file (or of their manifest), for a tuned model that of its deltas.
    ``chat``: the model has a chat template. ``base``: the model that this one was tuned from, with its revision at that
    time; ``experiment``: the fine-tuning that created it. ``sizes``: None if unknown.
    """

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
    sizes: PartSizes | None = None
    base: str | None = None
    base_revision: str | None = None
    experiment: str | None = None


class ModelList(Wire):
    items: tuple[ModelCard, ...]
