"""Links that let somebody in once."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from arithmoscope.store.base import Base
from arithmoscope.store.tables import owner, used_links


class Links(Base):
    """What has been used up; by its SHA-256, so that nobody learns a link here."""

    def use_link(self, sha256: str) -> bool:
        """True the first time only, also when many ask at once."""
        with self._database.write() as connection:
            try:
                with connection.begin_nested():
                    connection.execute(used_links.insert().values(sha256=sha256, used_at=self._clock()))
            except IntegrityError:
                return False
        return True

    def secret(self) -> str:
        """A random text of this store alone, 128 bits, the same for every process that opens it."""
        with self._database.read() as connection:
            return connection.execute(select(owner.c.id)).scalar_one()
