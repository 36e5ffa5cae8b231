"""The database: connections, transactions, and a schema that is made and upgraded on opening.

On SQLite every writing transaction begins with BEGIN IMMEDIATE: it waits for its turn at the start, where the
default begins as a reader and fails when two writers meet. Readers never wait (WAL).
"""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Iterator
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
# On PostgreSQL the change of a process that says nothing for so long is undone.
FROZEN_S = 6
_READING = "arithmoscope_reading"
# Any number will do, as long as every process uses the same.
_UPGRADE_LOCK = 0x0A417


class Database:
    """Connections to one database. Threads may share it; processes open their own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Database:
        """Connects, and makes or upgrades the schema. Refuses when the database cannot be used."""
        database = cls(_connected(url))
        try:
            with _refusing(in_full=True):
                if not database._is_current():
                    database._upgrade()
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view; waits for no writer."""
        with _refusing(), self.engine.connect() as connection:
            told: dict[str, Any] = {_READING: True}
            if connection.dialect.name == "postgresql":  # where else every statement has a view of its own
                told["isolation_level"] = "REPEATABLE READ"
            yield connection.execution_options(**told)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing. Refuses (``store_unavailable``) when it cannot be written, as on a full disk."""
        with _refusing(), self.engine.begin() as connection:
            yield connection

    def _is_current(self) -> bool:
        try:
            with self.engine.connect() as connection:
                found = connection.execution_options(**{_READING: True}).execute(
                    text("SELECT version_num FROM alembic_version")
                )
                return found.scalar() == REVISION
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
                    f"The database was made by another version of arithmoscope ({error}).",
                    "Update arithmoscope, or choose another data folder.",
                ) from error


def _connected(url: str) -> Engine:
    if not url.startswith("sqlite"):
        # As people write it, and as SQLAlchemy calls the driver that is ours.
        address = make_url(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))
        patience = {"connect_timeout": CONNECT_TIMEOUT_S, "tcp_user_timeout": 1000 * int(BUSY_TIMEOUT_S)}
        told = {name: value for name, value in patience.items() if name not in address.query}
        engine = create_engine(address, pool_pre_ping=True, max_overflow=45, connect_args=told)
        event.listen(engine, "connect", _limit_waits)
        return engine
    if folder := make_url(url).database:
        Path(folder).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, max_overflow=45)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # The driver would begin transactions by itself, and too late: `_begin` does.
        connection.isolation_level = None
        _execute_patiently(connection, "PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Every connection has its own, and the system keeps the file's pages anyway: by default a server's memory
        # grows for many minutes until all of them are full.
        connection.execute("PRAGMA cache_size=-512")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _limit_waits(connection: Any, _record: object) -> None:
    """A process that was frozen in the middle of a change must not hold up all others."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = '{FROZEN_S}s'")
        cursor.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S:g}s'")
    connection.commit()


def _execute_patiently(connection: Any, statement: str) -> None:
    # Switching a new file to WAL does not honour the busy timeout when two processes create it at once.
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
def _refusing(*, in_full: bool = False) -> Iterator[None]:
    """``in_full``: with the driver's words, for who starts a program; they name hosts and users."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        said = _said(error)
        way_out = None if "full" in said or "readonly" in said else "Look after the database, then try again."
        if in_full or isinstance(getattr(error, "orig", None), sqlite3.Error):
            raise Refusal("store_unavailable", f"The database does not answer ({said}).", way_out) from error
        logger.warning("the database does not answer: %s", said)
        raise Refusal("store_unavailable", "The database does not answer.", way_out) from error
    except DataError as error:  # PostgreSQL keeps no NUL, which a name in an address may hold
        raise Refusal("bad_request", f"That cannot be looked up ({_said(error)}).") from error
    except DatabaseError as error:
        if type(error) is not DatabaseError:  # a broken rule is our mistake; a broken file is not
            raise
        raise Refusal(
            "store_unavailable",
            f"The database cannot be read ({_said(error)}).",
            "Move the file away, or choose another data folder.",
        ) from error


def is_held(refusal: Refusal) -> bool:
    """Whether the database could not be written because somebody else has held it for long."""
    cause = refusal.__cause__
    return isinstance(cause, OperationalError) and ("locked" in _said(cause) or "lock timeout" in _said(cause))


def _said(error: SQLAlchemyError) -> str:
    """The driver's words in one line; they name hosts, and never a password."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:300]
