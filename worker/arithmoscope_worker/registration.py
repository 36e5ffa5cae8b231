"""Registers the models of this machine in the store: cards, and for the preview tokenizers and chat templates."""

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

# A tokenizer.json, and a chat frame or the reason why there is none.
_Texts = tuple[str | None, ChatFrame | str | None]
_Stamp = tuple[tuple[str, int, int], ...]


class ModelRegistrar:
    """Keeps the store's list of models in sync with the folders. Safe to share between threads. Loads no weights and no
    torch.

    A model whose folder disappears is marked as gone if this process registered it: it may exist on another machine.
    Tuned models have no folder and are not handled here.
    ``alone``: no other process registers models in this store.
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
        """Registers new and changed models, and marks those that are gone; writes nothing if nothing has changed."""
        with self._lock:
            stamps = _stamps(self._catalogue.models_dir)
            self._refresh()
            self._seen = self._registered = stamps

    def poll(self) -> None:
        """Refreshes if a folder was added, removed or changed and is stable since the last poll; call it often."""
        stamps = _stamps(self._catalogue.models_dir)
        settled, self._seen = stamps == self._seen, stamps
        if settled and (stamps != self._registered or self._contradicted()):
            self.refresh()

    def _refresh(self) -> None:
        registered = {card.id: card for card in self._store.models()}
        # A folder with the name of a tuned model would replace it.
        taken = {card.id for card in registered.values() if card.base is not None}
        here = [card for card in self._catalogue.cards() if card.id not in taken]
        for card in here:
            texts = _read_texts(self._catalogue, card.id)
            if registered.get(card.id) != card or self._texts_of(card.id) != texts:
                self._store.register_model(card, *texts)
            self._texts[card.id] = texts
        for model_id in (self._ours & registered.keys()) - {card.id for card in here}:
            if registered[model_id].reason != GONE:
                gone = registered[model_id].model_copy(update={"supported": False, "reason": GONE})
                self._store.register_model(gone, None)
            self._texts.pop(model_id, None)
        self._ours |= {card.id for card in here}

    def _contradicted(self) -> bool:
        """Returns whether another process, without the folders, has marked models as gone that exist here."""
        folders = self._registered or {}
        return any(card.reason == GONE and card.id in folders for card in self._store.models())

    def _texts_of(self, model_id: str) -> _Texts:
        """The registered texts of a model."""
        if model_id not in self._texts:
            tokenizer, chat = None, None
            with suppress(Refusal):  # none is registered
                chat = self._store.chat(model_id)
                tokenizer = self._store.tokenizer_json(model_id)
            self._texts[model_id] = tokenizer, chat
        return self._texts[model_id]


def register_models(store: Store, catalogue: Catalogue, *, alone: bool = False) -> None:
    """Registers the models of this machine once."""
    ModelRegistrar(store, catalogue, alone=alone).refresh()


def _stamps(models_dir: Path) -> dict[str, _Stamp]:
    """Names, sizes and times of all model files, found without opening any."""
    stamps: dict[str, _Stamp] = {}
    with suppress(OSError), os.scandir(models_dir) as folders:
        for folder in folders:
            if not folder.name.startswith(".") and folder.is_dir():
                stamps[folder.name] = _stamp(folder.path)
    return stamps


def _stamp(folder: str) -> _Stamp:
    files = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            info = entry.stat()
            files.append((entry.name, info.st_size, info.st_mtime_ns))
    return tuple(sorted(files))


def _read_texts(catalogue: Catalogue, model_id: str) -> _Texts:
    """A model's tokenizer.json, and its rendered chat template or the reason why it cannot be used."""
    tokenizer, chat = None, None
    # Not converted yet, or unreadable: the card has the reason.
    with suppress(Refusal, OSError, ValueError, RecursionError):
        tokenizer = catalogue.tokenizer_json(model_id)
        chat = read_chat(catalogue, model_id)
    return tokenizer, chat


def read_chat(catalogue: Catalogue, model_id: str) -> ChatFrame | str | None:
    """A model's rendered chat template, the reason why it cannot be used, or None if there is none."""
    try:
        return catalogue.chat_frame(model_id)
    except Refusal as refusal:
        return refusal.detail if refusal.code == "bad_chat_template" else None
