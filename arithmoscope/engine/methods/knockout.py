"""Knock-out: what the model still answers with k components out, against as many random ones.

What it measures. For k = 0, 1, ..., K the first k of some components put out something else than they wrote:

    mean      what they write on average over a set of prompts (the paper's)
    zero      nothing; an output projection's bias belongs to no head and stays
    resample  what they wrote in the run of another prompt of the set, drawn once a pair

at END (or at all positions), everything after them is recomputed, and what the model then answers is read: whether the
answer is the top token, its probability, its logit minus the best competing number's, and, for answers of several
tokens, whether greedy decoding writes exactly the answer. The same for random components of the same layers and kinds,
nested in k: without them nobody knows what taking out any k heads does.

Source: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 4
(mean ablation, top 10 heads, one draw of random heads); Wang et al., Interpretability in the Wild, ICLR 2023 (mean
ablation); Chan et al., Causal Scrubbing, 2022 (resampling).

Exact: every point equals a forward pass with these components replaced.

Cost. One row a point and draw, on the last position alone, with the keys and values of the earlier positions shared. A
row parts from the row with one component less at that component's layer: so a draw costs as many evaluations of a
layer as its components have layers above them, K L / 2 for components spread evenly, instead of K L. Then one full
unembedding a row, for probability and accuracy. Answers of several tokens cost full passes.

When it misleads. Zero is a state that the model never saw, and a mean over prompts of several forms is in between them
all. Take the mean over other prompts than those evaluated, and choose the components on others, too. Components that
back each other up show only together. Many heads out at once break more than the calculation: look at the control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from jaxtyping import Shaped
from torch import Tensor

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_CONTROLS, Ablation, KnockPositions
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
    """A knock-out that is ready to be measured, some pairs at a time: what a worker keeps between chunks.

    pairs  as they are measured; for resampling their counterfactual is the prompt that was drawn
    draws  the chosen components, then the random draws
    plan   how much is computed at once; keep it with the chunks, so that one taken up again ends with the same bits
    """

    pairs: tuple[EncodedPair, ...]
    draws: tuple[Draw, ...]
    ablation: Ablation
    positions: KnockPositions
    seed: int
    mean: Means | None
    plan: Plan
    answer_tokens: int | None


def knockout(
    model: LoadedModel,
    pairs: Sequence[PromptPair],
    components: Sequence[Component | str],
    *,
    ablation: Ablation | str = "mean",
    positions: KnockPositions | str = "end",
    mean_over: Sequence[PromptPair] | None = None,
    controls: int = 20,
    seed: int = 0,
    order: Sequence[Component | str] | None = None,
    answer_tokens: int | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Knockout:
    """The whole curve: the first k of ``components`` out, for every k from 0 to all of them, and ``controls`` random
    draws beside it.

    ``ablation``: ``mean`` over the reference prompts of ``mean_over`` (default: of these pairs), ``zero``, or
    ``resample``: another pair's reference prompt, drawn with ``seed``. ``positions``: ``end``, ``all``, or
    ``after_first``: all but the first token. ``order``: the order to take them out in, if it is not that of
    ``components``. ``answer_tokens``: let answers have several tokens, and write so many by greedy decoding; all other
    numbers are about an answer's first token. ``memory``: bytes to stay within beyond the model (default: measured from
    the device). ``progress(done, total)`` counts thousandths. No pair is dropped.

    Refuses components that the model does not have or that are named twice, and what `path_patching` refuses.
    """
    several = "whole" if answer_tokens is None else "first"
    task = knockout_task(
        model,
        encode_all(model, pairs or [], several),
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
        nonlocal furthest  # when memory ran out, some is done again
        furthest = max(furthest, int(1_000 * fraction + 1e-6))
        if progress is not None:
            progress(furthest, 1_000)

    found, _ = knock_chunk(model, task, 0, len(task.pairs), report=report)
    return found


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
    go_on: Callable[[], None] = lambda: None,
) -> Task:
    """Everything that is settled before the first pair is measured: draws, means, the prompts that are drawn, the plan
    (the one given, where a knock-out is taken up again). ``go_on`` is called now and then, and may raise."""
    for word, what, words in ((ablation, "ablation", Ablation), (positions, "positions", KnockPositions)):
        if word not in get_args(words):
            raise Refusal("bad_request", f"There is no {what} {word!r}; there are {', '.join(get_args(words))}.")
    if mean_over is not None and ablation != "mean":
        raise Refusal("bad_request", "mean_over is given, and the ablation is not the mean.", "Leave out one of them.")
    for number, what in ((controls, "controls"), (seed, "seed"), (0 if memory is None else memory, "memory")):
        if not isinstance(number, int):
            raise Refusal("bad_request", f"{what} is {number!r}, not a whole number.", "Give a whole number.")
    if not 0 <= controls <= MAX_CONTROLS:
        raise Refusal("bad_request", f"controls is {controls}; it is from 0 to {MAX_CONTROLS}.", "Choose another.")
    if not encoded:
        raise Refusal("no_prompts", "The list of prompt pairs is empty.")
    if answer_tokens is not None:
        check_answer_tokens(model, encoded, answer_tokens)
    asked: Any = {"ablation": ablation, "positions": positions}
    place = replacement_positions(asked["positions"])
    chosen = distinct_components(model, components)
    over = encoded if mean_over is None else mean_over
    if ablation == "mean":
        check_means(encoded, over, place)
    if ablation == "resample":
        encoded = resampled(encoded, place, seed)
    plan = plan or _plan(model, encoded, over, asked["positions"], memory)
    mean = None
    if ablation == "mean":
        lengths = {len(pair.reference_ids) for pair in encoded} if place == "all" else set()
        mean, plan = retry_on_oom(
            plan, lambda plan: means(model, [e.reference_ids for e in over], lengths, plan, go_on)
        )
    draws = random_draws(chosen, model.layout.layers, model.layout.heads, controls, seed)
    itself = Draw(chosen, (True,) * len(chosen))
    return Task(tuple(encoded), (itself, *draws), **asked, seed=seed, mean=mean, plan=plan, answer_tokens=answer_tokens)


def knock_chunk(
    model: LoadedModel,
    task: Task,
    start: int,
    stop: int,
    *,
    report: Callable[[float], None] = lambda _fraction: None,
) -> tuple[Knockout, Task]:
    """Pairs ``start`` to ``stop`` of a task, and the task as it ended: with a smaller plan where memory ran out.

    Chunks are put together with `Knockout.concatenate`. ``report(fraction)`` may raise, to stop.
    """
    pairs = task.pairs[start:stop]
    layers, heads = model.layout.layers, model.layout.heads
    k = len(task.draws[0].components)
    sets = masks_of([draw.components[:n] for draw in task.draws for n in range(1, k + 1)], layers, heads)

    asked = (task.ablation, task.positions, task.mean)
    halves = 1 if task.answer_tokens is None else 2

    def measure(plan: Plan) -> KnockoutOutputs:
        return knock_out_pairs(model, pairs, sets, *asked, plan, lambda fraction: report(fraction / halves))

    knocked, plan = retry_on_oom(task.plan, measure)
    found = {}
    for name in ("logits", "probability", "correct"):
        found[name], found[f"control_{name}"] = _by_draw(getattr(knocked, name), len(task.draws), k)
    if (tokens := task.answer_tokens) is not None:
        with_nothing = torch.cat([sets.new_zeros(1, *sets.shape[1:]), sets])

        def write(plan: Plan) -> Tensor:
            return answers_under_knockout(
                model, pairs, with_nothing, *asked, plan, tokens, lambda fraction: report((1 + fraction) / 2)
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
        found["written"], _ = _by_draw(written, len(task.draws), k)
        found["exact"], found["control_exact"] = _by_draw(exact, len(task.draws), k)
    whole = Knockout(
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
        **found,
    )
    return whole, replace(task, plan=plan)


def _by_draw(rows: Shaped[Tensor, "row ..."], draws: int, k: int) -> tuple[Tensor, Tensor]:
    """Rows as (chosen [k, ...], controls [draw, k, ...]): the first row, with nothing out, is k = 0 of all of them."""
    nothing = rows[:1].expand(draws, *rows.shape[1:])[:, None]
    whole = torch.cat([nothing, rows[1:].reshape(draws, k, *rows.shape[1:])], dim=1)
    return whole[0], whole[1:].contiguous()


def _reordered(
    model: LoadedModel, components: Sequence[Component | str], order: Sequence[Component | str]
) -> tuple[Component, ...]:
    chosen, ordered = distinct_components(model, components), distinct_components(model, order)
    if set(chosen) != set(ordered):
        raise Refusal("bad_component", "The order does not name the components that are taken out.", "Name all once.")
    return ordered


def _plan(
    model: LoadedModel,
    encoded: Sequence[EncodedPair],
    over: Sequence[EncodedPair],
    positions: KnockPositions,
    memory: int | None,
) -> Plan:
    longest = max(len(pair.reference_ids) for pair in encoded)
    length = max(longest, *(len(pair.reference_ids) for pair in over))
    followed = (
        longest
        if model.runs_alone
        else max(len(pair.reference_ids) - first_position(positions, len(pair.reference_ids)) for pair in encoded)
    )
    return plan_for(model, Shape("total", length, followed, len(encoded), probability=True), memory)
