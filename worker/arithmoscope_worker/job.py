"""The life of one job: claimed, computed, and ended in the one way that is true.

It may be cancelled, refused, run out of memory, break, lose its lease to another worker, or be interrupted because
the worker is told to stop; after each, what was finished is kept, and the asker learns what happened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from arithmoscope.contracts.errors import ProblemDetails, Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.log_context import working_on
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.specs import Kind, PathPatchingSpec
from arithmoscope.store import Claim, EventLog, LeaseLost, Store
from arithmoscope_worker.engine_port import Output, TunedOutput
from arithmoscope_worker.heartbeat import Heartbeat, HeldClaim
from arithmoscope_worker.job_model import load_job_model
from arithmoscope_worker.problems import problem_of
from arithmoscope_worker.progress_report import ProgressReporter
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2
_AGAIN_S = 0.5
# Of these a chunk holds all that the chunks before it did: a checkpoint.
_CHECKPOINTED: frozenset[Kind] = frozenset({"fine_tune"})

_T = TypeVar("_T")


@dataclass(frozen=True)
class JobRunner:
    """``stop_requested``: the worker is being stopped. ``refresh``: looks whether models came or went."""

    store: Store
    events: EventLog
    runtime: Runtime
    heart: Heartbeat
    owner: str
    lease_s: float
    stop_requested: Callable[[], bool]
    refresh: Callable[[], None] = lambda: None

    def perform(self, experiment_id: str, attempt: int) -> None:
        """Runs a queued attempt to its end; nothing when it is not there to be claimed.

        Before it whatever a lost worker had begun: the broker may have given out other messages first.
        """
        for left in self._in_time(self.store.interrupted):
            if left.id != experiment_id:
                with working_on(left.id):
                    self._perform(left.id, left.attempt)
        self._perform(experiment_id, attempt)

    def _in_time(self, act: Callable[[], _T]) -> _T:
        """Until it works, or the worker is told to stop: then the refusal."""
        return _retry_while_unavailable(act, self.stop_requested)

    def _perform(self, experiment_id: str, attempt: int) -> None:
        claim = self._in_time(lambda: self.store.claim(experiment_id, attempt, owner=self.owner, lease_s=self.lease_s))
        if claim is None:
            logger.info("attempt %d of %s is not to be had: dropped", attempt, experiment_id)
            return
        logger.info("attempt %d of %s begins on %s", claim.attempt, claim.id, claim.model)
        report = ProgressReporter(self.store, self.events, claim)
        with self.heart.holding(claim) as hold:
            watch = _Watch(self.store, hold, self.stop_requested)
            try:
                state = self._end(claim, report, watch)
            except LeaseLost:
                logger.warning("%s has gone to another worker: stopped", claim.id)
                return
            except Refusal as error:  # the end could not be written; the lease runs out and another attempt follows
                logger.error("the end of %s is not kept: %s", claim.id, error)
                return
        logger.info("attempt %d of %s ends: %s", attempt, claim.id, state)
        if state != "queued":
            report.ended(state)

    def _end(self, claim: Claim, report: ProgressReporter, watch: _Watch) -> str:
        """Computes, and writes the end into the row; the state that it is in then."""
        output: Output | None = None
        try:
            output = self._compute(claim, report, watch)
            report.flush()
            if output is not None and (broke := _problem_of(output)) is not None:
                kept = output
                self._in_time(lambda: self.store.fail(claim, broke, kept.artifacts, tuned=_card_of(kept)))
                return "failed"
            if output is not None and output.result.complete:
                done = output
                _retry_while_unavailable(
                    lambda: self.store.succeed(claim, done.artifacts, tuned=_card_of(done)), watch.should_stop
                )
                return "succeeded"
        except LeaseLost:
            raise
        except _StopRequested:
            return self.store.release(claim)
        except Exception as error:
            if not isinstance(error, Refusal):
                logger.exception("%s broke", claim.id)
            if not watch.cancelled:
                problem = problem_of(error)
                self._in_time(lambda: self.store.fail(claim, problem))
                self.runtime.tidy()
                return "failed"
        partial = None if output is None else output.artifacts
        self._in_time(lambda: self.store.mark_cancelled(claim, partial, tuned=_card_of(output)))
        return "cancelled"

    def _compute(self, claim: Claim, report: ProgressReporter, watch: _Watch) -> Output | None:
        report.progress(Progress(stage="loading_model"))
        try:
            self.refresh()
        except Exception:  # some model cannot be looked at: this job's may have been registered long ago
            logger.exception("the models are not looked at again")
        model = load_job_model(
            self.store, self.runtime, claim.model, lambda act: _retry_while_unavailable(act, watch.should_stop)
        )

        def on_progress(progress: Progress) -> None:
            watch.go_on()
            report.progress(progress)

        def save_chunk(number: int, data: bytes) -> None:
            alone = claim.spec.kind in _CHECKPOINTED
            _retry_while_unavailable(lambda: self.store.save_chunk(claim, number, data, alone=alone), watch.should_stop)
            logger.info("chunk %d of %s is saved: %d bytes", number, claim.id, len(data))

        return self.runtime.run(claim.spec.kind)(
            model,
            claim.spec,
            claim.id,
            parent=self._parent_of(claim, watch),
            saved_chunks=self._saved(claim, watch),  # held by whoever takes it up alone: it may be large
            save_chunk=save_chunk,
            on_progress=on_progress,
            on_partial=report.partial,
            should_stop=watch.should_stop,
        )

    def _saved(self, claim: Claim, watch: _Watch) -> dict[int, bytes]:
        saved = _retry_while_unavailable(lambda: self.store.chunks(claim.id), watch.should_stop)
        if saved:
            logger.info("attempt %d of %s goes on after %d saved chunks", claim.attempt, claim.id, len(saved))
        return saved

    def _parent_of(self, claim: Claim, watch: _Watch) -> Callable[[str], bytes] | None:
        parent = None if isinstance(claim.spec, PathPatchingSpec) else claim.spec.parent
        if parent is None:
            return None

        def read(name: str) -> bytes:
            try:
                return _retry_while_unavailable(lambda: self.store.read_artifact(parent, name), watch.should_stop)
            except Refusal as refusal:
                raise _about_parent(refusal) from refusal

        return read


def _card_of(output: Output | None) -> ModelCard | None:
    """The model that a run made, if it made any."""
    return output.card if isinstance(output, TunedOutput) else None


def _problem_of(output: Output) -> ProblemDetails | None:
    """Why a run could not go on, though it has something to keep."""
    problem = output.problem if isinstance(output, TunedOutput) else None
    return None if problem is None else problem.details()


def _about_parent(refusal: Refusal) -> Refusal:
    """The same, so that nobody takes it to be about the experiment that reads its analysis."""
    said, way_out = {
        "unknown_experiment": (
            "The analysis that this was asked of has been deleted.",
            "Bring it back and retry, or ask the same of another analysis.",
        ),
        "not_finished": (
            "The analysis that this was asked of runs again.",
            "Retry when it has finished.",
        ),
        "no_result": (
            f"The analysis that this was asked of lacks something: {refusal.detail}",
            "Run the analysis again, then retry this.",
        ),
    }.get(refusal.code, (refusal.detail, refusal.way_out))
    return Refusal(refusal.code, said, way_out)


def _retry_while_unavailable(act: Callable[[], _T], enough: Callable[[], bool]) -> _T:
    """What ``act`` gives. A full disk or a silent database passes, and what was computed is worth the wait."""
    waits = False
    while True:
        try:
            return act()
        except Refusal as refusal:
            if refusal.code != "store_unavailable" or enough():
                raise
            if not waits:
                logger.warning("waiting for the store: %s", refusal)
            waits = True
        time.sleep(_AGAIN_S)


class _StopRequested(Exception):
    """The worker is being stopped: leave the job to the next one."""


class _Watch:
    """Whether a job should end before its end. Looks at the row at most a few times a second."""

    def __init__(self, store: Store, hold: HeldClaim, stop_requested: Callable[[], bool]) -> None:
        self._store = store
        self._hold = hold
        self._told_to_stop = stop_requested
        self._looked_at = float("-inf")
        self.cancelled = False

    def go_on(self) -> None:
        """Raises when nothing more of this job is wanted from this worker, not even a partial result."""
        if self._hold.lost:
            raise LeaseLost(self._hold.claim.id)
        if self._told_to_stop():
            raise _StopRequested

    def should_stop(self) -> bool:
        """Whether the asker has cancelled: then the engine closes with what it has."""
        self.go_on()
        now = time.monotonic()
        if not self.cancelled and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            try:
                self.cancelled = self._store.cancel_requested(self._hold.claim.id)
            except Refusal as error:
                logger.warning("whether %s is cancelled cannot be read: %s", self._hold.claim.id, error)
        return self.cancelled
