"""Precise fine-tuning: trains the components that do the arithmetic, and nothing else.

What it does. It trains the slices of the query, key, value and output projections of the chosen heads, and all matrices
of the chosen MLPs; every other weight of the model keeps its bits, even under weight decay. The loss is the mean of

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

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

import torch

from arithmoscope.contracts.argument_words import Range
from arithmoscope.contracts.arguments import check_arguments, whole_number
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import PromptPair
from arithmoscope.contracts.tuning_settings import TuningOptions, TuningSettings
from arithmoscope.contracts.tuning_terms import Tuner
from arithmoscope.engine.forward.batching import is_out_of_memory
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.engine.tuning.deltas import Deltas, apply_changes
from arithmoscope.engine.tuning.export import write_model
from arithmoscope.engine.tuning.history import TrainingHistory
from arithmoscope.engine.tuning.loop import TrainingCallbacks, TrainingSettings, train
from arithmoscope.engine.tuning.model_copy import fingerprint, restore_grad_flags
from arithmoscope.engine.tuning.selection import Selection, select
from arithmoscope.engine.tuning.trainable import TrainableModel, TunerInput
from arithmoscope.engine.tuning.training_examples import examples_of
from arithmoscope.engine.tuning.tuners import MERGED, TUNERS, WHOLE_MODEL, random_selection

_MAX_COUNT = 10_000_000
_COUNT = Range(1, _MAX_COUNT)
# Beyond it an update does not fit into float32, and torch raises its own error.
_MAX_LEARNING_RATE = 1e30
_MAX_WEIGHT_DECAY = 1e6


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A tuned model and its training.

    Attributes:
        model: The tuned model, ready for every method; untuned weights share memory with the original.
        deltas: The changed weights, to save and to apply to the original model.
        history: Loss, learning rate and gradient norm of every step, and how the training ended.
        selection: The tuned slices of each component (for ``"random"`` of the drawn ones); None for whole models.
        trained: Number of trained parameters.

    Example:
        >>> tuned = am.fine_tune(model, ["L1H2"], pairs, steps=2, learning_rate=1e-3, batch_size=4)
        >>> tuned.export("tuned-model")
    """

    model: LoadedModel
    deltas: Deltas
    history: TrainingHistory
    selection: Selection | None
    trained: int

    @check_arguments()
    def export(self, folder: str | os.PathLike[str]) -> None:
        """Writes the tuned model to a folder that transformers loads.

        A folder inside MODELS_DIR is also listed in the catalogue.

        Args:
            folder: The folder to create.

        Raises:
            Refusal: ``bad_request`` for a folder that is not empty; ``impossible_options`` for offsets where the model
                has no biases for them; ``store_unavailable`` if the folder cannot be written, as on a full disk.
                Nothing is left behind then.
        """
        write_model(self.model, self.deltas.lineage, folder)


@check_arguments(
    steps=_COUNT,
    learning_rate=Range(0, _MAX_LEARNING_RATE, above=True),
    batch_size=_COUNT,
    weight_decay=Range(0, _MAX_WEIGHT_DECAY),
    warmup=Range(0, 1),
    clip=Range(0, above=True),
    accumulate=_COUNT,
)
def fine_tune(
    model: LoadedModel,
    components: Sequence[Component | str],
    pairs: Sequence[PromptPair],
    *,
    settings: TuningSettings | None = None,
    tuner: Tuner = "precise",
    seed: int = 0,
    callbacks: TrainingCallbacks | None = None,
    resume: bytes | Callable[[], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[TuningOptions],
) -> FineTuned:
    """Trains ``components``, and nothing else, to give the pairs' answers. The input model is left as it is.

    Precise fine-tuning (Zhang et al., 2024, section 5). Training also stops on a non-finite loss: the weights are then
    those before the step that led there (for ``"full"`` the initial ones), and ``history.ended`` is ``"not_finite"``.
    Dropout is off.

    Args:
        model: The model to tune.
        components: Components such as ``"L14H2"`` and ``"MLP19"``; may be empty for ``"full"`` and ``"full_matrices"``.
        pairs: Prompt pairs; the reference prompts and their answers, of any number of tokens, are trained on.
        settings: Settings of the training; None for the defaults.
        tuner: Parameters trained: ``"precise"``, or as a comparison ``"random"`` components, head ``"offsets"``,
            ``"lora"``, the ``"full"`` model or all matrices of its layers (``"full_matrices"``).
        seed: Seed of the order of the pairs and of random components.
        callbacks: Functions to call after each step, to stop early, and to save checkpoints.
        resume: Bytes of a checkpoint, or a function that returns them; the result is that of an uninterrupted training.
        progress: Called with (steps done, steps in total).
        options: Fields of `TuningSettings` that replace those of ``settings``: ``steps``, ``learning_rate``,
            ``batch_size``, ``weight_decay``, ``schedule``, ``warmup``, ``clip``, ``tune`` (also as a text, ``"qo"``),
            ``biases``, ``head_scale``, ``accumulate``, ``checkpointing``.

    Returns:
        The tuned model, its deltas, and the loss (nats per token), learning rate and gradient norm of every step.

    Raises:
        Refusal: ``bad_component`` for no component, one that occurs twice or that the model does not have;
            ``bad_setting`` for 8-bit and float16 weights; ``bad_request`` for a number or option out of range, or
            another training's checkpoint; ``no_prompts`` for an empty list; ``not_finite`` if the loss is not finite
            at the start; ``out_of_memory``.

    Example:
        >>> tuned = am.fine_tune(model, ["L1H2", "MLP0"], pairs, steps=2, learning_rate=1e-3, batch_size=4)
        >>> len(tuned.history.losses)
        2
        >>> effects = am.path_patching(tuned.model, pairs[:2])
    """
    callbacks = callbacks or TrainingCallbacks()
    whole_number("save_every", callbacks.save_every, _COUNT)
    chosen_settings = _options_over(settings, options)
    training = _training_settings(chosen_settings, seed)
    tune, biases, head_scale = (chosen_settings[name] for name in ("tune", "biases", "head_scale"))
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
            training,
            identity=identity,
            callbacks=callbacks,
            resume=resume,
            progress=progress,
        )
        deltas = Deltas(
            base=model.card.id,
            revision=model.card.revision,
            weights=weights,
            dtype=model.precision,
            tuner=tuner,
            components=chosen,
            touched=() if selection is None else tuple(str(each) for each in selection.touched),
            settings={**vars(training), **{name: identity[name] for name in ("tune", "head_scale", "biases")}},
            changes=trainable.changes(),
        )
        tuned = _loaded(model, trainable, deltas)
    return FineTuned(tuned, deltas, history, selection, sum(value.numel() for value in trainable.values))


def _options_over(settings: TuningSettings | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``settings``, replaced by ``options``. Raises TypeError as Python does for an unknown argument."""
    names = TuningSettings.model_fields
    for name in options:
        if name not in names:
            raise TypeError(f"fine_tune() got an unexpected keyword argument {name!r}")
    settings = settings or TuningSettings()
    return {name: getattr(settings, name) for name in names} | dict(options)


def _training_settings(options: Mapping[str, Any], seed: int) -> TrainingSettings:
    """The settings of the loop. Numbers may exceed the limits of a spec, which protect a server."""
    names = {field.name for field in fields(TrainingSettings)} - {"seed"}
    return TrainingSettings(seed=seed, **{name: options[name] for name in names})


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
