"""One layer of one prompt's attention, read out of the middle of a stored file: never the whole of it."""

from __future__ import annotations

import json
from typing import Any

from backend.results import ResultIndexes
from contracts.errors import Refusal
from store import Store
from store.tensors import read_slice

ATTENTION = "attention.safetensors"


def attention_json(store: Store, results: ResultIndexes, experiment_id: str, layer: int, prompt: int) -> bytes:
    """An ``AttentionPattern`` as JSON bytes. Refuses (``out_of_range``) what the result lacks."""
    index = results.of(experiment_id)
    if not 0 <= layer < index.layers:
        raise Refusal("out_of_range", f"Layer {layer} is not among the model's {index.layers} layers (from 0).")
    if prompt not in index.tokens:
        raise Refusal("out_of_range", _why_not(index.dropped, prompt))
    weights = _weights(store, experiment_id, f"prompt.{prompt}", layer)
    found = {"layer": layer, "tokens": index.tokens[prompt], "weights": weights}
    return json.dumps(found, separators=(",", ":")).encode()


def _weights(store: Store, experiment_id: str, tensor: str, layer: int) -> list[Any]:
    try:
        with store.open_artifact(experiment_id, ATTENTION) as file:
            return read_slice(file, tensor, layer)
    except Refusal as error:
        if error.code not in ("no_result", "out_of_range"):
            raise
        # The result is there and knows this prompt and layer: it is the attention alone that was not kept.
        raise Refusal("attention_not_stored", "The attention of this prompt is not stored.") from error


def _why_not(dropped: dict[int, str], prompt: int) -> str:
    if prompt in dropped:
        return f"Prompt {prompt} is not in the result: {dropped[prompt]}"
    return f"There is no prompt {prompt} in the result."
