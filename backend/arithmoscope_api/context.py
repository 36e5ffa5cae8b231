"""Context of the routes: the objects that every route shares, created once per application."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from arithmoscope.store import AsyncEventLog, EventLog, Store
from arithmoscope.store.outbox import Outbox
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.event_hub import EventHub
from arithmoscope_api.http.access_log import RequestMetrics
from arithmoscope_api.http.keyed_lock import KeyedLock
from arithmoscope_api.result_index import ResultIndexCache
from arithmoscope_api.tokenizers import TokenizerCache
from arithmoscope_api.views import Views


@dataclass(frozen=True, slots=True)
class Context:
    """Shared objects of one application. Those that need the broker are None without one; experiments stay queued.

    Attributes:
        config: Configuration of the process.
        store: Experiments, queue and artifacts.
        outbox: Dispatches queued experiments to the workers.
        event_writer: Writes to the experiments' event streams.
        event_reader: Reads the experiments' event streams.
        event_hub: Sends live events to readers.
        request_metrics: Counters of requests and refusals.
        started_at: Start time of the application.
        tokenizers: Parsed tokenizers and chat templates.
        result_indexes: Prompts and tokens of stored results.
        views: Views of finished analyses.
        submit_lock: Serialises concurrent submissions of the same question.
    """

    config: ApiConfig
    store: Store
    outbox: Outbox | None
    event_writer: EventLog | None
    event_reader: AsyncEventLog | None
    event_hub: EventHub
    request_metrics: RequestMetrics
    started_at: datetime
    tokenizers: TokenizerCache
    result_indexes: ResultIndexCache
    views: Views
    submit_lock: KeyedLock


async def _context(request: Request) -> Context:  # async: a plain function would take a thread for every request
    return request.app.state.context


Ctx = Annotated[Context, Depends(_context)]
