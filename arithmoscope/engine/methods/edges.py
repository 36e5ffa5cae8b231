"""Edges: which heads and MLPs act on which later heads, through their queries at the last position.

What it measures. For a receiver (a head of layer l) and every sender (a head or an MLP of an earlier layer), at END:

    x_l         what layer l reads when the sender's output is the counterfactual's; MLPs between recomputed, all
                other heads frozen at the reference
    q', z'      the receiver's query computed from x_l, and its output: attention row recomputed from q', keys and
                values frozen at the reference

    query_changes   |q' - q| / |q|
    directs         logit(norm(x_final + W_O (z' - z))) - logit(norm(x_final))       its direct effect on the output
    effects         of the edges with the largest mean |direct|: the same with later MLPs recomputed (`through_mlps`) or
                    everything later (`total`): three-run path patching

Sources: Wang et al., Interpretability in the Wild, ICLR 2023 (path patching of edges); Goldowsky-Dill et al.,
Localizing Model Behavior with Path Patching, 2023.

Exact: every number equals that of three forward passes with hooks.

Cost. Two forward passes and the wave of `through_mlps`, in which every receiver layer forms the queries of all senders
(one more product), and each receiver's attention row and read-out for every sender; then a second wave for the chosen
edges.

When it misleads. Queries only: an edge through a receiver's keys or values (at any position) does not show. A large
change of the query need not have an effect: the softmax may be insensitive to it. Edges to verify are chosen by the
direct effect: one that acts through later layers alone may be missed; name its receiver in ``receivers``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import Component, all_components
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, budget_of, plan_for
from arithmoscope.engine.forward.chunked import run_in_chunks
from arithmoscope.engine.interventions.edge_patching import Pair, PairGroup, ReceiverChange, Through
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.serialization import TensorResult

MOST_EDGES = 10_000


@dataclass(frozen=True)
class Edge:
    """One edge's means over the pairs.

    Attributes:
        sender: Component that is patched, such as ``"MLP3"``.
        receiver: Head whose query changes, such as ``"L14H2"``.
        query_change: Relative change of the query, |q' - q| / |q|.
        direct: Direct effect on the answer's logit.
        effect: Effect on the answer's logit through later layers.
        effect_std: Standard deviation of ``effect`` (ddof 1); None for one pair.
    """

    sender: str
    receiver: str
    query_change: float
    direct: float
    effect: float
    effect_std: float | None


@dataclass(frozen=True, eq=False)
class Edges(TensorResult):
    """Edges from all components to heads, on every pair, in logits of the answer, on the CPU.

    Attributes:
        model: The model's id.
        revision: The revision of its weights.
        questions: The question of each pair.
        through: Layers recomputed for ``effects``: ``"through_mlps"`` or ``"total"``.
        senders: All components.
        receivers: The receiving heads.
        query_changes: Relative change of the query [pair, receiver, sender]; 0 where the sender is not in an earlier
            layer.
        directs: Direct effect [pair, receiver, sender]; 0 where the sender is not in an earlier layer.
        top: (sender, receiver) of the edges with the largest mean |direct|.
        effects: Their exact effects [pair, edge].
        reference: The answer's logit in the reference run [pair].
        noise: |logit of the unpatched control row - reference logit| [pair].

    Example:
        >>> edges = am.edges(model, pairs[:4], ["L1H2"], top=5)
        >>> edges.ranking()[0].receiver
        'L1H2'
        >>> edges.save("edges.safetensors")
        >>> am.Edges.load("edges.safetensors").top == edges.top
        True
    """

    file_format = "arithmoscope.edges.1"
    noun = "edges"

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
        """The verified edges by mean effect.

        Returns:
            One row per edge, ascending by the mean effect: the edge whose removal hurts most is first.
        """
        rows = []
        for index, (sender, receiver) in enumerate(self.top):
            cell = (slice(None), self.receivers.index(receiver), self.senders.index(sender))
            effect = self.effects[:, index]
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


@check_arguments(top=Range(0, MOST_EDGES))
@torch.no_grad()
def edges(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    receivers: Sequence[Component | str] | None = None,
    *,
    top: int = 50,
    through: Through = "through_mlps",
    progress: Callable[[int, int], None] | None = None,
) -> Edges:
    """Effects that components have through the queries of later heads at END.

    Path patching of edges (Wang et al., 2023; Goldowsky-Dill et al., 2023), from every earlier head and MLP.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; each answer is one token of the model.
        receivers: Heads such as ``"L14H2"``; None for all heads from layer 1 on.
        top: Number of edges, those with the largest mean |direct effect|, to compute exact effects of.
        through: Layers after the receiver that are recomputed for the exact effects: ``"through_mlps"`` (MLPs) or
            ``"total"`` (everything).
        progress: Called with (pairs done, pairs in total); pairs count once for each of the two waves.

    Returns:
        Changes of queries and direct effects [pair, receiver, sender], and exact effects of the top edges [pair, edge],
        in logits of the answer, on the CPU.

    Raises:
        Refusal: ``bad_component`` for receivers that are not heads of this model or have no sender (layer 0);
            ``out_of_memory`` if the table of all edges of all pairs does not fit; ``unsupported_architecture`` if the
            model's attention cannot be recomputed; otherwise as `path_patching`.

    Example:
        >>> edges = am.edges(model, pairs[:4], ["L1H2"], top=3)
        >>> len(edges.ranking())
        3
    """
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    heads = _heads(model, receivers)
    encoded = encode_all(model, pairs)
    senders = all_components(model.layout.layers, model.layout.heads)
    column_of = {sender: column for column, sender in enumerate(senders)}
    row_of = {receiver: row for row, receiver in enumerate(heads)}
    n, wide = len(encoded), model.work_dtype
    length = max(max(len(each.reference_ids), len(each.counterfactual_ids)) for each in encoded)
    _check_memory(n * len(heads) * len(senders) * wide.itemsize, budget_of(model))
    plan = plan_for(model, Shape("total", length, 1, n))
    query_changes = torch.zeros(n, len(heads), len(senders), dtype=wide)
    directs = torch.zeros_like(query_changes)
    reference, noise = torch.empty(n, dtype=wide), torch.zeros(n, dtype=wide)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, n * (2 if top else 1))

    by_length: dict[int, list[int]] = defaultdict(list)  # a batch has one length
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
        report(done)
        return len(rows)

    plan = run_in_chunks(by_length.values(), plan, screen)
    if not bool(directs.isfinite().all() and reference.isfinite().all()):
        raise Refusal("not_finite", "The patched runs' logits are not finite.")
    chosen = _strongest(directs, senders, heads, top)
    effects = torch.zeros(n, len(chosen), dtype=wide)
    in_layers = sorted(range(len(chosen)), key=lambda index: chosen[index][1].layer)

    def verify(rest: Sequence[int], plan: Plan) -> int:
        nonlocal done
        rows = list(rest[: plan.pairs])
        group = PairGroup(model, [encoded[row] for row in rows], plan)
        noise[rows] = 0.0
        for start in range(0, len(chosen), plan.components):  # every edge holds a stream of every pair
            batch = in_layers[start : start + plan.components]
            writes = _writes(group, [chosen[index] for index in batch], senders, heads)
            batch_effects, batch_noise = group.carried(writes, through)
            del writes
            effects[torch.tensor(rows)[:, None], torch.tensor(batch)] = batch_effects
            noise[rows] = torch.maximum(noise[rows], batch_noise)
        done += len(rows)
        report(done)
        return len(rows)

    if chosen:
        run_in_chunks(by_length.values(), plan, verify)
    if not bool(effects.isfinite().all()):
        raise Refusal("not_finite", "The patched runs' logits are not finite.")
    return Edges(
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(each.question for each in encoded),
        through=through,
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
            raise Refusal(
                "bad_component", "The model has only one layer, so no head has an earlier component to receive from."
            )
        return [Component(layer, head) for layer in range(1, layers) for head in range(heads)]
    parsed = [Component.parse(each) if isinstance(each, str) else each for each in receivers]
    for each in parsed:
        if each.head is None:
            raise Refusal("bad_component", f"{each} has no query.", "Receivers are heads, such as L14H2.")
        if each.layer >= layers or each.head >= heads:
            raise Refusal("bad_component", f"There is no {each}; the model has {layers} layers of {heads} heads.")
        if each.layer == 0:
            raise Refusal("bad_component", f"{each} reads the embedding alone.", "Choose heads from layer 1 on.")
    if not parsed:
        raise Refusal("bad_component", "The list of receivers is empty.", "Leave receivers out for all heads.")
    return sorted(set(parsed), key=lambda each: (each.layer, each.head))


def _check_memory(table: int, budget: int) -> None:
    """Raises Refusal (``out_of_memory``) if three tables of ``table`` bytes do not fit: two results, one to rank."""
    if 3 * table > budget:
        raise Refusal(
            "out_of_memory",
            f"Every edge of every pair needs {3 * table:,} bytes beyond the model; the budget is {budget:,}.",
            "Use fewer pairs or fewer receivers at once.",
        )


def _writes(
    group: PairGroup, edges: Sequence[Pair], senders: Sequence[Component], receivers: Sequence[Component]
) -> list[tuple[Pair, Float[Tensor, "pair hidden"]]]:
    """Change of each edge's receiver's output due to its sender."""
    wanted, sending, receiving = set(edges), {sender for sender, _ in edges}, {receiver for _, receiver in edges}
    writes: dict[Pair, Tensor] = {}

    def visit(moved: ReceiverChange) -> None:
        for write, same, sender in zip(moved.write, moved.same, moved.senders, strict=True):
            if (sender, moved.receiver) in wanted:
                writes[sender, moved.receiver] = write.masked_fill(same[:, None], 0.0)

    group.move([c for c in senders if c in sending], [c for c in receivers if c in receiving], visit)
    return [(pair, writes[pair]) for pair in edges]


def _strongest(
    directs: Float[Tensor, "pair receiver sender"], senders: list[Component], receivers: list[Component], k: int
) -> list[Pair]:
    """The edges with the largest mean |direct|, among those from an earlier layer to a later one."""
    size = directs.abs().mean(0)
    possible = torch.tensor([[sender.layer < receiver.layer for sender in senders] for receiver in receivers])
    order = size.masked_fill(~possible, -1).flatten().argsort(descending=True, stable=True)
    cells = [divmod(int(index), len(senders)) for index in order[: min(k, int(possible.sum()))]]
    return [(senders[sender], receivers[receiver]) for receiver, sender in cells]
