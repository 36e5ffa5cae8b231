"""Tests that every public function is documented in full, and that every example in a public docstring runs.

The quick tests run the examples on a tiny model in place of the demo model, the slow ones on the demo model itself.
"""

from __future__ import annotations

import dataclasses
import doctest
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import arithmoscope as am
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.engine.serialization import PairResult, TensorResult
from tests.tables import table

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
FUNCTIONS = [name for name in am.__all__ if inspect.isroutine(getattr(am, name))]
CLASSES = [name for name in am.__all__ if inspect.isclass(getattr(am, name))]


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines itself."""
    for member, value in vars(cls).items():
        function = getattr(value, "__func__", value)
        function = getattr(function, "fget", getattr(function, "func", function))
        if (
            not member.startswith("_")
            and inspect.isfunction(function)
            and function.__module__.startswith("arithmoscope")
        ):
            yield member, function


METHODS = [(name, *member) for name in CLASSES for member in members(getattr(am, name))]
# Methods of several public classes, documented once.
METHODS += [(base.__name__, *member) for base in (TensorResult, PairResult) for member in members(base)]
DOCUMENTED = {name: getattr(am, name).__doc__ for name in am.__all__}
DOCUMENTED |= {base.__name__: base.__doc__ for base in (TensorResult, PairResult)}
DOCUMENTED |= {f"{name}.{member}": function.__doc__ for name, member, function in METHODS}
PROPERTIES = {
    f"{name}.{member}"
    for name, member, _ in METHODS
    if name in CLASSES and not callable(getattr(getattr(am, name), member))
}
RAISE_NOTHING = {  # public methods without an error of their own
    "Attribution.verify_first",
    "Deltas.card_of",
    "Edges.ranking",
    "LogitLens.stages",
    "Refusal.details",
    "RoleAttention.classes",
    "RoleAttention.interval",
    "TensorResult.to_bytes",
}
EXAMPLES = {name: text for name, text in {"arithmoscope": am.__doc__, **DOCUMENTED}.items() if text and ">>>" in text}
SLOW = {"evaluate": pytest.mark.slow}  # hundreds of questions and passages of text


def section(text: str, title: str) -> str | None:
    """The body of one section of a Google-style docstring; None if it is missing."""
    match = re.search(rf"^{title}:\n((?:    .*\n|\n)+)", inspect.cleandoc(text) + "\n", re.MULTILINE)
    return match and match[1]


def arguments(text: str) -> list[str]:
    return re.findall(r"^    (\w+): \S", section(text, "Args") or "", re.MULTILINE)


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


@table("name", FUNCTIONS)
def test_a_public_function_is_documented_in_full(name):
    function = getattr(am, name)
    text = function.__doc__
    assert re.match(r"[A-Z].*[.:]$", text.splitlines()[0]), "one line, a sentence"
    assert arguments(text) == parameters(function)
    for title in ("Returns", "Raises", "Example"):
        assert section(text, title), title


@table("name", CLASSES)
def test_a_public_class_says_what_it_is(name):
    text = getattr(am, name).__doc__
    assert re.match(r"[A-Z].*[.:;]$", text.splitlines()[0])
    described = section(text, "Attributes") or section(text, "Args") or ""
    cls = getattr(am, name)
    for field in [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []:
        whole = re.sub("_(low|high)$", "", field)  # the ends of an interval may be described with its mean
        assert re.search(rf"``{whole}``|^    ({field}|{whole}): ", described, re.MULTILINE), field


@table(("name", "member", "function"), METHODS)
def test_a_public_method_is_documented(name, member, function):
    whole, text = f"{name}.{member}", function.__doc__
    assert text, "a line at least"
    if whole in PROPERTIES:
        return  # documented as an attribute, by a noun
    assert arguments(text) == parameters(function)
    assert bool(section(text, "Returns")) == (inspect.signature(function).return_annotation != "None")
    assert bool(section(text, "Raises")) == (whole not in RAISE_NOTHING)
    if parameters(function):
        used = DOCUMENTED[name] + text  # of a base class: a method's own example
        assert re.search(rf"\.{member}\(", used[used.index(">>>") :]), "an example calls it"


def test_documented_methods_that_raise_nothing_contain_no_raise():
    functions = {f"{name}.{member}": function for name, member, function in METHODS}
    assert set(functions) - PROPERTIES >= RAISE_NOTHING
    for whole in RAISE_NOTHING:
        assert not re.search(r"^ +raise ", inspect.getsource(functions[whole]), re.MULTILINE), whole


@pytest.fixture(scope="module")
def tiny_names(tiny_models_dir: Path) -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tiny_models_dir))
        yield names()


@functools.cache
def demo_names() -> dict[str, Any]:
    return names()


def names() -> dict[str, Any]:
    """The names that the package's own example defines."""
    model = am.load_model(DEMO_ID)
    return {"am": am, "torch": torch, "model": model, "pairs": am.generate(pairs=16, tokenizer=model.tokenizer)}


def run(name: str, namespace: dict[str, Any]) -> None:
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name], {**namespace}, name, None, 0)
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=failures.append)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in EXAMPLES])
def test_an_example_runs(name, tiny_names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(name, tiny_names)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_on_the_demo_model(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(name, demo_names())
