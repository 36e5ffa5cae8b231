"""What a component writes: the tokens that its output at the last position promotes, and those that it suppresses.

What it measures. For component c, whose write w_c stands in the residual stream of the reference run at END,

    logits(x_final) - logits(x_final - w_c)     over all tokens, the mean over the vocabulary taken off

    w_c     W_O[h] z for a head, its share of the projection; what all heads write less what the others would, where
            they share a norm (Gemma-2 and 3, OLMo-2); the MLP's output after its norm for an MLP

averaged over the prompts. Logits are defined up to a constant, so only differences between tokens say something: they
are centred. It is minus the `direct` effect of zero ablation, for every token instead of the answer alone.

Source: the read-out of single heads by Elhage et al., A Mathematical Framework for Transformer Circuits, 2021, and
Geva et al., Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space, 2022;
here with the final norm and the soft cap recomputed instead of frozen.

Exact: nothing is linearised.

Cost. One forward pass, then one product with the whole unembedding for each component and pair.

When it misleads. Only what the write says to the output itself: what later layers make of it is `path_patching`'s
business. What all prompts have in common (a head that always promotes digits) is not about arithmetic: compare sets.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import EndStates, encode_all, end_states
from arithmoscope.engine.forward.batching import Shape, budget_of, plan_for
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, write_tensors
from arithmoscope.prompts import EncodedPair

MOST_TOKENS = 1_000


@dataclass(frozen=True)
class TokenEffect:
    """One token's centred change of logit: mean and standard deviation (ddof 1; None for one pair) over the pairs."""

    token_id: int
    token: str
    mean: float
    std: float | None


@dataclass(frozen=True)
class Write:
    """One component's tokens, the strongest first: of all tokens, and of those alone that read as a number."""

    component: str
    promoted: tuple[TokenEffect, ...]
    suppressed: tuple[TokenEffect, ...]
    promoted_numbers: tuple[TokenEffect, ...]
    suppressed_numbers: tuple[TokenEffect, ...]


@dataclass(frozen=True, eq=False)
class Written:
    """What some components write in the reference runs of ``n`` pairs.

    answers   the answer's change of logit, as the model gives logits (not centred): what `direct` zero ablation takes
    centres   mean change of logit over the vocabulary, which was taken off the tokens' values
    """

    model: str
    revision: str
    n: int
    components: tuple[Write, ...]
    answers: Float[Tensor, "pair component"]
    centres: Float[Tensor, "pair component"]

    def __getitem__(self, component: str) -> Write:
        """The tokens of one component, by its name."""
        found = next((write for write in self.components if write.component == component), None)
        if found is None:
            raise Refusal("bad_component", f"{component!r} was not asked for.", "Ask for it, or read another one.")
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        whole = {field.name: getattr(self, field.name) for field in fields(self)}
        write_tensors(path, "written_tokens", {**whole, "components": [asdict(write) for write in self.components]})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Written:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, "written_tokens")
        components = []
        for write in read["components"]:
            lists = {name: tuple(TokenEffect(**each) for each in write[name]) for name in write if name != "component"}
            components.append(Write(write["component"], **lists))
        return cls(**{**read, "components": tuple(components)})


def writes(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    components: Sequence[Component | str],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """The ``k`` tokens that each component promotes most and suppresses most at END of the reference prompts, and the
    same among number tokens. ``progress(done, total)`` counts components, each once for every chunk of pairs.

    Fewer than ``k`` tokens are given where fewer are raised (or lowered) at all. Rows of the unembedding that the
    tokenizer knows no token for are left out.

    Refuses an empty list, components that the model does not have, and a ``k`` below 1 or above 1000.
    """
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    return writes_of(model, encode_all(model, pairs), components, k=k, progress=progress)


@torch.no_grad()
def writes_of(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    components: Sequence[Component | str],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """As `writes`, of pairs that are encoded already."""
    if not 1 <= k <= MOST_TOKENS:
        raise Refusal("bad_request", f"k is {k}; it must be from 1 to {MOST_TOKENS}.", "Choose another k.")
    chosen = [_known(model, component) for component in components]
    if not chosen:
        raise Refusal("bad_component", "No component was asked for.")
    length = max(len(each.reference_ids) for each in encoded)
    budget = budget_of(model)
    plan = plan_for(model, Shape("direct", length, 1, len(encoded)), budget)
    wide = torch.finfo(model.work_dtype).bits // 8
    step = min(plan.pairs, max(1, budget // (16 * model.embeddings * wide)))  # a few logits of every token at once
    together = max(1, budget // (4 * 2 * model.embeddings * wide))  # components whose sums are kept
    tokens = _tokens(model)
    found, answers, centres = [], [], []
    done = itertools.count(1)

    def told() -> None:
        if progress is not None:
            progress(next(done), len(chosen) * -(-len(encoded) // step))

    for start in range(0, len(chosen), together):
        some = chosen[start : start + together]
        moments = [_Moments(model.embeddings, model.work_dtype, model.device) for _ in some]
        parts = [
            _changes(model, encoded[at : at + step], some, moments, plan.tokens, told)
            for at in range(0, len(encoded), step)
        ]
        answers.append(torch.cat([part[0] for part in parts]))
        centres.append(torch.cat([part[1] for part in parts]))
        found.extend(_of(model, component, each, tokens, k) for component, each in zip(some, moments, strict=True))
    return Written(
        model=model.card.id,
        revision=model.card.revision,
        n=len(encoded),
        components=tuple(found),
        answers=torch.cat(answers, dim=1),
        centres=torch.cat(centres, dim=1),
    )


class _Moments:
    """Mean and spread of every token's change, gathered part by part (Chan et al.'s merging of two sums of squares)."""

    def __init__(self, tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.n = 0
        self.mean = torch.zeros(tokens, dtype=dtype, device=device)
        self._squares = torch.zeros(tokens, dtype=dtype, device=device)

    def add(self, rows: Float[Tensor, "pair vocabulary"]) -> None:
        n, mean = len(rows), rows.mean(0)
        moved = mean - self.mean
        self._squares += (rows - mean).square().sum(0) + moved.square() * (self.n * n / (self.n + n))
        self.mean += moved * (n / (self.n + n))
        self.n += n

    @property
    def std(self) -> Float[Tensor, " vocabulary"] | None:
        return None if self.n < 2 else (self._squares / (self.n - 1)).sqrt()


def _changes(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    components: Sequence[Component],
    moments: Sequence[_Moments],
    tokens: int,
    told: Callable[[], None],
) -> tuple[Float[Tensor, "pair component"], Float[Tensor, "pair component"]]:
    """Some pairs' changes, added to ``moments``; the answers' changes, and the mean ones over the vocabulary."""
    states = end_states(model, [each.reference_ids for each in encoded], tokens)
    wanted = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
    answers, centres = [], []
    with evaluating(model.hf):
        logits = all_logits(model, states.final)
        if not bool(logits.isfinite().all()):
            raise Refusal("not_finite", "The reference run's logits are not finite.")
        for component, moment in zip(components, moments, strict=True):
            change = logits - all_logits(model, states.final - _write(model, states, component))
            centre = change.mean(-1, keepdim=True)
            moment.add(change - centre)
            answers.append(change.gather(1, wanted)[:, 0])
            centres.append(centre[:, 0])
            told()
    return torch.stack(answers, dim=1).cpu(), torch.stack(centres, dim=1).cpu()


def _known(model: LoadedModel, component: Component | str) -> Component:
    known = Component.parse(component) if isinstance(component, str) else component
    if known.layer >= model.layout.layers or (known.head or 0) >= model.layout.heads:
        raise Refusal(
            "bad_component",
            f"There is no {known}; the model has {model.layout.layers} layers of {model.layout.heads} heads.",
        )
    return known


def _tokens(model: LoadedModel) -> Tensor:
    """The rows of the unembedding that have a token."""
    ids = sorted({token for token in model.text.get_vocab().values() if token < model.embeddings})
    return torch.tensor(ids)


def _write(model: LoadedModel, states: EndStates, component: Component) -> Float[Tensor, "pair hidden"]:
    if component.head is None:
        return states.mlp[:, component.layer]
    here = states.z[:, component.layer]
    # What taking one head's output out changes, of all heads; the projection's bias belongs to none.
    gone = model.layout.blocks[component.layer].head_writes(-here.transpose(0, 1), here, model.dtype)
    return -gone[component.head]


def _of(model: LoadedModel, component: Component, moments: _Moments, tokens: Tensor, k: int) -> Write:
    mean, std = moments.mean.cpu(), None if moments.std is None else moments.std.cpu()
    numbers = tokens[torch.isin(tokens, torch.tensor(list(model.number_values), dtype=tokens.dtype))]

    def strongest(among: Tensor, sign: int) -> tuple[TokenEffect, ...]:
        order = (sign * mean[among]).argsort(descending=True, stable=True)[:k]
        rows = [int(row) for row in among[order] if sign * float(mean[row]) > 0]
        return tuple(
            TokenEffect(row, model.token_text(row), float(mean[row]), None if std is None else float(std[row]))
            for row in rows
        )

    return Write(
        component=str(component),
        promoted=strongest(tokens, 1),
        suppressed=strongest(tokens, -1),
        promoted_numbers=strongest(numbers, 1),
        suppressed_numbers=strongest(numbers, -1),
    )
