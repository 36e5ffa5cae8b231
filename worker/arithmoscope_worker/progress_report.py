"""Progress reporting of a running job: often to the event stream, less often to the experiment's row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.results import Partial
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.store import Claim, EventLog, Store
from arithmoscope.store.events import EventName

logger = logging.getLogger(__name__)

EVENT_EVERY_S = 0.1
PARTIAL_EVERY_S = 0.5
ROW_EVERY_S = 0.5


class ProgressReporter:
    """Reports the progress of one attempt. The first and last values of everything are always reported."""

    def __init__(
        self, store: Store, events: EventLog, claim: Claim, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._events = events
        self._claim = claim
        self._clock = clock
        self._published_at = self._saved_at = self._partial_at = float("-inf")
        self._published: Progress | None = None
        self._pending: Progress | None = None
        self._pending_partial: Partial | TrainingCurve | None = None

    def progress(self, progress: Progress) -> None:
        """Reports progress. Raises `LeaseLost` if another worker has the experiment now."""
        now = self._clock()
        new_stage = self._published is None or self._published.stage != progress.stage
        self._pending = progress
        if new_stage or now - self._published_at >= EVENT_EVERY_S:
            self._publish_progress(progress, now)
        if new_stage or now - self._saved_at >= ROW_EVERY_S:
            self._save(progress, now)

    def partial(self, partial: Partial | TrainingCurve) -> None:
        """Reports partial results; each supersedes the earlier ones."""
        now = self._clock()
        self._pending_partial = partial
        if now - self._partial_at >= PARTIAL_EVERY_S:
            self._publish_partial(partial, now)

    def flush(self) -> None:
        """Reports values that were held back."""
        now = self._clock()
        if self._pending_partial is not None:
            self._publish_partial(self._pending_partial, now)
        if self._pending is not None:
            self._save(self._pending, now)
            self._publish_progress(self._pending, now)

    def publish_state(self, state: str) -> None:
        """Publishes the final event. The row is committed before, so its readers find the final state there."""
        self._events.publish(self._claim.id, "state", {"state": state})

    def _publish_progress(self, progress: Progress, now: float) -> None:
        self._published, self._published_at, self._pending = progress, now, None
        self._publish("progress", progress)

    def _publish_partial(self, partial: Partial | TrainingCurve, now: float) -> None:
        self._partial_at, self._pending_partial = now, None
        self._publish("partial" if isinstance(partial, Partial) else "training", partial)

    def _publish(self, name: EventName, data: Progress | Partial | TrainingCurve) -> None:
        self._events.publish(self._claim.id, name, data.model_dump(mode="json"))

    def _save(self, progress: Progress, now: float) -> None:
        self._saved_at = now
        try:
            self._store.save_progress(self._claim, progress)
        except Refusal as error:  # only progress is lost; a busy database must not end the job
            logger.warning("the progress of %s was not saved: %s", self._claim.id, error)
