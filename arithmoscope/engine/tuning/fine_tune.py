"""Precise fine-tuning: trains the components that do the arithmetic, and nothing else.

What it does. It trains the slices of the query, key, value and output projections of the chosen heads, and all matrices
of the chosen MLPs; every other number of the model keeps its bits, whatever the weight decay. The loss is the mean of

    -log p(answer token | all tokens before it)

over the tokens of the answers, teacher forced; AdamW, with warm-up, a schedule and clipping.

Sources: Zhang et al., Interpreting and Improving Large Language Models in Arithmetic Calculation, ICML 2024, section 5
(the random control is ours); Yin et al., LoFiT, NeurIPS 2024 (offsets); Hu et al., LoRA, ICLR 2022.

Exact: the trained parameter is the slice itself, and the model computes with it at every step. So weight decay and
clipping act on it as in full fine-tuning, merging rounds nothing, and tuning all heads' q, k, v and o and all MLPs is
full fine-tuning with embeddings, norms and biases frozen.

Cost. A step is a forward pass, the backward pass through activations from the top down to the lowest tuned layer, and
products for the tuned slices: compared with full fine-tuning at most 3 / (1 + share of layers from the lowest tuned one
on) times faster. Gradients and optimiser moments are as large as the selection.

When it misleads. Better answers after tuning do not show that the tuned components did arithmetic before: random ones
of the same size learn much of it, too. Compare with ``tuner="random"``. Under grouped-query attention a tuned key or
value slice changes all heads of its group: `Selection.touched` names them. Memorised answers do not show on questions
that were trained on: evaluate on other operands.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.engine.forward.batching import is_out_of_memory
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas, apply_changes
from arithmoscope.engine.tuning.export import write_model
from arithmoscope.engine.tuning.history import History, Schedule, Step
from arithmoscope.engine.tuning.loop import TrainingSettings, train
from arithmoscope.engine.tuning.model_copy import fingerprint, restore_grad_flags
from arithmoscope.engine.tuning.selection import Selection, select
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput
from arithmoscope.engine.tuning.training_examples import examples_of
from arithmoscope.engine.tuning.tuners import MERGED, TUNERS, WHOLE_MODEL, random_selection

_MAX_COUNT = 10_000_000
# Beyond it an update does not fit into float32, and torch raises an error of its own.
_MAX_LEARNING_RATE = 1e30
_MAX_WEIGHT_DECAY = 1e6


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A tuned model and how it came about.

    model      tuned, ready for every method; what was not tuned shares the memory of the model that was given
    deltas     what is different, to keep, and to put back onto that model
    history    loss, rate and gradient of every step, and how it ended
    selection  what was tuned of which components (for ``random`` the drawn ones); None for whole models
    trained    how many numbers the optimiser moved
    """

    model: LoadedModel
    deltas: Deltas
    history: History
    selection: Selection | None
    trained: int

    def export(self, folder: str | os.PathLike[str]) -> None:
        """A folder that transformers loads, and the catalogue when it lies in MODELS_DIR; see `Deltas.export`."""
        write_model(self.model, self.deltas.lineage, folder)


def fine_tune(
    model: LoadedModel,
    components: Sequence[Component | str],
    pairs: Sequence[PromptPair],
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    weight_decay: float = 0.0,
    seed: int = 0,
    tune: str | Iterable[str] | None = None,
    schedule: Schedule | str = "cosine",
    warmup: float = 0.05,
    clip: float | None = 1.0,
    head_scale: bool = False,
    biases: bool = False,
    accumulate: int = 1,
    checkpointing: bool = False,
    tuner: str = "precise",
    save: Callable[[bytes], None] | None = None,
    save_every: int = 50,
    beside: Callable[[], dict[str, Any]] | None = None,
    resume: bytes | Callable[[], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_step: Callable[[Step, LoadedModel], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FineTuned:
    """Trains ``components`` to give the pairs' answers, of however many tokens. The given model is left as it is.

    ``steps`` of the optimiser, ``batch_size`` pairs each, drawn without replacement until all were seen, then anew;
    with ``accumulate`` a batch is run in so many parts, which saves memory and changes nothing but rounding.
    ``tune``: what of each head, some of ``"qkvo"`` (default: ``"qo"`` where heads share keys and values); ``biases``:
    those of q, k, v and MLPs, too. ``schedule``: ``cosine``, ``linear`` or ``constant``, after a ``warmup`` over that
    share of the steps. ``clip``: the longest gradient. ``head_scale``: the paper's H/h, all heads over tuned ones, as a
    factor on the heads' learning rate. ``checkpointing``: compute layers twice instead of keeping them.
    ``tuner``: a row of `TUNERS`: ``precise``, or to hold it against ``random``, ``offsets``, ``lora``, ``full`` or
    ``full_matrices``; the last two need no components.

    ``save(bytes)`` is called every ``save_every`` steps and at its end; ``resume`` takes such bytes, or what gives
    them, and ends as if nothing had been. ``beside()`` is JSON that they hold, too. ``progress(done, total)`` counts
    steps; ``on_step(step, model)`` tells the loss and may look at the model as it is; when ``should_stop()`` is true
    the training ends after the step, and gives what it has.

    A loss that is not finite ends it, too: the weights are those before the step that led there (``full``: those it
    began with), and ``history.ended`` is ``not_finite``. Dropout is off.

    Refuses (``bad_component``) no components, one twice, and what the model does not have; (``bad_setting``) 8-bit and
    float16 weights; (``bad_request``) numbers out of range and another training's checkpoint; (``no_prompts``);
    (``not_finite``) a model that gives no finite loss to begin with; (``out_of_memory``).
    """
    settings = TrainingSettings(
        steps=_count("steps", steps),
        learning_rate=_number("learning_rate", learning_rate, positive=True, most=_MAX_LEARNING_RATE),
        batch_size=_count("batch_size", batch_size),
        weight_decay=_number("weight_decay", weight_decay, most=_MAX_WEIGHT_DECAY),
        seed=seed,
        schedule=_schedule(schedule),
        warmup=_number("warmup", warmup, most=1.0),
        clip=None if clip is None else _number("clip", clip, positive=True),
        accumulate=_count("accumulate", accumulate),
        checkpointing=checkpointing,
    )
    if tuner not in TUNERS:
        raise Refusal("bad_request", f"There is no tuner {str(tuner)[:40]!r}.", f"Choose {', '.join(TUNERS)}.")
    selection = None
    if tuner not in WHOLE_MODEL:
        selection = select(model, components, tune, biases=biases)
        if tuner == "random":
            selection = random_selection(model, selection, biases=biases, seed=seed)
    examples = examples_of(model, pairs)
    weights = fingerprint(model)
    chosen = () if selection is None else tuple(str(each) for each in selection.components)
    identity: dict[str, Any] = {
        "weights": weights,
        "tuner": tuner,
        "components": list(chosen),
        "tune": [] if selection is None else list(selection.tune),
        "head_scale": head_scale,
        "biases": biases,
    }
    with _memory_errors():
        trainable = TUNERS[tuner](model, TunerInput(selection, head_scale, seed))
        history = train(
            trainable,
            examples,
            settings,
            identity=identity,
            save=save,
            save_every=_count("save_every", save_every),
            beside=beside,
            resume=resume,
            progress=progress,
            on_step=on_step,
            should_stop=should_stop,
        )
        deltas = Deltas(
            base=model.card.id,
            revision=model.card.revision,
            weights=weights,
            dtype=model.precision,
            tuner=tuner,
            components=chosen,
            touched=() if selection is None else tuple(str(each) for each in selection.touched),
            settings={**vars(settings), **{name: identity[name] for name in ("tune", "head_scale", "biases")}},
            changes=trainable.changes(),
        )
        tuned = _loaded(model, trainable, deltas)
    return FineTuned(tuned, deltas, history, selection, sum(value.numel() for value in trainable.values))


def _loaded(model: LoadedModel, trainable: TrainableModel, deltas: Deltas) -> LoadedModel:
    """The tuned model in the state of a newly loaded one."""
    card = deltas.card_of(model.card)
    if deltas.tuner in MERGED:
        return apply_changes(model, deltas.changes, card)
    restore_grad_flags(trainable.model, model)
    return replace(trainable.model, card=card)


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise Refusal(
            "out_of_memory",
            "Memory ran out during training.",
            "Train with accumulate=2 or more, with checkpointing=True, or on shorter prompts.",
        ) from error


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
        raise Refusal(
            "bad_request",
            f"{name} is {str(value)[:40]}; it must be a whole number of at least 1.",
            f"Give {name}=1 or more.",
        )
    return value


def _number(name: str, value: Any, *, positive: bool = False, most: float = math.inf) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf or (positive and value == 0):
        bounds = ("above 0" if positive else "from 0") + ("" if most == math.inf else f" to {most:g}")
        raise Refusal(
            "bad_request", f"{name} is {str(value)[:40]}; it must be a number {bounds}.", f"Choose another {name}."
        )
    return float(value)


def _schedule(name: str) -> Schedule:
    for schedule in get_args(Schedule):
        if name == schedule:
            return schedule
    raise Refusal(
        "bad_request", f"There is no schedule {str(name)[:40]!r}.", f"Choose {' or '.join(get_args(Schedule))}."
    )
