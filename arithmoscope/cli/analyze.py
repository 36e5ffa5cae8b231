"""``arithmoscope analyze "3 + 5 ="``: path patching of one prompt, in this process, with no server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from arithmoscope.cli.local_run import load_local_model, locate_model, run_analysis
from arithmoscope.cli.output_files import writable
from arithmoscope.cli.progress import Bar
from arithmoscope.cli.prompt_options import refuse_bad_prompt
from arithmoscope.contracts.csvw import csv_metadata
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec, refuse_impossible
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts
from arithmoscope.contracts.results import Checks
from arithmoscope.contracts.terms import Direction, Effect, Positions, Source
from arithmoscope.engine.models.catalogue import ModelLocation
from arithmoscope.engine.models.chat_template import frame_of_folder
from arithmoscope.prompts import Tokenizer, prepare, refuse_unequal_lengths
from arithmoscope.settings import Settings

# Components in the printed ranking.
_LISTED = 15
_METRIC = "relative_logit"


@dataclass(frozen=True)
class Options:
    """Options of path patching."""

    effect: Effect
    positions: Positions
    source: Source
    direction: Direction


def analyze(
    settings: Settings,
    prompt: str,
    *,
    model_id: str,
    options: Options,
    shots: int | None,
    chat: bool,
    csv: str | None,
    as_json: bool,
    out: IO[str],
    progress: IO[str],
) -> None:
    """Runs the analysis and prints the ranking. Checks as much as possible before torch is loaded."""
    refuse_bad_prompt(prompt, shots)
    refuse_impossible(options.effect, options.positions, options.source, options.direction, single_pair=True)
    bar = Bar(progress)
    place = locate_model(settings, model_id, bar)
    card = place.card
    spec = _spec(prompt, model_id, options, (card.shots if card else 0) if shots is None else shots, chat)
    _refuse_unreadable(spec, place)
    with writable(csv, "--csv") as target, writable(_metadata_file(target), "--csv") as metadata:
        output = run_analysis(load_local_model(settings, model_id, bar), spec, bar.show)
        bar.end()
        ranking = output.artifacts[f"components.{_METRIC}.csv"]
        if target is not None:
            target.write_bytes(ranking)
            if metadata is not None:
                # The file name serves as a URL here, in which "#" and "?" have a meaning.
                metadata.write_text(csv_metadata(output.result, _METRIC, quote(target.name)), encoding="utf-8")
    if as_json:
        out.write(output.artifacts["result.json"].decode() + "\n")
    else:
        out.write(_report(output.result, ranking.decode()))


def _spec(prompt: str, model_id: str, options: Options, shots: int, chat: bool) -> PathPatchingSpec:
    prompts = CustomPrompts(source="custom", pairs=(CustomPair(reference=prompt),), shots=shots, chat=chat)
    return PathPatchingSpec(
        kind="path_patching",
        model=model_id,
        effect=options.effect,
        positions=options.positions,
        source=options.source,
        direction=options.direction,
        prompts=prompts,
    )


def _refuse_unreadable(spec: PathPatchingSpec, place: ModelLocation) -> None:
    """Checks the prompt with the model's tokenizer before the weights are loaded.

    Without a tokenizer.json, or with a chat template inside a GGUF file, the engine makes the same checks later.
    """
    tokenizer_json = Path(place.path) / "tokenizer.json"
    if tokenizer_json.is_file() and not (place.gguf and spec.prompts.chat):
        chat = frame_of_folder(Path(place.path)) if spec.prompts.chat else None
        prompts = prepare(spec.prompts, Tokenizer.from_file(str(tokenizer_json)), chat)
        refuse_unequal_lengths(prompts.pairs, spec.positions, spec.source)


def _metadata_file(target: Path | None) -> str | None:
    """The metadata file that CSV on the Web expects next to the ranking; None if that is a pipe or a device."""
    return f"{target}-metadata.json" if target is not None and target.is_file() else None


def _report(result: PathPatchingResult, ranking: str) -> str:
    """The prompt, the model's answer, and the components with the largest effects."""
    pair = result.pairs[0]
    prompt = "".join(token.text for token in pair.reference)
    verdict = "right" if pair.correct else f"wrong: {pair.top!r}"
    unit = result.metrics[_METRIC].unit
    lines = [
        f"{prompt}{pair.answer}   {result.model.name} answers {verdict}",
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
        f"{len(result.pairs)} prompt, {result.provenance.seconds:.1f} s on {result.provenance.device}"
    )
    lines.append(_accuracy(result.checks))
    lines += [f"Note: {note}" for note in result.notes]
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
