"""Views of a finished analysis, computed on demand: attention, key components, roles, lens, stages, writes.

A view that is not stored is requested from a worker: once, and again only if nothing arrived for a while or if the last
attempt failed a while ago. Attention is read one layer of one prompt at a time from within the stored file, never as a
whole.
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
from arithmoscope.contracts.views import VIEWS
from arithmoscope.store import Store
from arithmoscope.store.outbox import BrokerDown
from arithmoscope.store.tensor_slices import read_slice
from arithmoscope.store.views import RETRY_AFTER_S, STORED_ATTENTION, View, attention_view, read_problem
from arithmoscope_api.result_index import ResultIndex, ResultIndexCache

# Views that may be pending at workers at the same time: they are computed before any experiment.
MAX_PENDING = 64


def refuse_other_kinds(kind: str, allowed: tuple[str, ...]) -> None:
    """Raises Refusal (``wrong_kind``) if an experiment's kind is not one of the ``allowed`` kinds."""
    if kind not in allowed:
        kinds = " and ".join(allowed)
        raise Refusal("wrong_kind", f"The experiment has the kind {kind}; only {kinds} experiments have this.")


class Views:
    """Reads the stored views of finished analyses and requests missing ones from a worker.

    Args:
        store: Holds the views.
        results: Indexes of the results.
        request: Sends an experiment's id and a view's name to the workers; None without a broker.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        store: Store,
        results: ResultIndexCache,
        request: Callable[[str, str], None] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._results = results
        self._send_request = request
        self._clock = clock
        self._pending: dict[tuple[str, View], float] = {}
        self._lock = Lock()

    def attention(self, experiment_id: str, layer: int, prompt: int) -> bytes | None:
        """The attention of one layer and prompt: an ``AttentionPattern`` as JSON; None while a worker computes it.

        Raises:
            Refusal: The result has no such layer or prompt (``out_of_range``), no worker is available
                (``no_worker``), `MAX_PENDING` views are pending (``too_busy``), or the last attempt failed.
        """
        index = self._analysis(experiment_id)
        if not 0 <= layer < index.layers:
            raise Refusal(
                "out_of_range", f"Layer {layer} does not exist; the model has {index.layers} layers, counted from 0."
            )
        _refuse_unknown_prompt(index, prompt)
        view = attention_view(prompt)
        for name in (STORED_ATTENTION, view.file):
            weights = self._weights(experiment_id, name, f"prompt.{prompt}", layer)
            if weights is not None:
                self._clear_request(experiment_id, view)
                values = json.dumps(weights, separators=(",", ":"))
                return f'{{"layer":{layer},"tokens":{index.tokens[prompt]},"weights":{values}}}'.encode()
        self._request(experiment_id, view)
        return None

    def report(self, experiment_id: str, view: View) -> bytes | None:
        """A stored view as JSON; None while a worker computes it.

        Raises:
            Refusal: The result has no such prompt (``out_of_range``) or component (``bad_component``), no worker is
                available (``no_worker``), `MAX_PENDING` views are pending (``too_busy``), or the last attempt failed.
        """
        index = self._analysis(experiment_id)
        parameter = VIEWS[view.kind].parameter
        if parameter == "prompt":
            _refuse_unknown_prompt(index, int(view.which))
        if parameter == "component":
            component = Component.parse(view.which)
            if component.layer >= index.layers or (component.head or 0) >= index.heads:
                raise Refusal(
                    "bad_component",
                    f"There is no {component}; the model has {index.layers} layers of {index.heads} heads.",
                )
        stored = self._stored(experiment_id, view.file)
        if stored is None:
            self._request(experiment_id, view)
        else:
            self._clear_request(experiment_id, view)
        return stored

    def _analysis(self, experiment_id: str) -> ResultIndex:
        """The result index of an analysis. Raises Refusal: ``wrong_kind``, ``not_finished`` or ``no_result``."""
        row = self._store.experiment_status(experiment_id)
        refuse_other_kinds(row.kind, ("path_patching",))
        if row.state not in FINAL_STATES:
            raise Refusal("not_finished", f"The experiment is {row.state}.")
        return self._results.get(experiment_id)

    def _weights(self, experiment_id: str, name: str, tensor: str, layer: int) -> list[Any] | None:
        try:
            with self._store.open_artifact(experiment_id, name) as file:
                return read_slice(file, tensor, layer)
        except Refusal as error:
            # The result has this prompt and layer: only its attention was not stored.
            if error.code not in ("no_result", "out_of_range"):
                raise
        return None

    def _stored(self, experiment_id: str, name: str) -> bytes | None:
        """A stored view; None also if its file is missing or damaged, so that it is computed again."""
        try:
            return self._store.read_artifact(experiment_id, name)
        except Refusal as refusal:
            if refusal.code != "no_result":
                raise
        return None

    def _clear_request(self, experiment_id: str, view: View) -> None:
        with self._lock:
            self._pending.pop((experiment_id, view), None)

    def _request(self, experiment_id: str, view: View) -> None:
        problem = self._stored(experiment_id, view.problem)
        if problem is not None:
            details, failed_at = read_problem(problem)
            if abs(self._clock() - failed_at) < RETRY_AFTER_S:
                self._clear_request(experiment_id, view)
                raise details.refusal()
        if self._send_request is None or not self._store.workers():
            subject = "The attention of this prompt" if view.kind == "attention" else "This view"
            raise Refusal("no_worker", f"{subject} is not stored, and no worker is available to compute it.")
        now, key = self._clock(), (experiment_id, view)
        with self._lock:
            self._pending = {
                other: requested_at
                for other, requested_at in self._pending.items()
                if abs(now - requested_at) < RETRY_AFTER_S
            }
            if key in self._pending:
                return
            if len(self._pending) >= MAX_PENDING:
                raise Refusal("too_busy", f"{MAX_PENDING} views are already being computed.")
            self._pending[key] = now
        try:
            self._send_request(experiment_id, str(view))
        except BrokerDown as error:
            with self._lock:
                self._pending.pop(key, None)
            raise Refusal("no_worker", "The queue is down, so no worker can compute this.") from error


def _refuse_unknown_prompt(index: ResultIndex, prompt: int) -> None:
    if prompt in index.tokens:
        return
    if prompt in index.dropped:
        raise Refusal("out_of_range", f"Prompt {prompt} is not in the result: {index.dropped[prompt]}")
    raise Refusal("out_of_range", f"There is no prompt {prompt} in the result.")
