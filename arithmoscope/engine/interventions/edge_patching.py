"""What senders do to receivers: patches carried to later heads' queries at END, and from there to the answer.

Three runs, as in path patching of edges: the sender patched and followed to the receiver's query; the receiver's output
from that query, its keys and values frozen; that output carried on to the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from arithmoscope.contracts.components import Component, all_components
from arithmoscope.engine.families.layout import apply_norm
from arithmoscope.engine.forward.activations import end_states
from arithmoscope.engine.forward.batching import Plan
from arithmoscope.engine.forward.cached_run import run_from
from arithmoscope.engine.forward.end_attention import Listener, cache_before_end, last_tokens, listening
from arithmoscope.engine.forward.hooks import evaluating
from arithmoscope.engine.forward.logits import column_logits
from arithmoscope.engine.interventions.propagation import EntryPoint, carry
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair

Through = Literal["through_mlps", "total"]
Pair = tuple[Component, Component]  # sender, receiver


@dataclass(frozen=True)
class ReceiverChange:
    """What some senders do to one receiver: to its query, and to what it writes into the stream. ``same``: the sender
    wrote the very same in both runs, so that it sends nothing, by definition."""

    receiver: Component
    senders: Sequence[Component]
    query_change: Float[Tensor, "sender pair"]
    write: Float[Tensor, "sender pair hidden"]
    same: Bool[Tensor, "sender pair"]


class PairGroup:
    """Pairs whose reference prompts have one length, with both of their runs."""

    def __init__(self, model: LoadedModel, encoded: Sequence[EncodedPair], plan: Plan) -> None:
        self._model, self._plan = model, plan
        self._prompts = [each.reference_ids for each in encoded]
        self.run = run_from(model, self._prompts, len(self._prompts[0]) - 1, plan.tokens)
        self._source = end_states(model, [each.counterfactual_ids for each in encoded], plan.tokens)
        self._answers = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
        components = all_components(model.layout.layers, model.layout.heads)
        self._number = {component: number for number, component in enumerate(components)}
        same_heads = (self._source.z == self.run.z).all(-1)
        same_mlps = (self._source.mlp == self.run.mlp).all(-1, keepdim=True)
        self._same = torch.cat([same_heads, same_mlps], dim=-1).flatten(1).T  # [component, pair]

    def logits(self, final: Float[Tensor, "*rows pair hidden"]) -> Float[Tensor, "*rows pair"]:
        """The answers' logits."""
        return column_logits(self._model.layout, final, self._answers)[..., 0]

    def move(
        self, senders: Sequence[Component], receivers: Sequence[Component], visit: Callable[[ReceiverChange], None]
    ) -> None:
        """Patch every sender, recompute the MLPs behind it, and let ``visit`` see what every later receiver makes of
        it. Senders in the order of `all_components`."""
        last_layer = max(receiver.layer for receiver in receivers)
        early = [sender for sender in senders if sender.layer < last_layer]
        cache = cache_before_end(self._model, self._prompts)
        with evaluating(self._model.hf), listening(self._model) as listener:
            ids = last_tokens(self._model, self._prompts)
            self._model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            for start in range(0, len(early), self._plan.components):
                some = early[start : start + self._plan.components]

                def watch(layer: int, active: Tensor, some: Sequence[Component] = some) -> None:
                    there = [receiver for receiver in receivers if receiver.layer == layer]
                    step = max(1, self._plan.rows // len(self._prompts))
                    for at in range(1, len(active) if there else 0, step):
                        rows = torch.cat([active[:1], active[at : at + step]])
                        self._receive(listener, there, some[at - 1 : at + len(rows) - 2], rows, visit)

                # What comes behind the last receiver is of no interest; the wave goes there all the same.
                carry(
                    self._model,
                    self.run,
                    "through_mlps",
                    self._entering(some),
                    len(some),
                    first_layer=some[0].layer,
                    product_rows=self._plan.rows,
                    watch=watch,
                )

    def _entering(self, senders: Sequence[Component]) -> Callable[[int, EntryPoint], Tensor | None]:
        def enter(layer: int, place: EntryPoint) -> Tensor | None:
            heads = [sender.head for sender in senders if sender.layer == layer and sender.head is not None]
            if place == "heads" and heads:
                here = self.run.z[:, layer]
                moved = (self._source.z[:, layer] - here).transpose(0, 1)
                return self._model.layout.blocks[layer].head_writes(moved, here, self._model.dtype)[heads]
            if place == "mlp" and Component(layer) in senders:
                return (self._source.mlp[:, layer] - self.run.mlp[:, layer])[None]
            return None

        return enter

    def _receive(
        self,
        listener: Listener,
        receivers: Sequence[Component],
        senders: Sequence[Component],
        rows: Float[Tensor, "rows pair hidden"],
        visit: Callable[[ReceiverChange], None],
    ) -> None:
        """Row 0 is the control; the others are what the layer's stream is moved by."""
        layer = receivers[0].layer
        block = self._model.layout.blocks[layer]
        streams = (rows + self.run.stream[:, layer]).transpose(0, 1)
        read = streams if block.attention_norm is None else apply_norm(block.attention_norm, streams)
        queries = listener.queries(layer, read)
        z = listener[layer].heads(queries)
        here = self.run.z[:, layer]
        same = self._same[[self._number[sender] for sender in senders]]
        for receiver in receivers:
            assert receiver.head is not None
            query, moved = queries[:, receiver.head].transpose(0, 1), z[:, receiver.head].transpose(0, 1)
            length = query[0].norm(dim=-1)
            change = (query[1:] - query[0]).norm(dim=-1) / torch.where(length == 0, 1, length)
            write = block.head_write(receiver.head, (moved[1:] - moved[0]).to(here.device), here, self._model.dtype)
            visit(ReceiverChange(receiver, senders, change.to(same.device).masked_fill(same, 0.0), write, same))

    def carried(
        self, edges: Sequence[tuple[Pair, Float[Tensor, "pair hidden"]]], through: Through
    ) -> tuple[Float[Tensor, "pair edge"], Float[Tensor, " pair"]]:
        """The third run: what the receivers write carried on to the answer; and the control row's distance from the
        reference."""
        order = sorted(range(len(edges)), key=lambda at: edges[at][0][1].layer)
        base = self.logits(self.run.final)
        effects, noise = torch.empty(len(base), len(edges), dtype=base.dtype), torch.zeros_like(base)
        for start in range(0, len(order), self._plan.components):
            some = order[start : start + self._plan.components]

            def enter(layer: int, place: EntryPoint, some: Sequence[int] = some) -> Tensor | None:
                here = [edges[at][1] for at in some if edges[at][0][1].layer == layer]
                return torch.stack(here) if place == "heads" and here else None

            with evaluating(self._model.hf):
                x = carry(
                    self._model,
                    self.run,
                    through,
                    enter,
                    len(some),
                    first_layer=edges[some[0]][0][1].layer,
                    product_rows=self._plan.rows,
                )
            logits = self.logits(x + self.run.final)
            nothing = torch.stack([(edges[at][1] == 0).all(-1) for at in some])
            effects[:, some] = (logits[1:] - logits[0]).masked_fill(nothing, 0.0).T.cpu()
            noise = torch.maximum(noise, (logits[0] - base).abs())
        return effects, noise.cpu()
