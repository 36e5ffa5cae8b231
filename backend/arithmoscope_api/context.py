"""What the routes work with: made once when the app is made, handed to every route."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from arithmoscope.store import AsyncEventLog, EventLog, Store
from arithmoscope.store.outbox import Outbox
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.event_hub import Live
from arithmoscope_api.http.access_log import Requests
from arithmoscope_api.http.keyed_lock import Turns
from arithmoscope_api.result_tokens import ResultIndexes
from arithmoscope_api.tokenizers import Vocabularies
from arithmoscope_api.views import Views


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
