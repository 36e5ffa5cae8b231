"""Single-use login links."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from arithmoscope.store.base import StoreBase
from arithmoscope.store.tables import owner, used_links


class LoginLinks(StoreBase):
    """Records used links by their SHA-256, which does not reveal them."""

    def use_link(self, sha256: str) -> bool:
        """Returns True for the first use only, also under concurrency."""
        with self._database.write() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(used_links.insert().values(sha256=sha256, used_at=self._clock()))
            except IntegrityError:
                return False
        return True

    def secret(self) -> str:
        """A random secret of this store (128 bits), the same for every process that opens it."""
        with self._database.read() as connection:
            return connection.execute(select(owner.c.id)).scalar_one()
