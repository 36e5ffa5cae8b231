"""Measures the whole replication on one model: sets, key components, knock-outs, transfer, roles, lens, MLP writes."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

from arithmoscope.contracts.components import Component
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.knockout_terms import Ablation
from arithmoscope.contracts.prompts import PromptPair, TemplatePrompts
from arithmoscope.engine.measures.effects import PatchingEffects
from arithmoscope.engine.models.loaded import LoadedModel
from arithmoscope.prompts import prepare
from arithmoscope.prompts.sets.operand_split import split_operands
from arithmoscope.replication.attention_and_lens import SHOWN_MLPS, lens_numbers, role_numbers, write_numbers
from arithmoscope.replication.claims import evaluate_claims
from arithmoscope.replication.figures import figures_of
from arithmoscope.replication.key_components import TOP, effects_on, key_numbers, top
from arithmoscope.replication.knockouts import curve_numbers, written_numbers
from arithmoscope.replication.page import page_of
from arithmoscope.replication.plain_numbers import Numbers, plain
from arithmoscope.replication.prompt_sets import ADDITION, POWERS, SETS, AnsweredSet, SetSpec, answer_set
from arithmoscope.replication.transfer import transfer_numbers

FORMAT = 1
# One-digit addition in a few wordings of every style: enough questions of each form for a mean.
MAIN_SET = SetSpec(
    ADDITION,
    {"operations": ("add",), "styles": ("equation", "statement", "question"), "operands": (0, 9), "shots": 4},
)
# Sums whose whole answer is written out: two tokens in a model with one token per digit.
WRITTEN = SetSpec(
    "two digits",
    {"operations": ("add",), "operands": (10, 49), "shots": 4, "answer": "first"},
)
# The paper knocks out five heads for powers.
HEADS_OUT_FOR_POWERS = 5


@dataclass(frozen=True)
class Sizes:
    """Sizes of a run: questions drawn per set, of which the correctly answered ones are kept, and pairs per side.

    questions, pairs                    of the main set
    transfer_questions, transfer_pairs  of each other set
    written_pairs                       pairs whose answers are generated in full
    draws                               random controls
    """

    pairs: int = 64
    questions: int = 275
    transfer_pairs: int = 24
    transfer_questions: int = 110
    written_pairs: int = 20
    draws: int = 20
    sets: tuple[SetSpec, ...] = SETS


FULL = Sizes()
QUICK = Sizes(pairs=12, questions=40, transfer_pairs=4, transfer_questions=12, written_pairs=4, draws=3)


def measure_all(model: LoadedModel, sizes: Sizes, log: Callable[[str], None], *, quick: bool = False) -> Numbers:
    """All numbers of the report, claims included. Raises Refusal (``none_kept``) if the model answers too few sums."""
    clock = _Clock(log)
    numbers: Numbers = {"format": FORMAT, "model": _model(model)}
    with clock("asking one-digit sums"):
        main_set = answer_set(model, MAIN_SET, sizes.questions, sizes.pairs)
        if main_set.kept_wrong and not quick:
            detail = (
                f"{model.card.id} answers only {main_set.right} of {main_set.n} one-digit sums correctly: there is "
                "nothing to replicate."
            )
            raise Refusal("none_kept", detail, "Choose a model that can add.")
        numbers["addition"] = _set_numbers(main_set)
    with clock("patching"):
        effects = effects_on(model, main_set.selection_pairs, main_set.selection_operands)
        numbers["key"] = key_numbers(effects)
    with clock("knocking out"):
        numbers["knockouts"] = _knockouts(model, main_set, effects, sizes)
    with clock("asking the other sets"):
        sets, refused = _sets(model, sizes)
        numbers["sets"], numbers["not_asked"] = [_set_numbers(each) for each in sets], refused
    with clock("writing answers out"):
        numbers["written"] = _written(model, effects, sizes)
    with clock("powers"):
        numbers["powers"] = _powers(model, sets, effects, sizes)
    with clock("transfer"):
        numbers["transfer"] = transfer_numbers(
            model, sets, sizes.draws, lambda done, total: log(f"transfer, {done} of {total}")
        )
    with clock("looking inside"):
        heads = top(effects, "relative_logit", "head")
        numbers["roles"] = role_numbers(model, main_set.selection_pairs, heads)
        numbers["lens"] = lens_numbers(model, main_set.selection_pairs)
        numbers["writes"] = write_numbers(model, main_set.selection_pairs, _top_mlps(effects))
    numbers["run"] = _run(model, sizes, clock, quick)
    numbers["claims"] = evaluate_claims(numbers)
    return numbers


def write_report(numbers: Numbers, folder: Path) -> Path:
    """Writes the page, its figures and the JSON file, replacing earlier ones; returns the page's path."""
    name = numbers["model"]["file"]
    figures = folder / name
    figures.mkdir(parents=True, exist_ok=True)
    for file, text in figures_of(numbers).items():
        (figures / file).write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    page = folder / f"{name}.md"
    page.write_text(page_of(numbers), encoding="utf-8")
    return page


def _knockouts(model: LoadedModel, main_set: AnsweredSet, effects: PatchingEffects, sizes: Sizes) -> list[Numbers]:
    """The heads that hurt most by logit difference, the same with MLPs, and the top heads by the paper's metric."""
    runs: list[tuple[str, tuple[Component, ...], Ablation]] = []
    for among, name in (("head", "heads"), ("any", "heads and MLPs")):
        chosen = top(effects, "logit_difference", among)
        for ablation in _ABLATIONS:
            runs.append((f"{name}, logit difference, {ablation}", chosen, ablation))
    runs.append(("heads, paper's metric, mean", top(effects, "relative_logit", "head"), "mean"))
    return [
        {"name": name}
        | curve_numbers(model, main_set.evaluation_pairs, main_set.selection_pairs, chosen, ablation, sizes.draws)
        for name, chosen, ablation in runs
    ]


_ABLATIONS: tuple[Ablation, ...] = ("mean", "zero", "resample")


def _sets(model: LoadedModel, sizes: Sizes) -> tuple[list[AnsweredSet], list[dict[str, str]]]:
    """Every set that fits the model, and the reasons why the others do not."""
    answered, refused = [], []
    for row in sizes.sets:
        try:
            each = answer_set(model, row, sizes.transfer_questions, sizes.transfer_pairs)
        except Refusal as refusal:
            refused.append({"name": row.name, "reason": refusal.detail})
            continue
        if min(len(each.selection_pairs), len(each.evaluation_pairs)) < 2:
            refused.append(
                {"name": row.name, "reason": f"One side of its {each.n} questions has fewer than two pairs."}
            )
        else:
            answered.append(each)
    return answered, refused


def _written(model: LoadedModel, effects: PatchingEffects, sizes: Sizes) -> Numbers | None:
    """None if the model's answers to such sums are single tokens, or if no such sum can be encoded."""
    try:
        pairs = _whole_answers(model, sizes)
        chosen = top(effects, "logit_difference", "head")
        return written_numbers(model, *pairs, chosen, sizes.draws, tokens=3)
    except Refusal:
        return None


def _whole_answers(model: LoadedModel, sizes: Sizes) -> tuple[list[PromptPair], list[PromptPair]]:
    """Two sides of two-digit sums with whole answers, whether or not the model answers them correctly."""
    spec = TemplatePrompts.model_validate({"source": "template", "pairs": 4 * sizes.written_pairs, **WRITTEN.template})
    other, evaluation_pairs = split_operands([each.pair for each in prepare(spec, model.text).pairs])
    return evaluation_pairs[: sizes.written_pairs], other[: 2 * sizes.written_pairs]


def _powers(model: LoadedModel, sets: list[AnsweredSet], effects: PatchingEffects, sizes: Sizes) -> Numbers | None:
    powers = next((each for each in sets if each.name == POWERS), None)
    heads = top(effects, "relative_logit", "head", HEADS_OUT_FOR_POWERS)
    if powers is None or not heads:
        return None
    try:
        row = curve_numbers(model, powers.evaluation_pairs, powers.selection_pairs, heads, "mean", sizes.draws)
    except Refusal:
        return None
    return row | {"asked": powers.n, "right": powers.right}


def _top_mlps(effects: PatchingEffects) -> list[Component]:
    mean = effects.summary("logit_difference").mean[:, -1]
    return [Component(int(layer), None) for layer in mean.argsort(stable=True)[:SHOWN_MLPS]]


def _set_numbers(answered: AnsweredSet) -> Numbers:
    return plain(
        {
            "name": answered.name,
            "example": answered.example,
            "control": answered.control,
            "asked": answered.n,
            "right": answered.right,
            "kept_wrong": answered.kept_wrong,
            "found": len(answered.selection_pairs),
            "judged": len(answered.evaluation_pairs),
            "operands": [len(set(answered.selection_operands)), len(set(answered.evaluation_operands))],
            "probability": answered.probability,
        }
    )


def _model(model: LoadedModel) -> Numbers:
    card = model.card
    return {
        "id": card.id,
        "file": "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in Path(card.id).name),
        "name": card.name,
        "revision": card.revision,
        "layers": model.layout.layers,
        "heads": model.layout.heads,
        "parameters": card.parameters,
        "dtype": model.precision,
    }


def _run(model: LoadedModel, sizes: Sizes, clock: _Clock, quick: bool) -> Numbers:
    device = model.device.type
    return {
        "quick": quick,
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(clock.seconds, 1),
        "parts": clock.parts,
        "code": version("arithmoscope"),
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, on {device}",
        "draws": sizes.draws,
        "top": TOP,
    }


class _Clock:
    """Logs the current part, and records the seconds of every part."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log, self._start = log, time.perf_counter()
        self.parts: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        self._log(part)
        start = time.perf_counter()
        yield
        self.parts[part] = round(time.perf_counter() - start, 1)
