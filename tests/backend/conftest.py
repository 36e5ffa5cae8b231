"""Fixtures: a real store, a real broker, a small vocabulary, and the application over them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from arithmoscope_api import app
from arithmoscope_api.config import ApiConfig
from arithmoscope_api.openapi import openapi_document
from fastapi import FastAPI

from arithmoscope.store import Store

sys.path.insert(0, str(Path(__file__).parent))

from api_helpers import CARD, Api, tokenizer_json, unsupported
from event_hub_helpers import own_broker


@pytest.fixture(scope="session", autouse=True)
def _one_description() -> Iterator[None]:
    """The OpenAPI document is the same for every application, and takes longer to build than most tests."""
    built, document = app.routes_only, openapi_document(app.routes_only())

    def with_document() -> FastAPI:
        routes = built()
        routes.openapi_schema = document
        return routes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "routes_only", with_document)
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of this test run's own."""
    with own_broker(tmp_path_factory.mktemp("v")) as (url, _):
        yield url


@pytest.fixture
def config(tmp_path: Path) -> ApiConfig:
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text('<html><head><base href="/" /><title>t</title></head></html>')
    (page / "assets" / "main-abc123.js").write_text("export {}")
    return ApiConfig(
        database_url=f"sqlite:///{tmp_path / 'arithmoscope.db'}",
        artifacts_url=(tmp_path / "artifacts").as_uri(),
        page_dir=page,
    )


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema and two models, made once and copied for every test."""
    folder = tmp_path_factory.mktemp("database")
    with Store.open(f"sqlite:///{folder / 'fresh.db'}", (folder / "artifacts").as_uri()) as store:
        store.register_model(CARD, tokenizer_json())
        store.register_model(unsupported(), None)
    return folder / "fresh.db"


@pytest.fixture
def store(config: ApiConfig, fresh_database: Path) -> Iterator[Store]:
    shutil.copy(fresh_database, config.database_url.removeprefix("sqlite:///"))
    with Store.open(config.database_url, config.artifacts_url) as store:
        yield store


@pytest.fixture
def api(config: ApiConfig, store: Store) -> Iterator[Api]:
    """The application without a broker."""
    with Api(config, store) as api:
        yield api


@pytest.fixture
def live(config: ApiConfig, store: Store, redis_url: str) -> Iterator[Api]:
    """The application with a broker."""
    with Api(replace(config, redis_url=redis_url), store) as api:
        yield api
