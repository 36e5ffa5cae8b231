"""Edge patching: the effect of a sender on a receiver's query at END, and through it on the answer.

Three runs, as in path patching of edges: the sender is patched and propagated to the receiver's query; the receiver's
output is computed from that query with its keys and values frozen; that output is propagated to the answer.
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
    """The effect of patched senders on one receiver.

    query_change  norm of the query's change, relative to the query's norm
    write         change of the receiver's output to the stream
    same          the sender's output is identical in both runs, so that its effect is 0 by definition
    """

    receiver: Component
    senders: Sequence[Component]
    query_change: Float[Tensor, "sender pair"]
    write: Float[Tensor, "sender pair hidden"]
    same: Bool[Tensor, "sender pair"]


class PairGroup:
    """Pairs whose reference prompts have equal lengths, with both of their runs."""

    def __init__(self, model: LoadedModel, encoded: Sequence[EncodedPair], plan: Plan) -> None:
        self._model, self._plan = model, plan
        self._prompts = [each.reference_ids for each in encoded]
        self.run = run_from(model, self._prompts, len(self._prompts[0]) - 1, plan.tokens)
        self._source = end_states(model, [each.counterfactual_ids for each in encoded], plan.tokens)
        self._answers = torch.tensor([[each.answer_id] for each in encoded], device=model.device)
        components = all_components(model.layout.layers, model.layout.heads)
        self._index = {component: index for index, component in enumerate(components)}
        same_heads = (self._source.z == self.run.z).all(-1)
        same_mlps = (self._source.mlp == self.run.mlp).all(-1, keepdim=True)
        self._same = torch.cat([same_heads, same_mlps], dim=-1).flatten(1).T  # [component, pair]

    def logits(self, final: Float[Tensor, "*rows pair hidden"]) -> Float[Tensor, "*rows pair"]:
        """The answers' logits."""
        return column_logits(self._model.layout, final, self._answers)[..., 0]

    def move(
        self, senders: Sequence[Component], receivers: Sequence[Component], visit: Callable[[ReceiverChange], None]
    ) -> None:
        """Patches every sender, recomputes the MLPs after it, and calls ``visit`` with the change of every later
        receiver. Senders must be in the order of `all_components`."""
        last_layer = max(receiver.layer for receiver in receivers)
        senders = [sender for sender in senders if sender.layer < last_layer]
        cache = cache_before_end(self._model, self._prompts)
        with evaluating(self._model.hf), listening(self._model) as listener:
            ids = last_tokens(self._model, self._prompts)
            self._model.layout.decoder(input_ids=ids, past_key_values=cache, use_cache=True)
            for start in range(0, len(senders), self._plan.components):
                batch = senders[start : start + self._plan.components]

                def on_layer(layer: int, active: Tensor, batch: Sequence[Component] = batch) -> None:
                    here = [receiver for receiver in receivers if receiver.layer == layer]
                    step = max(1, self._plan.rows // len(self._prompts))
                    for low in range(1, len(active) if here else 0, step):
                        rows = torch.cat([active[:1], active[low : low + step]])
                        self._receive(listener, here, batch[low - 1 : low + len(rows) - 2], rows, visit)

                # The sweep continues to the last layer, although only layers up to the last receiver matter.
                carry(
                    self._model,
                    self.run,
                    "through_mlps",
                    self._patches(batch),
                    len(batch),
                    first_layer=batch[0].layer,
                    product_rows=self._plan.rows,
                    on_layer=on_layer,
                )

    def _patches(self, senders: Sequence[Component]) -> Callable[[int, EntryPoint], Tensor | None]:
        def enter(layer: int, point: EntryPoint) -> Tensor | None:
            heads = [sender.head for sender in senders if sender.layer == layer and sender.head is not None]
            if point == "heads" and heads:
                z = self.run.z[:, layer]
                delta = (self._source.z[:, layer] - z).transpose(0, 1)
                return self._model.layout.blocks[layer].head_writes(delta, z, self._model.dtype)[heads]
            if point == "mlp" and Component(layer) in senders:
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
        """Computes the receivers of one layer. ``rows``: changes of the layer's stream; row 0 is the control."""
        layer = receivers[0].layer
        block = self._model.layout.blocks[layer]
        streams = (rows + self.run.stream[:, layer]).transpose(0, 1)
        normed = streams if block.attention_norm is None else apply_norm(block.attention_norm, streams)
        queries = listener.queries(layer, normed)
        outputs = listener[layer].heads(queries)
        z = self.run.z[:, layer]
        same = self._same[[self._index[sender] for sender in senders]]
        for receiver in receivers:
            assert receiver.head is not None
            query, output = queries[:, receiver.head].transpose(0, 1), outputs[:, receiver.head].transpose(0, 1)
            norm = query[0].norm(dim=-1)
            change = (query[1:] - query[0]).norm(dim=-1) / torch.where(norm == 0, 1, norm)
            write = block.head_write(receiver.head, (output[1:] - output[0]).to(z.device), z, self._model.dtype)
            visit(ReceiverChange(receiver, senders, change.to(same.device).masked_fill(same, 0.0), write, same))

    def carried(
        self, edges: Sequence[tuple[Pair, Float[Tensor, "pair hidden"]]], through: Through
    ) -> tuple[Float[Tensor, "pair edge"], Float[Tensor, " pair"]]:
        """The third run: the effects on the answers' logits of propagating the receivers' changed outputs, and the
        control row's distance from the reference run."""
        order = sorted(range(len(edges)), key=lambda index: edges[index][0][1].layer)
        base = self.logits(self.run.final)
        effects, noise = torch.empty(len(base), len(edges), dtype=base.dtype), torch.zeros_like(base)
        for start in range(0, len(order), self._plan.components):
            batch = order[start : start + self._plan.components]

            def enter(layer: int, point: EntryPoint, batch: Sequence[int] = batch) -> Tensor | None:
                here = [edges[index][1] for index in batch if edges[index][0][1].layer == layer]
                return torch.stack(here) if point == "heads" and here else None

            with evaluating(self._model.hf):
                x = carry(
                    self._model,
                    self.run,
                    through,
                    enter,
                    len(batch),
                    first_layer=edges[batch[0]][0][1].layer,
                    product_rows=self._plan.rows,
                )
            logits = self.logits(x + self.run.final)
            unchanged = torch.stack([(edges[index][1] == 0).all(-1) for index in batch])
            effects[:, batch] = (logits[1:] - logits[0]).masked_fill(unchanged, 0.0).T.cpu()
            noise = torch.maximum(noise, (logits[0] - base).abs())
        return effects, noise.cpu()
