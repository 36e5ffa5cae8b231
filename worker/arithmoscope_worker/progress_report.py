"""What is said while a job runs: to the event stream often, to the experiment's row now and then."""

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
    """Of one attempt. The first and the last of everything is always said."""

    def __init__(
        self, store: Store, events: EventLog, claim: Claim, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._events = events
        self._claim = claim
        self._clock = clock
        self._said_at = self._kept_at = self._partial_at = float("-inf")
        self._said: Progress | None = None
        self._unsaid: Progress | None = None
        self._unsaid_partial: Partial | TrainingCurve | None = None

    def progress(self, progress: Progress) -> None:
        """Raises `LeaseLost` when the experiment is another's by now."""
        now = self._clock()
        turn = self._said is None or self._said.stage != progress.stage
        self._unsaid = progress
        if turn or now - self._said_at >= EVENT_EVERY_S:
            self._say(progress, now)
        if turn or now - self._kept_at >= ROW_EVERY_S:
            self._keep(progress, now)

    def partial(self, partial: Partial | TrainingCurve) -> None:
        """What is known so far: each says all that those before it said."""
        now = self._clock()
        self._unsaid_partial = partial
        if now - self._partial_at >= PARTIAL_EVERY_S:
            self._say_partial(partial, now)

    def flush(self) -> None:
        """Says what was held back."""
        now = self._clock()
        if self._unsaid_partial is not None:
            self._say_partial(self._unsaid_partial, now)
        if self._unsaid is not None:
            self._keep(self._unsaid, now)
            self._say(self._unsaid, now)

    def ended(self, state: str) -> None:
        """The last word. The row has been written before: who reads this finds it there."""
        self._events.publish(self._claim.id, "state", {"state": state})

    def _say(self, progress: Progress, now: float) -> None:
        self._said, self._said_at, self._unsaid = progress, now, None
        self._publish("progress", progress)

    def _say_partial(self, partial: Partial | TrainingCurve, now: float) -> None:
        self._partial_at, self._unsaid_partial = now, None
        self._publish("partial" if isinstance(partial, Partial) else "training", partial)

    def _publish(self, name: EventName, data: Progress | Partial | TrainingCurve) -> None:
        self._events.publish(self._claim.id, name, data.model_dump(mode="json"))

    def _keep(self, progress: Progress, now: float) -> None:
        self._kept_at = now
        try:
            self._store.save_progress(self._claim, progress)
        except Refusal as error:  # the result will tell; a busy database must not cost it
            logger.warning("the progress of %s is not kept: %s", self._claim.id, error)
