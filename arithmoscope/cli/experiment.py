"""The commands of the kinds of experiment: build the spec, check it, run it as a worker does, print the report.

A kind's flags are the fields of its spec. `fine-tune` has more: `arithmoscope.cli.fine_tune`.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import IO, Any
from urllib.parse import quote

from arithmoscope.checks import check_options
from arithmoscope.cli.local_run import LOCAL_ANALYSIS, check, load_local_model, locate_model, run
from arithmoscope.cli.output_files import metadata_file, writable, write_atomically
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_flags import add_prompts, prefixes_for, prompts_of
from arithmoscope.cli.prompt_options import half_of, possible_template_prompts
from arithmoscope.cli.reports import report_of
from arithmoscope.cli.spec_flags import add_fields, given, validated
from arithmoscope.contracts.csvw import csv_metadata
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds import KINDS, ExperimentSpec, PathPatchingSpec
from arithmoscope.contracts.kinds.base import BINARY, CSV, RESULT, ExperimentKind
from arithmoscope.contracts.kinds.transfer import EVALUATED_ON, NAMED_SETS
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.contracts.terms import DEFAULT_METRIC
from arithmoscope.contracts.topics import CONTROL_TOPICS
from arithmoscope.settings import Settings

DEFAULT_MODEL = "smollm2-135m"
# Fields that are no flags of their own.
_SUBJECTS = frozenset({"kind", "model", "parent", "prompts", "found_on", "evaluated_on", "validation", "test"})
# Options of the analysis that a kind on an analysis begins with, besides its prompts.
_ANALYSIS = ("effect",)
# Options of a transfer's sets that apply to all of them.
_OF_ALL_SETS = ("pairs", "shots")


def own_fields(kind: ExperimentKind) -> tuple[str, ...]:
    """The fields of a kind's spec that are flags of its command."""
    return tuple(name for name in kind.spec.model_fields if name not in _SUBJECTS)


def add_model(parser: ArgumentParser) -> None:
    """Adds ``--model``."""
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="ID", help=f"model to run ({DEFAULT_MODEL})")


def add_experiment(commands: Any, kind: ExperimentKind) -> None:
    """Adds the command of a kind and its flags."""
    parser = commands.add_parser(kind.command, help=kind.help, description=(kind.spec.__doc__ or "").split("\n\n")[0])
    add_model(parser)
    fields = own_fields(kind)
    add_fields(parser, kind.spec, fields)
    if "found_on" in kind.spec.model_fields:
        names = ", ".join(map(repr, NAMED_SETS))
        parser.add_argument("--sets", nargs="+", metavar="NAME", help=f"prompt sets, some of: {names}")
        add_fields(parser, TemplatePrompts, _OF_ALL_SETS, defaults=False)
    else:
        if kind.parent == "required":
            add_fields(parser, PathPatchingSpec, _ANALYSIS)
            parser.add_argument(
                "--held-out",
                action="store_true",
                help="find components on one half of the operands, and measure on the other",
            )
        add_prompts(parser, prefixes_for(fields))
    parser.add_argument("--csv", metavar="FILE", help="write the numbers to FILE as CSV")
    parser.add_argument("--out", metavar="FILE", help="write the arrays to FILE")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")


def specs_of(
    kind: ExperimentKind, args: Namespace, progress: IO[str]
) -> tuple[ExperimentSpec, PathPatchingSpec | None]:
    """The spec of a command, and that of the analysis it begins with, if any. Raises Refusal if there is none."""
    fields = own_fields(kind)
    values: dict[str, Any] = {"kind": kind.name, **given(args, fields)}
    if "found_on" in kind.spec.model_fields:
        return validated(kind.spec, values | {"model": args.model} | _sets(args, kind), kind.command), None  # pyright: ignore[reportReturnType]
    prefixes = prefixes_for(fields)
    prompts = prompts_of(args, kind.command, progress, prefixes, default=TemplatePrompts(source="template"))
    if kind.parent != "required":
        values |= {"model": args.model, "prompts": prompts}
        return validated(kind.spec, values, kind.command), None  # pyright: ignore[reportReturnType]
    if args.held_out:
        values["prompts"] = _half(prompts, "second")
        prompts = _half(prompts, "first")
    analysis = {"kind": "path_patching", "model": args.model, "prompts": prompts, **given(args, _ANALYSIS)}
    spec = validated(kind.spec, {**values, "parent": LOCAL_ANALYSIS}, kind.command)
    return spec, validated(PathPatchingSpec, analysis, kind.command)  # pyright: ignore[reportReturnType]


def run_experiment(settings: Settings, args: Namespace, out: IO[str], progress: IO[str]) -> None:
    """Runs the command of a kind. Everything that can be refused is refused before PyTorch is imported."""
    kind = next(kind for kind in KINDS.values() if kind.command == args.command)
    spec, analysed = specs_of(kind, args, progress)
    check_options(spec, analysed)
    bar = Bar(progress)
    with (
        writable(args.csv, "--csv") as table,
        writable(metadata_file(table) if isinstance(spec, PathPatchingSpec) else None, "--csv") as metadata,
        writable(args.out, "--out") as arrays,
    ):
        place = locate_model(settings, args.model, bar)
        if analysed is not None:
            check(settings, place, analysed)
        check(settings, place, spec, analysed)
        model = load_local_model(settings, args.model, bar)
        parent = None if analysed is None else run(model, analysed, on_progress=bar.show).artifacts
        output = run(model, spec, parent=parent, on_progress=bar.show)
        bar.end()
        files: dict[str, bytes] = output.artifacts
        for path, media_type in ((table, CSV), (arrays, BINARY)):
            if path is not None:
                write_atomically(path, files[_main_file(kind, media_type, files)])
        if table is not None and metadata is not None:
            # The file name serves as a URL here, in which "#" and "?" have a meaning.
            text = csv_metadata(output.result, DEFAULT_METRIC, quote(table.name))
            write_atomically(metadata, text.encode())
    out.write(files[RESULT].decode() + "\n" if args.json else report_of(kind.name)(output.result, files))
    if not output.result.complete:
        out.flush()
        raise KeyboardInterrupt


def _main_file(kind: ExperimentKind, media_type: str, files: dict[str, bytes]) -> str:
    """The name of the first artifact of this type; the ranking for an analysis's CSV."""
    names = (artifact.name for artifact in kind.artifacts if artifact.media_type == media_type)
    return next((name for name in names if name in files), f"components.{DEFAULT_METRIC}.csv")


def _half(prompts: Any, half: str) -> Any:
    if isinstance(prompts, TemplatePrompts):
        return prompts.model_copy(update={"half": half})
    return half_of(prompts, half)


def _sets(args: Namespace, kind: ExperimentKind) -> dict[str, Any]:
    """The sets of a transfer: controls are not among those that heads are found on."""
    changes = given(args, _OF_ALL_SETS)
    if args.sets is None and not changes:
        return {}
    names = dict.fromkeys(args.sets or EVALUATED_ON)
    unknown = next((name for name in names if name not in NAMED_SETS), None)
    if unknown is not None:
        raise Refusal("bad_request", f"--sets: there is no set {unknown!r}.", f"Choose among: {'; '.join(NAMED_SETS)}.")
    sets = [
        possible_template_prompts({**NAMED_SETS[name].model_dump(exclude_unset=True, exclude={"source"}), **changes})
        for name in names
    ]
    found = tuple(each for each in sets if each.topic not in CONTROL_TOPICS)
    if not found:
        raise Refusal("no_prompts", "--sets names controls alone.", "Add a set with arithmetic, such as addition.")
    return {"found_on": found, "evaluated_on": tuple(sets)}
