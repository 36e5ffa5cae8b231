"""What is kept: experiments, their artifacts, models, workers; and the passing stream of their events.

The database is the truth. The broker and the event stream may vanish at any moment and nothing is lost.
"""

from arithmoscope.store.bundled_experiments import EXAMPLE_ID
from arithmoscope.store.events import AsyncEventLog, Event, EventLog, EventsDown
from arithmoscope.store.leases import Claim, LeaseLost, Waiting
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
    "Store",
    "Waiting",
]
