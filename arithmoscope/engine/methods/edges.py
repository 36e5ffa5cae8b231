"""Edges: which heads and MLPs send to which later heads, by way of what those look for at the last position.

What it measures. For a receiver (a head of layer l) and every sender (a head or an MLP of an earlier layer), at END:

    x_l         what layer l reads when the sender's output is the counterfactual's; MLPs between recomputed, all
                other heads frozen at the reference
    q', z'      the receiver's query formed from x_l, and its output: attention row formed anew from q', keys and values
                frozen at the reference

    query_changes   |q' - q| / |q|
    directs         logit(norm(x_final + W_O (z' - z))) - logit(norm(x_final))       what that says to the output itself
    effects         of the edges with the largest mean |direct|: the same with later MLPs recomputed (`through_mlps`) or
                    everything later (`total`): three-run path patching

Sources: Wang et al., Interpretability in the Wild, ICLR 2023 (path patching of edges); Goldowsky-Dill et al.,
Localizing Model Behavior with Path Patching, 2023.

Exact: every number is what three forward passes with hooks would give.

Cost. Two forward passes and the wave of `through_mlps`, in which every receiver layer forms the queries of all senders
(one product more), and each receiver's attention row and read-out for every sender; then a second wave for the chosen
edges.

When it misleads. Queries only: an edge by way of a receiver's keys or values (at any position) is not seen. A large
change of the query is no effect, if the softmax does not care. The direct effect chooses the edges to verify: one that
acts through later layers alone may be missed; ask for it with ``receivers``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, budget_of, plan_for
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.interventions.edge_patching import Pair, PairGroup, ReceiverChange, Through
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import read_tensors, write_tensors

MOST_EDGES = 10_000


@dataclass(frozen=True)
class Edge:
    """One edge's means over the pairs; ``effect_std`` with ddof 1, None for one pair."""

    sender: str
    receiver: str
    query_change: float
    direct: float
    effect: float
    effect_std: float | None


@dataclass(frozen=True, eq=False)
class Edges:
    """Edges from all components to some heads, on every pair, in logits of the answer, on the CPU.

    query_changes, directs   0 where the sender is not in an earlier layer: nothing gets there
    top                      (sender, receiver) of the edges with the largest mean |direct|
    effects                  their exact effects on the answer, ``through`` what was recomputed
    noise                    |logit of the unpatched control row - reference logit|
    """

    model: str
    revision: str
    questions: tuple[str, ...]
    through: Through
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    query_changes: Float[Tensor, "pair receiver sender"]
    directs: Float[Tensor, "pair receiver sender"]
    top: tuple[tuple[str, str], ...]
    effects: Float[Tensor, "pair edge"]
    reference: Float[Tensor, " pair"]
    noise: Float[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.questions)

    def ranking(self) -> list[Edge]:
        """The top edges, those first whose removal hurts most."""
        rows = []
        for at, (sender, receiver) in enumerate(self.top):
            cell = (slice(None), self.receivers.index(receiver), self.senders.index(sender))
            effect = self.effects[:, at]
            rows.append(
                Edge(
                    sender=sender,
                    receiver=receiver,
                    query_change=float(self.query_changes[cell].mean()),
                    direct=float(self.directs[cell].mean()),
                    effect=float(effect.mean()),
                    effect_std=float(effect.std()) if len(effect) > 1 else None,
                )
            )
        return sorted(rows, key=lambda edge: edge.effect)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        write_tensors(path, "edges", {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Edges:
        """Read what `save` wrote. Refuses (``bad_request``) any other file."""
        read = read_tensors(path, "edges")
        for name in ("questions", "senders", "receivers"):
            read[name] = tuple(read[name])
        return cls(**{**read, "top": tuple((sender, receiver) for sender, receiver in read["top"])})


@torch.no_grad()
def edges(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    receivers: Sequence[Component | str] | None = None,
    *,
    top: int = 50,
    through: Through | str = "through_mlps",
    progress: Callable[[int, int], None] | None = None,
) -> Edges:
    """Edges to ``receivers`` (heads; None: all heads from layer 1 on) from every earlier head and MLP, and the exact
    effects of the ``top`` of them. ``progress(done, total)`` counts pairs, once in either wave.

    Refuses receivers that are no heads of this model or have no sender (layer 0), more edges of more pairs than there
    is memory for, besides what `path_patching` refuses, and an attention that cannot be followed.
    """
    if through not in get_args(Through):
        raise Refusal("bad_request", f"There is no way {through!r}; there are {', '.join(get_args(Through))}.")
    if not 0 <= top <= MOST_EDGES:
        raise Refusal("bad_request", f"top is {top}; it must be from 0 to {MOST_EDGES}.", "Choose another top.")
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    heads = _heads(model, receivers)
    encoded = encode_all(model, pairs)
    senders = all_components(model.layout.layers, model.layout.heads)
    column_of = {sender: column for column, sender in enumerate(senders)}
    row_of = {receiver: row for row, receiver in enumerate(heads)}
    n, wide = len(encoded), model.work_dtype
    length = max(max(len(each.reference_ids), len(each.counterfactual_ids)) for each in encoded)
    _check_room(n * len(heads) * len(senders) * wide.itemsize, budget_of(model))
    plan = plan_for(model, Shape("total", length, 1, n))
    query_changes = torch.zeros(n, len(heads), len(senders), dtype=wide)
    directs = torch.zeros_like(query_changes)
    reference, noise = torch.empty(n, dtype=wide), torch.zeros(n, dtype=wide)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, n * (2 if top else 1))

    by_length: dict[int, list[int]] = defaultdict(list)  # what attends together must have one length
    for row, each in enumerate(encoded):
        by_length[len(each.reference_ids)].append(row)
    done = 0

    def screen(rest: Sequence[int], plan: Plan) -> int:
        nonlocal done
        rows = list(rest[: plan.pairs])
        group = PairGroup(model, [encoded[row] for row in rows], plan)
        base = group.logits(group.run.final)
        reference[rows] = base.cpu()

        def visit(moved: ReceiverChange) -> None:
            columns = [column_of[sender] for sender in moved.senders]
            cells = torch.tensor(rows)[:, None], row_of[moved.receiver], torch.tensor(columns)[None]
            change = group.logits(group.run.final + moved.write) - base
            directs[cells] = change.masked_fill(moved.same, 0.0).T.cpu()
            query_changes[cells] = moved.query_change.T.cpu()

        group.move(senders, heads, visit)
        done += len(rows)
        tell(done)
        return len(rows)

    plan = run_in_chunks(by_length.values(), plan, screen)
    if not bool(directs.isfinite().all() and reference.isfinite().all()):
        raise Refusal("not_finite", "The patched runs' logits are not finite.")
    chosen = _strongest(directs, senders, heads, top)
    effects = torch.zeros(n, len(chosen), dtype=wide)
    in_layers = sorted(range(len(chosen)), key=lambda at: chosen[at][1].layer)

    def verify(rest: Sequence[int], plan: Plan) -> int:
        nonlocal done
        rows = list(rest[: plan.pairs])
        group = PairGroup(model, [encoded[row] for row in rows], plan)
        noise[rows] = 0.0
        for start in range(0, len(chosen), plan.components):  # every edge holds a stream of every pair
            some = in_layers[start : start + plan.components]
            writes = _writes(group, [chosen[at] for at in some], senders, heads)
            found, away = group.carried(writes, cast(Through, through))
            del writes
            effects[torch.tensor(rows)[:, None], torch.tensor(some)] = found
            noise[rows] = torch.maximum(noise[rows], away)
        done += len(rows)
        tell(done)
        return len(rows)

    if chosen:
        run_in_chunks(by_length.values(), plan, verify)
    if not bool(effects.isfinite().all()):
        raise Refusal("not_finite", "The patched runs' logits are not finite.")
    return Edges(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(each.question for each in encoded),
        through=cast(Through, through),
        senders=tuple(str(each) for each in senders),
        receivers=tuple(str(each) for each in heads),
        query_changes=query_changes,
        directs=directs,
        top=tuple((str(sender), str(receiver)) for sender, receiver in chosen),
        effects=effects,
        reference=reference,
        noise=noise,
    )


def _heads(model: LoadedModel, receivers: Sequence[Component | str] | None) -> list[Component]:
    layers, heads = model.layout.layers, model.layout.heads
    if receivers is None:
        if layers < 2:
            raise Refusal("bad_component", "The model has one layer: no head has anything before it to receive from.")
        return [Component(layer, head) for layer in range(1, layers) for head in range(heads)]
    known = [Component.parse(each) if isinstance(each, str) else each for each in receivers]
    for each in known:
        if each.head is None:
            raise Refusal("bad_component", f"{each} has no query.", "Receivers are heads, such as L14H2.")
        if each.layer >= layers or each.head >= heads:
            raise Refusal("bad_component", f"There is no {each}; the model has {layers} layers of {heads} heads.")
        if each.layer == 0:
            raise Refusal("bad_component", f"{each} reads the embedding alone.", "Choose heads from layer 1 on.")
    if not known:
        raise Refusal("bad_component", "No receiver was asked for.", "Leave receivers out for all heads.")
    return sorted(set(known), key=lambda each: (each.layer, each.head))


def _check_room(table: int, budget: int) -> None:
    """Refuses (``out_of_memory``) two tables of ``table`` bytes, and a third while they are ranked, that do not fit."""
    if 3 * table > budget:
        raise Refusal(
            "out_of_memory",
            f"Every edge of every pair needs {3 * table:,} bytes beyond the model; the budget is {budget:,}.",
            "Ask for fewer pairs or fewer receivers at once.",
        )


def _writes(
    group: PairGroup, edges: Sequence[Pair], senders: Sequence[Component], receivers: Sequence[Component]
) -> list[tuple[Pair, Float[Tensor, "pair hidden"]]]:
    """What the receiver of each edge writes more than in the reference run, because of its sender."""
    asked, sending, receiving = set(edges), {sender for sender, _ in edges}, {receiver for _, receiver in edges}
    writes: dict[Pair, Tensor] = {}

    def visit(moved: ReceiverChange) -> None:
        for write, same, sender in zip(moved.write, moved.same, moved.senders, strict=True):
            if (sender, moved.receiver) in asked:
                writes[sender, moved.receiver] = write.masked_fill(same[:, None], 0.0)

    group.move([c for c in senders if c in sending], [c for c in receivers if c in receiving], visit)
    return [(pair, writes[pair]) for pair in edges]


def _strongest(
    directs: Float[Tensor, "pair receiver sender"], senders: list[Component], receivers: list[Component], k: int
) -> list[Pair]:
    """The edges with the largest mean |direct|, among those that there are."""
    size = directs.abs().mean(0)
    there = torch.tensor([[sender.layer < receiver.layer for sender in senders] for receiver in receivers])
    order = size.masked_fill(~there, -1).flatten().argsort(descending=True, stable=True)
    found = [divmod(int(at), len(senders)) for at in order[: min(k, int(there.sum()))]]
    return [(senders[sender], receivers[receiver]) for receiver, sender in found]
