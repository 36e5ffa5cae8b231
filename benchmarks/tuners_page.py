"""What docs/tuning says of the comparison of tuners, made of its numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from arithmoscope.replication.formatting import fmt, markdown_table
from arithmoscope.replication.svg import Line, Panel, panels

Found = dict[str, Any]
Row = tuple[str, float]

_NAMES = {"precise": "precise", "random": "random heads", "lora": "LoRA", "full": "full"}


def rows_of(found: Found) -> dict[Row, list[Found]]:
    """The trainings that were finished, by tuner and rate; one a seed."""
    rows: dict[Row, list[Found]] = {}
    for run in found["runs"]:
        rows.setdefault((run["tuner"], run["rate"]), []).append(run)
    return rows


def page_of(found: Found) -> str:
    """docs/tuning/<model>.md."""
    parts = [_opening(found), _main(found), _shown(found), _sets(found), _costs(found), _closing(found)]
    return "\n\n".join(parts) + "\n"


def figure_of(found: Found) -> str:
    """Validation accuracy while it trains, and the mean loss, by tuner; means over the seeds."""
    every = found["training"]["validate_every"]
    shown = []
    for what, title in (("accuracy", "Answers right"), ("loss", "Loss")):
        lines = []
        for row, runs in rows_of(found).items():
            points = [[point[what] for point in run["validation"]] for run in runs]
            lines.append(Line(_name(row, found), [mean(values) for values in zip(*points, strict=True)]))
        up = "share" if what == "accuracy" else "nats a token"
        shown.append(Panel(f"{title}, validation questions", lines, f"x {every} steps", up))
    return panels("Validation while training", shown, width=460)


def _opening(found: Found) -> str:
    model, prompts, training = found["model"], found["prompts"], found["training"]
    split, low, high = found["runs"][0]["split"], *prompts["operands"]
    short = "\n\n**A quick run: it shows that all parts run, and finds nothing.**" if found["quick"] else ""
    seeds = len({run["seed"] for run in found["runs"]})
    return f"""# Precise fine-tuning of {model["name"]}, beside its controls

Written by `make tuners`; not by hand. All numbers: [{model["id"]}.json]({model["id"]}.json). Model `{model["id"]}`,
revision `{model["revision"][:12]}`. {found["day"]}: {found["machine"]}; {found["software"]}.{short}

Addition and subtraction of numbers from {low} to {high}, with {prompts["shots"]} solved example before each question.
Questions are split by their operands: {split["train"]:,} to train on, {split["validation"]} to look at meanwhile,
{split["test"]} to judge by; no operands are shared. {training["steps"]} steps of {training["batch_size"]} questions,
AdamW, cosine schedule, the same data and steps for all, {seeds} seeds (order of the questions, random heads, LoRA's
start). An answer is right where each of its tokens is the model's first choice.

Precise fine-tuning moves the {len(found["components"])} heads whose removal hurts most (path patching, logit
difference, {found["found_on"]} pairs an operation, on operands that nothing is judged on):
{" ".join(found["components"])}. Their q and o slices, {_share(found)}; no MLP. `random heads`: as many others of the
same layers. `LoRA`: all matrices of all layers, of the rank that gives as many numbers."""


def _share(found: Found) -> str:
    tunable = next(run["tunable"] for run in found["runs"] if run["tuner"] == "precise")
    return f"{tunable['trained']:,} of {tunable['parameters']:,} numbers ({tunable['share']:.2%})"


def _main(found: Found) -> str:
    first = found["runs"][0]
    base = [
        "base",
        "",
        "",
        _percent(first["held_out"]["before"]["mean"]),
        *(_percent(_after(first, name, "before")) for name in ("addition", "subtraction")),
        _percent(_after(first, "one-digit multiplication", "before")),
        _percent(_controls(first, "before")),
        f"{first['neutral']['before']['mean']:.2f}",
        "",
    ]
    rows = [base]
    for row, runs in rows_of(found).items():
        rows.append(
            [
                _name(row, found),
                f"{row[1]:g}",
                f"{runs[0]['tunable']['trained']:,}",
                _over(runs, lambda run: run["held_out"]["after"]["mean"]),
                _over(runs, lambda run: _after(run, "addition")),
                _over(runs, lambda run: _after(run, "subtraction")),
                _over(runs, lambda run: _after(run, "one-digit multiplication")),
                _over(runs, lambda run: _controls(run, "after")),
                _over(runs, lambda run: run["neutral"]["after"]["mean"], ".2f"),
                _over(runs, lambda run: run["neutral"]["divergence"]["mean"], ".3f"),
            ]
        )
    header = (
        "tuner",
        "rate",
        "numbers trained",
        "held out",
        "addition",
        "subtraction",
        "one-digit multiplication",
        "no arithmetic",
        "perplexity",
        "KL",
    )
    n = f"{first['held_out']['n']} held-out questions"
    return f"""## What was gained, and what it cost elsewhere

Share of right answers, mean over the seeds, in brackets the lowest and the highest of them (none: one seed). {n};
"no arithmetic" is the mean over {_control_names(first)}.
Perplexity of {first["neutral"]["tokens"]:,} tokens of plain text, and how far the next-token distribution moved on it
(KL, nats a token).

{markdown_table(header, rows)}

![Validation while training]({found["model"]["id"]}.svg)"""


def _shown(found: Found) -> str:
    """Sentences that the numbers make."""
    rows = rows_of(found)
    gain = {row: mean(run["held_out"]["change"]["mean"] for run in runs) for row, runs in rows.items()}
    precise = next(row for row in rows if row[0] == "precise")
    said = []
    for row in rows:
        if row != precise and gain[precise]:
            said.append(f"{_name(row, found)} {gain[row] / gain[precise]:.0%}")
    lost = []
    for row, runs in rows.items():
        worst = min(
            (mean(_set(run, name)["change"]["mean"] for run in runs), name)
            for name in _names(runs[0], ("arithmetic", "control"))
        )
        lost.append(f"- {_name(row, found)}: {worst[0]:+.0%} at its worst ({worst[1]}); {_significant(runs)}")
    return f"""Of the gain that precise fine-tuning makes on held-out questions ({gain[precise]:+.1%}), the others make:
{", ".join(said)}.

What was lost, set by set (those whose 95 % interval lies below 0, by bootstrap over questions, in how many seeds):

{chr(10).join(lost)}"""


def _significant(runs: Sequence[Found]) -> str:
    fallen = {}
    for name in _names(runs[0], ("arithmetic", "control")):
        times = sum((_set(run, name)["change"]["high"] or 0) < 0 for run in runs)
        if times:
            fallen[name] = times
    return ", ".join(f"{name} in {times}" for name, times in fallen.items()) or "no set in any"


def _sets(found: Found) -> str:
    first, rows = found["runs"][0], rows_of(found)
    table = []
    for name in _names(first, ("arithmetic", "control")):
        one = _set(first, name)
        cells = [
            _over(runs, lambda run, name=name: _set(run, name)["after"]["mean"], brackets=False)
            for runs in rows.values()
        ]
        kind = " (control)" if one["group"] == "control" else ""
        table.append([f"{name}{kind}", one["n"], _percent(one["before"]["mean"]), *cells])
    header = ("set", "n", "base", *(_name(row, found) for row in rows))
    return f"""## Set by set

Four solved examples before each question; questions that were trained on are left out. Means over the seeds.

{markdown_table(header, table)}"""


def _costs(found: Found) -> str:
    disk = {run["tuner"]: run["deltas_bytes"] for run in found["runs"]}
    table = []
    for row in found["costs"]:
        if "problem" in row:
            table.append([_NAMES[row["tuner"]], f"failed: {row['problem']}", "", "", ""])
            continue
        peak = "not measured here" if row["peak_bytes"] is None else _mib(row["peak_bytes"])
        cells = [f"{row['step_s']}", _mib(row["optimiser_bytes"]), peak, _mib(disk[row["tuner"]])]
        table.append([_NAMES[row["tuner"]], *cells])
    batch = found["training"]["batch_size"]
    header = ("tuner", "seconds a step", "moments", "peak beyond the weights", "kept on disk")
    return f"""## What a step costs

{batch} subtractions a step behind as many examples; medians of {found["cost_steps"] - 1} steps, each tuner in a process
of its own. `benchmarks/RESULTS.md` holds the step against what counting products allows.

{markdown_table(header, table)}"""


def _closing(found: Found) -> str:
    minutes = sum(run["seconds"] for run in found["runs"]) / 60
    return f"""## How it was made

{len(found["runs"])} trainings with their evaluations, {minutes:.0f} minutes on that machine (which may have done other
work then; the costs were measured apart). Methods, and when they mislead: [precise
fine-tuning](../methods/fine_tune.md)."""


def _name(row: Row, found: Found) -> str:
    several = sum(other[0] == row[0] for other in rows_of(found)) > 1
    return f"{_NAMES[row[0]]}, {row[1]:g}" if several else _NAMES[row[0]]


def _set(run: Found, name: str) -> Found:
    return next(each for each in run["sets"] if each["name"] == name)


def _names(run: Found, groups: Sequence[str]) -> list[str]:
    return [each["name"] for each in run["sets"] if each["group"] in groups]


def _control_names(run: Found) -> str:
    return ", ".join(_names(run, ("control",)))


def _after(run: Found, name: str, when: str = "after") -> float | None:
    """The share of right answers; None where the set cannot be asked of the model."""
    return _set(run, name)[when]["mean"] if name in {each["name"] for each in run["sets"]} else None


def _controls(run: Found, when: str) -> float | None:
    names = _names(run, ("control",))
    return mean(_set(run, name)[when]["mean"] for name in names) if names else None


def _over(
    runs: Sequence[Found], figure: Callable[[Found], float | None], form: str = ".1%", *, brackets: bool = True
) -> str:
    values = [value for value in map(figure, runs) if value is not None]
    if not values:
        return "n/a"
    said = _form(mean(values), form)
    if len(values) == 1 or not brackets:
        return said
    return f"{said} [{_form(min(values), form)}, {_form(max(values), form)}]"


def _form(value: float, form: str) -> str:
    return _percent(value) if form == ".1%" else format(value, form)


def _percent(value: float | None) -> str:
    return fmt(value, ".1%")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
