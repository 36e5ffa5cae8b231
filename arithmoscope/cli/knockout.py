"""``arithmoscope knockout`` and ``arithmoscope transfer``: in this process, with no server."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.analyze import writable
from arithmoscope.cli.local_run import loaded
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from arithmoscope.engine.measures.knockout_result import Knockout
    from arithmoscope.engine.methods.transfer import Transfer
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.replication.prompt_sets import AnsweredSet

_PLAIN = TemplatePrompts(source="template")
_CURVE = ("mean", "low", "high", "control", "control_low", "control_high", "draws_low", "draws_high", "p_value")
_CURVE_COLUMNS = ("mean", "ci_low", "ci_high", *_CURVE[3:])
_METRICS = ("accuracy", "probability", "logit_difference")


def run_knockout(settings: Settings, told: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Find the components on one half of the operands, take them out on the other, print the curve."""
    _refuse_answers(told)
    asked = {
        "operations": told.operations,
        "styles": told.styles,
        "operands": told.operands,
        "answer": "whole" if told.answer == "whole" and told.answer_tokens is None else "each",
        **{name: getattr(told, name) for name in ("topic", "wording", "numerals", "decimals", "corruption", "seed")},
    }
    if told.topic != _PLAIN.topic and told.styles == ["equation"]:
        asked.pop("styles")
    if told.topic != _PLAIN.topic and told.operands == [0, 9]:
        asked.pop("operands")
    spec = {**asked, "shots": told.shots, "pairs": told.pairs}
    valid_set(spec)
    named = [Component.parse(name) for name in told.components.replace(" ", "").split(",")] if told.components else []
    bar = Bar(progress)
    with writable(told.csv, "--csv") as table, writable(told.out, "--out") as arrays:
        model = loaded(settings, told.model, bar)
        from arithmoscope.engine.methods.knockout import knockout
        from arithmoscope.replication.key_components import EFFECT, effects_on, top
        from arithmoscope.replication.prompt_sets import SetSpec, answer_set

        bar.say("asking")
        row = SetSpec("the set", spec, place=None if told.answer == "each" else 0)
        sides = answer_set(model, row, told.pairs, told.pairs)
        components = tuple(named)
        if not components:
            bar.say("patching")
            components = top(effects_on(model, sides.found), told.metric, told.among, told.top_k)
            if not components:
                raise Refusal("no_prompts", "No component hurts the answer when it is taken away.")
        bar.say("knocking out")
        at_end = told.ablation == "mean" and told.positions == "end"
        # Written out, an answer is whole; otherwise one of its tokens is asked for.
        written = told.answer_tokens is not None
        over, judged = (sides.found_drawn, sides.judged_drawn) if written else (sides.found, sides.judged)
        found = knockout(
            model,
            judged,
            components,
            ablation=told.ablation,
            positions=told.positions,
            controls=told.controls,
            seed=told.seed,
            # Over other prompts than those that are judged; prompts of all lengths have an END in common.
            mean_over=over if at_end else None,
            answer_tokens=told.answer_tokens,
        )
        bar.end()
        # Questions about the same operands, and the tokens of one answer, are not independent.
        counted = replace(found, questions=sides.judged_operands)
        rows = _curve_rows(counted)
        if table is not None:
            table.write_text(_as_csv(rows), encoding="utf-8")
        if arrays is not None:
            found.save(arrays)
    if told.json:
        said = {
            "components": found.components,
            # How they were found; nothing where they were named.
            "effect": None if named else EFFECT,
            "metric": None if named else told.metric,
            "among": None if named else told.among,
            "ablation": found.ablation,
            "positions": found.positions,
            "seed": found.seed,
            "answer": told.answer,
            "answer_tokens": told.answer_tokens,
            "controls": found.controls,
            "curves": rows,
            **_facts(model, [sides]),
        }
        out.write(json.dumps(said) + "\n")
    else:
        out.write(_knocked(model, sides, counted))


def _refuse_answers(told: argparse.Namespace) -> None:
    if told.answer_tokens is None:
        return
    if not 1 <= told.answer_tokens <= MAX_ANSWER_TOKENS:
        detail = f"--answer-tokens is {told.answer_tokens}; it is from 1 to {MAX_ANSWER_TOKENS}."
        raise Refusal("bad_request", detail, "Choose another number.")
    if told.answer == "each":
        detail = "--answer each gives the tokens before the one asked for; --answer-tokens has them written."
        raise Refusal("bad_request", detail, "Choose one of them.")


def run_transfer(settings: Settings, told: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Heads found on one half of every set, out on the other half of every set."""
    bar = Bar(progress)
    with writable(told.csv, "--csv") as table, writable(told.out, "--out") as arrays:
        from arithmoscope.replication.prompt_sets import SETS, SetSpec, answer_set

        known = {row.name: row for row in SETS}
        unknown = next((name for name in told.sets if name not in known), None)
        if unknown is not None:
            raise Refusal("bad_request", f"There is no set {unknown!r}.", f"Choose among: {'; '.join(known)}.")
        valid_set({"shots": told.shots, "pairs": told.pairs})
        model = loaded(settings, told.model, bar)
        from arithmoscope.engine.methods.transfer import transfer
        from arithmoscope.replication.key_components import EFFECT

        asked = []
        for name in dict.fromkeys(told.sets):
            bar.say(f"asking {name}")
            row = known[name]
            spec = {**row.template, "shots": told.shots}
            asked.append(answer_set(model, SetSpec(name, spec, row.control, row.place), told.pairs, told.pairs))
        found = transfer(
            model,
            {each.name: each.found for each in asked},
            {each.name: each.judged for each in asked},
            top_k=told.top_k,
            effect=EFFECT,
            ablation=told.ablation,
            controls=told.controls,
            progress=lambda done, total: bar.say(f"set {done} of {total}"),
        )
        bar.end()
        rows = _matrix_rows(found)
        if table is not None:
            table.write_text(_as_csv(rows), encoding="utf-8")
        if arrays is not None:
            found.save(arrays)
    if told.json:
        said = {
            "selections": dict(zip(found.found_on, found.selections, strict=True)),
            "found_on": found.found_on,
            "jaccard": _nested(found.jaccard),
            "rank_correlation": _nested(found.rank_correlation),
            "effect": EFFECT,
            "metric": found.metric,
            "ablation": found.ablation,
            "positions": "end",
            "top_k": told.top_k,
            "controls": told.controls,
            "matrix": rows,
            **_facts(model, asked),
        }
        out.write(json.dumps(said) + "\n")
    else:
        out.write(_carried(model, asked, found))


def valid_set(asked: dict[str, Any]) -> None:
    """Refuses a set that cannot be, before the model is loaded."""
    from pydantic import ValidationError

    from arithmoscope.prompts.sets.topics import refuse_impossible_set

    try:
        refuse_impossible_set(TemplatePrompts.model_validate({"source": "template", **asked}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = " ".join(str(part) for part in first["loc"])
        raise Refusal("bad_request", f"{where}: {first['msg']}.", "Ask for another set.") from error


def _facts(model: LoadedModel, sets: list[AnsweredSet]) -> dict[str, Any]:
    names = ("name", "control", "example", "n", "right", "kept_wrong")
    counts = []
    for each in sets:
        sides = {"found": each.found_operands, "judged": each.judged_operands}
        counts.append(
            {name: getattr(each, name) for name in names}
            | {side: len(operands) for side, operands in sides.items()}
            | {f"{side}_operands": len(set(operands)) for side, operands in sides.items()}
        )
    return {"model": model.card.id, "revision": model.card.revision, "dtype": model.precision, "sets": counts}


def _curve_rows(found: Knockout) -> list[dict[str, Any]]:
    rows = []
    for metric in (*_METRICS, *(("exact_match",) if found.exact is not None else ())):
        curve = found.curve(metric)
        cells = {column: getattr(curve, name).tolist() for column, name in zip(_CURVE_COLUMNS, _CURVE, strict=True)}
        for k in range(len(curve.mean)):
            rows.append(
                {"k": k, "component": found.components[k - 1] if k else None, "metric": metric}
                | {column: _or_none(values[k]) for column, values in cells.items()}
                | {"n_pairs": len(found), "draws": len(found.controls), "experiment_id": None}
                | {"model": found.model, "revision": found.revision}
            )
    return rows


def _matrix_rows(found: Transfer) -> list[dict[str, Any]]:
    rows = []
    for metric in ("accuracy", "probability"):
        at = {
            "value": getattr(found, metric),
            "ci_low": getattr(found, f"{metric}_low"),
            "ci_high": getattr(found, f"{metric}_high"),
            "plain": getattr(found, f"plain_{metric}").expand(len(found.found_on), -1),
            "control": getattr(found, f"control_{metric}"),
            "draws_low": getattr(found, f"control_{metric}_low"),
            "draws_high": getattr(found, f"control_{metric}_high"),
        }
        for one, found_on in enumerate(found.found_on):
            for other, evaluated_on in enumerate(found.evaluated_on):
                rows.append(
                    {"found_on": found_on, "evaluated_on": evaluated_on, "metric": metric}
                    | {column: _or_none(float(values[one, other])) for column, values in at.items()}
                    | {"n_pairs": int(found.pairs[other]), "experiment_id": None}
                    | {"model": found.model, "revision": found.revision}
                )
    return rows


def _or_none(value: float) -> float | None:
    return value if value == value else None


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _opening(sets: list[AnsweredSet]) -> list[str]:
    lines = []
    for each in sets:
        kept = "all kept" if each.kept_wrong else "wrong ones left out"
        sides = f"found on {_of(each.found_operands)}, judged on {_of(each.judged_operands)}"
        lines.append(f"{each.name}, such as {each.example}: {each.right} of {each.n} right, {kept}; {sides}")
    return lines


def _of(operands: Sequence[str]) -> str:
    return f"{len(operands)} ({len(set(operands))} sets of operands)"


def _nested(values: Tensor) -> list[list[float | None]]:
    return [[_or_none(value) for value in row] for row in values.tolist()]


def _knocked(model: LoadedModel, sides: AnsweredSet, found: Knockout) -> str:
    draws, operands = len(found.controls), len(set(found.questions))
    lines = [
        f"{model.card.name}: {found.ablation} ablation, positions {found.positions}",
        *_opening([sides]),
        f"95 % by bootstrap over {operands} sets of operands; random: {draws} draws, where 95 % of them lie, and "
        "p by how many hurt as much",
    ]
    shown = {"accuracy": "accuracy", "probability": "probability"}
    for metric, title in (shown | ({"exact_match": "whole answer"} if found.exact is not None else {})).items():
        curve = found.curve(metric)
        lines += ["", f"{'k':>3}  {'out':<8} {title:>12} {'95 %':>14} {'random':>8} {'draws':>14} {'p':>6}"]
        for k in range(len(curve.mean)):
            name = found.components[k - 1] if k else "nothing"
            lines.append(
                f"{k:>3}  {name:<8} {_said(curve.mean[k]):>12} {_between(curve.low[k], curve.high[k]):>14} "
                f"{_said(curve.control[k]):>8} {_between(curve.draws_low[k], curve.draws_high[k]):>14} "
                f"{_said(curve.p_value[k], '.2f'):>6}"
            )
    lines.append(f"noise floor {float(found.noise.max()):.1e} logits")
    return "\n".join(lines) + "\n"


def _said(value: Tensor | float, form: str = ".3f") -> str:
    known = _or_none(float(value))
    return "n/a" if known is None else format(known, form)


def _between(low: Tensor, high: Tensor) -> str:
    return "n/a" if _or_none(float(low)) is None else f"{_said(low)} to {_said(high)}"


def _carried(model: LoadedModel, sets: list[AnsweredSet], found: Transfer) -> str:
    width = max(len("  random heads"), *(len(name) for name in found.evaluated_on))
    lines = [
        f"{model.card.name}: probability of the answer, heads of a row out ({found.ablation} ablation)",
        *_opening(sets),
    ]
    header = " " * (width + 5) + "".join(f"{f'[{number}]':>8}" for number in range(1, len(found.evaluated_on) + 1))
    lines += ["", header]
    for number, name in enumerate(found.found_on):
        lines.append(f"[{number + 1:>2}] {name:<{width}}{_cells(found.probability[number])}")
        lines.append(f"     {'  random heads':<{width}}{_cells(found.control_probability[number])}")
    lines.append(f"     {'nothing out':<{width}}{_cells(found.plain_probability)}")
    for title, values in (
        ("heads of both of all heads of either (Jaccard)", found.jaccard),
        ("rank correlation of the effects of all components", found.rank_correlation),
    ):
        lines += ["", title, header]
        lines += [
            f"[{number + 1:>2}] {name:<{width}}{_cells(values[number])}" for number, name in enumerate(found.found_on)
        ]
    lines += ["", "heads found, the one that hurts most first"]
    lines += [
        f"[{number + 1:>2}] {name:<{width}}  {' '.join(found.selections[number])}"
        for number, name in enumerate(found.found_on)
    ]
    return "\n".join(lines) + "\n"


def _cells(values: Tensor) -> str:
    return "".join(f"{_said(value, '.2f'):>8}" for value in values)
