"""Terminal report of an analysis."""

from __future__ import annotations

import json
from collections.abc import Mapping

from arithmoscope.cli.formatting import answered, plural
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.prompts import CustomPrompts
from arithmoscope.contracts.results import Checks
from arithmoscope.contracts.terms import DEFAULT_METRIC, Direction
from arithmoscope.prompts.language.parse_question import parse_question

# Components in the printed ranking.
_LISTED = 15


def report(result: PathPatchingResult, files: Mapping[str, bytes]) -> str:
    """The prompts, the model's answers, and the components with the largest effects."""
    ranking = files[f"components.{DEFAULT_METRIC}.csv"].decode()
    unit = result.metrics[DEFAULT_METRIC].unit
    lines = [
        *_prompts(result),
        _method(result.spec),
        f"change of the answer's logit in {unit}; {_sign(result.spec)}",
        "",
        f"{'rank':>4}  {'component':<10} {'effect':>9}",
    ]
    rows = [line.split(",") for line in ranking.splitlines()]
    columns = {name: place for place, name in enumerate(rows[0])}
    for row in _largest(rows[1:], columns["effect_mean"], result.spec.direction):
        mean = row[columns["effect_mean"]]
        effect = f"{float(mean):+9.3f}" if mean else f"{'n/a':>9}"
        lines.append(f"{row[columns['rank']]:>4}  {row[columns['component']]:<10} {effect}")
    heads = result.model.layers * result.model.heads
    lines.append("")
    lines.append(
        f"{len(rows) - 1} components: {heads} heads, {result.model.layers} MLPs; "
        f"{plural(len(result.pairs), 'prompt')}, {result.provenance.seconds:.1f} s on {result.provenance.device}"
    )
    lines.append(_accuracy(result.checks))
    lines += [f"Note: {note}" for note in (*_first_token(result), *result.notes)]
    return "\n".join(lines) + "\n"


def _largest(rows: list[list[str]], mean: int, direction: Direction) -> list[list[str]]:
    """The rows with the largest effects. The file ascends; with denoising the largest effects are at its end."""
    if direction == "denoising":
        rows = [row for row in reversed(rows) if row[mean]] + [row for row in rows if not row[mean]]
    return rows[:_LISTED]


def _method(spec: PathPatchingSpec) -> str:
    """The method in words, such as "total effect, patched at all positions from zero"."""
    where = "all positions" if spec.positions == "all" else "the last position"
    if spec.direction == "denoising":
        return f"{spec.effect} effect, restored at {where} of the counterfactual"
    sources = {"zero": "zero", "mean": "the mean", "resample": "another prompt"}
    return f"{spec.effect} effect, patched at {where} from {sources.get(spec.source, 'the counterfactual')}"


def _sign(spec: PathPatchingSpec) -> str:
    return "positive: restoring it helps" if spec.direction == "denoising" else "negative: taking it away hurts"


def _accuracy(checks: Checks) -> str:
    text = f"noise floor {checks.noise_floor:.1e} logits"
    if checks.spot_check:
        text += f"; {', '.join(checks.spot_check)} by brute force: within {checks.spot_check_error:.1e} logits"
    return text


def _first_token(result: PathPatchingResult) -> list[str]:
    """A sentence about an answer of which only the first token was measured, if there is a single typed prompt."""
    prompts = result.spec.prompts
    if prompts.answer != "first" or not isinstance(prompts, CustomPrompts) or len(prompts.pairs) != 1:
        return []
    (typed,) = prompts.pairs
    reading = parse_question(typed.reference)
    answer = (typed.answer or (reading.answer if reading else "")).strip()
    measured = result.pairs[0].answer.strip()
    return [f"of the answer {answer} its first token is measured: {measured}"] if answer != measured else []


def _prompts(result: PathPatchingResult) -> list[str]:
    first = result.pairs[0]
    prompt = "".join(token.text for token in first.reference) + first.answer
    if len(result.pairs) == 1 and not result.dropped:
        return [f"{prompt}   {result.model.name} answers {'right' if first.correct else f'wrong: {first.top!r}'}"]
    question = prompt.split("\n")[-1]
    return [f"{result.model.name}: {answered(result)}; for example {json.dumps(question, ensure_ascii=False)}"]
