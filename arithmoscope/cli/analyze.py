"""``arithmoscope analyze "3 + 5 ="``: one analysis in this process, with no server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from arithmoscope.cli.local_run import analysed, loaded, runnable
from arithmoscope.cli.progress import Bar
from arithmoscope.contracts.csvw import csv_metadata
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_PROMPT_CHARACTERS, MAX_SHOTS, CustomPair, CustomPrompts
from arithmoscope.contracts.results import Checks, PathPatchingResult
from arithmoscope.contracts.specs import Direction, Effect, PathPatchingSpec, Positions, Source, refuse_impossible
from arithmoscope.engine.models.catalogue import ModelLocation
from arithmoscope.engine.models.chat_template import frame_of_folder
from arithmoscope.prompts import Tokenizer, prepare, refuse_unequal_lengths
from arithmoscope.settings import Settings

_SHOWN = 15
_METRIC = "relative_logit"


@dataclass(frozen=True)
class Options:
    """What is patched where, from what, and which way round."""

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
    """Run and print the ranking. Refuses before torch is loaded whatever can be refused by then."""
    typed_well(prompt, shots)
    refuse_impossible(options.effect, options.positions, options.source, options.direction, alone=True)
    bar = Bar(progress)
    place = runnable(settings, model_id, bar)
    card = place.card
    spec = _spec(prompt, model_id, options, (card.shots if card else 0) if shots is None else shots, chat)
    _readable(spec, place)
    with writable(csv, "--csv") as target, writable(_beside(target), "--csv") as described:
        output = analysed(loaded(settings, model_id, bar), spec, bar.show)
        bar.end()
        ranking = output.artifacts[f"components.{_METRIC}.csv"]
        if target is not None:
            target.write_bytes(ranking)
            if described is not None:
                # The name is a URL here: a "#" or a "?" in it would cut it short.
                described.write_text(csv_metadata(output.result, _METRIC, quote(target.name)), encoding="utf-8")
    if as_json:
        out.write(output.artifacts["result.json"].decode() + "\n")
    else:
        out.write(_report(output.result, ranking.decode()))


def typed_well(prompt: str, shots: int | None) -> None:
    if not prompt.strip():
        raise Refusal("empty_prompt", "The prompt is empty.")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise Refusal("bad_request", "The prompt is not text in UTF-8.", "Type it again.")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise Refusal("prompt_too_long", f"The prompt has more than {MAX_PROMPT_CHARACTERS} characters.")
    if shots is not None and not 0 <= shots <= MAX_SHOTS:
        raise Refusal("bad_request", f"--shots is {shots}.", f"Choose 0 to {MAX_SHOTS} shots.")


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


def _readable(spec: PathPatchingSpec, place: ModelLocation) -> None:
    """Refuse a prompt that cannot be read while it is cheap; the engine will where there is no tokenizer.json, or
    where a chat template is inside a GGUF file."""
    tokenizer_json = Path(place.path) / "tokenizer.json"
    if tokenizer_json.is_file() and not (place.gguf and spec.prompts.chat):
        chat = frame_of_folder(Path(place.path)) if spec.prompts.chat else None
        asked = prepare(spec.prompts, Tokenizer.from_file(str(tokenizer_json)), chat)
        refuse_unequal_lengths(asked.pairs, spec.positions, spec.source)


@contextmanager
def writable(file: str | None, flag: str = "--csv") -> Iterator[Path | None]:
    """The file to write, found writable before minutes are spent. Whatever ends without writing leaves none behind."""
    if file is None:
        yield None
        return
    path = Path(file)
    fresh = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        said = f"{flag} {file} cannot be written: {error.strerror}."
        raise Refusal("bad_setting", said, "Choose another file.") from error
    try:
        yield path
    finally:  # a stop from the keyboard, too
        if fresh and path.is_file() and path.stat().st_size == 0:
            path.resolve().unlink()  # of a link, what it names: the link is not ours


def _beside(target: Path | None) -> str | None:
    """The file that describes the ranking, where CSV on the Web looks for it; None beside a pipe or a device."""
    return f"{target}-metadata.json" if target is not None and target.is_file() else None


def _report(result: PathPatchingResult, ranking: str) -> str:
    """What was asked, what the model said, and the components that matter most."""
    pair = result.pairs[0]
    asked = "".join(token.text for token in pair.reference)
    said = "right" if pair.correct else f"wrong: {pair.top!r}"
    unit = result.metrics[_METRIC].unit
    lines = [
        f"{asked}{pair.answer}   {result.model.name} answers {said}",
        _done(result.spec),
        f"change of the answer's logit in {unit}; {_sign(result.spec)}",
        "",
        f"{'rank':>4}  {'component':<10} {'effect':>9}",
    ]
    rows = [line.split(",") for line in ranking.splitlines()]
    columns = {name: place for place, name in enumerate(rows[0])}
    for row in _shown(rows[1:], columns["effect_mean"], result.spec.direction):
        mean = row[columns["effect_mean"]]
        shown = f"{float(mean):+9.3f}" if mean else f"{'n/a':>9}"
        lines.append(f"{row[columns['rank']]:>4}  {row[columns['component']]:<10} {shown}")
    heads = result.model.layers * result.model.heads
    lines.append("")
    lines.append(
        f"{len(rows) - 1} components: {heads} heads, {result.model.layers} MLPs; "
        f"{len(result.pairs)} prompt, {result.provenance.seconds:.1f} s on {result.provenance.device}"
    )
    lines.append(_checked(result.checks))
    lines += [f"Note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _shown(rows: list[list[str]], mean: int, direction: Direction) -> list[list[str]]:
    """The rows that matter most: the file ascends, and what restores most stands at its other end."""
    if direction == "denoising":
        rows = [row for row in reversed(rows) if row[mean]] + [row for row in rows if not row[mean]]
    return rows[:_SHOWN]


def _done(spec: PathPatchingSpec) -> str:
    """What was done, in words: "total effect, patched at all positions from zero"."""
    where = "all positions" if spec.positions == "all" else "the last position"
    if spec.direction == "denoising":
        return f"{spec.effect} effect, put back at {where} into the counterfactual"
    from_what = {"zero": "zero", "mean": "the mean", "resample": "another prompt"}.get(
        spec.source, "the counterfactual"
    )
    return f"{spec.effect} effect, patched at {where} from {from_what}"


def _sign(spec: PathPatchingSpec) -> str:
    return "positive: putting it back helps" if spec.direction == "denoising" else "negative: taking it away hurts"


def _checked(checks: Checks) -> str:
    said = f"noise floor {checks.noise_floor:.1e} logits"
    if checks.spot_check:
        said += f"; {', '.join(checks.spot_check)} by brute force: within {checks.spot_check_error:.1e} logits"
    return said
