"""``arithmoscope inspect``: one analysis in this process, and what is to be seen of it besides the ranking.

The views are the API's, made by the same code: key components, attention, roles, the lens, stages, what a component
writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.analyze import typed_well, writable
from arithmoscope.cli.knockout import valid_set
from arithmoscope.cli.local_run import analysed, loaded
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_SHOTS, CustomPair, CustomPrompts, PromptsSpec, TemplatePrompts
from arithmoscope.contracts.specs import PathPatchingSpec
from arithmoscope.contracts.views import KeyReport, LensReport, RoleReport, StagesReport, WritesReport
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.models.loaded import LoadedModel

_SHOWN = 15
_NAMED = 3  # tokens that are named of what a head looks at, or of what a layer says
_FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def inspect(settings: Settings, told: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Analyse, look, print. Refuses before torch is loaded whatever can be refused by then."""
    prompts, which = _prompts(told, progress), _which(told)
    bar = Bar(progress)
    with writable(told.out, "--out") as target:
        model = loaded(settings, told.model, bar)
        spec = PathPatchingSpec(kind="path_patching", model=told.model, prompts=prompts)
        artifacts = analysed(model, spec, bar.show).artifacts
        bar.say("looking")
        from arithmoscope.engine.experiments.views import view_file

        found = view_file(model, told.view, which, artifacts.__getitem__)
        report = _patterns(model, artifacts, found, told) if told.view == "attention" else json.loads(found)
        bar.end()
        if target is not None:
            target.write_text(json.dumps(report) + "\n", encoding="utf-8")
    if told.json:
        out.write(json.dumps(report) + "\n")
    else:
        out.write("\n".join([_opening(artifacts), "", *_SHOWN_AS[told.view](report)]) + "\n")


def _prompts(told: argparse.Namespace, progress: IO[str]) -> PromptsSpec:
    """One question, a file of them, or a set drawn from templates."""
    if told.prompt is not None and told.file is not None:
        raise Refusal("bad_request", "Both a prompt and a file of prompts are given.", "Give one of them.")
    if not 0 <= told.shots <= MAX_SHOTS:
        raise Refusal("bad_request", f"--shots is {told.shots}.", f"Choose 0 to {MAX_SHOTS} shots.")
    if told.prompt is not None:
        typed_well(told.prompt, told.shots)
        return CustomPrompts(source="custom", pairs=(CustomPair(reference=told.prompt),), shots=told.shots)
    if told.file is not None:
        return CustomPrompts(source="custom", pairs=pairs_of_file(told.file, progress), shots=told.shots)
    asked = {name: getattr(told, name) for name in ("operations", "operands", "pairs", "shots", "seed")}
    valid_set(asked)
    return TemplatePrompts.model_validate({"source": "template", **asked})


def pairs_of_file(file: str, progress: IO[str]) -> tuple[CustomPair, ...]:
    """The usable rows of a file; which others there are is said."""
    from arithmoscope.prompts.sets.uploads import read_upload

    path = Path(file)
    form: Any = _FORMS.get(path.suffix.lower())
    if form is None:
        raise Refusal("bad_setting", f"--file {file} is neither CSV nor JSON lines.", "Name it .csv or .jsonl.")
    try:
        data = path.read_bytes()
    except OSError as error:
        said = f"--file {file} cannot be read: {error.strerror}."
        raise Refusal("bad_setting", said, "Choose another file.") from error
    upload = read_upload(data, form)
    for problem in upload.problems[:_SHOWN]:
        progress.write(f"row {problem.row}: {problem.reason}\n")
    if len(upload.problems) > _SHOWN:
        progress.write(f"and {len(upload.problems) - _SHOWN} more rows that cannot be used\n")
    if not upload.pairs:
        raise Refusal("no_prompts", f"No row of {file} can be used.", "Mend the rows that were named.")
    return upload.pairs


def _which(told: argparse.Namespace) -> str:
    if told.view == "writes":
        if told.component is None:
            raise Refusal("bad_request", "Of which component is not said.", "Add --component MLP19, for instance.")
        return str(Component.parse(told.component))
    return str(told.number) if told.view in ("attention", "lens") else ""


def _patterns(
    model: LoadedModel, artifacts: Mapping[str, bytes], found: bytes, told: argparse.Namespace
) -> dict[str, Any]:
    """One layer of one prompt, as ``GET .../attention`` has it."""
    from safetensors.torch import load

    if not 0 <= told.layer < model.layout.layers:
        raise Refusal("out_of_range", f"There is no layer {told.layer}; the model has {model.layout.layers}.")
    (weights,) = (tensor[told.layer].tolist() for tensor in load(found).values())
    kept = {pair["index"]: pair["reference"] for pair in json.loads(artifacts["result.json"])["pairs"]}
    if told.number not in kept:
        raise Refusal(
            "out_of_range",
            f"Prompt {told.number} is not among those that are in the numbers.",
            f"Choose another --number, such as {min(kept)}.",
        )
    return {"layer": told.layer, "tokens": kept[told.number], "weights": weights}


def _opening(artifacts: Mapping[str, bytes]) -> str:
    result = json.loads(artifacts["result.json"])
    kept, dropped = result["pairs"], len(result["dropped"])
    question = "".join(token["text"] for token in kept[0]["reference"]).split("\n")[-1]
    left = f", {dropped} left out" if dropped else ""
    said = json.dumps(question, ensure_ascii=False)
    right = sum(pair["correct"] for pair in kept)
    prompts = "1 prompt" if len(kept) == 1 else f"{len(kept)} prompts"
    return f"{result['model']['name']}: {prompts} such as {said}, {right} answered rightly{left}"


def _key(told: dict[str, Any]) -> list[str]:
    lines = []
    for table in KeyReport.model_validate(told).tables:
        sure = "too few questions" if table.false_discovery is None else f"{len(table.false_discovery)} components"
        lines += [f"{table.metric} ({table.unit}), {table.questions} questions"]
        lines += [f"  key at a false discovery rate of 5 %: {sure}"]
        if table.threshold is not None:
            lines += [f"  below {table.threshold_at:g}: {len(table.threshold)} ({' '.join(table.threshold)})"]
        lines += [f"  {'':<8} {'mean':>9} {'p':>8} {'q':>8}"]
        for row in table.rows[:_SHOWN]:
            mean, p, q = _said(row.mean, "+.3f"), _said(row.p_value, ".2g"), _said(row.q_value, ".2g")
            lines += [f"  {row.component:<8} {mean:>9} {p:>8} {q:>8}"]
        lines += [""]
    return lines[:-1]


def _roles(told: dict[str, Any]) -> list[str]:
    report = RoleReport.model_validate(told)
    named = [head for head in report.heads if head.head_class != "neither"]
    rule = f"at least {report.times:g} times the mass of shuffled roles and of the average head"
    return [
        "share of the attention at END, mean over the prompts",
        f"{'':<10}{_columns(report.roles)}",
        f"{'average':<10}{_columns(f'{mass:.3f}' for mass in report.average_head)}",
        *(f"{head.component:<10}{_columns(f'{mass:.3f}' for mass in head.mass)}  {head.head_class}" for head in named),
        f"{len(named)} of {len(report.heads)} heads are named: {rule}",
    ]


def _columns(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>11}" for cell in cells)


def _lens(told: dict[str, Any]) -> list[str]:
    report = LensReport.model_validate(told)
    lines = [
        f"the answer {report.answer!r} by layer",
        f"{'layer':>5} {'logit':>8} {'probability':>12} {'rank':>6}  top",
    ]
    for row in report.layers:
        top = " ".join(repr(each.token) for each in row.top[:_NAMED])
        layer = "embed" if row.layer < 0 else str(row.layer)
        lines += [f"{layer:>5} {row.logit:>8.2f} {row.probability:>12.4f} {row.rank:>6}  {top}"]
    return lines


def _stages(told: dict[str, Any]) -> list[str]:
    report = StagesReport.model_validate(told)
    lines = [f"{'layer':>5} {'operands':>9} {'others':>9} {'answer':>9} {'others':>9}"]
    curves = (report.operands, report.operands_other, report.answer, report.answer_other)
    for layer, values in enumerate(zip(*curves, strict=True)):
        lines += [f"{layer:>5} " + " ".join(f"{_said(value, '.3f'):>9}" for value in values)]
    for name in ("start", "inflection", "end"):
        at, between = getattr(report, name), getattr(report, f"{name}_interval")
        interval = "" if between is None else f" [{between[0]:g}, {between[1]:g}]"
        lines += [f"{name}: {'not found' if at is None else f'layer {at}'}{interval}"]
    return [*lines, f"found in {report.found:.0%} of the draws of {report.prompts} prompts"]


def _writes(told: dict[str, Any]) -> list[str]:
    report = WritesReport.model_validate(told)
    lines = [f"{report.component}, mean over {report.prompts} prompts, logits; the answer {report.answer:+.3f}"]
    for name in ("promoted", "suppressed"):
        lines += [f"{name}: " + ", ".join(f"{each.token!r} {each.logit:+.3f}" for each in getattr(report, name))]
    return lines


def _attention(told: dict[str, Any]) -> list[str]:
    lines = [f"layer {told['layer']}: what END looks at most"]
    texts = [token["text"] for token in told["tokens"]]
    for head, weights in enumerate(told["weights"]):
        last = weights[-1]
        most = sorted(range(len(last)), key=lambda at: -last[at])[:_NAMED]
        said = ", ".join(f"{last[at]:.2f} {texts[at]!r} (token {at})" for at in most)
        lines += [f"{Component(told['layer'], head)}: {said}"]
    return lines


def _said(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


_SHOWN_AS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "key": _key,
    "attention": _attention,
    "roles": _roles,
    "lens": _lens,
    "stages": _stages,
    "writes": _writes,
}
