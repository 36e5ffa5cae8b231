"""The same question, with nothing but defaults, through every door: the page's own request builder, HTTP, the command
line and Python ask it with equal specs and equal keys, and get equal numbers."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from pydantic import TypeAdapter

import arithmoscope as am
from arithmoscope.cli.experiment import specs_of
from arithmoscope.cli.main import command_line
from arithmoscope.contracts.kinds import KINDS, ExperimentSpec, experiment_key
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.prompts.sets.default_shots import with_defaults_everywhere
from benchmarks.patience import patience

ROOT = Path(__file__).resolve().parents[2]
MODEL = "adder"
TYPED = {"source": "custom", "pairs": [{"reference": "3 + 5 ="}]}
# By the page's name of the form: the least that the API takes, and the command.
QUESTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "path_patching": ({"kind": "path_patching", "model": MODEL, "prompts": TYPED}, ["analyze", "3 + 5 ="]),
    "path_patching_set": (
        {"kind": "path_patching", "model": MODEL, "prompts": {"source": "template"}},
        ["analyze"],
    ),
    "knockout": ({"kind": "knockout", "parent": "parent"}, ["knockout"]),
    "transfer": ({"kind": "transfer", "model": MODEL}, ["transfer"]),
    "fine_tune": (
        {"kind": "fine_tune", "model": MODEL, "components": ["L1H2"]},
        ["fine-tune", "--components", "L1H2"],
    ),
}
SPEC: TypeAdapter[Any] = TypeAdapter(ExperimentSpec)


@pytest.fixture(scope="module")
def from_page() -> dict[str, dict[str, Any]]:
    """What the page's forms submit if nothing is changed, for the small model."""
    command = ["scripts/with-node", "npm", "--prefix", "frontend", "run", "--silent", "defaults"]
    specs = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    changes = {"model": MODEL, "components": ["L1H2"], "parent": "parent"}
    return {
        name: {**spec, **{field: value for field, value in changes.items() if field in spec}}
        for name, spec in specs.items()
    }


def of_command(words: list[str]) -> Any:
    args = command_line().parse_args([*words, "--model", MODEL])
    kind = next(kind for kind in KINDS.values() if kind.command == args.command)
    if kind.name == "fine_tune":
        from arithmoscope.cli.fine_tune import _prompts, _spec

        return _spec(args, _prompts(args, io.StringIO()))
    spec, _ = specs_of(kind, args, io.StringIO())
    return spec.model_copy(update={"parent": "parent"}) if kind.name == "knockout" else spec


@pytest.mark.parametrize("name", QUESTIONS)
def test_untouched_requests_are_equal_specs_with_equal_keys(name: str, from_page: dict[str, dict[str, Any]]) -> None:
    assert from_page.keys() == QUESTIONS.keys()
    asked, words = QUESTIONS[name]
    card = Catalogue(ROOT / "no-such-folder").card(MODEL)
    doors = [SPEC.validate_python(asked), SPEC.validate_python(from_page[name]), of_command(words)]
    specs = [with_defaults_everywhere(spec, card) for spec in doors]
    keys = {experiment_key(spec, revision=card.revision, dtype="float32", device_kind="cpu") for spec in specs}
    assert len(keys) == 1
    if name == "knockout":  # the page writes nothing where the engine takes its default k
        specs = [spec.model_copy(update={"top_k": None}) for spec in specs]
    assert specs[1] == specs[0]
    assert specs[2] == specs[0]


def submitted(address: str, spec: dict[str, Any]) -> str:
    answer = httpx2.post(f"{address}/api/experiments", json=spec)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["id"]


def result_of(address: str, experiment: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120 * patience()
    while time.monotonic() < deadline:
        state = httpx2.get(f"{address}/api/experiments/{experiment}").json()
        if state["state"] not in ("queued", "running"):
            assert state["state"] == "succeeded", state
            return httpx2.get(f"{address}/api/experiments/{experiment}/result").json()
        time.sleep(0.2)  # a worker in another process computes it
    pytest.fail("no result in time")


def of_terminal(*words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "arithmoscope", *words, "--model", MODEL, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_analysis_gives_equal_numbers_through_every_door(address: str, from_page: dict[str, dict[str, Any]]) -> None:
    experiment = submitted(address, from_page["path_patching"])
    assert submitted(address, QUESTIONS["path_patching"][0]) == experiment, "the same question is the same experiment"
    over_http = result_of(address, experiment)
    in_terminal = of_terminal("analyze", "3 + 5 =")
    assert in_terminal["metrics"] == over_http["metrics"]
    model = am.load_model(MODEL)
    prompts = am.CustomPrompts.model_validate(over_http["spec"]["prompts"])
    effects = am.path_patching(model, [each.pair for each in am.prepare(prompts, model.text).pairs])
    for metric, table in over_http["metrics"].items():
        mean = effects.summary(metric).mean
        for own, whole in ((mean[:, :-1], table["heads"]["mean"]), (mean[:, -1:], table["mlps"]["mean"])):
            torch.testing.assert_close(own, torch.tensor(whole, dtype=own.dtype), atol=1e-4, rtol=1e-4)


def test_a_knockout_gives_equal_numbers_through_every_door(address: str, from_page: dict[str, dict[str, Any]]) -> None:
    parent = submitted(address, from_page["path_patching_set"])
    analysis = result_of(address, parent)
    experiment = submitted(address, {**from_page["knockout"], "parent": parent})
    assert submitted(address, {**QUESTIONS["knockout"][0], "parent": parent}) == experiment
    over_http, in_terminal = result_of(address, experiment), of_terminal("knockout")
    for part in ("components", "controls", "curves", "n_pairs"):
        assert in_terminal[part] == over_http[part]
    model = am.load_model(MODEL)
    prompts = am.TemplatePrompts.model_validate(analysis["spec"]["prompts"])
    pairs = am.prepare(prompts, model.text).pairs
    # Python takes whole answers: here the first token is one.
    of_index = {each.index: replace(each.pair, answer=each.answer_text.strip()) for each in pairs}
    kept = [of_index[pair["index"]] for pair in analysis["pairs"]]
    effects = am.path_patching(model, kept)
    key = am.key_components(effects, rule="top_k")
    assert [str(component) for component in key.components] == over_http["components"]
    curve = am.knockout(model, kept, key.components).curve("accuracy")
    assert curve.mean.tolist() == pytest.approx(over_http["curves"]["accuracy"]["mean"])
    assert curve.control.tolist() == pytest.approx(over_http["curves"]["accuracy"]["control"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), [("transfer", "probability"), ("fine_tune", "curve")])
def test_the_longer_kinds_give_equal_numbers_over_http_and_in_the_terminal(
    name: str, part: str, address: str, from_page: dict[str, dict[str, Any]]
) -> None:
    asked, words = QUESTIONS[name]
    experiment = submitted(address, from_page[name])
    assert submitted(address, asked) == experiment
    assert of_terminal(*words)[part] == result_of(address, experiment)[part]


def test_every_kind_is_asked() -> None:
    assert {asked["kind"] for asked, _ in QUESTIONS.values()} == KINDS.keys()
