"""Knock-out: the model's answers with k components ablated, compared with as many random components.

What it measures. For k = 0, 1, ..., K the outputs of the first k of a list of components are replaced:

    mean      by their mean over a set of prompts (as in the paper)
    zero      by zero; an output projection's bias belongs to no head and stays
    resample  by their output in the run of another prompt of the set, drawn once per pair

at END (or at all positions), everything after them is recomputed, and the model's answer is read: whether the answer is
the top token, its probability, its logit minus the best competing number's, and, for answers of several tokens, whether
greedy decoding writes exactly the answer. The same is measured for random components of the same layers and kinds,
nested in k: the control, since ablating any k heads does some damage.

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 4
(mean ablation, top 10 heads, one draw of random heads); Wang et al., Interpretability in the Wild, ICLR 2023 (mean
ablation); Chan et al., Causal Scrubbing, 2022 (resampling).

Exact: every point equals a forward pass with these components replaced.

Cost. One row per point and draw, at the last position alone, sharing the keys and values of the earlier positions. A
row branches off the row with one component fewer at that component's layer: a draw costs as many evaluations of a
layer as its components have layers above them, K L / 2 for evenly spread components, instead of K L. Then one full
unembedding per row, for probability and accuracy. Answers of several tokens cost full passes.

When it misleads. Zero is an activation that the model never saw in training, and a mean over prompts of several forms
lies between them. Take the mean over other prompts than those evaluated, and choose the components on others, too.
Components that back each other up show only together. Ablating many heads at once breaks more than the calculation:
compare with the control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS, MAX_CONTROLS, Ablation, KnockPositions
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.activations import encode_all
from arithmoscope.engine.forward.batching import Plan, Shape, plan_for, retry_on_oom
from arithmoscope.engine.interventions.ablation import (
    KnockoutOutputs,
    first_position,
    knock_out_pairs,
    masks_of,
    replacement_positions,
)
from arithmoscope.engine.interventions.generation import answers_under_knockout, check_answer_tokens, is_answer
from arithmoscope.engine.interventions.replacements import Means, check_means, means, resampled
from arithmoscope.engine.measures.knockout_result import Knockout
from arithmoscope.engine.measures.random_controls import Draw, distinct_components, random_draws
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import EncodedPair


@dataclass(frozen=True, eq=False)
class Task:
    """A prepared knock-out, to be measured in chunks of pairs; a worker keeps it between chunks.

    pairs  the measured pairs; for resampling their counterfactual is the drawn prompt
    draws  the chosen components, then the random draws
    plan   batch sizes; stored with the chunks, so that a resumed knock-out ends with the same bits
    """

    pairs: tuple[EncodedPair, ...]
    draws: tuple[Draw, ...]
    ablation: Ablation
    positions: KnockPositions
    seed: int
    mean: Means | None
    plan: Plan
    answer_tokens: int | None


@check_arguments(controls=Range(0, MAX_CONTROLS), answer_tokens=Range(1, MAX_ANSWER_TOKENS), memory=Range(1))
def knockout(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    components: Sequence[Component | str],
    *,
    ablation: Ablation = "mean",
    positions: KnockPositions = "end",
    mean_over: Sequence[PromptPair] | None = None,
    controls: int = 20,
    seed: int = 0,
    order: Sequence[Component | str] | None = None,
    answer_tokens: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Knockout:
    """Ablates the first k of ``components``, for every k from 0 to all of them, with random controls.

    Mean ablation with random controls (Zhang et al., 2024, section 4). No pair is dropped.

    Args:
        model: The model to analyse.
        pairs: Prompt pairs; only their reference prompts and answers are used.
        components: Components such as ``"L14H2"`` and ``"MLP19"``, in the order of ablation.
        ablation: Replacement of a component's output: its ``"mean"`` over the reference prompts of ``mean_over``,
            ``"zero"``, or ``"resample"``: its output on another pair's reference prompt.
        positions: Where outputs are replaced: ``"end"``, ``"all"``, or ``"after_first"`` (all but the first token).
        mean_over: Pairs whose reference prompts are averaged; None for ``pairs``.
        controls: Number of draws of random components.
        seed: Seed of the draws.
        order: Another order of ablation; None for that of ``components``.
        answer_tokens: Number of tokens to decode greedily, so that answers may have several tokens; None for answers
            of one token. All other measurements are of the answer's first token.
        memory: Memory budget in bytes, excluding the model; None for the device's free memory.
        progress: Called with (done, total) in thousandths of the work.

    Returns:
        Logits [k, pair, 2], probabilities and correctness [k, pair] of the answer, and those of the controls
        [draw, k, pair]; k = 0 is the intact model. `Knockout.curve` averages them.

    Raises:
        Refusal: ``bad_component`` for components that the model does not have or that occur twice; ``bad_request`` for
            an unknown option; otherwise as `path_patching`.

    Example:
        >>> knockout = am.knockout(model, pairs, ["L1H2", "MLP0"], controls=2)
        >>> knockout.curve("probability").mean.shape  # k = 0, 1, 2
        torch.Size([3])
    """
    several = "whole" if answer_tokens is None else "first"
    task = knockout_task(
        model,
        encode_all(model, pairs, several),
        components if order is None else _reordered(model, components, order),
        ablation=ablation,
        positions=positions,
        mean_over=None if mean_over is None else encode_all(model, mean_over, several),
        controls=controls,
        seed=seed,
        answer_tokens=answer_tokens,
        memory=memory,
    )
    furthest = 0

    def report(fraction: float) -> None:
        nonlocal furthest  # a chunk is repeated after running out of memory
        furthest = max(furthest, int(1_000 * fraction + 1e-6))
        if progress is not None:
            progress(furthest, 1_000)

    result, _ = knock_out_chunk(model, task, 0, len(task.pairs), report=report)
    return result


def knockout_task(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    components: Sequence[Component | str],
    *,
    ablation: Ablation | str = "mean",
    positions: KnockPositions | str = "end",
    mean_over: Sequence[EncodedPair] | None = None,
    controls: int = 20,
    seed: int = 0,
    answer_tokens: int | None = None,
    memory: int | None = None,
    plan: Plan | None = None,
    check_stop: Callable[[], None] = lambda: None,
) -> Task:
    """Prepares a knock-out: checks the options, draws controls and resampled prompts, computes means and the plan.

    ``plan``: the plan of an interrupted knock-out that is resumed. ``check_stop`` is called between batches and may
    raise.
    """
    if mean_over is not None and ablation != "mean":
        raise Refusal("bad_request", "mean_over is given, but the ablation is not the mean.", "Leave out one of them.")
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    if answer_tokens is not None:
        check_answer_tokens(model, encoded, answer_tokens)
    options: Any = {"ablation": ablation, "positions": positions}
    place = replacement_positions(options["positions"])
    chosen = distinct_components(model, components)
    mean_pairs = encoded if mean_over is None else mean_over
    if ablation == "mean":
        check_means(encoded, mean_pairs, place)
    if ablation == "resample":
        encoded = resampled(encoded, place, seed)
    plan = plan or _plan(model, encoded, mean_pairs, options["positions"], memory)
    mean = None
    if ablation == "mean":
        lengths = {len(pair.reference_ids) for pair in encoded} if place == "all" else set()
        prompts = [pair.reference_ids for pair in mean_pairs]
        mean, plan = retry_on_oom(plan, lambda plan: means(model, prompts, lengths, plan, check_stop))
    draws = random_draws(chosen, model.layout.layers, model.layout.heads, controls, seed)
    draws = (Draw(chosen, (True,) * len(chosen)), *draws)
    return Task(tuple(encoded), draws, **options, seed=seed, mean=mean, plan=plan, answer_tokens=answer_tokens)


def knock_out_chunk(
    model: LoadedModel,
    task: Task,
    start: int,
    stop: int,
    *,
    report: Callable[[float], None] = lambda _fraction: None,
) -> tuple[Knockout, Task]:
    """Measures pairs ``start`` to ``stop`` of a task; returns the result and the task, its plan reduced if memory ran
    out.

    `Knockout.concatenate` joins chunks. ``report(fraction)`` may raise, to stop.
    """
    pairs = task.pairs[start:stop]
    layers, heads = model.layout.layers, model.layout.heads
    k = len(task.draws[0].components)
    sets = masks_of([draw.components[:n] for draw in task.draws for n in range(1, k + 1)], layers, heads)

    options = (task.ablation, task.positions, task.mean)
    halves = 1 if task.answer_tokens is None else 2

    def measure(plan: Plan) -> KnockoutOutputs:
        return knock_out_pairs(model, pairs, sets, *options, plan, lambda fraction: report(fraction / halves))

    knocked, plan = retry_on_oom(task.plan, measure)
    measured = {}
    for name in ("logits", "probability", "correct"):
        measured[name], measured[f"control_{name}"] = _by_draw(getattr(knocked, name), len(task.draws), k)
    if (tokens := task.answer_tokens) is not None:
        with_intact = torch.cat([sets.new_zeros(1, *sets.shape[1:]), sets])

        def write(plan: Plan) -> Tensor:
            return answers_under_knockout(
                model, pairs, with_intact, *options, plan, tokens, lambda fraction: report((1 + fraction) / 2)
            )

        written, plan = retry_on_oom(plan, write)
        exact = torch.tensor(
            [
                [
                    is_answer(model.text.decode(ids, skip_special_tokens=True), pair.pair.answer)
                    for ids, pair in zip(row, pairs, strict=True)
                ]
                for row in written.tolist()
            ]
        )
        measured["written"], _ = _by_draw(written, len(task.draws), k)
        measured["exact"], measured["control_exact"] = _by_draw(exact, len(task.draws), k)
    result = Knockout(
        ablation=task.ablation,
        positions=task.positions,
        seed=task.seed,
        model=model.card.id,
        revision=model.card.revision,
        components=tuple(str(component) for component in task.draws[0].components),
        controls=tuple(tuple(str(each) for each in draw.components) for draw in task.draws[1:]),
        questions=tuple(pair.question for pair in pairs),
        matched=torch.tensor([draw.matched for draw in task.draws[1:]], dtype=torch.bool).reshape(
            len(task.draws) - 1, k
        ),
        reference=knocked.reference,
        answers=knocked.columns[:, 0],
        competitors=knocked.columns[:, 1],
        **measured,
    )
    return result, replace(task, plan=plan)


def _by_draw(rows: Shaped[Tensor, "row ..."], draws: int, k: int) -> tuple[Tensor, Tensor]:
    """Rows as (chosen [k, ...], controls [draw, k, ...]); the first row, the intact model, is k = 0 of each."""
    intact = rows[:1].expand(draws, *rows.shape[1:])[:, None]
    whole = torch.cat([intact, rows[1:].reshape(draws, k, *rows.shape[1:])], dim=1)
    return whole[0], whole[1:].contiguous()


def _reordered(
    model: LoadedModel, components: Sequence[Component | str], order: Sequence[Component | str]
) -> tuple[Component, ...]:
    chosen, ordered = distinct_components(model, components), distinct_components(model, order)
    if set(chosen) != set(ordered):
        raise Refusal("bad_component", "The order does not name exactly the components.", "Name each once.")
    return ordered


def _plan(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    mean_pairs: Sequence[EncodedPair],
    positions: KnockPositions,
    memory: int | None,
) -> Plan:
    longest = max(len(pair.reference_ids) for pair in encoded)
    length = max(longest, *(len(pair.reference_ids) for pair in mean_pairs))
    followed = (
        longest
        if model.runs_alone
        else max(len(pair.reference_ids) - first_position(positions, len(pair.reference_ids)) for pair in encoded)
    )
    return plan_for(model, Shape("total", length, followed, len(encoded), probability=True), memory)
