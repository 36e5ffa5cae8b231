"""Tells the store which models can run here: their cards, and for the preview their tokenizers and chat templates."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.store import Store

GONE = "Its folder is gone."

# A tokenizer.json, and a chat frame or why there is none.
_Texts = tuple[str | None, ChatFrame | str | None]
_Stamp = tuple[tuple[str, int, int], ...]


class ModelRegistrar:
    """Keeps the store's list true to the folders. Threads may share one. Loads no weights and no torch.

    A model whose folder goes is marked as such if it was registered here: on another machine it may still be there.
    Tuned models have no folder, and are none of its business.
    ``alone``: nobody else registers models in this store.
    """

    def __init__(self, store: Store, catalogue: Catalogue, *, alone: bool = False) -> None:
        self._store = store
        self._catalogue = catalogue
        self._ours = {card.id for card in store.models() if card.base is None} if alone else set[str]()
        self._texts: dict[str, _Texts] = {}
        self._seen: dict[str, _Stamp] | None = None
        self._registered: dict[str, _Stamp] | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Registers what is new or has changed, and marks what is gone; writes nothing when nothing has."""
        with self._lock:
            stamps = _stamps(self._catalogue.models_dir)
            self._refresh()
            self._seen = self._registered = stamps

    def look(self) -> None:
        """Refreshes if a folder came, went or changed and lies still since the last look; to be called often."""
        stamps = _stamps(self._catalogue.models_dir)
        settled, self._seen = stamps == self._seen, stamps
        if settled and (stamps != self._registered or self._contradicted()):
            self.refresh()

    def _refresh(self) -> None:
        known = {card.id: card for card in self._store.models()}
        # A folder that is called as a tuned model is would take its place.
        taken = {card.id for card in known.values() if card.base is not None}
        here = [card for card in self._catalogue.cards() if card.id not in taken]
        for card in here:
            texts = _read_texts(self._catalogue, card.id)
            if known.get(card.id) != card or self._texts_of(card.id) != texts:
                self._store.register_model(card, *texts)
            self._texts[card.id] = texts
        for model_id in (self._ours & known.keys()) - {card.id for card in here}:
            if known[model_id].reason != GONE:
                gone = known[model_id].model_copy(update={"supported": False, "reason": GONE})
                self._store.register_model(gone, None)
            self._texts.pop(model_id, None)
        self._ours |= {card.id for card in here}

    def _contradicted(self) -> bool:
        """Whether somebody without them has marked models as gone that are here."""
        folders = self._registered or {}
        return any(card.reason == GONE and card.id in folders for card in self._store.models())

    def _texts_of(self, model_id: str) -> _Texts:
        """What is registered of a model."""
        if model_id not in self._texts:
            tokenizer, chat = None, None
            with suppress(Refusal):  # none is registered
                chat = self._store.chat(model_id)
                tokenizer = self._store.tokenizer_json(model_id)
            self._texts[model_id] = tokenizer, chat
        return self._texts[model_id]


def register_models(store: Store, catalogue: Catalogue, *, alone: bool = False) -> None:
    """Registers the models that are here, once."""
    ModelRegistrar(store, catalogue, alone=alone).refresh()


def _stamps(models_dir: Path) -> dict[str, _Stamp]:
    """What can be seen of the folders without opening a file."""
    found = {}
    with suppress(OSError), os.scandir(models_dir) as folders:
        for folder in folders:
            if not folder.name.startswith(".") and folder.is_dir():
                found[folder.name] = _stamp(folder.path)
    return found


def _stamp(folder: str) -> _Stamp:
    files = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            about = entry.stat()
            files.append((entry.name, about.st_size, about.st_mtime_ns))
    return tuple(sorted(files))


def _read_texts(catalogue: Catalogue, model_id: str) -> _Texts:
    """A model's tokenizer.json, and what its chat template writes or why it cannot be used."""
    tokenizer, chat = None, None
    # Not converted yet, or unreadable: the card says what it is.
    with suppress(Refusal, OSError, ValueError, RecursionError):
        tokenizer = catalogue.tokenizer_json(model_id)
        chat = read_chat(catalogue, model_id)
    return tokenizer, chat


def read_chat(catalogue: Catalogue, model_id: str) -> ChatFrame | str | None:
    """What a model's chat template writes, why it cannot be used, or None where there is none."""
    try:
        return catalogue.chat_frame(model_id)
    except Refusal as refusal:
        return refusal.detail if refusal.code == "bad_chat_template" else None
