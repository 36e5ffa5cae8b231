"""Persistent state: experiments, artifacts, models and workers in a database; transient event streams in Redis.

The database is the source of truth. Losing the broker or the event stream at any moment loses no data.
"""

from arithmoscope.store.bundled_experiments import EXAMPLE_ID
from arithmoscope.store.events import AsyncEventLog, Event, EventLog, EventsDown
from arithmoscope.store.leases import Claim, LeaseLost, QueuedAttempt
from arithmoscope.store.store import Store
from arithmoscope.store.submissions import UNDO_S

__all__ = [
    "EXAMPLE_ID",
    "UNDO_S",
    "AsyncEventLog",
    "Claim",
    "Event",
    "EventLog",
    "EventsDown",
    "LeaseLost",
    "QueuedAttempt",
    "Store",
]
