"""What is computed of a finished analysis when somebody looks: attention, key components, roles, lens, stages, writes.

What is not stored, a worker is asked for: once, and again only when nothing has come for a while, or when what stood
in the way then is a while ago. Of attention one layer of one prompt is read out of the middle of a stored file, never
the whole of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import FINAL_STATES
from arithmoscope.contracts.specs import Kind
from arithmoscope.store import Store
from arithmoscope.store.outbox import BrokerDown
from arithmoscope.store.tensor_slices import read_slice
from arithmoscope.store.views import ASK_AGAIN_S, WITH_RESULT, View, attention, read_problem
from arithmoscope_api.result_tokens import ResultIndex, ResultIndexes

# Workers are asked for so many at once: they compute these before any experiment.
MOST_ASKED = 64


def refuse_other_kinds(kind: Kind, of: tuple[Kind, ...]) -> None:
    """Refuses (``wrong_kind``) an experiment that cannot have what only those ``of`` some kinds have."""
    if kind not in of:
        raise Refusal("wrong_kind", f"The experiment is of the kind {kind}; this is only had of {' and '.join(of)}.")


class Views:
    """``ask(experiment id, name of a view)`` reaches the workers; None where there is no broker."""

    def __init__(
        self,
        store: Store,
        results: ResultIndexes,
        ask: Callable[[str, str], None] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._results = results
        self._ask = ask
        self._clock = clock
        self._asked: dict[tuple[str, View], float] = {}
        self._lock = Lock()

    def attention(self, experiment_id: str, layer: int, prompt: int) -> bytes | None:
        """An ``AttentionPattern`` as JSON bytes; None while a worker computes it.

        Refuses ``out_of_range`` what the result lacks, ``no_worker`` when nobody is there to compute it, ``too_busy``.
        """
        index = self._analysis(experiment_id)
        if not 0 <= layer < index.layers:
            raise Refusal("out_of_range", f"Layer {layer} is not among the model's {index.layers} layers (from 0).")
        _refuse_unknown_prompt(index, prompt)
        view = attention(prompt)
        for name in (WITH_RESULT, view.file):
            weights = self._weights(experiment_id, name, f"prompt.{prompt}", layer)
            if weights is not None:
                self._answered(experiment_id, view)
                shown = json.dumps(weights, separators=(",", ":"))
                return f'{{"layer":{layer},"tokens":{index.tokens[prompt]},"weights":{shown}}}'.encode()
        self._wish(experiment_id, view)
        return None

    def report(self, experiment_id: str, view: View) -> bytes | None:
        """The JSON bytes that a worker stored; None while it computes them.

        Refuses ``out_of_range`` and ``bad_component`` what the result lacks, before anybody is asked; ``no_worker``,
        and ``too_busy`` while `MOST_ASKED` others are on the way.
        """
        index = self._analysis(experiment_id)
        if view.kind == "lens":
            _refuse_unknown_prompt(index, int(view.which))
        if view.kind == "writes":
            component = Component.parse(view.which)
            if component.layer >= index.layers or (component.head or 0) >= index.heads:
                raise Refusal(
                    "bad_component",
                    f"There is no {component}; the model has {index.layers} layers of {index.heads} heads.",
                )
        stored = self._stored(experiment_id, view.file)
        if stored is None:
            self._wish(experiment_id, view)
        else:
            self._answered(experiment_id, view)
        return stored

    def _analysis(self, experiment_id: str) -> ResultIndex:
        """Refuses ``wrong_kind``, and ``not_finished`` and ``no_result`` where there is nothing to look at."""
        seen = self._store.glance(experiment_id)
        refuse_other_kinds(seen.kind, ("path_patching",))
        if seen.state not in FINAL_STATES:
            raise Refusal("not_finished", f"The experiment is {seen.state}.")
        return self._results.of(experiment_id)

    def _weights(self, experiment_id: str, name: str, tensor: str, layer: int) -> list[Any] | None:
        try:
            with self._store.open_artifact(experiment_id, name) as file:
                return read_slice(file, tensor, layer)
        except Refusal as error:
            # The result is there and knows this prompt and layer: it is the attention alone that was not kept.
            if error.code not in ("no_result", "out_of_range"):
                raise
        return None

    def _stored(self, experiment_id: str, name: str) -> bytes | None:
        """None also where the file is gone or damaged: then it is computed again."""
        try:
            return self._store.read_artifact(experiment_id, name)
        except Refusal as refusal:
            if refusal.code != "no_result":
                raise
        return None

    def _answered(self, experiment_id: str, view: View) -> None:
        with self._lock:
            self._asked.pop((experiment_id, view), None)

    def _wish(self, experiment_id: str, view: View) -> None:
        problem = self._stored(experiment_id, view.problem)
        if problem is not None:
            said, at = read_problem(problem)
            if abs(self._clock() - at) < ASK_AGAIN_S:
                self._answered(experiment_id, view)
                raise said.refusal()
        if self._ask is None or not self._store.workers():
            what = "The attention of this prompt" if view.kind == "attention" else "This"
            raise Refusal("no_worker", f"{what} is not stored, and no worker can compute it.")
        now, key = self._clock(), (experiment_id, view)
        with self._lock:
            self._asked = {asked: at for asked, at in self._asked.items() if abs(now - at) < ASK_AGAIN_S}
            if key in self._asked:
                return
            if len(self._asked) >= MOST_ASKED:
                raise Refusal("too_busy", f"{MOST_ASKED} views are being computed already.")
            self._asked[key] = now
        try:
            self._ask(experiment_id, str(view))
        except BrokerDown as error:
            with self._lock:
                self._asked.pop(key, None)
            raise Refusal("no_worker", "The queue is down, so no worker can be asked for this.") from error


def _refuse_unknown_prompt(index: ResultIndex, prompt: int) -> None:
    if prompt in index.tokens:
        return
    if prompt in index.dropped:
        raise Refusal("out_of_range", f"Prompt {prompt} is not in the result: {index.dropped[prompt]}")
    raise Refusal("out_of_range", f"There is no prompt {prompt} in the result.")
