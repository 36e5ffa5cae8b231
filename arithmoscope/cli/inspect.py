"""``arithmoscope inspect``: runs an analysis in this process and prints one view of it.

The views are those of the API, computed by the same code: key components, attention, roles, the logit lens, stages, and
the output of a component ("writes").
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.formatting import answered, number
from arithmoscope.cli.local_run import check, load_local_model, locate_model, run
from arithmoscope.cli.output_files import writable
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_flags import prompts_of
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.contracts.views import VIEWS, KeyReport, LensReport, RoleReport, StagesReport, WritesReport
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

# Rows of a printed table.
_LISTED = 15
# Tokens listed per head or layer.
_TOKENS = 3


def inspect(settings: Settings, args: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Runs the analysis and prints the view. Checks as much as possible before torch is loaded."""
    parameter = _view_parameter(args)
    prompts = prompts_of(args, "inspect", progress, default=TemplatePrompts(source="template"))
    spec = PathPatchingSpec(kind="path_patching", model=args.model, prompts=prompts)
    bar = Bar(progress)
    with writable(args.out, "--out") as target:
        check(settings, locate_model(settings, args.model, bar), spec)
        model = load_local_model(settings, args.model, bar)
        output = run(model, spec, on_progress=bar.show)
        artifacts = output.artifacts
        bar.stage("computing the view")
        from arithmoscope.engine.experiments.views import view_file

        view = view_file(model, args.view, parameter, artifacts.__getitem__)
        report = _attention_layer(model, artifacts, view, args) if args.view == "attention" else json.loads(view)
        bar.end()
        if target is not None:
            target.write_text(json.dumps(report) + "\n", encoding="utf-8")
    if args.json:
        out.write(json.dumps(report) + "\n")
    else:
        out.write("\n".join([_summary(output.result), "", *_REPORTS.get(args.view, _plain)(report)]) + "\n")


def _view_parameter(args: argparse.Namespace) -> str:
    """The parameter of the view: a component, a prompt's number, or none."""
    parameter = VIEWS[args.view].parameter
    if parameter == "component":
        if args.component is None:
            raise Refusal(
                "bad_request", f"The view {args.view!r} needs a component.", "Add --component, such as MLP19."
            )
        return str(Component.parse(args.component))
    return str(args.number) if parameter == "prompt" else ""


def _attention_layer(
    model: LoadedModel, artifacts: Mapping[str, bytes], view: bytes, args: argparse.Namespace
) -> dict[str, Any]:
    """One layer of one prompt, in the form of ``GET .../attention``."""
    from safetensors.torch import load

    if not 0 <= args.layer < model.layout.layers:
        raise Refusal("out_of_range", f"There is no layer {args.layer}; the model has {model.layout.layers}.")
    (weights,) = (tensor[args.layer].tolist() for tensor in load(view).values())
    kept = {pair["index"]: pair["reference"] for pair in json.loads(artifacts["result.json"])["pairs"]}
    if args.number not in kept:
        raise Refusal(
            "out_of_range",
            f"Prompt {args.number} is not part of the result.",
            f"Choose another --number, such as {min(kept)}.",
        )
    return {"layer": args.layer, "tokens": kept[args.number], "weights": weights}


def _summary(result: PathPatchingResult) -> str:
    question = "".join(token.text for token in result.pairs[0].reference).split("\n")[-1]
    return f"{result.model.name}: {answered(result)}; for example {json.dumps(question, ensure_ascii=False)}"


def _plain(view: dict[str, Any]) -> list[str]:
    return [f"{name.replace('_', ' ')}: {value}" for name, value in view.items()]


def _key(view: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for table in KeyReport.model_validate(view).tables:
        passed = "too few questions" if table.false_discovery is None else f"{len(table.false_discovery)} components"
        lines += [f"{table.metric} ({table.unit}), {table.questions} questions"]
        lines += [f"  key at a false discovery rate of 5 %: {passed}"]
        if table.threshold is not None:
            lines += [f"  below {table.threshold_at:g}: {len(table.threshold)} ({' '.join(table.threshold)})"]
        lines += [f"  {'':<8} {'mean':>9} {'p':>8} {'q':>8}"]
        for row in table.rows[:_LISTED]:
            mean, p, q = number(row.mean, "+.3f"), number(row.p_value, ".2g"), number(row.q_value, ".2g")
            lines += [f"  {row.component:<8} {mean:>9} {p:>8} {q:>8}"]
        lines += [""]
    return lines[:-1]


def _roles(view: dict[str, Any]) -> list[str]:
    report = RoleReport.model_validate(view)
    classified = [head for head in report.heads if head.head_class != "neither"]
    rule = f"at least {report.times:g} times the mass expected from shuffled roles and that of the average head"
    return [
        "share of the attention from END, mean over the prompts",
        f"{'':<10}{_columns(report.roles)}",
        f"{'average':<10}{_columns(f'{mass:.3f}' for mass in report.average_head)}",
        *(
            f"{head.component:<10}{_columns(f'{mass:.3f}' for mass in head.mass)}  {head.head_class}"
            for head in classified
        ),
        f"{len(classified)} of {len(report.heads)} heads are operand or operator heads: {rule}",
    ]


def _columns(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>11}" for cell in cells)


def _lens(view: dict[str, Any]) -> list[str]:
    report = LensReport.model_validate(view)
    lines = [
        f"logit lens: the answer {report.answer!r} by layer",
        f"{'layer':>5} {'logit':>8} {'probability':>12} {'rank':>6}  top",
    ]
    for row in report.layers:
        top = " ".join(repr(each.token) for each in row.top[:_TOKENS])
        layer = "embed" if row.layer < 0 else str(row.layer)
        lines += [f"{layer:>5} {row.logit:>8.2f} {row.probability:>12.4f} {row.rank:>6}  {top}"]
    return lines


def _stages(view: dict[str, Any]) -> list[str]:
    report = StagesReport.model_validate(view)
    lines = [f"{'layer':>5} {'operands':>9} {'others':>9} {'answer':>9} {'others':>9}"]
    curves = (report.operands, report.operands_other, report.answer, report.answer_other)
    for layer, values in enumerate(zip(*curves, strict=True)):
        lines += [f"{layer:>5} " + " ".join(f"{number(value):>9}" for value in values)]
    for name in ("start", "inflection", "end"):
        layer, interval = getattr(report, name), getattr(report, f"{name}_interval")
        between = "" if interval is None else f" [{interval[0]:g}, {interval[1]:g}]"
        lines += [f"{name}: {'not found' if layer is None else f'layer {layer}'}{between}"]
    return [*lines, f"found in {report.found:.0%} of the bootstrap draws of {report.prompts} prompts"]


def _writes(view: dict[str, Any]) -> list[str]:
    report = WritesReport.model_validate(view)
    lines = [
        f"output of {report.component} as logits, mean over {report.prompts} prompts; the answer {report.answer:+.3f}"
    ]
    for name in ("promoted", "suppressed"):
        lines += [f"{name}: " + ", ".join(f"{each.token!r} {each.logit:+.3f}" for each in getattr(report, name))]
    return lines


def _attention(view: dict[str, Any]) -> list[str]:
    lines = [f"layer {view['layer']}: tokens with the largest attention from END"]
    texts = [token["text"] for token in view["tokens"]]
    for head, weights in enumerate(view["weights"]):
        last = weights[-1]
        largest = sorted(range(len(last)), key=lambda index: -last[index])[:_TOKENS]
        tokens = ", ".join(f"{last[index]:.2f} {texts[index]!r} (token {index})" for index in largest)
        lines += [f"{Component(view['layer'], head)}: {tokens}"]
    return lines


_REPORTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "key": _key,
    "attention": _attention,
    "roles": _roles,
    "lens": _lens,
    "stages": _stages,
    "writes": _writes,
}
