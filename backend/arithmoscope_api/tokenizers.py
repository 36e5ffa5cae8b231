"""How the models read prompts: their chat templates, and their tokenizers, parsed once per revision (one takes 0.1 s to
parse and 20 MB to keep)."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from threading import Lock

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.store import Store

_KEPT = 4


class Vocabularies:
    """Tokenizers by model and revision; the least recently used goes first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._parsed: OrderedDict[tuple[str, str], Tokenizer] = OrderedDict()

    def of(self, card: ModelCard) -> Tokenizer:
        """The tokenizer of a model. Refuses (``bad_tokenizer``) when there is none or it cannot be read."""
        while card.base is not None:  # a tuned model reads as its base does
            card = self._store.model(card.base)
        key = (card.id, card.revision)
        with self._lock:
            tokenizer = self._parsed.get(key)
            if tokenizer is None:
                tokenizer = self._parsed[key] = self._parse(card)
            self._parsed.move_to_end(key)
            while len(self._parsed) > _KEPT:
                self._parsed.popitem(last=False)
        return tokenizer

    def chat_of(self, card: ModelCard) -> ChatFrame:
        """What the model's chat template writes. Refuses ``no_chat_template`` and ``bad_chat_template``."""
        chat = self._store.chat(card.id)
        if chat is None:
            raise Refusal("no_chat_template", f"{card.name} has no chat template.")
        if isinstance(chat, str):
            raise Refusal("bad_chat_template", chat)
        return chat

    def warm(self) -> None:
        """Parse ahead what will be asked for, so that the first visitor does not wait."""
        with suppress(Refusal):
            for card in [card for card in self._store.models() if card.supported][:_KEPT]:
                with suppress(Refusal):
                    self.of(card)

    def _parse(self, card: ModelCard) -> Tokenizer:
        text = self._store.tokenizer_json(card.id)
        try:
            return Tokenizer.from_str(text)
        # The library raises plain Exception for whatever it cannot parse.
        except Exception as error:
            raise Refusal("bad_tokenizer", f"The tokenizer of {card.id} cannot be read: {error}") from error
