"""Tests of the tables that tests walk: every row counts, and a failure names its rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tables import table


@table(("number", "square"), [(1, 1), (3, 9)])
def test_a_row_gives_its_values_beside_the_fixtures(number: int, square: int, tmp_path: Path) -> None:
    assert (number**2, tmp_path.is_dir()) == (square, True)


def test_every_row_that_fails_is_in_the_message() -> None:
    @table("number", range(4))
    def is_even(number: int) -> None:
        assert number % 2 == 0

    with pytest.raises(AssertionError, match=r"2 of 4 rows:\n1: AssertionError.*(\n.*)*\n3: AssertionError"):
        is_even()
