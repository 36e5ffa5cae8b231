"""One layer of one prompt's attention, read out of the middle of a stored file: never the whole of it.

What was not stored with the result, a worker is asked for: once, and again only when nothing has come for a while,
or when what stood in the way then is a while ago.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from backend.results import ResultIndexes
from contracts.errors import Refusal
from store import Store
from store.attention import WITH_RESULT, attention_name, problem_name, read_problem
from store.outbox import BrokerDown
from store.tensors import read_slice

ASK_AGAIN_S = 60.0


class Attention:
    """``ask(experiment id, prompt)`` reaches the workers; None where there is no broker."""

    def __init__(
        self,
        store: Store,
        results: ResultIndexes,
        ask: Callable[[str, int], None] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._results = results
        self._ask = ask
        self._clock = clock
        self._asked: dict[tuple[str, int], float] = {}
        self._lock = Lock()

    def read(self, experiment_id: str, layer: int, prompt: int) -> bytes | None:
        """An ``AttentionPattern`` as JSON bytes; None while a worker computes it.

        Refuses ``out_of_range`` what the result lacks, ``no_worker`` when nobody is there to compute it.
        """
        index = self._results.of(experiment_id)
        if not 0 <= layer < index.layers:
            raise Refusal("out_of_range", f"Layer {layer} is not among the model's {index.layers} layers (from 0).")
        if prompt not in index.tokens:
            raise Refusal("out_of_range", _why_not(index.dropped, prompt))
        for name in (WITH_RESULT, attention_name(prompt)):
            weights = self._weights(experiment_id, name, f"prompt.{prompt}", layer)
            if weights is not None:
                shown = json.dumps(weights, separators=(",", ":"))
                return f'{{"layer":{layer},"tokens":{index.tokens[prompt]},"weights":{shown}}}'.encode()
        self._wish(experiment_id, prompt)
        return None

    def _weights(self, experiment_id: str, name: str, tensor: str, layer: int) -> list[Any] | None:
        try:
            with self._store.open_artifact(experiment_id, name) as file:
                return read_slice(file, tensor, layer)
        except Refusal as error:
            # The result is there and knows this prompt and layer: it is the attention alone that was not kept.
            if error.code not in ("no_result", "out_of_range"):
                raise
        return None

    def _wish(self, experiment_id: str, prompt: int) -> None:
        if problem_name(prompt) in self._store.artifact_names(experiment_id):
            said, at = read_problem(self._store.read_artifact(experiment_id, problem_name(prompt)))
            if abs(self._clock() - at) < ASK_AGAIN_S:
                raise Refusal(said.type.rpartition(":")[2], said.detail, said.way_out)
        if self._ask is None or not self._store.workers():
            raise Refusal("no_worker", "The attention of this prompt is not stored, and no worker can compute it.")
        now, key = self._clock(), (experiment_id, prompt)
        with self._lock:
            self._asked = {asked: at for asked, at in self._asked.items() if abs(now - at) < ASK_AGAIN_S}
            if key in self._asked:
                return
            self._asked[key] = now
        try:
            self._ask(experiment_id, prompt)
        except BrokerDown as error:
            with self._lock:
                self._asked.pop(key, None)
            raise Refusal("no_worker", "The queue is down, so no worker can be asked for this attention.") from error


def _why_not(dropped: dict[int, str], prompt: int) -> str:
    if prompt in dropped:
        return f"Prompt {prompt} is not in the result: {dropped[prompt]}"
    return f"There is no prompt {prompt} in the result."
