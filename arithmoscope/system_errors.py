"""Converts errors of the system and of libraries to refusals: one line with a way out, and no traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arithmoscope.contracts.errors import Refusal


@contextmanager
def errors_as_refusals() -> Iterator[None]:
    """Wraps a whole command. Its parts raise more specific refusals where they can."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refusal(
            "bad_setting", f"{short_message(error)}.", "Check that it exists and that you have access to it."
        ) from error
    except ImportError as error:
        raise Refusal(
            "bad_setting", f"{error}.", "Install what is missing: pip install 'arithmoscope[all]'."
        ) from error
    except _store_errors() as error:
        raise Refusal("store_unavailable", f"{error}.", "Check the database and Redis, then try again.") from error
    except ValueError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        raise Refusal(
            "internal", f"{error} ({where}).", "Check the command's arguments; if they are right, please report this."
        ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """Exception types of the database and the broker, if their packages are in use."""
    names = (("sqlalchemy.exc", "SQLAlchemyError"), ("redis.exceptions", "RedisError"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


@contextmanager
def setting_errors_as_refusals(name: str, way_out: str) -> Iterator[None]:
    """Wraps the first use of a setting's value."""
    try:
        yield
    except ImportError as error:
        way_out = "pip install 'arithmoscope[distributed]' for PostgreSQL and S3, or the package that it names."
        raise Refusal("bad_setting", f"{name}: {short_message(error)}.", way_out) from error
    except (OSError, ValueError, *_store_errors()) as error:
        raise Refusal("bad_setting", f"{name}: {short_message(error)}.", way_out) from error


def short_message(error: Exception) -> str:
    """A short message for an error; a system error with its file."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip().rstrip(".").split("\n")[0] or type(error).__name__
