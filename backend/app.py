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

from backend import problems
from backend.config import ApiConfig
from backend.context import Context
from backend.crowd import Crowd
from backend.docs_page import docs_page
from backend.health import code_version
from backend.limits import BodyLimits
from backend.live import Live
from backend.methods import Methods
from backend.mount import UnderPath
from backend.openapi import TITLE, openapi_document
from backend.rates import LimitedWrites, WriteRate
from backend.requests import Observed, Requests
from backend.results import ResultIndexes
from backend.routes import artifacts, events, experiments, prompts, system, tuning, views
from backend.routes.page import Page
from backend.routes.prompts import FILES
from backend.security import Gate
from backend.turns import Turns
from backend.views import Views
from backend.vocabularies import Vocabularies
from store import AsyncEventLog, EventLog, Store
from store.dispatch import Dispatcher
from store.keeper import Keeper
from store.outbox import Outbox


def create_app(config: ApiConfig, store: Store) -> ASGIApp:
    """The application over an open store. It closes what it opens itself; the store is its caller's."""
    app = routes_only()
    broker = _Broker(config.redis_url, store) if config.redis_url else None
    keeper = Keeper(store)
    results = ResultIndexes(store)
    live = Live(store.glances, broker and broker.events)
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
        views=Views(store, results, broker and broker.dispatcher.ask_view),
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
        self.outbox = Outbox(store, self.dispatcher.send, self.spoken.publish, memory=self.dispatcher)

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
