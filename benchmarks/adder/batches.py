"""Batches: sequences of lines as token ids, and which of their tokens are learned (the answers and their line ends)."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from benchmarks.adder.lines import Asker, draw_asker
from benchmarks.adder.vocabulary import BOS, EOS, LINE_END, token_id

# Probability that a sequence repeats one wording.
_ONE_WORDING = 0.5


class Batch(NamedTuple):
    """Token ids and, one place on, the tokens to predict; ``learned`` marks those that count (rows x length)."""

    ids: torch.Tensor
    wanted: torch.Tensor
    learned: torch.Tensor


def draw_batch(tokenizer: Tokenizer, rng: Random, rows: int, length: int) -> Batch:
    """``rows`` sequences of ``length`` tokens; what does not fit at the end of one is left out."""
    begin, end = token_id(tokenizer, BOS), token_id(tokenizer, EOS)
    ids = torch.full((rows, length + 1), end)
    learned = torch.zeros((rows, length + 1), dtype=torch.bool)
    for row in range(rows):
        sequence, counts = _sequence(tokenizer, rng, length)
        ids[row, : len(sequence) + 1] = torch.tensor([begin, *sequence])
        learned[row, 1 : len(sequence) + 1] = torch.tensor(counts)
    return Batch(ids[:, :-1], ids[:, 1:], learned[:, 1:])


def _sequence(tokenizer: Tokenizer, rng: Random, length: int) -> tuple[list[int], list[bool]]:
    sequence: list[int] = []
    counts: list[bool] = []
    one_wording = rng.random() < _ONE_WORDING
    ask: Asker | None = None
    while True:
        if ask is None or not one_wording:
            ask = draw_asker(rng)
        question, answer = (tokenizer.encode(text, add_special_tokens=False).ids for text in _texts(ask, rng))
        if len(sequence) + len(question) + len(answer) > length:
            return sequence, counts
        sequence += question + answer
        counts += [False] * len(question) + [True] * len(answer)


def _texts(ask: Asker, rng: Random) -> tuple[str, str]:
    line = ask(rng)
    return line.question, f"{line.answer}{LINE_END}"
