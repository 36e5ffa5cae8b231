"""``arithmoscope knockout``: finds components, removes them one after the other, prints the model's accuracy."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.formatting import csv_table, interval, none_if_nan, number
from arithmoscope.cli.local_run import load_local_model
from arithmoscope.cli.output_files import writable
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_options import possible_template_prompts
from arithmoscope.cli.prompt_set_report import json_facts, set_lines
from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import MAX_ANSWER_TOKENS, KnockMetric
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from arithmoscope.engine.measures.knockout_result import Knockout
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.replication.prompt_sets import AnsweredSet

_DEFAULTS = TemplatePrompts(source="template")
_CURVE = ("mean", "low", "high", "control", "control_low", "control_high", "draws_low", "draws_high", "p_value")
_CURVE_COLUMNS = ("mean", "ci_low", "ci_high", *_CURVE[3:])
_METRICS: tuple[KnockMetric, ...] = ("accuracy", "probability", "logit_difference")
_REPLACEMENTS = {"mean": "mean over these prompts", "zero": "zero", "resample": "another prompt's output"}
_POSITIONS = {"end": "the last position", "all": "all positions", "after_first": "all positions but the first"}


def run_knockout(settings: Settings, args: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Finds components on one half of the operands, removes them on the other, and prints the knockout curve."""
    _refuse_answer_options(args)
    options = _prompt_options(args)
    possible_template_prompts(options)
    named = [Component.parse(name) for name in args.components.replace(" ", "").split(",")] if args.components else []
    bar = Bar(progress)
    with writable(args.csv, "--csv") as table, writable(args.out, "--out") as arrays:
        model = load_local_model(settings, args.model, bar)
        from arithmoscope.engine.methods.knockout import knockout
        from arithmoscope.replication.key_components import EFFECT, effects_on, top
        from arithmoscope.replication.prompt_sets import SetSpec, answer_set

        bar.stage("running the prompts")
        prompt_set = SetSpec("the set", options, place=None if args.answer == "each" else 0)
        sides = answer_set(model, prompt_set, args.pairs, args.pairs)
        components = tuple(named)
        if not components:
            bar.stage("patching")
            components = top(effects_on(model, sides.selection_pairs), args.metric, args.among, args.top_k)
            if not components:
                raise Refusal("no_prompts", "No component hurts the answer when it is taken away.")
        bar.stage("knocking out")
        mean_at_end = args.ablation == "mean" and args.positions == "end"
        # With --answer-tokens the model generates whole answers; otherwise one token of the answer is measured.
        generates = args.answer_tokens is not None
        mean_over, evaluated = (
            (sides.selection_questions, sides.evaluation_questions)
            if generates
            else (sides.selection_pairs, sides.evaluation_pairs)
        )
        result = knockout(
            model,
            evaluated,
            components,
            ablation=args.ablation,
            positions=args.positions,
            controls=args.controls,
            seed=args.seed,
            # The mean is over other prompts than the evaluated ones. END exists in prompts of any length.
            mean_over=mean_over if mean_at_end else None,
            answer_tokens=args.answer_tokens,
        )
        bar.end()
        # Questions with the same operands, and the tokens of one answer, are not independent: resample operands.
        resampled = replace(result, questions=sides.evaluation_operands)
        rows = _curve_rows(resampled)
        if table is not None:
            table.write_text(csv_table(rows), encoding="utf-8")
        if arrays is not None:
            result.save(arrays)
    if args.json:
        report = {
            "components": result.components,
            # The selection rule; null if the components were named.
            "effect": None if named else EFFECT,
            "metric": None if named else args.metric,
            "among": None if named else args.among,
            "ablation": result.ablation,
            "positions": result.positions,
            "seed": result.seed,
            "answer": args.answer,
            "answer_tokens": args.answer_tokens,
            "controls": result.controls,
            "curves": rows,
            **json_facts(model, [sides]),
        }
        out.write(json.dumps(report) + "\n")
    else:
        out.write(_report(model, sides, resampled))


def _refuse_answer_options(args: argparse.Namespace) -> None:
    if args.answer_tokens is None:
        return
    if not 1 <= args.answer_tokens <= MAX_ANSWER_TOKENS:
        detail = f"--answer-tokens is {args.answer_tokens}; it must be 1 to {MAX_ANSWER_TOKENS}."
        raise Refusal("bad_request", detail, "Choose another number.")
    if args.answer == "each":
        detail = "--answer each gives the model the answer's earlier tokens; with --answer-tokens it generates them."
        raise Refusal("bad_request", detail, "Choose one of the two options.")


def _prompt_options(args: argparse.Namespace) -> dict[str, Any]:
    names = ("operations", "styles", "operands", "topic", "wording", "numerals", "decimals", "corruption", "seed")
    options: dict[str, Any] = {name: getattr(args, name) for name in (*names, "shots", "pairs")}
    options["answer"] = "whole" if args.answer == "whole" and args.answer_tokens is None else "each"
    # Other topics have their own styles and operands.
    if args.topic != _DEFAULTS.topic and args.styles == ["equation"]:
        options.pop("styles")
    if args.topic != _DEFAULTS.topic and args.operands == [0, 9]:
        options.pop("operands")
    return options


def _curve_rows(result: Knockout) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    metrics: list[KnockMetric] = [*_METRICS, *(("exact_match",) if result.exact is not None else ())]
    for metric in metrics:
        curve = result.curve(metric)
        cells = {column: getattr(curve, name).tolist() for column, name in zip(_CURVE_COLUMNS, _CURVE, strict=True)}
        for k in range(len(curve.mean)):
            rows.append(
                {"k": k, "component": result.components[k - 1] if k else None, "metric": metric}
                | {column: none_if_nan(values[k]) for column, values in cells.items()}
                | {"n_pairs": len(result), "draws": len(result.controls), "experiment_id": None}
                | {"model": result.model, "revision": result.revision}
            )
    return rows


def _report(model: LoadedModel, sides: AnsweredSet, result: Knockout) -> str:
    draws, operands = len(result.controls), len(set(result.questions))
    mean_of_others = result.ablation == "mean" and result.positions == "end"
    lines = [
        f"{model.card.name}: knockout at {_POSITIONS[result.positions]}",
        f"Replaced with: {'mean over the other half' if mean_of_others else _REPLACEMENTS[result.ablation]}",
        f"Random controls: {draws}",
        *set_lines([sides]),
        "",
        f"95 %: bootstrap interval over {operands} distinct operand sets; random: mean of the random controls and the "
        "range of 95 % of them; p: how often a control hurts as much",
    ]
    titles: dict[KnockMetric, str] = {"accuracy": "accuracy", "probability": "probability"}
    if result.exact is not None:
        titles["exact_match"] = "whole answer"
    for metric, title in titles.items():
        curve = result.curve(metric)
        lines += ["", f"{'k':>3}  {'removed':<8} {title:>12} {'95 %':>14} {'random':>8} {'95 %':>14} {'p':>6}"]
        for k in range(len(curve.mean)):
            name = result.components[k - 1] if k else "none"
            lines.append(
                f"{k:>3}  {name:<8} {number(curve.mean[k]):>12} {interval(curve.low[k], curve.high[k]):>14} "
                f"{number(curve.control[k]):>8} {interval(curve.draws_low[k], curve.draws_high[k]):>14} "
                f"{number(curve.p_value[k], '.2f'):>6}"
            )
    lines.append(f"noise floor {float(result.noise.max()):.1e} logits")
    return "\n".join(lines) + "\n"
