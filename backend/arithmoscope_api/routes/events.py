"""Route of live events: server-sent events that resume where a reader left off."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from arithmoscope_api.context import Ctx
from arithmoscope_api.http.problems import problem_responses
from arithmoscope_api.routes.experiments import ExperimentId

router = APIRouter(prefix="/api/experiments/{experiment_id}", tags=["results"])

PING_S = 10

_EVENTS = {"progress": "Progress", "partial": "Partial", "training": "TrainingCurve", "state": "StateChange"}
# One parsed event of the stream.
_EVENT = {
    "type": "object",
    "properties": {
        "event": {"enum": list(_EVENTS)},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
    },
    "required": ["event", "data"],
}
_STREAM = {
    200: {
        "description": "Server-sent events `progress`, `partial`, `training` and, always last, `state`",
        "content": {
            "text/event-stream": {
                "schema": _EVENT,
                "x-events": {name: {"$ref": f"#/components/schemas/{model}"} for name, model in _EVENTS.items()},
            }
        },
    }
}


@router.get(
    "/events", response_class=EventSourceResponse, responses={**_STREAM, **problem_responses(401, 403, 404, 503)}
)
async def events(
    experiment_id: ExperimentId,
    ctx: Ctx,
    last_event_id: Annotated[str | None, Header(description="Resume after this event")] = None,
) -> EventSourceResponse:
    """Streams the events of the last hour and those that follow; ends with the final state."""
    row = await run_in_threadpool(ctx.store.experiment_status, experiment_id)
    frames = ctx.event_hub.follow(experiment_id, row, last_event_id)
    return EventSourceResponse(frames, ping=PING_S, sep="\n")
