"""What happens to an experiment while it happens: server-sent events that resume where a reader left off.

The row is the truth. The event stream of the broker is quicker and richer, but it may expire, be emptied or
be unreachable; then the row is looked at, and a reader always gets the final state.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from backend.context import Context, Ctx
from backend.problems import documented
from backend.routes.experiments import ExperimentId
from contracts.errors import Refusal
from contracts.experiments import FINAL_STATES, Progress, StateChange
from store import Event, EventsDown

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["results"])

PING_S = 10
# How long a read of the broker's stream waits before the row is looked at again; how often the row alone is.
BLOCK_MS = 1_000
POLL_S = 0.5
# A stopped broker accepts connections and answers nothing; a read that takes this long counts as broken.
_STUCK_S = 3.0

_EVENTS = {"progress": "Progress", "partial": "Partial", "state": "StateChange"}
_STREAM = {
    200: {
        "description": "Server-sent events `progress`, `partial` and, always last, `state`",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "x-events": {name: {"$ref": f"#/components/schemas/{model}"} for name, model in _EVENTS.items()},
            }
        },
    }
}


@router.get("/events", response_class=EventSourceResponse, responses={**_STREAM, **documented(401, 403, 404, 503)})
async def events(
    experiment_id: ExperimentId,
    ctx: Ctx,
    last_event_id: Annotated[str | None, Header(description="Go on after this event")] = None,
) -> EventSourceResponse:
    """What happens from now on, and what happened in the last hour; ends with the final state."""
    await run_in_threadpool(ctx.store.glance, experiment_id)
    return EventSourceResponse(_events(ctx, experiment_id, last_event_id), ping=PING_S, sep="\n", send_timeout=30)


async def _events(ctx: Context, experiment_id: str, last_event_id: str | None) -> AsyncIterator[ServerSentEvent]:
    told: Progress | None = None
    after = await _known(ctx, experiment_id, last_event_id)
    # What the stream holds already comes first and at once: it is older than whatever the row says.
    joins = True
    while True:
        try:
            row = await run_in_threadpool(ctx.store.glance, experiment_id)
        except Refusal:
            return  # deleted while someone was looking on
        ended = row.state in FINAL_STATES
        read = await _read(ctx, experiment_id, after, 0 if ended or joins else BLOCK_MS)
        silent = read is None or (not read and (row.state == "queued" or (joins and after is None)))
        if silent and not ended and row.progress != told:
            told = row.progress
            yield _event("progress", row.progress.model_dump(mode="json"), None)
        for event in read or ():
            after = event.id
            # The row says the state: an event of an earlier attempt may still be in the stream.
            if event.event != "state":
                yield _event(event.event, event.data, event.id)
        if ended:
            yield _event("state", StateChange(state=row.state).model_dump(), after)
            return
        joins = False
        if read is None:
            await asyncio.sleep(POLL_S)


async def _known(ctx: Context, experiment_id: str, last_event_id: str | None) -> str | None:
    """Where a reader who comes back left off; None for the beginning."""
    if ctx.events is None or last_event_id is None:
        return None
    try:
        async with asyncio.timeout(_STUCK_S):
            return await ctx.events.known(experiment_id, last_event_id)
    except (EventsDown, TimeoutError):
        return last_event_id


async def _read(ctx: Context, experiment_id: str, after: str | None, block_ms: int) -> list[Event] | None:
    """The events after one; None when there is no broker to ask."""
    if ctx.events is None:
        return None
    try:
        async with asyncio.timeout(block_ms / 1000 + _STUCK_S):
            return await ctx.events.read(experiment_id, after, block_ms)
    except (EventsDown, TimeoutError):
        return None


def _event(name: str, data: dict[str, Any], event_id: str | None) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, separators=(",", ":")), event=name, id=event_id, sep="\n")
