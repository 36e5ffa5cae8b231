"""Attention by role: the part of the question that each head attends to just before the answer.

What it measures. For every head, its attention at END by the roles of the tokens:

    mass[role] = sum of the weights of the END row over the tokens of that role        (they sum to 1)

averaged over a set, and compared with three baselines:

    average head    the mean over all heads
    counterfactual  the same prompts without the calculation; the difference of the two runs' masses
    shuffled roles  the expected mass if roles were assigned to the tokens at random, except for the first token, the
                    attention sink: (1 - mass[first]) * tokens of the role / all tokens but the first

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 4
(operand heads and operator heads, by their patterns); the baselines are ours.

Exact: the model's own softmax. The shuffled baseline is the mean over all permutations, not a sample of them.

Cost. One eager forward pass over both prompts; each layer's patterns are summed and freed before the next layer's.

When it misleads. A head that attends to the operands need not use them, and what it reads there may have been moved
there from other tokens. More tokens gather more mass: compare with the shuffled baseline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import HeadClass
from arithmoscope.contracts.prompts import PromptPair, Role, Token
from arithmoscope.engine.forward.activations import TokenIds, encode_all
from arithmoscope.engine.forward.hooks import eager_attention, evaluating
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import PairResult
from arithmoscope.prompts import EncodedPair

ROLES: tuple[Role, ...] = get_args(Role)
# Memory for the patterns of one layer of one batch.
_BATCH_BYTES = 64 * 2**20
# A head's mass must be this many times the shuffled baseline's, and the average head's, for the head to get a class.
TIMES = 2.0


@dataclass(frozen=True, eq=False)
class RoleAttention(PairResult):
    """Attention at END by role, on the CPU; it sums to 1 over the last axis.

    The roles are first, shot, operand_a, operator, operand_b, equals and other, in this order.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair.
        reference: Masses in the reference prompts [pair, layer, head, role].
        counterfactual: Masses in the counterfactual prompts.
        shuffled: Expected masses in the reference prompts if roles were assigned at random.

    Example:
        >>> roles = am.attention_roles(model, pairs)
        >>> roles.classes(times=2.0)[am.Component(0, 0)] in ("operand", "operator", "neither")
        True
        >>> low, high = roles.interval()
        >>> roles.save("roles.safetensors")
        >>> len(am.RoleAttention.load("roles.safetensors"))
        16
    """

    file_format = "arithmoscope.role_attention.1"
    noun = "role attention"

    model: str
    revision: str
    questions: tuple[str, ...]
    reference: Float[Tensor, "pair layer head role"]
    counterfactual: Float[Tensor, "pair layer head role"]
    shuffled: Float[Tensor, "pair layer head role"]

    @property
    def mean(self) -> Float[Tensor, "layer head role"]:
        """Mean over the reference prompts."""
        return self.reference.double().mean(0)

    @property
    def difference(self) -> Float[Tensor, "layer head role"]:
        """Mean of reference minus counterfactual."""
        return (self.reference - self.counterfactual).double().mean(0)

    @property
    def average_head(self) -> Float[Tensor, " role"]:
        """Mean over all heads and reference prompts."""
        return self.mean.flatten(0, 1).mean(0)

    @property
    def baseline(self) -> Float[Tensor, "layer head role"]:
        """Mean expected masses for shuffled roles."""
        return self.shuffled.double().mean(0)

    def interval(self) -> tuple[Float[Tensor, "layer head role"], Float[Tensor, "layer head role"]]:
        """95 % percentile bootstrap interval of `mean` over distinct questions.

        Returns:
            Lower and upper ends [layer, head, role]; NaN for one question.
        """
        low, high = interval_of(self.reference.flatten(1), self.questions)
        return low.view(self.mean.shape), high.view(self.mean.shape)

    @check_arguments(times=Range(0, above=True))
    def classes(self, times: float = TIMES) -> dict[Component, HeadClass]:
        """Class of each head: ``"operand"``, ``"operator"`` or ``"neither"``.

        An operand head's mean mass on both operands together is at least ``times`` the shuffled baseline's and at least
        ``times`` the average head's; an operator head's mass on the operator is. A head that is both gets the class
        for which it exceeds the baseline more.

        Args:
            times: The factor.

        Returns:
            The class of every head of the model.
        """
        exceeds: dict[str, Tensor] = {}
        for name, parts in (("operand", ("operand_a", "operand_b")), ("operator", ("operator",))):
            columns = [ROLES.index(part) for part in parts]
            mass, shuffled = self.mean[..., columns].sum(-1), self.baseline[..., columns].sum(-1)
            average = self.average_head[columns].sum()
            named = (mass > 0) & (mass >= times * shuffled) & (mass >= times * average)
            exceeds[name] = torch.where(named, mass / shuffled, 0.0)
        classes: dict[Component, HeadClass] = {}
        for layer, head in torch.cartesian_prod(*(torch.arange(n) for n in self.mean.shape[:2])).tolist():
            operand, operator = (float(exceeds[name][layer, head]) for name in ("operand", "operator"))
            kind: HeadClass = "neither"
            if max(operand, operator) > 0:
                kind = "operand" if operand >= operator else "operator"
            classes[Component(layer, head)] = kind
        return classes


@check_arguments()
def attention_roles(
    model: LoadedModel, pairs: Sequence[PromptPair], *, progress: Callable[[int, int], None] | None = None
) -> RoleAttention:
    """Every head's attention at END by token role, in both prompts of every pair.

    Operand heads and operator heads as in Zhang et al., 2024, section 4.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs.
        progress: Called with (prompts done, prompts in total); two prompts per pair.

    Returns:
        Masses [pair, layer, head, role] of reference and counterfactual prompts, and the shuffled baseline, on the CPU.

    Raises:
        Refusal: `BadPrompt` for an empty list or a prompt that cannot be tokenised.

    Example:
        >>> roles = am.attention_roles(model, pairs)
        >>> roles.mean.shape  # [layer, head, role]
        torch.Size([..., 7])
    """
    encoded = encode_all(model, pairs)
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    return roles_of(model, encoded, progress=progress)


def roles_of(
    model: LoadedModel, encoded: Sequence[EncodedPair], *, progress: Callable[[int, int], None] | None = None
) -> RoleAttention:
    """As `attention_roles`, for encoded pairs."""
    prompts = [pair.reference_ids for pair in encoded] + [pair.counterfactual_ids for pair in encoded]
    roles = [_one_hot(pair.reference_tokens) for pair in encoded]
    roles += [_one_hot(pair.counterfactual_tokens) for pair in encoded]
    masses = _masses(model, prompts, roles, progress)
    reference, counterfactual = masses[: len(encoded)], masses[len(encoded) :]
    shares = torch.stack([_shares(each) for each in roles[: len(encoded)]]).to(masses)
    first = ROLES.index("first")
    shuffled = (1 - reference[..., first, None]) * shares[:, None, None]
    shuffled[..., first] = reference[..., first]
    return RoleAttention(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(pair.question for pair in encoded),
        reference=reference,
        counterfactual=counterfactual,
        shuffled=shuffled,
    )


def _one_hot(tokens: Sequence[Token]) -> Float[Tensor, "token role"]:
    marks = torch.zeros(len(tokens), len(ROLES))
    for index, token in enumerate(tokens):
        marks[index, ROLES.index(token.role)] = 1
    return marks


def _shares(marks: Float[Tensor, "token role"]) -> Float[Tensor, " role"]:
    """Each role's share of the tokens except the first."""
    return marks[1:].sum(0) / max(1, len(marks) - 1)


@torch.no_grad()
def _masses(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    roles: Sequence[Float[Tensor, "_ role"]],
    progress: Callable[[int, int], None] | None,
) -> Float[Tensor, "prompt layer head role"]:
    layout = model.layout
    masses = torch.empty(len(prompts), layout.layers, layout.heads, len(ROLES), dtype=model.work_dtype)
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, ids in enumerate(prompts):
        by_length[len(ids)].append(number)
    done = 0
    for length, numbers in by_length.items():
        step = 1 if model.runs_alone else max(1, _BATCH_BYTES // (8 * layout.heads * length**2))
        for start in range(0, len(numbers), step):
            batch = numbers[start : start + step]
            marks = torch.stack([roles[number] for number in batch]).to(model.work_dtype)
            masses[batch] = _run(model, [prompts[number] for number in batch], marks)
            done += len(batch)
            if progress is not None:
                progress(done, len(prompts))
    return masses


def _run(
    model: LoadedModel, prompts: Sequence[TokenIds], marks: Float[Tensor, "prompt token role"]
) -> Float[Tensor, "prompt layer head role"]:
    masses: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            end = output[1][:, :, -1].to(dtype=model.work_dtype, device="cpu")
            masses[layer] = end @ marks

        return hook

    with ExitStack() as stack:
        for layer, block in enumerate(model.layout.blocks):
            stack.callback(block.attention.register_forward_hook(keep(layer)).remove)
        stack.enter_context(evaluating(model.hf))
        stack.enter_context(eager_attention(model.hf))
        ids = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
        model.layout.decoder(input_ids=ids, use_cache=False)
    return torch.stack([masses[layer] for layer in range(model.layout.layers)], dim=1)
