"""Tokenizers and chat templates of the models, for reading prompts without loading a model."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from threading import Lock

from tokenizers import Tokenizer

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import ChatFrame, ModelCard
from arithmoscope.store import Store

# Tokenizers kept in memory: one takes 0.1 s to parse and 20 MB to keep.
_CAPACITY = 4


class TokenizerCache:
    """An LRU cache of parsed tokenizers, by model and revision."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._parsed: OrderedDict[tuple[str, str], Tokenizer] = OrderedDict()

    def get(self, card: ModelCard) -> Tokenizer:
        """The tokenizer of a model.

        Raises:
            Refusal: The tokenizer is missing or cannot be parsed (``bad_tokenizer``).
        """
        while card.base is not None:  # a tuned model has the tokenizer of its base
            card = self._store.model(card.base)
        key = (card.id, card.revision)
        with self._lock:
            tokenizer = self._parsed.get(key)
            if tokenizer is None:
                tokenizer = self._parsed[key] = self._parse(card)
            self._parsed.move_to_end(key)
            while len(self._parsed) > _CAPACITY:
                self._parsed.popitem(last=False)
        return tokenizer

    def chat_template(self, card: ModelCard) -> ChatFrame:
        """The text that a model's chat template puts around prompts.

        Raises:
            Refusal: The model has no chat template (``no_chat_template``) or an unusable one (``bad_chat_template``).
        """
        chat = self._store.chat(card.id)
        if chat is None:
            raise Refusal("no_chat_template", f"{card.name} has no chat template.")
        if isinstance(chat, str):
            raise Refusal("bad_chat_template", chat)
        return chat

    def warm(self) -> None:
        """Parses the tokenizers of the first models in advance, so that the first request does not wait."""
        with suppress(Refusal):
            for card in [card for card in self._store.models() if card.supported][:_CAPACITY]:
                with suppress(Refusal):
                    self.get(card)

    def _parse(self, card: ModelCard) -> Tokenizer:
        text = self._store.tokenizer_json(card.id)
        try:
            return Tokenizer.from_str(text)
        # The library raises plain Exception on any parse error.
        except Exception as error:
            raise Refusal("bad_tokenizer", f"The tokenizer of {card.id} cannot be parsed: {error}") from error
