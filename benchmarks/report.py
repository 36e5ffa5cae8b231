"""What was measured, as RESULTS.md and the README show it, and the promises that it is held to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.knockout import knockout_section
from benchmarks.tuning import tuning_section

# The part of the README that is written here.
OPENING = "<!-- benchmark: written by make bench -->"
CLOSING = "<!-- /benchmark -->"
_MIB = 2**20
Found = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """A bound that the measured figures keep."""

    says: str
    value: Callable[[Found], float | None]
    least: float | None = None
    most: float | None = None

    def kept(self, found: Found) -> bool | None:
        """None where it was not measured."""
        value = self.value(found)
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def _of(case: str, figure: str) -> Callable[[Found], float | None]:
    def read(found: Found) -> float | None:
        return next((row[figure] for row in found.get("effects", []) if row["case"] == case), None)

    return read


def _of_knockout(figure: str) -> Callable[[Found], float | None]:
    return lambda found: (found.get("knockout") or {}).get(figure)


def _of_tuning(figure: str) -> Callable[[Found], float | None]:
    return lambda found: (found.get("tuning") or {}).get(figure)


def _largest_difference(found: Found) -> float | None:
    others = [row for tool in found.get("competitors", []) for row in tool.get("effects", [])]
    return max((row["largest_difference"] for row in [*found.get("effects", []), *others]), default=None)


def _largest_peak(found: Found) -> float | None:
    """The largest share of its budget that a row took; infinite when a row could not be run at all."""
    growth = found.get("growth") or {"rows": []}
    if any("problem" in row for row in growth["rows"]):
        return math.inf
    peaks = [row.get("peak_bytes") for row in growth["rows"]]
    return None if not peaks or None in peaks else max(peaks) / growth["budget_bytes"]


PROMISES = (
    Promise("`direct`: times faster than the loop", _of("direct", "faster_than_loop"), least=250),
    Promise("`through_mlps`: times faster than the loop", _of("through_mlps", "faster_than_loop"), least=45),
    Promise("`total` at END: times faster than the loop", _of("total, END", "faster_than_loop"), least=22),
    Promise(
        "`total` at all positions, zero ablation: times faster than the loop",
        _of("total, all positions, zero", "faster_than_loop"),
        least=1.8,
    ),
    Promise("`direct`: of two plain passes", _of("direct", "of_two_passes"), most=0.5),
    Promise(
        "the wave of `through_mlps`: share of the rate of its matrix products",
        lambda found: found.get("wave_share_of_product_rate"),
        least=0.7,
    ),
    Promise("largest difference to the loop and the other tools, logits", _largest_difference, most=1e-3),
    Promise("a whole knock-out curve with its draws, seconds", _of_knockout("seconds"), most=180),
    Promise(
        "a knock-out curve: times faster than a pass per point and draw", _of_knockout("faster_than_loop"), least=15
    ),
    Promise(
        "a knock-out curve: largest difference to those passes, logits", _of_knockout("largest_difference"), most=1e-3
    ),
    Promise(
        "a step of precise fine-tuning: share of the gain that counting allows", _of_tuning("gain_of_bound"), least=0.8
    ),
    Promise(
        "precise fine-tuning: peak beyond the weights, of full fine-tuning's", _of_tuning("peak_of_full"), most=0.5
    ),
    Promise("largest peak beyond the model, share of the budget", _largest_peak, most=1),
)


def page_of(found: Found) -> str:
    """RESULTS.md."""
    parts = [
        f"""# Measured

Written by `make bench`; not by hand. One run on one machine: {found["machine"]}; {found["software"]}.

{found["model"]}: {found["layers"]} layers of {found["heads"]} heads and an MLP, {found["components"]} components,
{found["dtype"]}. {found["pairs"]} pairs of {found["tokens"]} tokens with two solved examples, `null_operator`;
{found["shared_tokens"]} of the tokens are the same in all prompts. Medians of {found["repeats"]} runs after a warm-up;
what takes longer than 20 s is run once.""",
        _against_the_loop(found),
        _promises(found),
        knockout_section(found),
        tuning_section(found),
        _against_others(found),
        _growth(found),
        _gpu(found),
    ]
    return "\n\n".join(parts) + "\n"


def _against_the_loop(found: Found) -> str:
    sample = max(row["loop_sample"] for row in found["effects"])
    return f"""## Against two plain passes, and against the plain loop

Two plain forward passes (both runs, last logits only, no cache, torch's own attention): {found["two_passes_s"]} s.

{_effects_table(found)}

The loop runs one hooked forward pass per component over all pairs at once, with last logits only, no cache and torch's
own attention. {sample} of its {found["components"]} passes, drawn at random, were timed; the loop's seconds are their
median times {found["components"]}. Their numbers were compared with ours: the largest difference of any pair.

The wave of `through_mlps` ran at {found["wave_share_of_product_rate"]} of the rate of its matrix products alone
({found["product_gflops"]} GFLOP/s)."""


def _effects_table(found: Found) -> str:
    return _table(
        ("effect", "seconds", "times two plain passes", "plain loop, s", "faster than the loop", "largest difference"),
        [
            (
                _name(row["case"]),
                row["seconds"],
                row["of_two_passes"],
                row["loop_s"],
                f"{row['faster_than_loop']} x",
                _difference(row),
            )
            for row in found["effects"]
        ],
    )


def _promises(found: Found) -> str:
    said = {True: "kept", False: "**not kept**", None: "not measured"}
    rows = []
    for promise in PROMISES:
        value = promise.value(found)
        bound = f"at least {promise.least}" if promise.least is not None else f"at most {promise.most}"
        measured = "" if value is None else f"{value:.3g}"
        rows.append((promise.says, bound, measured, said[promise.kept(found)]))
    return "## Promises\n\n" + _table(("promise", "bound", "measured", ""), rows)


def _against_others(found: Found) -> str:
    tools = found.get("competitors")
    if not tools:
        return "## Against other tools\n\nNot measured in this run."
    lines = []
    for tool in tools:
        if "problem" in tool:
            lines.append(f"- {tool['name']}: not measured. {tool['problem']}")
        else:
            lines.append(f"- {tool['name']} {tool['version']}: {tool['how']}; {tool['sample']} passes timed.")
    rows = [
        (
            tool["name"],
            _name(row["case"]),
            row["seconds"],
            f"{row['times_ours']} x",
            _difference(row),
        )
        for tool in tools
        for row in tool.get("effects", [])
    ]
    table = _table(("tool", "effect", "seconds", "times ours", "largest difference"), rows)
    said = "\n".join(lines)
    return f"""## Against other tools

Same weights, prompts, type, torch and number of threads; each in a process of its own, one forward pass per component
over all pairs at once, the median pass times {found["components"]}. Their numbers were compared with ours.

{said}

{table}"""


def _growth(found: Found) -> str:
    growth = found.get("growth")
    if not growth:
        return "## How cost grows\n\nNot measured in this run."
    parts = [
        f"""## How cost grows

Each row in a process of its own, one run, seconds and peak memory beyond the model; the budget given was
{growth["budget_bytes"] // _MIB} MiB in every row. Pairs and tokens on SmolLM2-135M; layers and heads on random models
of Llama's kind, 512 wide."""
    ]
    for table in dict.fromkeys(row["table"] for row in growth["rows"]):
        failed = [row for row in growth["rows"] if row["table"] == table and "problem" in row]
        rows = [row for row in growth["rows"] if row["table"] == table and "problem" not in row]
        cases = list(dict.fromkeys(row["case"] for row in rows))
        by_shape: dict[tuple[int, ...], dict[str, Found]] = {}
        for row in rows:
            shape = (row["pairs"], row["tokens"], row["layers"], row["heads"])
            by_shape.setdefault(shape, {})[row["case"]] = row
        cells = [
            (*shape, *(_time_and_peak(measured.get(case)) for case in cases)) for shape, measured in by_shape.items()
        ]
        header = ("pairs", "tokens", "layers", "heads", *(_name(case) for case in cases))
        parts.append(f"### {table.capitalize()}\n\n" + _table(header, cells))
        parts.extend(f"Failed: {_name(row['case'])} of {row['pairs']} pairs. {row['problem']}" for row in failed)
    return "\n\n".join(parts)


def _time_and_peak(row: Found | None) -> str:
    return "" if row is None else f"{row['seconds']} s, {_bytes(row['peak_bytes'])}"


def _gpu(found: Found) -> str:
    title = "## A 7B model on a GPU\n\n"
    gpu = found.get("gpu")
    if not gpu:
        return title + "Not measured: no GPU at hand."
    if "problem" in gpu:
        return f"{title}Not measured: {gpu['device']} was at hand. {gpu['problem']}"
    rows = [
        (
            _name(row["case"]),
            row["seconds"],
            row["of_two_passes"],
            _bytes(row["peak_bytes"]),
            f"{row['noise']:.0e} logits",
        )
        for row in gpu["effects"]
    ]
    table = _table(("effect", "seconds", "times two plain passes", "peak beyond the model", "noise floor"), rows)
    return f"""{title}{gpu["device"]}. LLaMA-2-7B's shape with random weights in {gpu["dtype"]}: {gpu["layers"]} layers
of {gpu["heads"]} heads, {gpu["hidden"]} wide, {_bytes(gpu["model_bytes"])} of weights; {gpu["pairs"]} pairs of
{gpu["tokens"]} tokens. Two plain forward passes: {gpu["two_passes_s"]} s.

{table}"""


def readme_with(found: Found, readme: str) -> str:
    """The README with its figures replaced by these."""
    before, _, rest = readme.partition(OPENING)
    _, _, after = rest.partition(CLOSING)
    return f"{before}{OPENING}\n{_readme_table(found)}\n{CLOSING}{after}"


def _readme_table(found: Found) -> str:
    tools = [tool for tool in found.get("competitors") or [] if "effects" in tool]
    rows = []
    for row in found["effects"]:
        others = []
        for tool in tools:
            same = next((other for other in tool["effects"] if other["case"] == row["case"]), None)
            others.append(f"{same['times_ours']} x" if same else "")
        rows.append(
            (
                _name(row["case"]),
                row["seconds"],
                row["of_two_passes"],
                f"{row['faster_than_loop']} x",
                *others,
                _difference(row),
            )
        )
    header = ("effect", "seconds", "times two plain passes", "faster than a plain loop")
    return _table((*header, *(f"than {tool['name']}" for tool in tools), "largest difference"), rows)


def _table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def _name(case: str) -> str:
    effect, comma, rest = case.partition(",")
    return f"`{effect}`{comma}{rest}"


def _difference(row: Found) -> str:
    return f"{row['largest_difference']:.0e} logits"


def _bytes(number: int | None) -> str:
    return "not measured here" if number is None else f"{number / _MIB:,.0f} MiB"
