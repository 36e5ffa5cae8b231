"""Attention by role: what part of the question each head looks at while the answer is about to be given.

What it measures. For every head, how its attention at END is shared out over the parts that the tokens play:

    mass[role] = sum of the weights of the END row over the tokens of that role        (they sum to 1)

averaged over a set, and held against three things:

    average head    the mean over all heads: what looking at operands is worth when everybody does
    counterfactual  the same prompts without the calculation; the difference of the two runs' masses
    shuffled roles  what the mass would be if the roles were dealt to the tokens at random, the first token apart, where
                    attention rests that goes nowhere: (1 - mass[first]) * tokens of the role / all tokens but the first

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 4
(operand heads and operator heads, by their patterns); the baselines are ours.

Exact: the model's own softmax. The shuffled baseline is the mean over all permutations, not a sample of them.

Cost. One eager forward pass over both prompts; each layer's patterns are summed up and dropped before the next layer's.

When it misleads. A head that looks at the operands need not use them, and what it reads there may have been written by
other tokens. More tokens gather more mass: read the mass over the shuffled baseline.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import HeadClass
from arithmoscope.contracts.prompts import PromptPair, Role, Token
from arithmoscope.engine.forward.activations import TokenIds, encode_all
from arithmoscope.engine.forward.hooks import eager_attention, evaluating
from arithmoscope.engine.measures.knockout_curves import interval_of
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, write_tensors
from arithmoscope.prompts import EncodedPair

ROLES: tuple[Role, ...] = get_args(Role)
# Patterns of one layer of the prompts that go through the model together.
_BATCH_BYTES = 64 * 2**20
# How many times the shuffled baseline, and how many times the average head, a head's mass must be to name it.
TIMES = 2.0


@dataclass(frozen=True, eq=False)
class RoleAttention:
    """Masses of the END row by role, in the order of `ROLES`, on the CPU; they sum to 1 over the roles.

    reference, counterfactual  of every pair's two prompts
    shuffled                   what random roles would give in the reference prompt
    """

    model: str
    revision: str
    questions: tuple[str, ...]
    reference: Float[Tensor, "pair layer head role"]
    counterfactual: Float[Tensor, "pair layer head role"]
    shuffled: Float[Tensor, "pair layer head role"]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def mean(self) -> Float[Tensor, "layer head role"]:
        """Over the set's reference prompts."""
        return self.reference.double().mean(0)

    @property
    def difference(self) -> Float[Tensor, "layer head role"]:
        """Reference minus counterfactual, over the set."""
        return (self.reference - self.counterfactual).double().mean(0)

    @property
    def average_head(self) -> Float[Tensor, " role"]:
        """The mean over all heads, over the set's reference prompts."""
        return self.mean.flatten(0, 1).mean(0)

    @property
    def baseline(self) -> Float[Tensor, "layer head role"]:
        """The shuffled roles' masses, over the set."""
        return self.shuffled.double().mean(0)

    def interval(self) -> tuple[Float[Tensor, "layer head role"], Float[Tensor, "layer head role"]]:
        """95 % percentile bootstrap of `mean` over distinct questions; NaN for one question."""
        low, high = interval_of(self.reference.flatten(1), self.questions)
        return low.view(self.mean.shape), high.view(self.mean.shape)

    def classes(self, times: float = TIMES) -> dict[Component, HeadClass]:
        """What each head looks at. An operand head's mean mass on both operands together is at least ``times`` the
        shuffled baseline's and at least ``times`` the average head's; an operator head's mass on the operator is. A
        head that is both is what it exceeds the baseline more for; one that is none is neither."""
        exceeds: dict[str, Tensor] = {}
        for name, parts in (("operand", ("operand_a", "operand_b")), ("operator", ("operator",))):
            at = [ROLES.index(part) for part in parts]
            mass, dealt = self.mean[..., at].sum(-1), self.baseline[..., at].sum(-1)
            average = self.average_head[at].sum()
            named = (mass > 0) & (mass >= times * dealt) & (mass >= times * average)
            exceeds[name] = torch.where(named, mass / dealt, 0.0)
        found: dict[Component, HeadClass] = {}
        for layer, head in torch.cartesian_prod(*(torch.arange(n) for n in self.mean.shape[:2])).tolist():
            operand, operator = (float(exceeds[name][layer, head]) for name in ("operand", "operator"))
            kind: HeadClass = "neither"
            if max(operand, operator) > 0:
                kind = "operand" if operand >= operator else "operator"
            found[Component(layer, head)] = kind
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        write_tensors(path, "role_attention", {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RoleAttention:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, "role_attention")
        return cls(**{**read, "questions": tuple(read["questions"])})


def attention_roles(
    model: LoadedModel, pairs: Sequence[PromptPair], *, progress: Callable[[int, int], None] | None = None
) -> RoleAttention:
    """Every head's END attention by role, in the reference and the counterfactual prompt of every pair.

    ``progress(done, total)`` counts prompts, two a pair.
    """
    encoded = encode_all(model, pairs or [])
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    return roles_of(model, encoded, progress=progress)


def roles_of(
    model: LoadedModel, encoded: Sequence[EncodedPair], *, progress: Callable[[int, int], None] | None = None
) -> RoleAttention:
    """As `attention_roles`, of pairs that are encoded already."""
    prompts = [pair.reference_ids for pair in encoded] + [pair.counterfactual_ids for pair in encoded]
    roles = [_deal(pair.reference_tokens) for pair in encoded] + [_deal(pair.counterfactual_tokens) for pair in encoded]
    masses = _masses(model, prompts, roles, progress)
    reference, counterfactual = masses[: len(encoded)], masses[len(encoded) :]
    shares = torch.stack([_dealt(each) for each in roles[: len(encoded)]]).to(masses)
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


def _deal(tokens: Sequence[Token]) -> Float[Tensor, "token role"]:
    marks = torch.zeros(len(tokens), len(ROLES))
    for at, token in enumerate(tokens):
        marks[at, ROLES.index(token.role)] = 1
    return marks


def _dealt(marks: Float[Tensor, "token role"]) -> Float[Tensor, " role"]:
    """Each role's share of the tokens but the first."""
    return marks[1:].sum(0) / max(1, len(marks) - 1)


@torch.no_grad()
def _masses(
    model: LoadedModel,
    prompts: Sequence[TokenIds],
    roles: Sequence[Float[Tensor, "_ role"]],
    progress: Callable[[int, int], None] | None,
) -> Float[Tensor, "prompt layer head role"]:
    layout = model.layout
    found = torch.empty(len(prompts), layout.layers, layout.heads, len(ROLES), dtype=model.work_dtype)
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, ids in enumerate(prompts):
        by_length[len(ids)].append(number)
    done = 0
    for length, numbers in by_length.items():
        step = 1 if model.runs_alone else max(1, _BATCH_BYTES // (8 * layout.heads * length**2))
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            marks = torch.stack([roles[number] for number in part]).to(model.work_dtype)
            found[part] = _run(model, [prompts[number] for number in part], marks)
            done += len(part)
            if progress is not None:
                progress(done, len(prompts))
    return found


def _run(
    model: LoadedModel, prompts: Sequence[TokenIds], marks: Float[Tensor, "prompt token role"]
) -> Float[Tensor, "prompt layer head role"]:
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            end = output[1][:, :, -1].to(dtype=model.work_dtype, device="cpu")
            seen[layer] = end @ marks

        return hook

    with ExitStack() as stack:
        for layer, block in enumerate(model.layout.blocks):
            stack.callback(block.attention.register_forward_hook(keep(layer)).remove)
        stack.enter_context(evaluating(model.hf))
        stack.enter_context(eager_attention(model.hf))
        ids = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
        model.layout.decoder(input_ids=ids, use_cache=False)
    return torch.stack([seen[layer] for layer in range(model.layout.layers)], dim=1)
