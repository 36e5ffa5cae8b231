"""Path patching at the last position: how much of the answer's logit each attention head and MLP carries.

What it measures. The reference prompt carries a calculation, the counterfactual does not. For each component c, its
output at END is replaced by what it wrote in the counterfactual run, and the change of the answer's logit is read:

    delta_c  = W_O[h] (z_counterfactual - z_reference)      for a head, z being its output before the projection
    delta_c  = mlp_counterfactual - mlp_reference            for an MLP

    direct        logit(norm(x_final + delta_c)) - logit(norm(x_final))       everything else frozen
    through_mlps  the same with every later MLP recomputed, all other heads frozen at their reference output

Sources: Wang et al., Interpretability in the Wild, ICLR 2023 (path patching with MLPs recomputed); Zhang et al.,
Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 3.

Exact: no linearisation, the final norm is recomputed for every component. With the heads frozen nothing crosses
positions, so END alone is followed.

Cost. Two forward passes over the prompts, then for `direct` one norm and one product with the unembedding's columns;
for `through_mlps` one wave over the layers that reads each MLP once for all components: on average half of the
L(H+1) components are in the wave, so about L(H+1)/2 MLP evaluations per pair.

When it misleads. Effects of components do not add up (the norm and the MLPs are not linear). A component that matters
only through later heads shows nothing here. Raw logits are defined up to a constant: compare `logit_difference`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear

from contracts.errors import Refusal
from contracts.experiments import Effect
from contracts.prompts import PromptPair
from engine.capture import EndStates, encode_all, end_states
from engine.effects import PatchingEffects
from engine.families.anatomy import Anatomy, apply_norm
from engine.hooks import evaluating
from engine.model import LoadedModel
from prompts import EncodedPair

EFFECTS: tuple[Effect, ...] = tuple(effect for effect in get_args(Effect) if effect != "total")
LayerProgress = Callable[[int, int], None]

# Rows of one matrix product in the wave: enough to read each weight from fast memory, few enough that an MLP's
# inner activations stay in the cache.
_WAVE_ROWS = 2_048
_UNEMBED_ROWS = 8_192
# Bytes for the perturbations of one chunk of pairs.
_CHUNK_BYTES = 512 * 2**20


@dataclass(frozen=True)
class PreparedPairs:
    """Pairs with both runs' states at END and what the model said in each. Logits in the model's own scale."""

    encoded: tuple[EncodedPair, ...]
    reference: EndStates
    source: EndStates
    columns: Int[Tensor, "pair 2"]  # token ids: the answer, the best competing number
    top: Int[Tensor, " pair"]
    reference_logits: Float[Tensor, "pair 2"]
    source_logits: Float[Tensor, "pair 2"]
    log_total: Float[Tensor, " pair"]  # log-sum-exp of the reference run's logits

    @property
    def correct(self) -> Tensor:
        return self.top == self.columns[:, 0]

    def select(self, rows: Sequence[int]) -> PreparedPairs:
        at = torch.as_tensor(rows, dtype=torch.long, device=self.top.device)
        return PreparedPairs(
            tuple(self.encoded[row] for row in rows),
            self.reference[at],
            self.source[at],
            self.columns[at],
            self.top[at],
            self.reference_logits[at],
            self.source_logits[at],
            self.log_total[at],
        )


def path_patching(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    *,
    effect: Effect | str = "through_mlps",
    probability: bool = False,
    progress: LayerProgress | None = None,
) -> PatchingEffects:
    """Every head's and every MLP's effect on every pair, in logits of the right answer.

    ``probability`` also computes the change of the answer's probability, which costs a full unembedding per
    component. ``progress(done, total)`` is called after each layer of each chunk of pairs. No pair is dropped.

    Refuses a prompt that cannot be read as tokens, an answer of several tokens, and a model whose numbers are not
    finite.
    """
    if effect not in EFFECTS:
        raise Refusal("bad_request", f"There is no effect {effect!r}; there are {', '.join(EFFECTS)}.", "Choose one.")
    if not pairs:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    encoded = encode_all(model, pairs)
    step = pairs_per_chunk(model)
    starts = range(0, len(encoded), step)
    total = len(starts) * model.anatomy.layers
    parts = []
    for chunk, start in enumerate(starts):
        done = chunk * model.anatomy.layers

        def report(layer: int, _layers: int, done: int = done) -> None:
            if progress is not None:
                progress(done + layer, total)

        prepared = prepare_pairs(model, encoded[start : start + step])
        parts.append(patch(model, prepared, cast(Effect, effect), probability, report))
    return PatchingEffects.concatenate(parts)


def pairs_per_chunk(model: LoadedModel) -> int:
    """Pairs whose perturbations and logits fit the budget."""
    components = 1 + model.anatomy.layers * (model.anatomy.heads + 1)
    numbers = components * model.anatomy.hidden + 3 * model.embeddings
    return max(1, _CHUNK_BYTES // (numbers * torch.finfo(model.work_dtype).bits // 8))


@torch.no_grad()
def prepare_pairs(model: LoadedModel, encoded: Sequence[EncodedPair]) -> PreparedPairs:
    """The two forward passes: both runs' states at END, and what the model answers."""
    n = len(encoded)
    states = end_states(model, [e.reference_ids for e in encoded] + [e.counterfactual_ids for e in encoded])
    reference, source = states[range(n)], states[range(n, 2 * n)]
    logits = _all_logits(model, reference.final)
    if not bool(logits.isfinite().all()):
        raise Refusal("not_finite", "The reference run's logits are not finite.")
    answers = torch.tensor([e.answer_id for e in encoded], device=model.device)
    columns = torch.stack([answers, _competitors(model, logits, encoded)], dim=1)
    return PreparedPairs(
        encoded=tuple(encoded),
        reference=reference,
        source=source,
        columns=columns,
        top=logits.argmax(-1),
        reference_logits=logits.gather(1, columns),
        source_logits=_column_logits(model.anatomy, source.final, columns),
        log_total=logits.logsumexp(-1),
    )


@torch.no_grad()
def patch(
    model: LoadedModel,
    prepared: PreparedPairs,
    effect: Effect,
    probability: bool = False,
    progress: LayerProgress | None = None,
) -> PatchingEffects:
    """The wave: every component's effect on prepared pairs."""
    layers, heads = model.anatomy.layers, model.anatomy.heads
    with evaluating(model.hf):
        x = _perturbations(model, prepared, effect, progress)
    untouched = _untouched(prepared, layers, heads)
    logits, log_totals = _read_out(model, prepared, x, probability)
    # Row 0 is the control: nothing patched, everything recomputed. Effects are differences to it.
    change = (logits[1:] - logits[0]).masked_fill(untouched[..., None], 0.0)
    noise = (logits[0] - prepared.reference_logits).abs().amax(-1)
    if not bool(change.isfinite().all()):
        raise Refusal("not_finite", "The patched runs' logits are not finite.")
    by_component = change.view(layers, heads + 1, len(prepared.encoded), 2).permute(3, 2, 0, 1).cpu()
    chance = None
    if log_totals is not None:
        likely = (logits[..., 0] - log_totals).exp()
        chance = (likely[1:] - likely[0]).masked_fill(untouched, 0.0)
        chance = chance.view(layers, heads + 1, -1).permute(2, 0, 1).cpu()
    return PatchingEffects(
        effect=effect,
        model=model.card.id,
        revision=model.card.revision,
        questions=tuple(e.question for e in prepared.encoded),
        heads=by_component[0, :, :, :-1],
        mlps=by_component[0, :, :, -1],
        competitor_heads=by_component[1, :, :, :-1],
        competitor_mlps=by_component[1, :, :, -1],
        probability_heads=None if chance is None else chance[:, :, :-1],
        probability_mlps=None if chance is None else chance[:, :, -1],
        reference=prepared.reference_logits[:, 0].cpu(),
        counterfactual=prepared.source_logits[:, 0].cpu(),
        reference_competitor=prepared.reference_logits[:, 1].cpu(),
        reference_probability=(prepared.reference_logits[:, 0] - prepared.log_total).exp().cpu(),
        answers=prepared.columns[:, 0].cpu(),
        competitors=prepared.columns[:, 1].cpu(),
        top=prepared.top.cpu(),
        correct=prepared.correct.cpu(),
        noise=noise.cpu(),
    )


def _perturbations(
    model: LoadedModel, prepared: PreparedPairs, effect: Effect, progress: LayerProgress | None
) -> Float[Tensor, "row pair hidden"]:
    """What each component's patch changes in the residual stream before the final norm; row 0 is the control.

    Rows 1.. are the components in order, a layer's heads before its MLP, so that those already under way are always
    the first rows.
    """
    anatomy, reference, source = model.anatomy, prepared.reference, prepared.source
    heads, layers, pairs = anatomy.heads, anatomy.layers, len(prepared.encoded)
    x = torch.zeros(1 + layers * (heads + 1), pairs, anatomy.hidden, dtype=model.work_dtype, device=model.device)
    step = max(1, _WAVE_ROWS // pairs)
    for index, block in enumerate(anatomy.blocks):
        first = 1 + index * (heads + 1)
        here = reference.z[:, index]
        moved = (source.z[:, index] - here).transpose(0, 1)
        x[first : first + heads] = block.head_writes(moved, here, model.dtype)
        if effect == "through_mlps":
            wrote = reference.mlp[:, index]
            # In a parallel block the MLP does not see what this layer's heads write.
            seen = first if block.parallel else first + heads
            for start in range(0, seen, step):
                rows = x[start : min(start + step, seen)]
                rows += block.mlp_write(rows + reference.mid[:, index], model.dtype).sub_(wrote)
        x[first + heads] = source.mlp[:, index] - reference.mlp[:, index]
        if progress is not None:
            progress(index + 1, layers)
    return x


def _untouched(prepared: PreparedPairs, layers: int, heads: int) -> Tensor:
    """Components that wrote the very same in both runs, [component, pair]: their effect is 0 by definition."""
    same_heads = (prepared.source.z == prepared.reference.z).all(-1)
    same_mlps = (prepared.source.mlp == prepared.reference.mlp).all(-1, keepdim=True)
    same = torch.cat([same_heads, same_mlps], dim=2)
    return same.permute(1, 2, 0).reshape(layers * (heads + 1), -1)


def _read_out(
    model: LoadedModel, prepared: PreparedPairs, x: Tensor, probability: bool
) -> tuple[Float[Tensor, "row pair 2"], Float[Tensor, "row pair"] | None]:
    """Logits of answer and competitor after each patch, and with ``probability`` the log-sum-exp of all logits."""
    final = prepared.reference.final
    step = max(1, _WAVE_ROWS // x.shape[1])
    if probability:  # all logits of a row are held at once
        step = max(1, min(step, _CHUNK_BYTES // (4 * x.shape[1] * model.embeddings * x.element_size())))
    columns, totals = [], []
    for rows in x.split(step):
        patched = rows + final
        columns.append(_column_logits(model.anatomy, patched, prepared.columns))
        if probability:
            totals.append(_all_logits(model, patched).logsumexp(-1))
    return torch.cat(columns), torch.cat(totals) if probability else None


def _column_logits(anatomy: Anatomy, final: Tensor, columns: Int[Tensor, "pair k"]) -> Float[Tensor, "... pair k"]:
    weight, bias = anatomy.unembed_columns(columns)
    read = apply_norm(anatomy.final_norm, final)
    logits = torch.einsum("...pd,pkd->...pk", read, weight.to(read.dtype))
    return anatomy.capped(logits if bias is None else logits + bias.to(read.dtype))


def _all_logits(model: LoadedModel, final: Tensor) -> Float[Tensor, "... vocabulary"]:
    """Logits in the work precision, also over narrower weights, which are widened a few rows at a time."""
    read = apply_norm(model.anatomy.final_norm, final)
    unembed: Any = model.anatomy.unembed
    if model.dtype == read.dtype:
        return model.anatomy.capped(unembed(read))
    bias = unembed.bias
    biases = [None] * -(-len(unembed.weight) // _UNEMBED_ROWS) if bias is None else bias.split(_UNEMBED_ROWS)
    parts = [
        linear(read, weight.to(read.dtype), None if part is None else part.to(read.dtype))
        for weight, part in zip(unembed.weight.split(_UNEMBED_ROWS), biases, strict=True)
    ]
    return model.anatomy.capped(torch.cat(parts, dim=-1))


def _competitors(model: LoadedModel, logits: Tensor, encoded: Sequence[EncodedPair]) -> Int[Tensor, " pair"]:
    """The best number token of the reference run that is not the answer: among digits for an answer in digits, among
    number words for one in words; the best other token for any other answer."""
    tables = []
    for values in (model.number_values, model.word_values):
        known = {token: value for token, value in values.items() if token < logits.shape[-1]}
        ids = torch.tensor(list(known), dtype=torch.long, device=logits.device)
        tables.append((known, ids, torch.tensor(list(known.values()), device=logits.device)))
    best = []
    for row, pair in zip(logits, encoded, strict=True):
        others = torch.empty(0, dtype=torch.long)
        for known, ids, values in tables:
            if pair.answer_id in known:
                others = ids[values != known[pair.answer_id]]
        if len(others):
            best.append(others[row[others].argmax()])
        else:
            best.append(row.scatter(0, torch.tensor([pair.answer_id], device=row.device), -torch.inf).argmax())
    return torch.stack(best)
