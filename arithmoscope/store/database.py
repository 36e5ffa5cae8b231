"""The database: connections, transactions, and a schema that is created and upgraded on opening.

On SQLite every write transaction begins with BEGIN IMMEDIATE: it waits for the lock at its start. The default
begins as a reader and fails when two writers meet. Readers never wait (WAL).
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from arithmoscope.contracts.errors import Refusal
from arithmoscope.store.tables import REVISION

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5
# PostgreSQL rolls back the transaction of a process that is idle in it for this long.
IDLE_TRANSACTION_S = 6
_READING = "arithmoscope_reading"
# An arbitrary advisory lock id, the same in every process.
_UPGRADE_LOCK = 0x0A417


class Database:
    """Connections to one database. Safe to share between threads; each process opens its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Database:
        """Connects, and creates or upgrades the schema. Raises Refusal if the database cannot be used."""
        database = cls(_create_engine(url))
        try:
            with _errors_as_refusals(details=True):
                if not database._is_current():
                    database._upgrade()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A read transaction with one consistent snapshot; never waits for a writer."""
        with _errors_as_refusals(), self.engine.connect() as connection:
            options: dict[str, Any] = {_READING: True}
            if connection.dialect.name == "postgresql":  # whose default takes a new snapshot for every statement
                options["isolation_level"] = "REPEATABLE READ"
            yield connection.execution_options(**options)

    @contextmanager
    def write(self) -> Generator[Connection]:
        """A write transaction. Raises Refusal (`store_unavailable`) if it cannot be written, as on a full disk."""
        with _errors_as_refusals(), self.engine.begin() as connection:
            yield connection

    def _is_current(self) -> bool:
        try:
            with self.engine.connect() as connection:
                version = connection.execution_options(**{_READING: True}).execute(
                    text("SELECT version_num FROM alembic_version")
                )
                return version.scalar() == REVISION
        except (OperationalError, ProgrammingError):  # no such table
            return False

    def _upgrade(self) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise Refusal(
                    "bad_setting",
                    f"The database was created by another version of arithmoscope ({error}).",
                    "Update arithmoscope, or choose another data folder.",
                ) from error


def _create_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        # The common spelling of the URL, with the name of the driver that we install.
        address = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
        timeouts = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 1000 * int(BUSY_TIMEOUT_S)}
        options = {name: value for name, value in timeouts.items() if name not in address.query}
        engine = create_engine(address, pool_pre_ping=True, max_overflow=45, connect_args=options)
        event.listen(engine, "connect", _set_timeouts)
        return engine
    if folder := make_url(url).database:
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, max_overflow=45)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions itself, and too late: `_begin` does it instead.
        connection.isolation_level = None
        _execute_with_retry(connection, "PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # A cache per connection, although the system caches the file's pages anyway: with the default, a server's
        # memory grows for many minutes until all caches are full.
        connection.execute("PRAGMA cache_size=-512")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _set_timeouts(connection: Any, _record: object) -> None:
    """Sets timeouts, so that a process frozen inside a transaction does not block all others."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
        cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S:g}s'")
    connection.commit()


def _execute_with_retry(connection: Any, statement: str) -> None:
    # Switching a new file to WAL ignores the busy timeout if two processes create it at once.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def _errors_as_refusals(*, details: bool = False) -> Generator[None]:
    """Converts database errors to refusals. ``details``: include the driver's message, which names hosts and users."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        message = _driver_message(error)
        way_out = None if "full" in message or "readonly" in message else "Check the database, then try again."
        if details or isinstance(getattr(error, "orig", None), sqlite3.Error):
            raise Refusal("store_unavailable", f"The database does not answer ({message}).", way_out) from error
        logger.warning("the database does not answer: %s", message)
        raise Refusal("store_unavailable", "The database does not answer.", way_out) from error
    except DataError as error:  # PostgreSQL stores no NUL character, which a name in a URL may contain
        raise Refusal("bad_request", f"That cannot be looked up ({_driver_message(error)}).") from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # a violated constraint is a bug; a corrupt file is not
            raise
        raise Refusal(
            "store_unavailable",
            f"The database cannot be read ({_driver_message(error)}).",
            "Move the file away, or choose another data folder.",
        ) from error


def is_locked(refusal: Refusal) -> bool:
    """Returns whether a write failed because another process held the lock for too long."""
    cause = refusal.__cause__
    return isinstance(cause, OperationalError) and (
        "locked" in _driver_message(cause) or "lock timeout" in _driver_message(cause)
    )


def _driver_message(error: SQLAlchemyError) -> str:
    """The driver's message in one line; it may name hosts but never a password."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]
