"""Which models there are, and which workers are alive."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store.base import Base, put_rows
from arithmoscope.store.database import is_held
from arithmoscope.store.queue import WORKER_SEEN_S, seen
from arithmoscope.store.tables import models, workers
from arithmoscope.store.tuned_models import ancestry_of, as_they_stand, kept_tunings

_FORGET_WORKERS_AFTER_S = 86_400.0


class Registry(Base):
    """Models as whoever has their files registered them; workers by their last heartbeat."""

    def register_model(self, card: ModelCard, tokenizer_json: str | None, chat: ChatFrame | str | None = None) -> None:
        """``chat``: what its chat template writes, or in words why that cannot be used."""
        with self._database.write() as connection:
            put_model(connection, card, tokenizer_json, chat)

    def models(self) -> list[ModelCard]:
        """As they stand: see `arithmoscope.store.tuned_models`."""
        with self._database.read() as connection:
            rows = connection.execute(select(models.c.id, models.c.card).order_by(models.c.id))
            cards = {row.id: ModelCard.model_validate(row.card) for row in rows}
            tunings = kept_tunings(connection) if any(card.base for card in cards.values()) else frozenset[str]()
        return list(as_they_stand(cards, tunings).values())

    def model(self, model_id: str) -> ModelCard:
        if "\0" in model_id:  # which not every database can even look for
            raise _unknown_model(model_id)
        with self._database.read() as connection:
            cards = ancestry_of(connection, model_id)
            tunings = kept_tunings(connection) if any(card.base for card in cards.values()) else frozenset[str]()
        found = as_they_stand(cards, tunings).get(model_id)
        if found is None:
            raise _unknown_model(model_id)
        return found

    def tokenizer_json(self, model_id: str) -> str:
        """The text of the model's tokenizer.json; a tuned model has its base's."""
        text = self._told_of(model_id, models.c.tokenizer_json)
        if text is None:
            raise Refusal("bad_tokenizer", f"The model {model_id!r} has no tokenizer.json.")
        return text

    def chat(self, model_id: str) -> ChatFrame | str | None:
        """What the model's chat template writes, or why that cannot be used; None where it has none. A tuned model has
        its base's."""
        chat = self._told_of(model_id, models.c.chat)
        if chat is None:
            return None
        return chat["problem"] if "problem" in chat else ChatFrame.model_validate(chat)

    def _told_of(self, model_id: str, column: ColumnElement[Any]) -> Any:
        with self._database.read() as connection:
            cards = ancestry_of(connection, model_id)
            if not cards:
                raise _unknown_model(model_id)
            return connection.execute(select(column).where(models.c.id == [*cards][-1])).scalar()

    def beat(self, status: WorkerStatus) -> None:
        """A worker says that it is alive."""
        now = self._clock()
        values = {"status": status.model_dump(mode="json"), "seen_at": now}
        with self._database.write() as connection:
            if connection.execute(update(workers).where(workers.c.id == status.id).values(**values)).rowcount:
                return
            connection.execute(workers.delete().where(workers.c.seen_at < now - _FORGET_WORKERS_AFTER_S))
            put_rows(connection, workers, [{"id": status.id, **values}])

    def could_beat(self, worker_id: str) -> bool:
        """Whether a worker that lives could say so: True when the database is written, and when that waits for
        somebody who holds it for so long; False when nobody can write to it."""
        this = update(workers).where(workers.c.id == worker_id)
        try:
            with self._database.write() as connection:
                # A little less than it was: what stays the same is not even written.
                connection.execute(this.values(seen_at=workers.c.seen_at - 0.001))
        except Refusal as refusal:
            return is_held(refusal)
        return True

    def forget_worker(self, worker_id: str) -> None:
        """A worker leaves."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.id == worker_id))

    def workers(self, within_s: float = WORKER_SEEN_S) -> list[WorkerStatus]:
        """The workers that were heard of within so many seconds."""
        with self._database.read() as connection:
            recent = select(workers.c.status).where(seen(self._clock(), within_s))
            found = connection.execute(recent.order_by(workers.c.id)).scalars()
            return [WorkerStatus.model_validate(status) for status in found]


def put_model(
    connection: Connection, card: ModelCard, tokenizer_json: str | None = None, chat: ChatFrame | str | None = None
) -> None:
    """Registers a model, or what has changed of one. What ``chat`` is, `Registry.register_model` says."""
    frame = {"problem": chat} if isinstance(chat, str) else chat and chat.model_dump(mode="json")
    told = {"card": card.model_dump(mode="json"), "tokenizer_json": tokenizer_json, "chat": frame}
    put_rows(connection, models, [{"id": card.id, **told}])


def _unknown_model(model_id: str) -> Refusal:
    return Refusal("unknown_model", f"No model is registered as {model_id[:80]!r}.")
