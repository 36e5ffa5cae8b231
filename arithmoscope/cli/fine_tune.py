"""``arithmoscope fine-tune``: finds components, trains them alone, and evaluates the model before and after."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.experiment import own_fields
from arithmoscope.cli.fine_tune_args import SEARCH
from arithmoscope.cli.fine_tune_report import benchmark_lines, plan_text, result_text
from arithmoscope.cli.lm_eval import parse_benchmarks, run_benchmarks
from arithmoscope.cli.local_run import LOCAL_ANALYSIS, check, load_local_model, locate_model, run
from arithmoscope.cli.output_files import refuse_used_folder, writable, write_atomically
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_flags import prefixes_for, prompts_of
from arithmoscope.cli.prompt_options import read_input_file
from arithmoscope.cli.spec_flags import given, validated
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Progress
from arithmoscope.contracts.kinds import KINDS
from arithmoscope.contracts.kinds.fine_tune import TWO_DIGITS, FineTuneSpec
from arithmoscope.contracts.kinds.knockout import KnockoutSpec
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.prompts import (
    MAX_PAIRS,
    MAX_PROMPT_CHARACTERS,
    CustomPair,
    CustomPrompts,
    PromptPair,
    PromptsSpec,
    TemplatePrompts,
)
from arithmoscope.contracts.terms import DEFAULT_TOP_K
from arithmoscope.contracts.tuning_results import TrainingCurve
from arithmoscope.contracts.tuning_terms import WHOLE_TUNERS
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.engine.tuning.deltas import Deltas
    from arithmoscope.engine.tuning.output import FineTuneOutput

# Questions for finding components.
_SEARCH_QUESTIONS = 64
# Shots for finding components, if that uses other questions than the training.
_SEARCH_SHOTS = 2
_KIND = KINDS["fine_tune"]


def run_tuning(settings: Settings, args: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Trains, evaluates, and prints both. Checks as much as possible before torch is loaded.

    A refusal after the training is raised last, so that the results are still printed and written.
    """
    tasks = parse_benchmarks(args.benchmarks)
    prompts = _prompts(args, progress)
    spec = _spec(args, prompts)
    search = _search(args)
    _refuse_adapter(args, spec)
    for flag in ("export", "adapter"):
        refuse_used_folder(getattr(args, flag), f"--{flag}")
    bar = Bar(progress)
    with writable(args.save, "--save") as deltas_file, writable(args.csv, "--csv") as table:
        check(settings, locate_model(settings, args.model, bar), spec)
        model = load_local_model(settings, args.model, bar)
        if "components" not in args and spec.tuner not in WHOLE_TUNERS:
            bar.stage("patching")
            spec = spec.model_copy(update={"components": _find_components(model, search, prompts, bar)})
            _refuse_adapter(args, spec)
        if not args.json:
            bar.end()
            out.write(plan_text(model, spec))
            out.flush()
        output = _train(model, spec, bar)
        bar.end()
        scores: dict[str, tuple[float, float]] = {}
        problems = [output.problem]
        try:
            for path, name in ((deltas_file, "deltas.safetensors"), (table, "judged.csv")):
                if path is not None and name in output.artifacts:
                    with _deferred(problems):
                        write_atomically(path, output.artifacts[name])
            if not args.json:
                out.write(result_text(output.result))
                out.flush()  # the result is printed even if a later step fails
            with _deferred(problems):
                scores = _compare_benchmarks(model, _export(model, output, args), tasks, bar)
        finally:
            bar.end()
            if args.json:
                report = json.loads(output.artifacts["result.json"])
                out.write(json.dumps(report | ({"benchmarks": scores} if tasks else {})) + "\n")
            else:
                out.write(benchmark_lines(scores))
            out.flush()
    for problem in filter(None, problems):
        raise problem
    if output.result.ended == "stopped":
        raise KeyboardInterrupt


@contextmanager
def _deferred(problems: list[Refusal | None]) -> Iterator[None]:
    """Collects a refusal raised inside the block instead of raising it."""
    try:
        yield
    except Refusal as refusal:
        problems.append(refusal)


def _refuse_adapter(args: argparse.Namespace, spec: FineTuneSpec) -> None:
    """Raises Refusal before the training if ``--adapter`` is impossible: changes of whole matrices and of biases have
    no low rank."""
    if args.adapter is None or spec.tuner == "lora":
        return
    mlp = next((name for name in spec.components if name.startswith("MLP")), None)
    if spec.tuner in (*WHOLE_TUNERS, "offsets"):
        change = f"the change that the tuner {spec.tuner} makes"
    elif mlp is not None:
        change = f"the change of {mlp}"
    else:
        return
    raise Refusal(
        "impossible_options",
        f"--adapter: {change} has no low rank, so it cannot be exported as an adapter.",
        "Leave --adapter out and use --export, or tune heads alone.",
    )


def _prompts(args: argparse.Namespace, progress: IO[str]) -> PromptsSpec:
    if args.public and args.file is None:
        raise Refusal("bad_request", f"--public {args.public} needs --file.", "Name the file with the data set.")
    if args.public:
        # Published questions are used without shots: not all of them can serve as solved examples.
        return CustomPrompts(source="custom", pairs=_public_pairs(args.file, args.public, progress), shots=0)
    return prompts_of(args, _KIND.command, progress, prefixes_for(own_fields(_KIND)), default=TWO_DIGITS)


def _public_pairs(file: str, name: Any, progress: IO[str]) -> tuple[CustomPair, ...]:
    from arithmoscope.prompts.sets.public_datasets import read_public

    questions = read_public(name, read_input_file(file)).questions
    short = [question for question in questions if len(question.prompt) <= MAX_PROMPT_CHARACTERS]
    if len(short) < len(questions):
        left_out = len(questions) - len(short)
        progress.write(f"{left_out} questions of more than {MAX_PROMPT_CHARACTERS} characters are left out.\n")
    if not short:
        raise Refusal("no_prompts", f"No row of {file} can be used.", f"Is it {name} as it is published?")
    return tuple(CustomPair(reference=question.prompt, answer=question.answer) for question in short[:MAX_PAIRS])


def _spec(args: argparse.Namespace, prompts: PromptsSpec) -> FineTuneSpec:
    """The spec; with a component that every model has in place of those that are yet to be found."""
    values = {"kind": "fine_tune", "model": args.model, "prompts": prompts, **given(args, own_fields(_KIND))}
    if values.get("tuner") not in WHOLE_TUNERS:
        values.setdefault("components", ("L0H0",))
    return validated(FineTuneSpec, values, _KIND.command)


def _search(args: argparse.Namespace) -> KnockoutSpec:
    """The search for components, by the rules of a knockout."""
    return validated(KnockoutSpec, {"kind": "knockout", "parent": LOCAL_ANALYSIS, **given(args, SEARCH)}, _KIND.command)


def _find_components(model: LoadedModel, search: KnockoutSpec, prompts: PromptsSpec, bar: Bar) -> tuple[str, ...]:
    """The components with the largest effects, on operands that occur in training but not in evaluation."""
    from arithmoscope.engine.experiments.parent_analysis import read_effects
    from arithmoscope.engine.measures.key_components import key_components

    half = _first_half(prompts, bar)
    for keep_wrong in (False, True):
        searched = half.model_copy(update={"answer": "first", "keep_wrong": keep_wrong})
        spec = PathPatchingSpec(kind="path_patching", model=model.card.id, prompts=searched, metrics=(search.metric,))
        try:
            output = run(model, spec)
        except Refusal as refusal:
            if refusal.code != "none_kept" or keep_wrong:
                raise
            continue
        effects = read_effects(output.artifacts.__getitem__)
        top_k = search.top_k or DEFAULT_TOP_K
        key = key_components(effects, rule="top_k", metric=search.metric, top_k=top_k, kind=search.among)
        if key.components:
            return tuple(map(str, key.components))
    raise Refusal("no_components", "No component hurts the answer when it is taken away.", "Name --components.")


def _first_half(prompts: PromptsSpec, bar: Bar) -> PromptsSpec:
    """The questions for finding components: those on the first side of the split by operands."""
    if isinstance(prompts, TemplatePrompts):
        return prompts.model_copy(update={"half": "first", "pairs": min(prompts.pairs, _SEARCH_QUESTIONS)})
    from arithmoscope.prompts.language.parse_question import parse_question
    from arithmoscope.prompts.sets.operand_split import on_first_side

    # A question that cannot be parsed has a counterfactual only if the file gives one.
    usable = [pair for pair in prompts.pairs if pair.counterfactual is not None or parse_question(pair.reference)]
    if not usable:
        bar.note("No question of the file has a counterfactual: components are found on sums of two digits instead.")
        return TemplatePrompts(
            source="template",
            operands=(10, 99),
            pairs=_SEARCH_QUESTIONS,
            half="first",
            shots=_SEARCH_SHOTS,
            chat=prompts.chat,
        )
    first = [pair for pair in usable if on_first_side(PromptPair(pair.reference, pair.reference, ""))]
    if not first:
        raise Refusal("no_prompts", "No question of the file is left to find components on.", "Name --components.")
    return prompts.model_copy(update={"pairs": tuple(first[:_SEARCH_QUESTIONS])})


def _train(model: LoadedModel, spec: FineTuneSpec, bar: Bar) -> FineTuneOutput:
    curve = TrainingCurve(steps=(), losses=(), validation=())

    def update(current: TrainingCurve) -> None:
        nonlocal curve
        curve = current

    def show(progress: Progress) -> None:
        bar.show(progress, _curve_text(curve) if progress.stage == "steps" else "")

    return run(model, spec, on_progress=show, on_partial=update)


def _curve_text(curve: TrainingCurve) -> str:
    loss = f"loss {curve.losses[-1]:.3f}" if curve.losses else ""
    accuracy = f"validation accuracy {curve.validation[-1].accuracy:.0%}" if curve.validation else ""
    return ", ".join(filter(None, (loss, accuracy)))


def _export(model: LoadedModel, output: FineTuneOutput, args: argparse.Namespace) -> Deltas | None:
    """Writes the files that ``--export`` and ``--adapter`` ask for; returns the weight changes, if any are kept."""
    if output.card is None:
        return None
    from arithmoscope.engine.tuning.deltas import Deltas

    deltas = Deltas.from_bytes(output.artifacts["deltas.safetensors"])
    if args.export is not None:
        deltas.export(model, args.export)
    if args.adapter is not None:
        deltas.export_adapter(model, args.adapter)
    return deltas


def _compare_benchmarks(
    model: LoadedModel, deltas: Deltas | None, tasks: tuple[str, ...], bar: Bar
) -> dict[str, tuple[float, float]]:
    """The scores before and after, by ``task metric``."""
    if not tasks or deltas is None:
        return {}
    bar.stage("public benchmarks")
    before, after = run_benchmarks(model, tasks), run_benchmarks(deltas.apply(model), tasks)
    return {name: (value, after[name]) for name, value in before.items() if name in after}
