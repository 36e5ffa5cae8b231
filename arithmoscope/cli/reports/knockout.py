"""Terminal report of a knockout: the curve, beside the random controls."""

from __future__ import annotations

from collections.abc import Mapping

from arithmoscope.cli.formatting import answered, interval, number
from arithmoscope.contracts.kinds.knockout import KnockoutResult
from arithmoscope.contracts.knockout_terms import ABLATION_CHOICES, KNOCK_METRIC_CHOICES, KNOCK_POSITION_CHOICES

_SHOWN = ("accuracy", "probability", "exact_match")


def report(result: KnockoutResult, _files: Mapping[str, bytes]) -> str:
    """One table per metric: a row for each number of removed components."""
    spec = result.spec
    lines = [
        f"{result.model.name}: {answered(result)}",
        f"Replace with: {ABLATION_CHOICES[spec.ablation].label}; "
        f"replace at: {KNOCK_POSITION_CHOICES[spec.positions].label}",
        f"Random controls: {len(result.controls)}",
        "95 %: bootstrap over sets of operands; random: mean of the random controls and the range of 95 % of them; p: "
        "share of controls that hurt as much",
    ]
    for metric in _SHOWN:
        curve = next((each for name, each in result.curves.items() if name == metric), None)
        if curve is None:
            continue
        title = KNOCK_METRIC_CHOICES[metric].label
        lines += ["", title, f"{'k':>3}  {'removed':<8} {'mean':>8} {'95 %':>14} {'random':>8} {'95 %':>14} {'p':>6}"]
        for k, mean in enumerate(curve.mean):
            name = result.components[k - 1] if k else "none"
            lines.append(
                f"{k:>3}  {name:<8} {number(mean):>8} {interval(curve.ci_low[k], curve.ci_high[k]):>14} "
                f"{number(curve.control[k]):>8} {interval(curve.draws_low[k], curve.draws_high[k]):>14} "
                f"{number(curve.p_value[k], '.2f'):>6}"
            )
    lines.append(f"noise floor {result.checks.noise_floor:.1e} logits")
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"
