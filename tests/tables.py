"""Tables of rows that one test walks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any


def table(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like ``pytest.mark.parametrize``, for cheap rows: one test walks all of them, and its message has each row that
    failed. Fixtures are shared by the rows.

    Args:
        names: The parameters that a row gives values to: one name, or as many as a row has values.
        rows: The table.
    """
    all_rows = list(rows)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        own = (names,) if isinstance(names, str) else names
        assert set(own) <= set(signature.parameters), own

        @functools.wraps(test)
        def walk(*args: Any, **fixtures: Any) -> None:
            failed: list[str] = []
            for row in all_rows:
                try:
                    test(*args, **fixtures, **dict(zip(own, (row,) if isinstance(names, str) else row, strict=True)))
                except Exception as error:  # noqa: BLE001  # of every row, not of the first alone
                    failed.append(f"{row!r}: {type(error).__name__}: {error}")
            assert not failed, f"{len(failed)} of {len(all_rows)} rows:\n" + "\n".join(failed)

        fixtures = [each for name, each in signature.parameters.items() if name not in own]
        walk.__signature__ = signature.replace(parameters=fixtures)  # pyright: ignore[reportAttributeAccessIssue]
        del walk.__wrapped__  # pytest would read its parameters
        assert all_rows, test.__name__
        return walk

    return decorate
