"""Facts about a model that are available before its weights are loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from arithmoscope.contracts.base import PublicWire, Wire
from arithmoscope.contracts.prompt_terms import AnswerTokens

ModelSource = Literal["demo", "bundled", "folder", "hub", "tuned"]

# Longest model id in specs and in the store.
MAX_MODEL_ID = 200
# A real template writes a few hundred characters, and a few thousand if it explains tools.
MAX_CHAT_CHARACTERS = 16_000
_Written = Annotated[str, Field(max_length=MAX_CHAT_CHARACTERS)]


def tuned_model_id(base: str, made_by: str) -> str:
    """The id of a model tuned from ``base``. ``made_by``: the experiment or digest whose first characters name it."""
    return f"{base}-tuned-{made_by[:8]}"


class ChatFrame(PublicWire):
    """Text that a model's chat template puts around the turns of a conversation, special tokens spelled out.

    before  before the user's first turn
    reply   between a user turn and the assistant's reply to it
    next    between a reply and the user's next turn
    after   after the user's last turn, up to the start of the assistant's reply
    """

    before: _Written
    reply: _Written
    next: _Written
    after: _Written


class PartSizes(Wire):
    """Number of parameters of each part that can be tuned.

    ``q`` and ``o``: the query and output slice of one head. ``k`` and ``v``: one key or value slice, which heads may
    share. ``mlp``: the MLP of one layer. ``..._bias``: the same parts' biases. ``head_dim``: size of a head's output
    before the output projection.
    """

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
    normed_together: bool = Field(
        default=False, description="A norm covers the queries of all heads, so that tuning one head changes all of them"
    )


class ModelCard(Wire):
    """A model: one item of ``GET /api/models``."""

    id: str
    name: str
    source: ModelSource
    revision: str = Field(
        description="SHA-256 of the file of the weights (or of their manifest); of a tuned model, that of its deltas"
    )
    layers: int
    heads: int = Field(description="Query heads per layer")
    kv_heads: int = Field(description="Key/value heads per layer")
    parameters: int
    shots: int = Field(description="Solved examples before a question, unless a request sets its own number")
    answer: AnswerTokens = Field(
        default="whole",
        description="Treatment of answers of several tokens, unless a request sets its own",
    )
    chat: bool = Field(default=False, description="The model comes with a chat template")
    supported: bool
    reason: str | None = Field(default=None, description="Why the model is not supported")
    sizes: PartSizes | None = Field(default=None, description="None if unknown")
    base: str | None = Field(default=None, description="Id of the model that this one was tuned from")
    base_revision: str | None = Field(default=None, description="Revision of the base model at that time")
    experiment: str | None = Field(default=None, description="Id of the fine-tuning that made this model")


class ModelList(Wire):
    """Answer of ``GET /api/models``."""

    items: tuple[ModelCard, ...]
