"""``arithmoscope transfer``: heads found on each prompt set, knocked out on every other set."""

from __future__ import annotations

import argparse
import json
from typing import IO, TYPE_CHECKING, Any

from arithmoscope.cli.formatting import csv_table, nested_lists, none_if_nan, number
from arithmoscope.cli.local_run import load_local_model
from arithmoscope.cli.output_files import writable
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_options import possible_template_prompts
from arithmoscope.cli.prompt_set_report import json_facts, set_lines
from arithmoscope.contracts.errors import Refusal
from arithmoscope.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from arithmoscope.engine.methods.transfer import Transfer
    from arithmoscope.engine.models.loaded import LoadedModel
    from arithmoscope.replication.prompt_sets import AnsweredSet


def run_transfer(settings: Settings, args: argparse.Namespace, out: IO[str], progress: IO[str]) -> None:
    """Finds heads on one half of every set, removes them on the other half of every set, and prints the matrix."""
    bar = Bar(progress)
    with writable(args.csv, "--csv") as table, writable(args.out, "--out") as arrays:
        from arithmoscope.replication.prompt_sets import SETS, SetSpec, answer_set

        sets = {row.name: row for row in SETS}
        unknown = next((name for name in args.sets if name not in sets), None)
        if unknown is not None:
            raise Refusal("bad_request", f"There is no set {unknown!r}.", f"Choose among: {'; '.join(sets)}.")
        possible_template_prompts({"shots": args.shots, "pairs": args.pairs})
        model = load_local_model(settings, args.model, bar)
        from arithmoscope.engine.methods.transfer import transfer
        from arithmoscope.replication.key_components import EFFECT

        answered: list[AnsweredSet] = []
        for name in dict.fromkeys(args.sets):
            bar.stage(f"running the prompts of {name}")
            row = sets[name]
            options = {**row.template, "shots": args.shots}
            answered.append(answer_set(model, SetSpec(name, options, row.control, row.place), args.pairs, args.pairs))
        result = transfer(
            model,
            {each.name: each.selection_pairs for each in answered},
            {each.name: each.evaluation_pairs for each in answered},
            top_k=args.top_k,
            effect=EFFECT,
            ablation=args.ablation,
            controls=args.controls,
            progress=lambda done, total: bar.stage(f"set {done} of {total}"),
        )
        bar.end()
        rows = _matrix_rows(result)
        if table is not None:
            table.write_text(csv_table(rows), encoding="utf-8")
        if arrays is not None:
            result.save(arrays)
    if args.json:
        report = {
            "selections": dict(zip(result.found_on, result.selections, strict=True)),
            "found_on": result.found_on,
            "jaccard": nested_lists(result.jaccard),
            "rank_correlation": nested_lists(result.rank_correlation),
            "effect": EFFECT,
            "metric": result.metric,
            "ablation": result.ablation,
            "positions": "end",
            "top_k": args.top_k,
            "controls": args.controls,
            "matrix": rows,
            **json_facts(model, answered),
        }
        out.write(json.dumps(report) + "\n")
    else:
        out.write(_report(model, answered, result))


def _matrix_rows(result: Transfer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for metric in ("accuracy", "probability"):
        matrices = {
            "value": getattr(result, metric),
            "ci_low": getattr(result, f"{metric}_low"),
            "ci_high": getattr(result, f"{metric}_high"),
            "plain": getattr(result, f"plain_{metric}").expand(len(result.found_on), -1),
            "control": getattr(result, f"control_{metric}"),
            "draws_low": getattr(result, f"control_{metric}_low"),
            "draws_high": getattr(result, f"control_{metric}_high"),
        }
        for i, found_on in enumerate(result.found_on):
            for j, evaluated_on in enumerate(result.evaluated_on):
                rows.append(
                    {"found_on": found_on, "evaluated_on": evaluated_on, "metric": metric}
                    | {column: none_if_nan(float(values[i, j])) for column, values in matrices.items()}
                    | {"n_pairs": int(result.pairs[j]), "experiment_id": None}
                    | {"model": result.model, "revision": result.revision}
                )
    return rows


def _report(model: LoadedModel, sets: list[AnsweredSet], result: Transfer) -> str:
    width = max(len("  random heads"), *(len(name) for name in result.evaluated_on))
    lines = [
        f"{model.card.name}: probability of the answer on each column's set, with the heads found on each row's set "
        f"knocked out ({result.ablation} ablation)",
        *set_lines(sets),
    ]
    header = " " * (width + 5) + "".join(f"{f'[{index}]':>8}" for index in range(1, len(result.evaluated_on) + 1))
    lines += ["", header]
    for index, name in enumerate(result.found_on):
        lines.append(f"[{index + 1:>2}] {name:<{width}}{_cells(result.probability[index])}")
        lines.append(f"     {'  random heads':<{width}}{_cells(result.control_probability[index])}")
    lines.append(f"     {'no knockout':<{width}}{_cells(result.plain_probability)}")
    for title, values in (
        ("overlap of the heads found (Jaccard: heads of both sets / heads of either)", result.jaccard),
        ("rank correlation of the effects of all components", result.rank_correlation),
    ):
        lines += ["", title, header]
        lines += [
            f"[{index + 1:>2}] {name:<{width}}{_cells(values[index])}" for index, name in enumerate(result.found_on)
        ]
    lines += ["", "heads found, most negative effect first"]
    lines += [
        f"[{index + 1:>2}] {name:<{width}}  {' '.join(result.selections[index])}"
        for index, name in enumerate(result.found_on)
    ]
    return "\n".join(lines) + "\n"


def _cells(values: Tensor) -> str:
    return "".join(f"{number(value, '.2f'):>8}" for value in values)
