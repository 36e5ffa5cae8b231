"""Direct logit attribution: the tokens that a component's output at the last position promotes and suppresses.

What it measures. For component c, which adds w_c to the residual stream of the reference run at END,

    logits(x_final) - logits(x_final - w_c)     for all tokens, minus the mean over the vocabulary

    w_c     for a head W_O[h] z, its share of the projection; where heads share a norm (Gemma-2 and 3, OLMo-2) the
            output of all heads minus that of the others; for an MLP its output after its norm

averaged over the prompts. Logits are defined up to a constant, so that only differences between tokens are meaningful:
they are centred. It is minus the `direct` effect of zero ablation, for every token instead of the answer alone.

Source: the read-out of single heads by Elhage et al., A Mathematical Framework for Transformer Circuits, 2021, and
Geva et al., Transformer Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space, 2022;
here with the final norm and the soft cap recomputed instead of frozen.

Exact: nothing is linearised.

Cost. One forward pass, then one product with the whole unembedding for each component and pair.

When it misleads. Only the direct effect on the output: for the effect through later layers use `path_patching`. An
effect common to all prompts (a head that always promotes digits) is not about arithmetic: compare sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import EndStates, encode_all, end_states
from arithmoscope.engine.forward.batching import Shape, budget_of, plan_for
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import all_logits
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult
from arithmoscope.prompts import EncodedPair

MOST_TOKENS = 1_000


@dataclass(frozen=True)
class TokenEffect:
    """One token's centred change of logit over the pairs.

    Attributes:
        token_id: The token's id.
        token: Its text.
        mean: Mean change of its logit.
        std: Standard deviation (ddof 1); None for one pair.
    """

    token_id: int
    token: str
    mean: float
    std: float | None


@dataclass(frozen=True)
class ComponentTokens:
    """The tokens that one component promotes and suppresses, strongest first.

    Attributes:
        component: The component, such as ``"L14H2"``.
        promoted: Tokens whose logit it raises most.
        suppressed: Tokens whose logit it lowers most.
        promoted_numbers: The same among tokens that read as a number.
        suppressed_numbers: The same among tokens that read as a number.
    """

    component: str
    promoted: tuple[TokenEffect, ...]
    suppressed: tuple[TokenEffect, ...]
    promoted_numbers: tuple[TokenEffect, ...]
    suppressed_numbers: tuple[TokenEffect, ...]


@dataclass(frozen=True, eq=False)
class VocabularyEffects(TensorResult):
    """Direct effects of components on the logits of all tokens, over ``n`` pairs.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        n: Number of pairs.
        components: The strongest tokens of each component.
        answers: Change of the answer's logit, not centred [pair, component]: minus zero ablation's `direct` effect.
        centres: Mean change of logit over the vocabulary, subtracted from the tokens' values [pair, component].

    Example:
        >>> effects = am.writes(model, pairs, ["L1H2", "MLP0"])
        >>> effects["MLP0"].component
        'MLP0'
        >>> effects.save("writes.safetensors")
        >>> am.VocabularyEffects.load("writes.safetensors").n
        16
    """

    file_format = "arithmoscope.written_tokens.1"
    noun = "written tokens"

    model: str
    revision: str
    n: int
    components: tuple[ComponentTokens, ...]
    answers: Float[Tensor, "pair component"]
    centres: Float[Tensor, "pair component"]

    def __getitem__(self, component: str) -> ComponentTokens:
        """The tokens of one component, by its name."""
        tokens = next((each for each in self.components if each.component == component), None)
        if tokens is None:
            raise Refusal(
                "bad_component", f"{component!r} is not among the components.", "Add it to the call of writes."
            )
        return tokens


@check_arguments(k=Range(1, MOST_TOKENS))
def writes(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    components: Sequence[Component | str],
    *,
    k: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> VocabularyEffects:
    """Direct logit attribution: the tokens that each component promotes and suppresses most at END.

    Read-out of single components (Elhage et al., 2021; Geva et al., 2022), with the final norm recomputed.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; only their reference prompts and answers are used.
        components: Components such as ``"L14H2"`` and ``"MLP19"``.
        k: Number of tokens per list, from 1 to 1000; fewer if fewer are raised or lowered at all.
        progress: Called with (components done, in total); each counts once per chunk of pairs.

    Returns:
        Promoted and suppressed tokens of each component, of all tokens and among number tokens, with mean changes of
        their logits; and the answer's change [pair, component]. Rows of the unembedding without a token are left out.

    Raises:
        Refusal: ``no_prompts`` for an empty list; ``bad_component`` for no component or one that the model does not
            have; ``bad_request`` for ``k`` out of range; ``not_finite`` if the model computes NaN or infinity.

    Example:
        >>> effects = am.writes(model, pairs, ["MLP0"], k=3)
        >>> [effect.token for effect in effects["MLP0"].promoted_numbers]
        [...]
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
) -> VocabularyEffects:
    """As `writes`, for encoded pairs."""
    if not 1 <= k <= MOST_TOKENS:
        raise Refusal("bad_request", f"k is {k}; it must be from 1 to {MOST_TOKENS}.", "Choose another k.")
    chosen = [_component(model, component) for component in components]
    if not chosen:
        raise Refusal("bad_component", "The list of components is empty.")
    length = max(len(each.reference_ids) for each in encoded)
    budget = budget_of(model)
    plan = plan_for(model, Shape("direct", length, 1, len(encoded)), budget)
    wide = torch.finfo(model.work_dtype).bits // 8
    step = min(plan.pairs, max(1, budget // (16 * model.embeddings * wide)))  # several copies of all logits
    together = max(1, budget // (4 * 2 * model.embeddings * wide))  # components whose moments are in memory
    tokens = _tokens(model)
    ranked, answers, centres = [], [], []
    done = itertools.count(1)

    def report() -> None:
        if progress is not None:
            progress(next(done), len(chosen) * -(-len(encoded) // step))

    for start in range(0, len(chosen), together):
        batch = chosen[start : start + together]
        moments = [_Moments(model.embeddings, model.work_dtype, model.device) for _ in batch]
        parts = [
            _changes(model, encoded[row : row + step], batch, moments, plan.tokens, report)
            for row in range(0, len(encoded), step)
        ]
        answers.append(torch.cat([part[0] for part in parts]))
        centres.append(torch.cat([part[1] for part in parts]))
        ranked.extend(_rank(model, component, each, tokens, k) for component, each in zip(batch, moments, strict=True))
    return VocabularyEffects(
        model=model.card.id,
        revision=model.card.revision,
        n=len(encoded),
        components=tuple(ranked),
        answers=torch.cat(answers, dim=1),
        centres=torch.cat(centres, dim=1),
    )


class _Moments:
    """Running mean and variance of every token's change (Chan et al.'s merging of two sums of squares)."""

    def __init__(self, tokens: int, dtype: torch.dtype, device: torch.device) -> None:
        self.n = 0
        self.mean = torch.zeros(tokens, dtype=dtype, device=device)
        self._squares = torch.zeros(tokens, dtype=dtype, device=device)

    def add(self, rows: Float[Tensor, "pair vocabulary"]) -> None:
        n, mean = len(rows), rows.mean(0)
        shift = mean - self.mean
        self._squares += (rows - mean).square().sum(0) + shift.square() * (self.n * n / (self.n + n))
        self.mean += shift * (n / (self.n + n))
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
    report: Callable[[], None],
) -> tuple[Float[Tensor, "pair component"], Float[Tensor, "pair component"]]:
    """Adds the changes of a batch of pairs to ``moments``; returns the answers' changes and the means over the
    vocabulary."""
    states = end_states(model, [each.reference_ids for each in encoded], tokens)
    answer_ids = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
    answers, centres = [], []
    with evaluating(model.hf):
        logits = all_logits(model, states.final)
        if not bool(logits.isfinite().all()):
            raise Refusal("not_finite", "The reference run's logits are not finite.")
        for component, moment in zip(components, moments, strict=True):
            change = logits - all_logits(model, states.final - _write(model, states, component))
            centre = change.mean(-1, keepdim=True)
            moment.add(change - centre)
            answers.append(change.gather(1, answer_ids)[:, 0])
            centres.append(centre[:, 0])
            report()
    return torch.stack(answers, dim=1).cpu(), torch.stack(centres, dim=1).cpu()


def _component(model: LoadedModel, component: Component | str) -> Component:
    parsed = Component.parse(component) if isinstance(component, str) else component
    if parsed.layer >= model.layout.layers or (parsed.head or 0) >= model.layout.heads:
        raise Refusal(
            "bad_component",
            f"There is no {parsed}; the model has {model.layout.layers} layers of {model.layout.heads} heads.",
        )
    return parsed


def _tokens(model: LoadedModel) -> Tensor:
    """Ids of the unembedding's rows that have a token."""
    ids = sorted({token for token in model.text.get_vocab().values() if token < model.embeddings})
    return torch.tensor(ids)


def _write(model: LoadedModel, states: EndStates, component: Component) -> Float[Tensor, "pair hidden"]:
    if component.head is None:
        return states.mlp[:, component.layer]
    here = states.z[:, component.layer]
    # The change when each head's output is removed; the projection's bias belongs to no head.
    removed = model.layout.blocks[component.layer].head_writes(-here.transpose(0, 1), here, model.dtype)
    return -removed[component.head]


def _rank(model: LoadedModel, component: Component, moments: _Moments, tokens: Tensor, k: int) -> ComponentTokens:
    mean, std = moments.mean.cpu(), None if moments.std is None else moments.std.cpu()
    numbers = tokens[torch.isin(tokens, torch.tensor(list(model.number_values), dtype=tokens.dtype))]

    def strongest(among: Tensor, sign: int) -> tuple[TokenEffect, ...]:
        order = (sign * mean[among]).argsort(descending=True, stable=True)[:k]
        rows = [int(row) for row in among[order] if sign * float(mean[row]) > 0]
        return tuple(
            TokenEffect(row, model.token_text(row), float(mean[row]), None if std is None else float(std[row]))
            for row in rows
        )

    return ComponentTokens(
        component=str(component),
        promoted=strongest(tokens, 1),
        suppressed=strongest(tokens, -1),
        promoted_numbers=strongest(numbers, 1),
        suppressed_numbers=strongest(numbers, -1),
    )
