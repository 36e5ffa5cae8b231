"""The API and the page as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from threading import Thread

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from arithmoscope.store import AsyncEventLog, EventLog, Store
from arithmoscope.store.dispatch import Dispatcher
from arithmoscope.store.janitor import Janitor
from arithmoscope.store.outbox import Outbox
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.context import Context
from arithmoscope_api.docs_page import docs_page
from arithmoscope_api.event_hub import Live
from arithmoscope_api.health import code_version
from arithmoscope_api.http import problems
from arithmoscope_api.http.access_log import Observed, Requests
from arithmoscope_api.http.allowed_methods import Methods
from arithmoscope_api.http.body_limit import BodyLimits
from arithmoscope_api.http.concurrency_limit import Crowd
from arithmoscope_api.http.keyed_lock import Turns
from arithmoscope_api.http.rate_limit import LimitedWrites, WriteRate
from arithmoscope_api.http.root_path import UnderPath
from arithmoscope_api.http.security import Gate
from arithmoscope_api.openapi import TITLE, openapi_document
from arithmoscope_api.result_tokens import ResultIndexes
from arithmoscope_api.routes import artifacts, events, experiments, prompts, system, tuning, views
from arithmoscope_api.routes.page import Page
from arithmoscope_api.routes.prompts import FILES
from arithmoscope_api.tokenizers import Vocabularies
from arithmoscope_api.views import Views


def create_app(config: ApiConfig, store: Store) -> ASGIApp:
    """The application over an open store. It closes what it opens itself; the store is its caller's."""
    app = routes_only()
    broker = _Broker(config.redis_url, store) if config.redis_url else None
    keeper = Janitor(store)
    results = ResultIndexes(store)
    live = Live(store.experiment_statuses, broker and broker.events)
    context = Context(
        config=config,
        store=store,
        outbox=broker and broker.outbox,
        spoken=broker and broker.spoken,
        events=broker and broker.events,
        live=live,
        requests=Requests(),
        started_at=datetime.now(UTC),
        vocabularies=Vocabularies(store),
        results=results,
        turns=Turns(),
        views=Views(store, results, broker and broker.dispatcher.request_view),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        Thread(target=context.vocabularies.warm, name="vocabularies", daemon=True).start()
        keeper.start()
        if broker is not None:
            broker.outbox.start()
        yield
        await run_in_threadpool(keeper.stop)
        await live.close()
        if broker is not None:
            await broker.close()

    app.state.context = context
    app.router.lifespan_context = lifespan
    app.router.default = Page(config.page_dir)
    # Around the application, not inside it: the gate refuses strangers before anything of theirs is read, and
    # its headers are on the answer to an accident too.
    known = Methods(BodyLimits(app, files=FILES), openapi_document(app)["paths"], elsewhere=app)
    gate = Gate(
        LimitedWrites(Crowd(known), WriteRate(config.rate_limit)),
        host=config.host,
        allowed_hosts=config.allowed_hosts,
        tokens=config.tokens,
        secret=store.secret() if config.tokens else "",
        use_link=store.use_link,
    )
    return UnderPath(Observed(gate, context.requests), config.root_path)


class _Broker:
    """What speaks to the broker: the outbox, which also takes back what lost workers held, and the events."""

    def __init__(self, redis_url: str, store: Store) -> None:
        self.dispatcher = Dispatcher(redis_url)
        self.spoken = EventLog(redis_url)
        self.events = AsyncEventLog(redis_url)
        self.outbox = Outbox(store, self.dispatcher.send, self.spoken.publish, marker=self.dispatcher)

    async def close(self) -> None:
        await run_in_threadpool(self.outbox.stop)
        self.dispatcher.close()
        self.spoken.close()
        await self.events.close()


def routes_only() -> FastAPI:
    """The routes and their documentation, with nothing behind them."""
    # An address with a slash too many is not there: a redirect would be made of the host that somebody sent.
    app = FastAPI(
        title=TITLE,
        version=code_version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    for routes in (system, prompts, experiments, events, artifacts, views, tuning):
        app.include_router(routes.router)

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(openapi_document(app))

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(openapi_document(app)))

    return app
