"""Questions put to two models side by side: whether each gives the whole answer, how likely it finds it, and how far
apart they are at its first token.

Answers are judged in one pass, with their tokens given (teacher forced). Whether every token is on top is then what
greedy decoding gives, too: as long as it is right, it has the same tokens before it.

Prompts run by exact length, without any padding; what those of a length begin with in common is run once.
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
from arithmoscope.engine.tuning.answers import Example

# All logits of some tokens, of one model: there are a handful of tensors of this size at once.
LOGIT_BYTES = 32 * 2**20
_MORE = "…"

Report = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Said:
    """What a model makes of questions, on the CPU: ``right``: each token of the answer is on top; ``log_probability``
    of the whole answer, in nats; ``words``: what it says up to the first token that is wrong."""

    right: Bool[Tensor, " question"]
    log_probability: Float[Tensor, " question"]
    words: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Two models on the same questions. ``divergence``: KL(before || after) of the answer's first token, in nats."""

    before: Said
    after: Said
    divergence: Float[Tensor, " question"]


@torch.no_grad()
def judge(
    before: LoadedModel,
    after: LoadedModel,
    examples: Sequence[Example],
    *,
    go_on: Callable[[], None] = lambda: None,
    report: Report = lambda _done: None,
) -> Verdicts:
    """Both models on all questions. ``go_on`` is called now and then, and may raise; ``report(done)`` counts questions.

    Cost: two forward passes over the prompts and their answers.
    """
    models = (before, after)
    times = Counter(examples)  # what is asked several times is judged once
    distinct = list(times)
    right = torch.zeros(2, len(distinct), dtype=torch.bool)
    log_probability = torch.zeros(2, len(distinct), dtype=torch.float64)
    divergence = torch.zeros(len(distinct), dtype=torch.float64)
    words: list[list[str]] = [[""] * len(distinct) for _ in models]
    done = 0
    with evaluating(before.hf), evaluating(after.hf):
        for batch in _batches(before, distinct):
            go_on()
            some = [distinct[row] for row in batch.rows]
            logs = [_log_softmax(model, batch, some) for model in models]
            targets = torch.tensor([token for each in some for token in each.ids[-each.answers :]])
            ends = torch.tensor([each.answers for each in some]).cumsum(0)
            starts = ends - torch.tensor([each.answers for each in some])
            for which, (model, log) in enumerate(zip(models, logs, strict=True)):
                top = log.argmax(-1).cpu()
                mine = log.gather(1, targets.to(log.device)[:, None])[:, 0].double().cpu()
                for row, start, end in zip(batch.rows, starts.tolist(), ends.tolist(), strict=True):
                    right[which, row] = bool((top[start:end] == targets[start:end]).all())
                    log_probability[which, row] = mine[start:end].sum()
                    words[which][row] = _words(model, top[start:end], targets[start:end])
            divergence[batch.rows] = divergence_of(logs[0][starts], logs[1][starts])
            done += sum(times[each] for each in some)
            report(done)
    number_of = {each: number for number, each in enumerate(distinct)}
    rows = [number_of[each] for each in examples]
    one, other = (
        Said(right[at, rows], log_probability[at, rows], tuple(words[at][row] for row in rows)) for at in (0, 1)
    )
    return Verdicts(one, other, divergence[rows])


@torch.no_grad()
def answered(model: LoadedModel, examples: Sequence[Example]) -> tuple[float, float]:
    """The share of whole answers that are right, and the mean of -log p over all their tokens, in nats."""
    right, total = 0, 0.0
    times = Counter(examples)
    distinct = list(times)
    with evaluating(model.hf):
        for batch in _batches(model, distinct):
            some = [distinct[row] for row in batch.rows]
            log = _log_softmax(model, batch, some)
            targets = torch.tensor([token for each in some for token in each.ids[-each.answers :]], device=log.device)
            hit = (log.argmax(-1) == targets).cpu()
            parts = hit.split([each.answers for each in some])
            right += sum(times[each] * bool(part.all()) for each, part in zip(some, parts, strict=True))
            weights = torch.tensor([times[each] for each in some for _ in range(each.answers)], device=log.device)
            total -= float((log.gather(1, targets[:, None])[:, 0].double() * weights).sum())
    return right / len(examples), total / sum(each.answers for each in examples)


def divergence_of(
    before: Float[Tensor, "token vocabulary"], after: Float[Tensor, "token vocabulary"]
) -> Float[Tensor, " token"]:
    """KL(before || after) of log-probabilities, in nats, on the CPU. Rounding makes nothing negative."""
    return (before.exp() * (before - after)).sum(-1).clamp(min=0).double().cpu()


def logit_rows(model: LoadedModel) -> int:
    """Of how many tokens all logits are held at once."""
    return max(1, LOGIT_BYTES // (model.embeddings * torch.finfo(model.work_dtype).bits // 8))


@dataclass(frozen=True)
class _Batch:
    """Prompts of one length that run together: ``shared`` tokens of their beginning by themselves, the rest as
    ``prompts``. ``rows``: the questions; ``places``: of each its prompt's number."""

    length: int
    shared: TokenIds
    prompts: tuple[TokenIds, ...]
    rows: list[int]
    places: tuple[int, ...]


def _batches(model: LoadedModel, examples: Sequence[Example]) -> list[_Batch]:
    """The questions by their prompts' lengths, in batches that both models run alike."""
    asked: dict[TokenIds, list[int]] = defaultdict(list)
    for row, each in enumerate(examples):
        asked[each.ids[:-1]].append(row)  # what the last token says is not asked
    found = []
    for group in group_prompts(list(asked)):
        length = len(group[0])
        longest = max(examples[row].answers for ids in group for row in asked[ids])
        alone = model.runs_alone or not can_share_prefix(model, length)
        # At least the positions that are looked at run in every prompt.
        shared = 0 if alone else min(shared_prefix(group), length - longest)
        together = min(PASS_TOKENS // (length - shared), logit_rows(model) // longest)
        step = 1 if model.runs_alone else max(1, together)
        for start in range(0, len(group), step):
            part = group[start : start + step]
            rows = [(row, place) for place, ids in enumerate(part) for row in asked[ids]]
            found.append(
                _Batch(
                    length=length,
                    shared=group[0][:shared],
                    prompts=tuple(ids[shared:] for ids in part),
                    rows=[row for row, _ in rows],
                    places=tuple(place for _, place in rows),
                )
            )
    return found


def _log_softmax(model: LoadedModel, batch: _Batch, some: Sequence[Example]) -> Float[Tensor, "token vocabulary"]:
    """At the places where the answers' tokens are said, question after question, in float32 or wider."""
    layout = model.layout
    device = layout.decoder.get_input_embeddings().weight.device  # pyright: ignore[reportCallIssue]
    cache = repeated(run_prefix(model, batch.shared), len(batch.prompts)) if batch.shared else None
    ids = torch.tensor(batch.prompts, device=device)
    stream = layout.decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)[0]
    width = ids.shape[1]
    looked_at = [
        (place, at) for place, each in zip(batch.places, some, strict=True) for at in range(width - each.answers, width)
    ]
    rows, places = torch.tensor(looked_at, device=stream.device).unbind(1)
    return log_probabilities(model, stream[rows, places])


def log_probabilities(model: LoadedModel, stream: Float[Tensor, "token hidden"]) -> Float[Tensor, "token vocabulary"]:
    """Of every next token, out of the stream after the final norm, in float32 or wider."""
    logits = model.layout.capped(model.layout.unembed(stream))
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _words(model: LoadedModel, top: Int[Tensor, " token"], targets: Int[Tensor, " token"]) -> str:
    """What comes after a wrong token is not known: it was told the right one."""
    wrong = (top != targets).nonzero()
    until = len(top) if not len(wrong) else int(wrong[0]) + 1
    said = model.text.decode(top[:until].tolist(), skip_special_tokens=False)
    return said if until == len(top) else said + _MORE
