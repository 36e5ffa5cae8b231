"""What is kept: experiments, their artifacts, models, workers; and the passing stream of their events.

The database is the truth. The broker and the event stream may vanish at any moment and nothing is lost.
"""

from store.bundles import EXAMPLE_ID
from store.events import AsyncEventLog, Event, EventLog, EventsDown
from store.leases import Claim, LeaseLost, Waiting
from store.store import Store
from store.submissions import UNDO_S

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
