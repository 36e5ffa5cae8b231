"""Saved results of every class: files of earlier versions, equal bytes, and files that are damaged or of another class.

``earlier_results`` holds files that commit 938c2c9 saved: one of every row of `result_cases`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from result_cases import CASES, QUESTIONS, edges, effects, knockout, lens, numbers, patterns, roles
from torch import Tensor

import arithmoscope as am
from arithmoscope.engine.serialization import PairResult, TensorResult

EARLIER = Path(__file__).parent / "earlier_results"
CLASSES = {name: type(make()) for name, make in CASES.items()}


def every_subclass(cls: type) -> set[type]:
    return {cls, *(each for below in cls.__subclasses__() for each in every_subclass(below))}


def same(was: Any, now: Any) -> bool:
    if isinstance(was, Tensor):
        return now.dtype == was.dtype and torch.equal(was.nan_to_num(99.0), now.nan_to_num(99.0))
    if isinstance(was, tuple):
        return isinstance(now, tuple) and len(was) == len(now) and all(map(same, was, now))
    if dataclasses.is_dataclass(was):
        fields = [field.name for field in dataclasses.fields(was)]
        return type(was) is type(now) and all(same(getattr(was, name), getattr(now, name)) for name in fields)
    return type(was) is type(now) and was == now


def changed(data: bytes, values: dict[str, Any]) -> bytes:
    """The file with other JSON fields."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    words = json.loads(header["__metadata__"]["words"])
    words["words"] |= values
    header["__metadata__"]["words"] = json.dumps(words)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_every_class_that_can_be_saved_has_a_file_of_an_earlier_version():
    assert {*CLASSES.values()} == every_subclass(TensorResult) - {TensorResult, PairResult}
    assert {path.stem for path in EARLIER.iterdir()} == {*CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_an_earlier_version_is_read_and_written_with_the_same_bytes(name, tmp_path):
    earlier = EARLIER / f"{name}.safetensors"
    result = CASES[name]()
    loaded = type(result).load(earlier)
    assert same(result, loaded)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == result.to_bytes() == earlier.read_bytes()
    assert same(result, type(result).from_bytes(earlier.read_bytes()))


@pytest.mark.parametrize("name", CASES)
def test_a_file_of_another_class_or_of_anything_else_is_refused(name, tmp_path):
    cls = CLASSES[name]
    for other, its_class in CLASSES.items():
        if its_class is not cls:
            with pytest.raises(am.Refusal, match="contains no") as refused:
                cls.load(EARLIER / f"{other}.safetensors")
            assert (refused.value.code, f"{other}.safetensors" in refused.value.detail) == ("bad_request", True)
    for rubbish in (b"", b"{}", b"PK\x03\x04", b"\xff" * 100, b"\x02\0\0\0\0\0\0\0{}", b"\x04\0\0\0\0\0\0\0null"):
        with pytest.raises(am.Refusal, match="These bytes contain no"):
            cls.from_bytes(rubbish)


@pytest.mark.parametrize("name", CASES)
def test_a_file_cut_off_anywhere_is_refused(name):
    data = (EARLIER / f"{name}.safetensors").read_bytes()
    for length in (*range(0, len(data), 7), len(data) - 1):
        with pytest.raises(am.Refusal, match="contain no"):
            CLASSES[name].from_bytes(data[:length])


@pytest.mark.parametrize("name", CASES)
def test_a_path_that_cannot_be_read_or_written_is_refused(name, tmp_path):
    result = CASES[name]()
    paths = ((tmp_path, "bad_file"), (tmp_path / "missing" / "x", "bad_file"), ("x\0y", "bad_request"))
    for path, code in paths:
        with pytest.raises(am.Refusal) as refused:
            type(result).load(path)
        assert refused.value.code == code
        if name != "deltas":
            with pytest.raises(am.Refusal) as refused:
                result.save(path)
            assert refused.value.code == code
    with pytest.raises(am.Refusal, match=r"Create the folder .*missing"):
        effects().save(tmp_path / "missing" / "x")


@pytest.mark.parametrize(
    ("result", "values"),
    [
        (effects(), {"questions": ["3 + 5 ="]}),
        (effects(), {"questions": None}),
        (effects(), {"effect": "sideways"}),
        (knockout(), {"components": "L1H2"}),
        (knockout(), {"seed": None}),
        (edges(), {"top": [["MLP0"]]}),
        (roles(), {"questions": [*QUESTIONS, "1 + 1 ="]}),
        (CASES["attribution"](), {"correlation": {"absolute": 1.0}}),
        (CASES["writes"](), {"components": [{"component": "MLP0"}]}),
        (CASES["deltas"](), {"changes": [None]}),
        (CASES["deltas"](), {"changes": [{"kind": "Sum"}]}),
    ],
    ids=lambda value: type(value).__name__ if dataclasses.is_dataclass(value) else str(value),
)
def test_a_file_with_wrong_fields_is_refused(result, values):
    with pytest.raises(am.Refusal, match="contain no"):
        type(result).from_bytes(changed(result.to_bytes(), values))


def test_a_file_whose_tensors_do_not_fit_together_is_refused():
    whole, shorter = effects(), numbers(2, 2)
    with pytest.raises(am.Refusal, match="contain no path patching effects"):
        am.PatchingEffects.from_bytes(_replaced(whole, mlps=shorter).to_bytes())
    with pytest.raises(am.Refusal, match="contain no path patching effects"):
        am.PatchingEffects.from_bytes(_replaced(whole, reference=numbers(3)).to_bytes())
    with pytest.raises(am.Refusal, match="contain no path patching effects"):
        am.PatchingEffects.from_bytes(_replaced(whole, mlps=None).to_bytes())


def _replaced(result: Any, **values: Any) -> Any:
    """A copy with other fields, their shapes unchecked."""
    copy = object.__new__(type(result))
    for name, value in {**vars(result), **values}.items():
        object.__setattr__(copy, name, value)
    return copy


@pytest.mark.parametrize("whole", [effects(), effects(probability=True), knockout(decoded=True), roles(), lens()])
def test_parts_are_joined_along_the_axis_of_the_pairs(whole: Any):
    joined = type(whole).concatenate([whole, whole, whole])
    assert (len(joined), joined.questions) == (6, QUESTIONS * 3)
    assert same(type(whole).concatenate([whole]), whole)


def test_the_axis_of_the_pairs_is_where_the_annotation_has_it():
    joined = am.Knockout.concatenate([knockout(), knockout()])
    assert joined.control_logits.shape == (2, 3, 4, 2)
    assert joined.reference.shape == (4, 2)
    assert torch.equal(joined.matched, knockout().matched)
    assert joined.written is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one"),
        ([effects(), knockout()], "at least one PatchingEffects"),
        ([effects(), effects(direction="denoising")], "differ in direction"),
        ([effects(), effects(probability=True)], "differ in probability_heads, probability_mlps"),
    ],
    ids=range(4),
)
def test_parts_that_do_not_belong_together_are_refused(parts: Any, message: str):
    with pytest.raises(am.Refusal, match=message) as refused:
        am.PatchingEffects.concatenate(parts)
    assert refused.value.code == "bad_request"


def test_knock_outs_of_other_draws_or_settings_are_refused():
    with pytest.raises(am.Refusal, match="differ in seed"):
        am.Knockout.concatenate([knockout(), knockout(seed=1)])
    with pytest.raises(am.Refusal, match="differ in matched"):
        am.Knockout.concatenate([knockout(), dataclasses.replace(knockout(), matched=~knockout().matched)])


def test_only_results_of_pairs_have_a_length():
    assert len(effects()) == 2
    assert not hasattr(patterns(), "__len__")
