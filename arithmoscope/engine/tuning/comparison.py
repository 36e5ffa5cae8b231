"""Comparison of two models on the same questions: correctness and probability of whole answers, and divergence.

Answers are scored in one teacher-forced pass. Their exact match with greedy decoding follows: as long as every token so
far is the top token, greedy decoding has the same tokens before the next one.

Prompts run by exact length, without padding; a prefix shared by all prompts of one length runs once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from arithmoscope.engine.forward.activations import (
    PASS_TOKENS,
    TokenIds,
    can_share_prefix,
    group_prompts,
    repeated,
    run_prefix,
    shared_prefix,
)
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.training_examples import Example

# Bytes of one tensor of full logits of one model: a handful of this size exist at once.
LOGIT_BYTES = 32 * 2**20
_CUT = "…"

Report = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Predictions:
    """One model's answers to questions, on the CPU.

    right            whether each token of the answer is the top token
    log_probability  of the whole answer, in nats
    texts            the top tokens up to the first wrong one
    """

    right: Bool[Tensor, " question"]
    log_probability: Float[Tensor, " question"]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same questions. ``divergence``: KL(before || after) at the answer's first token, in nats."""

    before: Predictions
    after: Predictions
    divergence: Float[Tensor, " question"]


@torch.no_grad()
def compare_answers(
    before: LoadedModel,
    after: LoadedModel,
    examples: Sequence[Example],
    *,
    check_stop: Callable[[], None] = lambda: None,
    report: Report = lambda _done: None,
) -> Comparison:
    """Runs both models on all questions. ``check_stop`` is called between batches and may raise; ``report(done)``
    counts questions.

    Cost: two forward passes over the prompts and their answers.
    """
    models = (before, after)
    counts = Counter(examples)  # a repeated question is scored once
    distinct = list(counts)
    right = torch.zeros(2, len(distinct), dtype=torch.bool)
    log_probability = torch.zeros(2, len(distinct), dtype=torch.float64)
    divergence = torch.zeros(len(distinct), dtype=torch.float64)
    texts: list[list[str]] = [[""] * len(distinct) for _ in models]
    done = 0
    with evaluating(before.hf), evaluating(after.hf):
        for batch in _batches(before, distinct):
            check_stop()
            chunk = [distinct[row] for row in batch.rows]
            logs = [_log_softmax(model, batch, chunk) for model in models]
            targets = torch.tensor([token for each in chunk for token in each.ids[-each.answer_length :]])
            ends = torch.tensor([each.answer_length for each in chunk]).cumsum(0)
            starts = ends - torch.tensor([each.answer_length for each in chunk])
            for side, (model, log) in enumerate(zip(models, logs, strict=True)):
                top = log.argmax(-1).cpu()
                target_log = log.gather(1, targets.to(log.device)[:, None])[:, 0].double().cpu()
                for row, start, end in zip(batch.rows, starts.tolist(), ends.tolist(), strict=True):
                    right[side, row] = bool((top[start:end] == targets[start:end]).all())
                    log_probability[side, row] = target_log[start:end].sum()
                    texts[side][row] = _answer_text(model, top[start:end], targets[start:end])
            divergence[batch.rows] = divergence_of(logs[0][starts], logs[1][starts])
            done += sum(counts[each] for each in chunk)
            report(done)
    number_of = {each: number for number, each in enumerate(distinct)}
    rows = [number_of[each] for each in examples]
    first, second = (
        Predictions(right[side, rows], log_probability[side, rows], tuple(texts[side][row] for row in rows))
        for side in (0, 1)
    )
    return Comparison(first, second, divergence[rows])


@torch.no_grad()
def accuracy_and_loss(model: LoadedModel, examples: Sequence[Example]) -> tuple[float, float]:
    """The share of whole answers that are right, and the mean of -log p over all answer tokens, in nats."""
    right, total = 0, 0.0
    counts = Counter(examples)
    distinct = list(counts)
    with evaluating(model.hf):
        for batch in _batches(model, distinct):
            chunk = [distinct[row] for row in batch.rows]
            log = _log_softmax(model, batch, chunk)
            targets = torch.tensor(
                [token for each in chunk for token in each.ids[-each.answer_length :]], device=log.device
            )
            hit = (log.argmax(-1) == targets).cpu()
            hits = hit.split([each.answer_length for each in chunk])
            right += sum(counts[each] * bool(hit.all()) for each, hit in zip(chunk, hits, strict=True))
            weights = torch.tensor(
                [counts[each] for each in chunk for _ in range(each.answer_length)], device=log.device
            )
            total -= float((log.gather(1, targets[:, None])[:, 0].double() * weights).sum())
    return right / len(examples), total / sum(each.answer_length for each in examples)


def divergence_of(
    before: Float[Tensor, "token vocabulary"], after: Float[Tensor, "token vocabulary"]
) -> Float[Tensor, " token"]:
    """KL(before || after) of log-probabilities, in nats, on the CPU. Clamped at 0 against rounding."""
    return (before.exp() * (before - after)).sum(-1).clamp(min=0).double().cpu()


def logit_rows(model: LoadedModel) -> int:
    """Number of tokens whose full logits are in memory at the same time."""
    return max(1, LOGIT_BYTES // (model.embeddings * torch.finfo(model.work_dtype).bits // 8))


@dataclass(frozen=True)
class _Batch:
    """Prompts of one length that run together.

    shared   tokens of their common prefix, which runs once; ``prompts`` are the rest
    rows     the questions; ``places``: the index of each question's prompt
    """

    length: int
    shared: TokenIds
    prompts: tuple[TokenIds, ...]
    rows: list[int]
    places: tuple[int, ...]


def _batches(model: LoadedModel, examples: Sequence[Example]) -> list[_Batch]:
    """The questions by prompt length, in batches that are the same for both models."""
    rows_of: dict[TokenIds, list[int]] = defaultdict(list)
    for row, each in enumerate(examples):
        rows_of[each.ids[:-1]].append(row)  # the prediction after the last token is not needed
    batches = []
    for group in group_prompts(list(rows_of)):
        length = len(group[0])
        longest = max(examples[row].answer_length for ids in group for row in rows_of[ids])
        alone = model.runs_alone or not can_share_prefix(model, length)
        # The positions that predict answer tokens must run in every prompt.
        shared = 0 if alone else min(shared_prefix(group), length - longest)
        together = min(PASS_TOKENS // (length - shared), logit_rows(model) // longest)
        step = 1 if model.runs_alone else max(1, together)
        for start in range(0, len(group), step):
            chunk = group[start : start + step]
            rows = [(row, place) for place, ids in enumerate(chunk) for row in rows_of[ids]]
            batches.append(
                _Batch(
                    length=length,
                    shared=group[0][:shared],
                    prompts=tuple(ids[shared:] for ids in chunk),
                    rows=[row for row, _ in rows],
                    places=tuple(place for _, place in rows),
                )
            )
    return batches


def _log_softmax(model: LoadedModel, batch: _Batch, chunk: Sequence[Example]) -> Float[Tensor, "token vocabulary"]:
    """Log-probabilities where answer tokens are predicted, question after question, in float32 or wider."""
    layout = model.layout
    device = layout.decoder.get_input_embeddings().weight.device  # pyright: ignore[reportCallIssue]
    cache = repeated(run_prefix(model, batch.shared), len(batch.prompts)) if batch.shared else None
    ids = torch.tensor(batch.prompts, device=device)
    stream = layout.decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)[0]
    width = ids.shape[1]
    predicting = [
        (place, position)
        for place, each in zip(batch.places, chunk, strict=True)
        for position in range(width - each.answer_length, width)
    ]
    rows, places = torch.tensor(predicting, device=stream.device).unbind(1)
    return log_probabilities(model, stream[rows, places])


def log_probabilities(model: LoadedModel, stream: Float[Tensor, "token hidden"]) -> Float[Tensor, "token vocabulary"]:
    """Log-probabilities of every next token, from the stream after the final norm, in float32 or wider."""
    logits = model.layout.capped(model.layout.unembed(stream))
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _answer_text(model: LoadedModel, top: Int[Tensor, " token"], targets: Int[Tensor, " token"]) -> str:
    """The text of the top tokens up to the first wrong one; after that, the pass had the right tokens as input."""
    wrong = (top != targets).nonzero()
    until = len(top) if not len(wrong) else int(wrong[0]) + 1
    text = model.text.decode(top[:until].tolist(), skip_special_tokens=False)
    return text if until == len(top) else text + _CUT
