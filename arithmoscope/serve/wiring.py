"""Wiring: builds the API's and the worker's configuration and the store from the settings."""

from __future__ import annotations

import secrets
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from arithmoscope.contracts.errors import Refusal
from arithmoscope.settings import PREFIX, Settings
from arithmoscope.system_errors import setting_errors_as_refusals

if TYPE_CHECKING:
    from arithmoscope_api.config import ApiConfig

    from arithmoscope.store import Store

_PACKAGE = Path(__file__).resolve().parent.parent
PAGE_DIR = _PACKAGE / "page"
EXAMPLE_DIR = _PACKAGE / "example"


def api_config(settings: Settings, redis_url: str) -> ApiConfig:
    """The API's configuration."""
    from arithmoscope_api.config import ApiConfig

    return ApiConfig(
        database_url=settings.database,
        artifacts_url=settings.artifacts,
        redis_url=redis_url,
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        tokens=settings.tokens,
        quota=settings.quota,
        store_budget=settings.store_budget,
        rate_limit=settings.rate_limit,
        allowed_hosts=settings.hosts,
        trusted_proxies=settings.proxies,
        device=settings.device,
        dtype=settings.dtype,
        page_dir=PAGE_DIR,
    )


def login_query(settings: Settings) -> str:
    """The URL query with a single-use login link; empty if there are no tokens."""
    if not settings.tokens:
        return ""
    from arithmoscope_api.http.credentials import one_time_link

    return f"?link={quote(one_time_link(settings.tokens[0]))}"


def api_config_json(config: ApiConfig, listening: int) -> dict[str, Any]:
    """The API's configuration as JSON values, for a child that inherits a listening socket."""
    page = None if config.page_dir is None else str(config.page_dir)
    return {**asdict(config), "page_dir": page, "listening": listening}


def worker_config_json(settings: Settings, redis_url: str, name: str) -> dict[str, Any]:
    """The worker's configuration as JSON values."""
    return {
        "redis_url": redis_url,
        "database_url": settings.database,
        "artifacts_url": settings.artifacts,
        "models_dir": str(settings.models_dir),
        "name": name,
        "device": settings.device,
        "dtype": settings.dtype,
        "allow_hub": settings.allow_hub,
    }


def run_worker(config: dict[str, Any]) -> int:
    """Runs a worker in this process; returns its exit status. Raises Refusal if PyTorch is not installed."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise Refusal(
            "bad_setting", "PyTorch is not installed, so no worker can run.", "pip install 'arithmoscope[server]'"
        )
    from arithmoscope_worker.app import run
    from arithmoscope_worker.config import WorkerConfig

    models_dir = Path(config.pop("models_dir"))
    return run(WorkerConfig(**config, models_dir=models_dir))


def open_store(settings: Settings) -> Store:
    """Opens the store of these settings, creating or upgrading its schema. Raises Refusal for unusable settings."""
    from arithmoscope.store import Store

    if settings.artifacts_url is not None:
        import fsspec

        way_out = "Give a URL that fsspec knows, such as file:///srv/results, and install the package that it needs."
        with setting_errors_as_refusals(f"{PREFIX}ARTIFACTS_URL", way_out):
            fsspec.get_filesystem_class(
                settings.artifacts_url.partition("://")[0] if "://" in settings.artifacts_url else "file"
            )
    if settings.database_url is not None:
        name, way_out = "DATABASE_URL", "Give a URL such as postgresql+psycopg://HOST/NAME, and install its driver."
    else:
        name, way_out = "DATA_DIR", "Choose a folder that you may write to."
    with setting_errors_as_refusals(PREFIX + name, way_out):
        return Store.open(settings.database, settings.artifacts)


def register_models(store: Store, settings: Settings) -> None:
    """Registers this machine's models in the store, so that the page lists them before a worker is up."""
    from arithmoscope_worker.registration import register_models as register

    from arithmoscope.engine.models.catalogue import Catalogue

    alone = settings.database_url is None  # the data folder's own database has no other worker
    register(store, Catalogue(settings.models_dir, settings.allow_hub), alone=alone)


def import_example(store: Store) -> None:
    """Imports the finished example if it is present."""
    if EXAMPLE_DIR.is_dir():
        store.import_bundle(EXAMPLE_DIR)


def required_redis(settings: Settings) -> str:
    """The Redis shared by parts on several machines. Raises Refusal if none is configured."""
    redis_url = configured_redis(settings)
    if redis_url is None:
        raise Refusal(
            "bad_setting",
            f"{PREFIX}REDIS_URL is not set; a separate API and worker need a shared Redis.",
            f"Set {PREFIX}REDIS_URL=redis://HOST:6379/0, or use arithmoscope serve, which brings its own.",
        )
    return redis_url


def configured_redis(settings: Settings) -> str | None:
    """The Redis of the settings, if any. Raises Refusal for an invalid URL."""
    from redis.connection import parse_url

    if settings.redis_url is not None:
        with setting_errors_as_refusals(f"{PREFIX}REDIS_URL", "Write it as redis://HOST:6379/0."):
            parse_url(settings.redis_url)
    return settings.redis_url


def new_worker_name() -> str:
    """A new worker name, unique across machines and restarts."""
    return f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
