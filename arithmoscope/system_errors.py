"""What the system or a library refuses, as a refusal of ours: one line with a way out, and no traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arithmoscope.contracts.errors import Refusal


@contextmanager
def refused() -> Iterator[None]:
    """Around a whole command. Its parts refuse in better words where they know more."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refusal("bad_setting", f"{said(error)}.", "Check that it is there and that you may use it.") from error
    except ImportError as error:
        raise Refusal(
            "bad_setting", f"{error}.", "Install what is missing: pip install 'arithmoscope[all]'."
        ) from error
    except _store_errors() as error:
        raise Refusal("store_unavailable", f"{error}.", "Look after the database and Redis, then try again.") from error
    except ValueError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        raise Refusal(
            "internal", f"{error} ({where}).", "Check what you typed; if that is right, report it."
        ) from error


def _store_errors() -> tuple[type[Exception], ...]:
    """Errors of the database and the broker, where their packages are installed and were used."""
    names = (("sqlalchemy.exc", "SQLAlchemyError"), ("redis.exceptions", "RedisError"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


@contextmanager
def setting_errors_as_refusals(name: str, way_out: str) -> Iterator[None]:
    """Around the first use of what a setting says."""
    try:
        yield
    except ImportError as error:
        way_out = "pip install 'arithmoscope[distributed]' for PostgreSQL and S3, or the package that it names."
        raise Refusal("bad_setting", f"{name}: {said(error)}.", way_out) from error
    except (OSError, ValueError, *_store_errors()) as error:
        raise Refusal("bad_setting", f"{name}: {said(error)}.", way_out) from error


def said(error: Exception) -> str:
    """An error in a few words; the system's with the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error).strip().rstrip(".").split("\n")[0] or type(error).__name__
