"""``arithmoscope fine-tune``: find components, train them alone, and say what it changed; in this process."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.analyze import writable
from arithmoscope.cli.fine_tune_report import closing, compared, opening
from arithmoscope.cli.inspect import pairs_of_file
from arithmoscope.cli.interrupts import stopped_by_ctrl_c
from arithmoscope.cli.knockout import valid_set
from arithmoscope.cli.lm_eval import benchmark, benchmarks_named
from arithmoscope.cli.local_run import analysed, loaded
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.prompts import (
    MAX_PAIRS,
    MAX_PROMPT_CHARACTERS,
    CustomPair,
    CustomPrompts,
    PromptPair,
    PromptsSpec,
    TemplatePrompts,
)
from arithmoscope.contracts.specs import FineTuneSpec, PathPatchingSpec
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.engine.tuning.deltas import Deltas
    from arithmoscope.engine.tuning.output import FineTuneOutput

# Questions that components are found on.
_FOUND_ON = 64
# Solved examples before a sum, where components are found on other sums than those that are trained on.
_SHOTS = 2
_SPEC = (
    *("tuner", "steps", "batch_size", "learning_rate", "weight_decay", "schedule", "warmup", "tune", "biases"),
    *("head_scale", "accumulate", "checkpointing", "validate_every", "seed"),
)


def run_tuning(settings: Settings, told: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Train and print. Refuses before torch is loaded whatever can be refused by then."""
    tasks = benchmarks_named(told.benchmarks)
    prompts = _prompts(told, progress)
    named = _named(told)
    _refuse_no_adapter(told, _spec(told, prompts, named or ("L0H0",)))  # refuses bad numbers, too
    for flag in ("export", "adapter"):
        _refuse_full(getattr(told, flag), f"--{flag}")
    bar = Bar(progress)
    with writable(told.save, "--save") as kept, writable(told.csv, "--csv") as table:
        model = loaded(settings, told.model, bar)
        if not named and told.tuner not in WHOLE_TUNERS:
            bar.say("patching")
            named = _found(model, told, prompts, bar)
        spec = _spec(told, prompts, named)
        _refuse_no_adapter(told, spec)
        if not told.json:
            bar.end()
            out.write(opening(model, spec))
            out.flush()
        output = _trained(model, spec, bar)
        bar.end()
        numbers: dict[str, tuple[float, float]] = {}
        refused = [output.problem]
        try:
            for path, name in ((kept, "deltas.safetensors"), (table, "judged.csv")):
                if path is not None and name in output.artifacts:
                    with _noting(refused):
                        write_whole(path, output.artifacts[name])
            if not told.json:
                out.write(closing(output.result))
                out.flush()  # what was learnt is told, whatever becomes of the rest
            with _noting(refused):
                numbers = _benchmarked(model, _exported(model, output, told), tasks, bar)
        finally:
            bar.end()
            if told.json:
                said = json.loads(output.artifacts["result.json"])
                out.write(json.dumps(said | ({"benchmarks": numbers} if tasks else {})) + "\n")
            else:
                out.write(compared(numbers))
            out.flush()
    for problem in filter(None, refused):
        raise problem
    if output.result.ended == "stopped":
        raise KeyboardInterrupt


@contextmanager
def _noting(refused: list[Refusal | None]) -> Iterator[None]:
    """A refusal inside is kept for the end."""
    try:
        yield
    except Refusal as refusal:
        refused.append(refusal)


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file in one step; of a link, what it names. What was there before stays until all is written."""
    from arithmoscope.engine.tuning.atomic_write import write_bytes

    real = path.resolve()
    if real.is_file() and os.access(real.parent, os.W_OK):
        write_bytes(real, data)
    else:  # a pipe, a device, or a file where none can be put beside it
        path.write_bytes(data)


def _refuse_no_adapter(told: argparse.Namespace, spec: FineTuneSpec) -> None:
    """Found out before it trains: whole matrices and biases have no low rank."""
    if told.adapter is None or spec.tuner == "lora":
        return
    mlp = next((name for name in spec.components if name.startswith("MLP")), None)
    if spec.tuner in (*WHOLE_TUNERS, "offsets"):
        what = f"what the tuner {spec.tuner} moves"
    elif mlp is not None:
        what = f"what changes in {mlp}"
    else:
        return
    raise Refusal(
        "impossible_options",
        f"--adapter: {what} has no low rank, so that no adapter can hold it.",
        "Leave --adapter out and use --export, or tune heads alone.",
    )


def _prompts(told: argparse.Namespace, progress: IO[str]) -> PromptsSpec:
    if told.file is not None:
        pairs = _public(told.file, told.public, progress) if told.public else pairs_of_file(told.file, progress)
        # A published question stands as it is: it may be none that worked examples can be made of.
        return CustomPrompts(source="custom", pairs=pairs, shots=0 if told.public else told.shots)
    if told.public:
        raise Refusal("bad_request", f"--public {told.public} needs --file.", "Name the file that holds the set.")
    names = ("topic", "operations", "styles", "wording", "numerals", "decimals", "pairs", "shots")
    asked: dict[str, Any] = {name: getattr(told, name) for name in names}
    if told.operands is not None or told.topic == "question":
        digits = (0 if told.digits == 1 else 10 ** (told.digits - 1), 10**told.digits - 1)
        asked["operands"] = digits if told.operands is None else told.operands
    if told.topic != "question" and told.styles == ["equation"]:
        asked.pop("styles")
    valid_set(asked)
    return TemplatePrompts.model_validate({"source": "template", **asked})


def _public(file: str, name: Any, progress: IO[str]) -> tuple[CustomPair, ...]:
    from arithmoscope.prompts.sets.public_datasets import read_public

    try:
        asked = read_public(name, Path(file).read_bytes()).questions
    except OSError as error:
        said = f"--file {file} cannot be read: {error.strerror}."
        raise Refusal("bad_setting", said, "Choose another file.") from error
    short = [each for each in asked if len(each.prompt) <= MAX_PROMPT_CHARACTERS]
    if len(short) < len(asked):
        left_out = len(asked) - len(short)
        progress.write(f"{left_out} questions of more than {MAX_PROMPT_CHARACTERS} characters are left out.\n")
    if not short:
        raise Refusal("no_prompts", f"No row of {file} can be used.", f"Is it {name} as it is published?")
    return tuple(CustomPair(reference=each.prompt, answer=each.answer) for each in short[:MAX_PAIRS])


def _named(told: argparse.Namespace) -> tuple[str, ...]:
    names = filter(None, (told.components or "").replace(" ", "").split(","))
    return tuple(str(Component.parse(name)) for name in names)


def _spec(told: argparse.Namespace, prompts: PromptsSpec, components: tuple[str, ...]) -> FineTuneSpec:
    from pydantic import ValidationError

    asked = {name: getattr(told, name) for name in _SPEC}
    asked |= {"kind": "fine_tune", "model": told.model, "components": components, "prompts": prompts}
    try:
        return FineTuneSpec.model_validate({**asked, "clip": told.clip or None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = " ".join(str(part).replace("_", "-") for part in first["loc"])
        said = f"--{where}: {first['msg']}." if where else f"{first['msg']}."
        raise Refusal("bad_request", said, "See arithmoscope fine-tune --help.") from error


def _refuse_full(folder: str | None, flag: str) -> None:
    """Found out before minutes are spent."""
    path = Path(folder or "")
    if folder is not None and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise Refusal(
            "bad_setting", f"There is something at {flag} {folder} already.", "Name a folder that is not there."
        )


def _found(model: LoadedModel, told: argparse.Namespace, prompts: PromptsSpec, bar: Bar) -> tuple[str, ...]:
    """The components that hurt most when they are taken away, on operands that are trained on and never judged by."""
    from arithmoscope.engine.experiments.parent_analysis import read_effects
    from arithmoscope.engine.measures.key_components import key_components

    half = _first_half(prompts, bar)
    for keep_wrong in (False, True):
        asked = half.model_copy(update={"answer": "first", "keep_wrong": keep_wrong})
        try:
            output = analysed(
                model, PathPatchingSpec(kind="path_patching", model=told.model, prompts=asked, metrics=(told.metric,))
            )
        except Refusal as refusal:
            if refusal.code != "none_kept" or keep_wrong:
                raise
            continue
        effects = read_effects(output.artifacts.__getitem__)
        key = key_components(effects, rule="top_k", metric=told.metric, top_k=told.top_k, kind=told.among)
        if key.components:
            return tuple(map(str, key.components))
    raise Refusal("no_components", "No component hurts the answer when it is taken away.", "Name --components.")


def _first_half(prompts: PromptsSpec, bar: Bar) -> PromptsSpec:
    if isinstance(prompts, TemplatePrompts):
        return prompts.model_copy(update={"half": "first", "pairs": min(prompts.pairs, _FOUND_ON)})
    from arithmoscope.prompts.language.parse_question import understood
    from arithmoscope.prompts.sets.operand_split import on_first_side

    # What nobody understands has no counterfactual unless it was given.
    read = [pair for pair in prompts.pairs if pair.counterfactual is not None or understood(pair.reference)]
    if not read:
        bar.note("No question of the file has a counterfactual: components are found on sums of two digits instead.")
        return TemplatePrompts(
            source="template", operands=(10, 99), pairs=_FOUND_ON, half="first", shots=_SHOTS, chat=prompts.chat
        )
    mine = [pair for pair in read if on_first_side(PromptPair(pair.reference, pair.reference, ""))]
    if not mine:
        raise Refusal("no_prompts", "No question of the file is left to find components on.", "Name --components.")
    return prompts.model_copy(update={"pairs": tuple(mine[:_FOUND_ON])})


def _trained(model: LoadedModel, spec: FineTuneSpec, bar: Bar) -> FineTuneOutput:
    from arithmoscope.engine.experiments.fine_tune import run_fine_tune

    curve = TrainingCurve(steps=(), losses=(), validation=())

    def keep(now: TrainingCurve) -> None:
        nonlocal curve
        curve = now

    def show(progress: Progress) -> None:
        bar.show(progress, _seen(curve) if progress.stage == "steps" else "")

    with stopped_by_ctrl_c() as told_to_stop:
        output = run_fine_tune(
            model,
            spec,
            secrets.token_hex(12),
            saved_chunks={},
            save_chunk=lambda _number, _data: None,
            on_progress=show,
            on_partial=keep,
            should_stop=told_to_stop,
        )
    if output is None:  # interrupted before its first step
        raise KeyboardInterrupt
    return output


def _seen(curve: TrainingCurve) -> str:
    loss = f"loss {curve.losses[-1]:.3f}" if curve.losses else ""
    right = f"{curve.validation[-1].accuracy:.0%} of validation right" if curve.validation else ""
    return ", ".join(filter(None, (loss, right)))


def _exported(model: LoadedModel, output: FineTuneOutput, told: argparse.Namespace) -> Deltas | None:
    if output.card is None:
        return None
    from arithmoscope.engine.tuning.deltas import Deltas

    deltas = Deltas.from_bytes(output.artifacts["deltas.safetensors"])
    if told.export is not None:
        deltas.export(model, told.export)
    if told.adapter is not None:
        deltas.export_adapter(model, told.adapter)
    return deltas


def _benchmarked(
    model: LoadedModel, deltas: Deltas | None, tasks: tuple[str, ...], bar: Bar
) -> dict[str, tuple[float, float]]:
    if not tasks or deltas is None:
        return {}
    bar.say("public benchmarks")
    before, after = benchmark(model, tasks), benchmark(deltas.apply(model), tasks)
    return {name: (value, after[name]) for name, value in before.items() if name in after}
