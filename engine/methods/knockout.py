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

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from contracts.components import Component
from contracts.errors import Refusal
from contracts.findings import MAX_CONTROLS, Ablation, KnockMetric, KnockPositions
from contracts.prompts import PromptPair
from engine.capture import encode_all
from engine.curves import Curve, curve_of
from engine.draws import Draw, distinct, drawn
from engine.knock import Knocked, first_of, knock_pairs, masks_of, place_of
from engine.model import LoadedModel
from engine.plan import Plan, Shape, plan_for, sparing
from engine.sources import Means, check_means, means, resampled
from engine.tensor_file import pack, unpack
from prompts import EncodedPair

FORMAT = "arithmoscope.knockout.1"
UNITS: dict[KnockMetric, str] = {
    "accuracy": "share of pairs whose top token is the answer",
    "probability": "probability of the answer",
    "logit_difference": "logits, answer minus the best competing number of the reference run",
}
# The place of the pairs' axis.
_PAIR_AXIS = {"logits": 1, "probability": 1, "correct": 1}
_PAIR_AXIS |= {f"control_{name}": axis + 1 for name, axis in _PAIR_AXIS.items()}
_PAIR_AXIS |= dict.fromkeys(("reference", "answers", "competitors"), 0)
_WORDS = ("ablation", "positions", "seed", "model", "revision", "components", "controls")


@dataclass(frozen=True, eq=False)
class Knockout:
    """What the model says with the first k of ``components`` out, k = 0 first, on every pair; on the CPU.

    controls     the random draws, each as many components in its order
    matched      whether a drawn component is of the layer of the one that it stands for, and was not chosen
    logits       of the answer and of the competing number; raw, in the model's own scale
    probability  of the answer
    correct      whether the answer is the top token
    control_...  the same for the draws; k = 0 is the same run for all
    reference    logits of the plain reference run
    answers, competitors  their token ids
    """

    ablation: Ablation
    positions: KnockPositions
    seed: int
    model: str
    revision: str
    components: tuple[str, ...]
    controls: tuple[tuple[str, ...], ...]
    questions: tuple[str, ...]
    matched: Bool[Tensor, "draw component"]
    logits: Float[Tensor, "k pair 2"]
    probability: Float[Tensor, "k pair"]
    correct: Bool[Tensor, "k pair"]
    control_logits: Float[Tensor, "draw k pair 2"]
    control_probability: Float[Tensor, "draw k pair"]
    control_correct: Bool[Tensor, "draw k pair"]
    reference: Float[Tensor, "pair 2"]
    answers: Int[Tensor, " pair"]
    competitors: Int[Tensor, " pair"]

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def noise(self) -> Float[Tensor, " pair"]:
        """|logit with nothing out - logit of the plain run|, the larger of the two tokens'."""
        return (self.logits[0] - self.reference).abs().amax(-1)

    def curve(self, metric: KnockMetric | str = "accuracy") -> Curve:
        """Means over the pairs with intervals, and the random draws'. Refuses a metric that there is not."""
        if metric == "accuracy":
            chosen, control = self.correct.double(), self.control_correct.double()
        elif metric == "probability":
            chosen, control = self.probability, self.control_probability
        elif metric == "logit_difference":
            chosen, control = (each[..., 0] - each[..., 1] for each in (self.logits, self.control_logits))
        else:
            raise Refusal("metric_not_computed", f"There is no metric {metric!r}; there are {', '.join(UNITS)}.")
        return curve_of(metric, UNITS[metric], chosen, control, self.questions)

    @classmethod
    def concatenate(cls, parts: Sequence[Knockout]) -> Knockout:
        """The pairs of all parts, in order; all parts are of one model, one order and the same draws."""
        if any(getattr(part, word) != getattr(parts[0], word) for part in parts for word in _WORDS):
            raise ValueError("parts of different knock-outs do not belong together")
        joined = {name: torch.cat([getattr(part, name) for part in parts], axis) for name, axis in _PAIR_AXIS.items()}
        questions = tuple(question for part in parts for question in part.questions)
        return replace(parts[0], questions=questions, **joined)

    def to_bytes(self) -> bytes:
        """As safetensors, the words in its metadata."""
        return pack(FORMAT, {field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Knockout:
        """What `to_bytes` wrote. Refuses (``bad_request``) anything else."""
        try:
            held = unpack(data, FORMAT)
            lists: dict[str, Any] = {name: tuple(held.pop(name)) for name in ("components", "questions")}
            lists["controls"] = tuple(tuple(draw) for draw in held.pop("controls"))
            found = cls(**held, **lists)
            if any(getattr(found, name).shape[axis] != len(found) for name, axis in _PAIR_AXIS.items()):
                raise ValueError("not every tensor has every pair")
            return found
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise Refusal("bad_request", "These bytes are no knock-out.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a safetensors file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Knockout:
        """Read what `save` wrote."""
        return cls.from_bytes(Path(path).read_bytes())


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
    memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Knockout:
    """The whole curve: the first k of ``components`` out, for every k from 0 to all of them, and ``controls`` random
    draws beside it.

    ``ablation``: ``mean`` over the reference prompts of ``mean_over`` (default: of these pairs), ``zero``, or
    ``resample``: another pair's reference prompt, drawn with ``seed``. ``positions``: ``end``, ``all``, or
    ``after_first``: all but the first token. ``order``: the order to take them out in, if it is not that of
    ``components``. ``memory``: bytes to stay within beyond the model (default: measured from the device).
    ``progress(done, total)`` counts thousandths. No pair is dropped.

    Refuses components that the model does not have or that are named twice, and what `path_patching` refuses.
    """
    task = knockout_task(
        model,
        encode_all(model, pairs or []),
        components if order is None else _reordered(model, components, order),
        ablation=ablation,
        positions=positions,
        mean_over=None if mean_over is None else encode_all(model, mean_over),
        controls=controls,
        seed=seed,
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
    memory: int | None = None,
    plan: Plan | None = None,
) -> Task:
    """Everything that is settled before the first pair is measured: draws, means, the prompts that are drawn, the plan
    (the one given, where a knock-out is taken up again)."""
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
    asked: Any = {"ablation": ablation, "positions": positions}
    place = place_of(asked["positions"])
    chosen = distinct(model, components)
    over = encoded if mean_over is None else mean_over
    if ablation == "mean":
        check_means(encoded, over, place)
    if ablation == "resample":
        encoded = resampled(encoded, place, seed)
    plan = plan or _plan(model, encoded, over, asked["positions"], memory)
    mean = None
    if ablation == "mean":
        lengths = {len(pair.reference_ids) for pair in encoded} if place == "all" else set()
        mean, plan = sparing(plan, lambda plan: means(model, [e.reference_ids for e in over], lengths, plan))
    draws = drawn(chosen, model.anatomy.layers, model.anatomy.heads, controls, seed)
    itself = Draw(chosen, (True,) * len(chosen))
    return Task(tuple(encoded), (itself, *draws), **asked, seed=seed, mean=mean, plan=plan)


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
    layers, heads = model.anatomy.layers, model.anatomy.heads
    k = len(task.draws[0].components)
    sets = masks_of([draw.components[:n] for draw in task.draws for n in range(1, k + 1)], layers, heads)

    def measure(plan: Plan) -> Knocked:
        return knock_pairs(model, pairs, sets, task.ablation, task.positions, task.mean, plan, report)

    knocked, plan = sparing(task.plan, measure)
    found = {}
    for name in ("logits", "probability", "correct"):
        values = getattr(knocked, name)
        rows = values[1:].unflatten(0, (len(task.draws), k)) if k else values[:0].new_empty(0, 0, *values.shape[1:])
        with_nothing = [torch.cat([values[:1], draw]) for draw in rows] if k else [values[:1]] * len(task.draws)
        found[name] = with_nothing[0]
        found[f"control_{name}"] = (
            torch.stack(with_nothing[1:])
            if len(with_nothing) > 1
            else with_nothing[0].new_empty(0, *with_nothing[0].shape)
        )
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


def _reordered(
    model: LoadedModel, components: Sequence[Component | str], order: Sequence[Component | str]
) -> tuple[Component, ...]:
    chosen, ordered = distinct(model, components), distinct(model, order)
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
        else max(len(pair.reference_ids) - first_of(positions, len(pair.reference_ids)) for pair in encoded)
    )
    return plan_for(model, Shape("total", length, followed, len(encoded), probability=True), memory)
