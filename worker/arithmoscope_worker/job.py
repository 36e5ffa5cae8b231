"""Runs one job: claim, compute, commit its final state.

A job may be cancelled, refused, run out of memory, fail, lose its lease to another worker, or be interrupted because
the worker must stop. In each case the finished part is kept and the submitter learns what happened.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from arithmoscope.contracts.errors import ProblemDetails, Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds import KINDS, parent_of
from arithmoscope.contracts.log_context import working_on
from arithmoscope.contracts.models import ModelCard
from arithmoscope.store import Claim, EventLog, LeaseLost, Store
from arithmoscope_worker.engine_port import Output, TunedOutput
from arithmoscope_worker.heartbeat import Heartbeat, HeldClaim
from arithmoscope_worker.job_model import load_job_model
from arithmoscope_worker.problems import problem_of
from arithmoscope_worker.progress_report import ProgressReporter
from arithmoscope_worker.runtime import Runtime

logger = logging.getLogger(__name__)

_CHECK_EVERY_S = 0.2
_RETRY_S = 0.5

_T = TypeVar("_T")


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs one after another.

    ``stop_requested``: whether the worker is being stopped. ``refresh``: registers added and removed models.
    """

    store: Store
    events: EventLog
    runtime: Runtime
    heartbeat: Heartbeat
    owner: str
    lease_s: float
    stop_requested: Callable[[], bool]
    refresh: Callable[[], None] = lambda: None

    def run(self, experiment_id: str, attempt: int) -> None:
        """Runs a queued attempt to its end; does nothing if it cannot be claimed.

        Runs interrupted jobs of lost workers first: the broker may have delivered other messages before theirs.
        """
        for interrupted in self._retry(self.store.interrupted):
            if interrupted.id != experiment_id:
                with working_on(interrupted.id):
                    self._run(interrupted.id, interrupted.attempt)
        self._run(experiment_id, attempt)

    def _retry(self, act: Callable[[], _T]) -> _T:
        """Retries until the store answers or the worker must stop; then raises the refusal."""
        return _retry_while_unavailable(act, self.stop_requested)

    def _run(self, experiment_id: str, attempt: int) -> None:
        claim = self._retry(lambda: self.store.claim(experiment_id, attempt, owner=self.owner, lease_s=self.lease_s))
        if claim is None:
            logger.info("attempt %d of %s cannot be claimed: dropped", attempt, experiment_id)
            return
        logger.info("attempt %d of %s begins on %s", claim.attempt, claim.id, claim.model)
        report = ProgressReporter(self.store, self.events, claim)
        with self.heartbeat.holding(claim) as held:
            stop_check = _StopCheck(self.store, held, self.stop_requested)
            try:
                state = self._run_to_end(claim, report, stop_check)
            except LeaseLost:
                logger.warning("%s was claimed by another worker: stopped", claim.id)
                return
            except Refusal as error:  # the lease expires and another attempt follows
                logger.error("the final state of %s was not committed: %s", claim.id, error)
                return
        logger.info("attempt %d of %s ends: %s", attempt, claim.id, state)
        if state != "queued":
            report.publish_state(state)

    def _run_to_end(self, claim: Claim, report: ProgressReporter, stop_check: _StopCheck) -> str:
        """Computes, and commits the final state; returns it."""
        output: Output | None = None
        try:
            output = self._compute(claim, report, stop_check)
            report.flush()
            if output is not None and (early_end := _problem_of(output)) is not None:
                failed = output
                self._retry(lambda: self.store.fail(claim, early_end, failed.artifacts, tuned=_card_of(failed)))
                return "failed"
            if output is not None and output.result.complete:
                done = output
                _retry_while_unavailable(
                    lambda: self.store.succeed(claim, done.artifacts, tuned=_card_of(done)), stop_check.should_stop
                )
                return "succeeded"
        except LeaseLost:
            raise
        except _StopRequested:
            return self.store.release(claim)
        except Exception as error:
            if not isinstance(error, Refusal):
                logger.exception("%s failed", claim.id)
            if not stop_check.cancelled:
                problem = problem_of(error)
                self._retry(lambda: self.store.fail(claim, problem))
                self.runtime.free_memory()
                return "failed"
        partial = None if output is None else output.artifacts
        self._retry(lambda: self.store.mark_cancelled(claim, partial, tuned=_card_of(output)))
        return "cancelled"

    def _compute(self, claim: Claim, report: ProgressReporter, stop_check: _StopCheck) -> Output | None:
        report.progress(Progress(stage="loading_model"))
        try:
            self.refresh()
        except Exception:  # the model of this job may be registered already
            logger.exception("the models were not refreshed")
        model = load_job_model(
            self.store, self.runtime, claim.model, lambda act: _retry_while_unavailable(act, stop_check.should_stop)
        )

        def on_progress(progress: Progress) -> None:
            stop_check.raise_if_interrupted()
            report.progress(progress)

        def save_chunk(number: int, data: bytes) -> None:
            supersedes = KINDS[claim.spec.kind].last_chunk_suffices
            _retry_while_unavailable(
                lambda: self.store.save_chunk(claim, number, data, supersedes=supersedes), stop_check.should_stop
            )
            logger.info("saved chunk %d of %s: %d bytes", number, claim.id, len(data))

        return self.runtime.run(claim.spec.kind)(
            model,
            claim.spec,
            claim.id,
            parent=self._parent_of(claim, stop_check),
            saved_chunks=self._saved_chunks(claim, stop_check),  # no reference is kept here: it may be large
            save_chunk=save_chunk,
            on_progress=on_progress,
            on_partial=report.partial,
            should_stop=stop_check.should_stop,
        )

    def _saved_chunks(self, claim: Claim, stop_check: _StopCheck) -> dict[int, bytes]:
        saved = _retry_while_unavailable(lambda: self.store.chunks(claim.id), stop_check.should_stop)
        if saved:
            logger.info("attempt %d of %s continues after %d saved chunks", claim.attempt, claim.id, len(saved))
        return saved

    def _parent_of(self, claim: Claim, stop_check: _StopCheck) -> Callable[[str], bytes] | None:
        parent = parent_of(claim.spec)
        if parent is None:
            return None

        def read(name: str) -> bytes:
            try:
                return _retry_while_unavailable(lambda: self.store.read_artifact(parent, name), stop_check.should_stop)
            except Refusal as refusal:
                raise _about_parent(refusal) from refusal

        return read


def _card_of(output: Output | None) -> ModelCard | None:
    """The card of the model that a run produced, if any."""
    return output.card if isinstance(output, TunedOutput) else None


def _problem_of(output: Output) -> ProblemDetails | None:
    """The problem that ended a run early although it has artifacts to store, if any."""
    problem = output.problem if isinstance(output, TunedOutput) else None
    return None if problem is None else problem.details()


def _about_parent(refusal: Refusal) -> Refusal:
    """Rephrases a refusal about the parent analysis, so that it is not mistaken for one about the child."""
    detail, way_out = {
        "unknown_experiment": (
            "The parent analysis has been deleted.",
            "Restore it and retry, or choose another analysis.",
        ),
        "not_finished": (
            "The parent analysis is running again.",
            "Retry after it has finished.",
        ),
        "no_result": (
            f"The parent analysis is incomplete: {refusal.detail}",
            "Run the analysis again, then retry this.",
        ),
    }.get(refusal.code, (refusal.detail, refusal.way_out))
    return Refusal(refusal.code, detail, way_out)


def _retry_while_unavailable(act: Callable[[], _T], give_up: Callable[[], bool]) -> _T:
    """Calls ``act``, and retries while the store is unavailable: computed results are worth waiting for."""
    waiting = False
    while True:
        try:
            return act()
        except Refusal as refusal:
            if refusal.code != "store_unavailable" or give_up():
                raise
            if not waiting:
                logger.warning("waiting for the store: %s", refusal)
            waiting = True
        time.sleep(_RETRY_S)


class _StopRequested(Exception):
    """The worker is being stopped: the job is left to the next one."""


class _StopCheck:
    """Decides whether a job must end early. Reads the row at most a few times per second."""

    def __init__(self, store: Store, held: HeldClaim, stop_requested: Callable[[], bool]) -> None:
        self._store = store
        self._held = held
        self._stop_requested = stop_requested
        self._checked_at = float("-inf")
        self.cancelled = False

    def raise_if_interrupted(self) -> None:
        """Raises LeaseLost or _StopRequested if this worker must drop the job, without even a partial result."""
        if self._held.lost:
            raise LeaseLost(self._held.claim.id)
        if self._stop_requested():
            raise _StopRequested

    def should_stop(self) -> bool:
        """Returns whether a cancellation was requested; the engine then finishes with what it has."""
        self.raise_if_interrupted()
        now = time.monotonic()
        if not self.cancelled and now - self._checked_at >= _CHECK_EVERY_S:
            self._checked_at = now
            try:
                self.cancelled = self._store.cancel_requested(self._held.claim.id)
            except Refusal as error:
                logger.warning("the cancellation state of %s cannot be read: %s", self._held.claim.id, error)
        return self.cancelled
