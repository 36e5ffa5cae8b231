"""What the routes work with: made once when the app is made, handed to every route."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from backend.config import ApiConfig
from backend.live import Live
from backend.requests import Requests
from backend.results import ResultIndexes
from backend.turns import Turns
from backend.views import Views
from backend.vocabularies import Vocabularies
from store import AsyncEventLog, EventLog, Store
from store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Context:
    """What needs the broker is None for a server without one: rows are kept, and wait."""

    config: ApiConfig
    store: Store
    outbox: Outbox | None
    spoken: EventLog | None
    events: AsyncEventLog | None
    live: Live
    requests: Requests
    started_at: datetime
    vocabularies: Vocabularies
    results: ResultIndexes
    views: Views
    turns: Turns


async def _context(request: Request) -> Context:  # not a thread's turn for every request
    return request.app.state.context


Ctx = Annotated[Context, Depends(_context)]
