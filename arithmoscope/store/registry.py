"""The registry of models and workers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store.base import StoreBase, upsert_rows
from arithmoscope.store.database import is_locked
from arithmoscope.store.queue import WORKER_TIMEOUT_S, is_alive
from arithmoscope.store.tables import models, workers
from arithmoscope.store.tuned_models import ancestry, available_tunings, resolve_tuned_models

_FORGET_WORKERS_AFTER_S = 86_400.0


class Registry(StoreBase):
    """Models as registered by the processes that have their files; workers by their last heartbeat."""

    def register_model(self, card: ModelCard, tokenizer_json: str | None, chat: ChatFrame | str | None = None) -> None:
        """Registers a model. ``chat``: its rendered chat template, or the reason why it cannot be used."""
        with self._database.write() as connection:
            upsert_model(connection, card, tokenizer_json, chat)

    def models(self) -> list[ModelCard]:
        """All models, tuned models resolved by `arithmoscope.store.tuned_models`."""
        with self._database.read() as connection:
            rows = connection.execute(select(models.c.id, models.c.card).order_by(models.c.id))
            cards = {row.id: ModelCard.model_validate(row.card) for row in rows}
            tunings = available_tunings(connection) if any(card.base for card in cards.values()) else frozenset[str]()
        return list(resolve_tuned_models(cards, tunings).values())

    def model(self, model_id: str) -> ModelCard:
        if "\0" in model_id:  # not every database can query it
            raise _unknown_model(model_id)
        with self._database.read() as connection:
            cards = ancestry(connection, model_id)
            tunings = available_tunings(connection) if any(card.base for card in cards.values()) else frozenset[str]()
        card = resolve_tuned_models(cards, tunings).get(model_id)
        if card is None:
            raise _unknown_model(model_id)
        return card

    def tokenizer_json(self, model_id: str) -> str:
        """The text of the model's tokenizer.json; a tuned model uses its base's."""
        text = self._base_column(model_id, models.c.tokenizer_json)
        if text is None:
            raise Refusal("bad_tokenizer", f"The model {model_id!r} has no tokenizer.json.")
        return text

    def chat(self, model_id: str) -> ChatFrame | str | None:
        """The model's rendered chat template, the reason why it cannot be used, or None if there is none. A tuned model
        uses its base's."""
        chat = self._base_column(model_id, models.c.chat)
        if chat is None:
            return None
        return chat["problem"] if "problem" in chat else ChatFrame.model_validate(chat)

    def _base_column(self, model_id: str, column: ColumnElement[Any]) -> Any:
        with self._database.read() as connection:
            cards = ancestry(connection, model_id)
            if not cards:
                raise _unknown_model(model_id)
            return connection.execute(select(column).where(models.c.id == [*cards][-1])).scalar()

    def record_heartbeat(self, status: WorkerStatus) -> None:
        """Records that a worker is alive, with its status."""
        now = self._clock()
        values = {"status": status.model_dump(mode="json"), "seen_at": now}
        with self._database.write() as connection:
            if connection.execute(update(workers).where(workers.c.id == status.id).values(**values)).rowcount:
                return
            connection.execute(workers.delete().where(workers.c.seen_at < now - _FORGET_WORKERS_AFTER_S))
            upsert_rows(connection, workers, [{"id": status.id, **values}])

    def can_record_heartbeat(self, worker_id: str) -> bool:
        """Returns whether a live worker could record a heartbeat: True if the database is writable or locked by another
        process for too long; False if no process can write to it."""
        this = update(workers).where(workers.c.id == worker_id)
        try:
            with self._database.write() as connection:
                # Slightly less than before: an unchanged value might not be written.
                connection.execute(this.values(seen_at=workers.c.seen_at - 0.001))
        except Refusal as refusal:
            return is_locked(refusal)
        return True

    def remove_worker(self, worker_id: str) -> None:
        """Removes a worker that leaves or is dead."""
        with self._database.write() as connection:
            connection.execute(workers.delete().where(workers.c.id == worker_id))

    def workers(self, within_s: float = WORKER_TIMEOUT_S) -> list[WorkerStatus]:
        """The workers whose last heartbeat is at most ``within_s`` seconds old."""
        with self._database.read() as connection:
            recent = select(workers.c.status).where(is_alive(self._clock(), within_s))
            statuses = connection.execute(recent.order_by(workers.c.id)).scalars()
            return [WorkerStatus.model_validate(status) for status in statuses]


def upsert_model(
    connection: Connection, card: ModelCard, tokenizer_json: str | None = None, chat: ChatFrame | str | None = None
) -> None:
    """Inserts or updates a model; ``chat`` as in `Registry.register_model`."""
    frame = {"problem": chat} if isinstance(chat, str) else chat and chat.model_dump(mode="json")
    columns = {"card": card.model_dump(mode="json"), "tokenizer_json": tokenizer_json, "chat": frame}
    upsert_rows(connection, models, [{"id": card.id, **columns}])


def _unknown_model(model_id: str) -> Refusal:
    return Refusal("unknown_model", f"No model is registered as {model_id[:80]!r}.")
