"""The ASGI application: the API, the page, and the middleware around them."""

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
from arithmoscope_api.event_hub import EventHub
from arithmoscope_api.health import code_version
from arithmoscope_api.http import problems
from arithmoscope_api.http.access_control import AccessControl
from arithmoscope_api.http.access_log import AccessLog, RequestMetrics
from arithmoscope_api.http.allowed_methods import AllowedMethods
from arithmoscope_api.http.body_limit import BodyLimit
from arithmoscope_api.http.concurrency_limit import ConcurrencyLimit
from arithmoscope_api.http.keyed_lock import KeyedLock
from arithmoscope_api.http.rate_limit import RateLimit, WriteCounter
from arithmoscope_api.http.root_path import RootPath
from arithmoscope_api.openapi import TITLE, openapi_document
from arithmoscope_api.result_index import ResultIndexCache
from arithmoscope_api.routes import artifacts, events, experiments, prompts, system, tuning, views
from arithmoscope_api.routes.page import Page
from arithmoscope_api.routes.prompts import UPLOAD_TYPES
from arithmoscope_api.tokenizers import TokenizerCache
from arithmoscope_api.views import Views


def create_app(config: ApiConfig, store: Store) -> ASGIApp:
    """Builds the application over an open store. It closes what it opens itself; the caller closes the store."""
    app = routes_only()
    broker = _Broker(config.redis_url, store) if config.redis_url else None
    janitor = Janitor(store)
    result_indexes = ResultIndexCache(store)
    event_hub = EventHub(store.experiment_statuses, broker and broker.event_reader)
    context = Context(
        config=config,
        store=store,
        outbox=broker and broker.outbox,
        event_writer=broker and broker.event_writer,
        event_reader=broker and broker.event_reader,
        event_hub=event_hub,
        request_metrics=RequestMetrics(),
        started_at=datetime.now(UTC),
        tokenizers=TokenizerCache(store),
        result_indexes=result_indexes,
        submit_lock=KeyedLock(),
        views=Views(store, result_indexes, broker and broker.dispatcher.request_view),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        Thread(target=context.tokenizers.warm, name="tokenizers", daemon=True).start()
        janitor.start()
        if broker is not None:
            broker.outbox.start()
        yield
        await run_in_threadpool(janitor.stop)
        await event_hub.close()
        if broker is not None:
            await broker.close()

    app.state.context = context
    app.router.lifespan_context = lifespan
    app.router.default = Page(config.page_dir)
    # Middleware around the application, outermost last. Access control comes before anything that reads a request,
    # and its headers are also on the responses to unexpected errors.
    api = AllowedMethods(BodyLimit(app, files=UPLOAD_TYPES), openapi_document(app)["paths"], elsewhere=app)
    limited = RateLimit(ConcurrencyLimit(api), WriteCounter(config.rate_limit))
    controlled = AccessControl(
        limited,
        host=config.host,
        allowed_hosts=config.allowed_hosts,
        tokens=config.tokens,
        secret=store.secret() if config.tokens else "",
        use_link=store.use_link,
    )
    return RootPath(AccessLog(controlled, context.request_metrics), config.root_path)


class _Broker:
    """Clients of the broker: the event streams, and the outbox, which also requeues the work of lost workers."""

    def __init__(self, redis_url: str, store: Store) -> None:
        self.dispatcher = Dispatcher(redis_url)
        self.event_writer = EventLog(redis_url)
        self.event_reader = AsyncEventLog(redis_url)
        self.outbox = Outbox(store, self.dispatcher.send, self.event_writer.publish, marker=self.dispatcher)

    async def close(self) -> None:
        await run_in_threadpool(self.outbox.stop)
        self.dispatcher.close()
        self.event_writer.close()
        await self.event_reader.close()


def routes_only() -> FastAPI:
    """The routes and their documentation, without a store behind them."""
    # A path with a trailing slash is a 404: a redirect would contain the Host header that the client sent.
    app = FastAPI(
        title=TITLE,
        version=code_version(),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    problems.install_handlers(app)
    for routes in (system, prompts, experiments, events, artifacts, views, tuning):
        app.include_router(routes.router)

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi() -> JSONResponse:
        return JSONResponse(openapi_document(app))

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(openapi_document(app)))

    return app
