"""All settings, read once by the command line from ``ARITHMOSCOPE_*`` and ``.env``, and passed in everywhere."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from arithmoscope.contracts.errors import Refusal

PREFIX = "ARITHMOSCOPE_"
_APP = "arithmoscope"


def default_data_dir() -> Path:
    """The system's folder for a user's application data."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / _APP
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / _APP


def _models_dir() -> Path:
    from arithmoscope.engine.models.folders import cached_models_dir

    return cached_models_dir()


class Settings(BaseSettings):
    """The settings, named without the prefix. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    models_dir: Path = Field(default_factory=_models_dir)
    host: str = Field(default="127.0.0.1", min_length=1, max_length=255)
    port: int = Field(default=8000, ge=0, le=65_535)
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~/-]*)?$")
    token: str | None = Field(default=None, max_length=16_384)
    quota: int = Field(default=5000, ge=0, le=10**9)
    rate_limit: str = Field(default="6000/minute", pattern=r"^(0|[1-9]\d{0,8}/(second|minute|hour))$")
    allowed_hosts: str = ""
    trusted_proxies: str = ""
    redis_url: str | None = Field(default=None, pattern=r"^(redis|rediss|unix)://")
    database_url: str | None = None
    artifacts_url: str | None = None
    store_budget: ByteSize | None = Field(default=None, gt=0)
    allow_hub: bool = False
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|balanced|cuda(:\d{1,2})?)$")
    dtype: Literal["float32", "float64", "float16", "bfloat16", "int8"] = "float32"

    @field_validator("data_dir", "models_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()

    @field_validator("root_path")
    @classmethod
    def _strip_trailing_slash(cls, path: str) -> str:
        return path.rstrip("/")

    @field_validator("token")
    @classmethod
    def _valid_tokens(cls, token: str | None) -> str | None:
        tokens = () if token is None else _split_commas(token)
        if token is not None and not tokens:
            raise ValueError("it contains no token")
        for each in tokens:
            if not 8 <= len(each) <= 512 or not each.isprintable():
                raise ValueError("a token has 8 to 512 printable characters; several are separated by commas")
        return token

    @field_validator("trusted_proxies")
    @classmethod
    def _valid_addresses(cls, proxies: str) -> str:
        for each in _split_commas(proxies):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ValueError(
                    f"{each[:60]!r} is not an address or network such as 10.0.0.2 or 10.0.0.0/24"
                ) from None
        return proxies

    @model_validator(mode="after")
    def _require_token_if_exposed(self) -> Settings:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST {self.host} is reachable from other machines and {PREFIX}TOKEN is not set: "
                f"set {PREFIX}TOKEN to a long random text, or stay on 127.0.0.1"
            )
        return self

    @property
    def database(self) -> str:
        """The database URL: as set, or a SQLite file in the data folder."""
        if self.database_url:
            return self.database_url
        from sqlalchemy import URL

        # A path may contain characters with a meaning in URLs: '?', '#', '%'.
        file = str(self.data_dir / "arithmoscope.db")
        return URL.create("sqlite", database=file).render_as_string(hide_password=False)

    @property
    def artifacts(self) -> str:
        """Location of the results: a URL if set, or the plain path of a folder in the data folder."""
        return self.artifacts_url or str(self.data_dir / "artifacts")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Additional host names under which the page may be reached, such as a proxy's."""
        return _split_commas(self.allowed_hosts)

    @property
    def proxies(self) -> tuple[str, ...]:
        """Trusted proxies, whose X-Forwarded headers are believed: addresses or networks."""
        return _split_commas(self.trusted_proxies)

    @property
    def tokens(self) -> tuple[str, ...]:
        """All valid tokens; empty: the server is open to anyone who can reach its address."""
        return _split_commas(self.token or "")


def _split_commas(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def read_settings(**overrides: Any) -> Settings:
    """Reads the settings; overrides that are not None take precedence. Raises Refusal (`bad_setting`), in one line."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        message = str(first["msg"]).removeprefix("Value error, ")
        name = f"{PREFIX}{str(first['loc'][0]).upper()}: " if first["loc"] else ""
        raise Refusal("bad_setting", f"{name}{message}.") from error


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a server bound to ``host``."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
