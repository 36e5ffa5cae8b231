"""The law of wrong arguments: a public function raises Refusal and nothing else, before the model computes anything.

Every argument of every public function, method and constructor is given each wrong value in turn; the others are right.
A value that the function can use is no mistake. A missing or unexpected argument is Python's own TypeError.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_docstrings import CLASSES, FUNCTIONS, METHODS, parameters

import arithmoscope as am
from arithmoscope.contracts.errors import PROBLEMS
from arithmoscope.contracts.tuning_settings import TuningOptions
from arithmoscope.engine.serialization import PairResult, TensorResult


class DataFrame:
    """The least that pandas' DataFrame has in common with a list: iterating over it gives the names of its columns."""

    columns = ("reference", "counterfactual", "answer")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


def wrong_values() -> dict[str, Any]:
    return {
        "None": None,
        "True": True,
        "zero": 0,
        "minus one": -1,
        "a huge number": 10**400,
        "a fraction": 2.5,
        "NaN": float("nan"),
        "infinity": float("inf"),
        "numpy's NaN": np.float32("nan"),
        "a text": "nonsense",
        "an empty text": "",
        "a long text": "ü" * 300,
        "a lone surrogate": "\udcff",
        "a zero byte": "\0",
        "bytes": b"bytes",
        "an empty list": [],
        "a list of None": [None],
        "a list of texts": ["3 + 5 ="],
        "a list of numbers": [99],
        "a tuple for a pair": [("3 + 5 =", "3 @ 5 =", "8")],
        "a dict": {"reference": "3 + 5 =", "counterfactual": "3 @ 5 =", "answer": "8"},
        "a dict of numbers": {3: 5},
        "a set": {"L0H1", "MLP1"},
        "a component beyond the model": [am.Component(99, 99)],
        "an array of two dimensions": np.ones((2, 2)),
        "a tensor": torch.ones(2, 2),
        "a DataFrame": DataFrame(),
        "a generator": (number for number in (1, 2)),
        "an object": object(),
        "a class": int,
        "a pair": am.PromptPair("3 + 5 =", "3 @ 5 =", "8"),
        "a refusal": am.Refusal("bad_request", "Refused."),
    }


class Subjects:
    """Every public callable with right arguments, on a tiny model."""

    def __init__(self, models_dir: Path, folder: Path) -> None:
        self.folder = folder
        self.model = model = am.load_model("smollm2-135m", models_dir=models_dir)
        self.pairs = pairs = am.generate(pairs=12, tokenizer=model.tokenizer)
        few = pairs[:2]
        first, second = am.split_operands(pairs)
        training: dict[str, Any] = {
            "components": ["L1H2"],
            "pairs": few,
            "steps": 1,
            "learning_rate": 1e-3,
            "batch_size": 2,
        }
        effects = am.path_patching(model, pairs)
        total = am.path_patching(model, few, effect="total")
        knockout = am.knockout(model, few, ["L1H2"], controls=1)
        tuned = am.fine_tune(model, **training)
        frame = am.ChatFrame(before="", reply="", next="", after="")
        custom = am.CustomPrompts(source="custom", pairs=(am.CustomPair(reference="3 + 5 ="),), shots=1)
        method = {"model": model, "pairs": few, "progress": None}
        sets: dict[str, Any] = {"found_on": {"first": first}, "evaluated_on": {"second": second}, "mean_over": None}
        drawn = inspect.signature(am.generate).parameters
        self.right: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
            "attention": (am.attention, {**method, "layers": [0]}),
            "attention_roles": (am.attention_roles, method),
            "attribution": (am.attribution, {**method, "exact": None}),
            "edges": (am.edges, {**method, "receivers": ["L1H2"], "top": 2, "through": "total"}),
            "elbow": (am.elbow, {"curve": torch.tensor([1.0, 0.2, 0.1])}),
            "evaluate": (
                am.evaluate,
                {"before": model, "after": tuned.model, "test": few, "trained": few, "questions": 1},
            ),
            "fine_tune": (am.fine_tune, {"model": model, **training}),
            "generate": (
                am.generate,
                {name: each.default for name, each in drawn.items()} | {"tokenizer": model.tokenizer},
            ),
            "key_components": (am.key_components, {"effects": effects, "rule": "top_k", "metric": "logit"}),
            "knockout": (am.knockout, {**method, "components": ["L1H2"], "controls": 1}),
            "lens": (am.lens, {**method, "k": 2}),
            "list_models": (am.list_models, {"models_dir": models_dir}),
            "load_model": (am.load_model, {"model": models_dir / "smollm2-135m"}),
            "path_patching": (am.path_patching, method),
            "prepare": (am.prepare, {"spec": custom, "tokenizer": model.text, "chat": None}),
            "preview": (am.preview, {"spec": custom, "tokenizer": model.text, "chat": None}),
            "read_public": (am.read_public, {"name": "gsm8k", "data": b'{"question": "2+2?", "answer": "#### 4"}'}),
            "split_operands": (am.split_operands, {"pairs": pairs}),
            "stream": (am.stream, method),
            "transfer": (am.transfer, {"model": model, **sets, "top_k": 2, "metric": "logit", "controls": 1}),
            "writes": (am.writes, {**method, "components": ["L1H2"], "k": 2}),
            "Attribution.rank_correlation": (am.attribution(model, few).rank_correlation, {"exact": total}),
            "Attribution.verify_first": (am.attribution(model, few).verify_first, {"k": 2}),
            "Component.parse": (am.Component.parse, {"text": "L1H2"}),
            "Deltas.apply": (tuned.deltas.apply, {"model": model}),
            "Deltas.card_of": (tuned.deltas.card_of, {"base": model.card}),
            "Deltas.export": (tuned.deltas.export, {"model": model, "folder": folder / "export"}),
            "Deltas.export_adapter": (tuned.deltas.export_adapter, {"model": model, "folder": folder / "adapter"}),
            "FineTuned.export": (tuned.export, {"folder": folder / "tuned"}),
            "Knockout.curve": (knockout.curve, {}),
            "LoadedModel.token_text": (model.token_text, {"token_id": 1}),
            "LogitLens.stages": (am.lens(model, few).stages, {}),
            "PatchingEffects.ranking": (effects.ranking, {"metric": "logit"}),
            "PatchingEffects.summary": (effects.summary, {"metric": "logit"}),
            "PatchingEffects.values": (effects.values, {"metric": "logit"}),
            "RoleAttention.classes": (am.attention_roles(model, few).classes, {}),
            "Component": (am.Component, {"layer": 1, "head": 2}),
            "PromptPair": (am.PromptPair, {"reference": "3 + 5 =", "counterfactual": "3 @ 5 =", "answer": "8"}),
            "ChatFrame": (am.ChatFrame, frame.model_dump()),
            "CustomPair": (am.CustomPair, {"reference": "3 + 5 ="}),
            "CustomPrompts": (am.CustomPrompts, dict(custom)),
            "TemplatePrompts": (am.TemplatePrompts, {"source": "template"}),
        }
        results = [
            am.attention(model, few),
            am.attention_roles(model, few),
            am.attribution(model, few),
            am.edges(model, few, ["L1H2"], top=2),
            knockout,
            am.lens(model, few),
            am.stream(model, few),
            am.transfer(model, sets["found_on"], sets["evaluated_on"], top_k=1, metric="logit", controls=1),
            am.writes(model, few, ["L1H2"]),
            effects,
            tuned.deltas,
        ]
        for result in results:
            name, path = type(result).__name__, folder / f"{type(result).__name__}.safetensors"
            result.save(path)
            self.right[f"{name}.save"] = (result.save, {"path": path})
            self.right[f"{name}.load"] = (type(result).load, {"path": path})
            self.right[f"{name}.from_bytes"] = (type(result).from_bytes, {"data": result.to_bytes()})
            if isinstance(result, PairResult):
                self.right[f"{name}.concatenate"] = (type(result).concatenate, {"parts": [result, result]})


def arguments(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments; for ``**options``, the names of the options."""
    options = list(TuningOptions.__annotations__) if "options" in parameters(function) else []
    return [*(name for name in parameters(function) if name != "options"), *options]


INPUTS = ("Component", "PromptPair", "ChatFrame", "CustomPair", "CustomPrompts", "TemplatePrompts")
BASES = {base.__name__: base for base in (TensorResult, PairResult)}
WITH_ARGUMENTS = list(
    dict.fromkeys(
        f"{name}.{member}"
        for owner, member, function in METHODS
        if parameters(function)
        for name in (CLASSES if owner in BASES else [owner])
        if owner not in BASES or (issubclass(getattr(am, name), BASES[owner]) and name not in BASES)
    )
)
NAMES = [*FUNCTIONS, *WITH_ARGUMENTS, *INPUTS]


@pytest.fixture(scope="module")
def subjects(tiny_models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Subjects:
    torch.set_num_threads(1)
    return Subjects(tiny_models_dir, tmp_path_factory.mktemp("results"))


@pytest.fixture
def passes() -> Iterator[list[str]]:
    """The names of the modules that run, in order."""
    ran: list[str] = []

    def note(module: torch.nn.Module, _args: Any) -> None:
        ran.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield ran
    handle.remove()


def test_the_public_callables_are_all_subjects(subjects: Subjects) -> None:
    assert set(subjects.right) == set(NAMES)
    assert set(INPUTS) <= set(CLASSES)


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_argument_is_refused_before_anything_is_computed(
    name: str, subjects: Subjects, passes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, right = subjects.right[name]
    mistakes: list[str] = []
    for argument in arguments(function):
        for title, value in wrong_values().items():
            passes.clear()
            try:
                function(**{**right, argument: value})
            except am.Refusal as refusal:
                whole = f"{argument} = {title}: {refusal}"
                if passes:
                    mistakes.append(f"computed first: {whole}")
                if "\n" in str(refusal) or refusal.code not in PROBLEMS:
                    mistakes.append(f"more than a line: {whole}")
            except Exception as error:  # noqa: BLE001  # whatever it raises is the mistake that is listed
                mistakes.append(f"{argument} = {title}: {type(error).__name__}: {error}"[:300])
    assert not mistakes, "\n".join(mistakes)
