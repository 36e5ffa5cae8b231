"""Tests of ``import arithmoscope as am``: light to import, complete, and typed in a user's own project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import arithmoscope as am
from tests.tables import table

HEAVY = ("torch", "transformers", "numpy", "pydantic", "sqlalchemy", "fastapi")
ROOT = Path(__file__).parents[2]


def python(code: str, **environment: str) -> str:
    """The output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_import_loads_nothing_heavy_until_a_name_is_used():
    loaded = f"[name for name in {HEAVY!r} if name in sys.modules]"
    assert python(f"import sys, arithmoscope; dir(arithmoscope); print({loaded})") == "[]"
    assert "torch" in python(f"import sys, arithmoscope; arithmoscope.path_patching; print({loaded})")


def test_a_refusal_and_a_component_load_no_torch():
    names = ["Refusal", "ModelNotFound", "Component", "PromptPair", "generate", "split_operands", "prepare"]
    code = f"import sys, arithmoscope as am; [getattr(am, name) for name in {names}]; print('torch' in sys.modules)"
    assert python(code) == "False"


@table("name", am.__all__)
def test_a_public_name_is_listed_and_is_what_its_module_calls_it(name):
    assert name in dir(am)
    value = getattr(am, name)
    assert value.__name__ == name
    assert value.__module__.startswith("arithmoscope.")


def test_the_promised_names_are_public():
    methods = {"path_patching", "knockout", "transfer", "attention", "attention_roles", "lens", "attribution", "edges"}
    methods |= {"writes", "stream", "key_components", "elbow", "evaluate", "fine_tune"}
    prompts = {"PromptPair", "split_operands", "generate"}
    assert methods | prompts | {"load_model", "Refusal"} <= set(am.__all__)


def test_every_class_of_a_refusal_is_public():
    classes = {
        type(am.Refusal(code, "")) for code in __import__("arithmoscope.contracts.errors").contracts.errors.PROBLEMS
    }
    assert {each.__name__ for each in classes} <= set(am.__all__)


def test_a_star_import_defines_the_public_names_and_no_others():
    code = "before = set(globals()); from arithmoscope import *; print(sorted(set(globals()) - before - {'before'}))"
    assert python(code) == str(sorted(am.__all__))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="pathpatching"):
        getattr(am, "pathpatching")  # noqa: B009


def test_the_tab_key_completes_public_names():
    code = (
        "import rlcompleter, arithmoscope as am; complete = rlcompleter.Completer({'am': am}).complete; "
        "print([complete('am.path_', 0), complete('am.Model', 0)])"
    )
    assert python(code) == "['am.path_patching(', 'am.ModelCard(']"


def test_the_version_is_that_of_the_distribution():
    assert am.__version__ == metadata.version("arithmoscope")


USER = """
import arithmoscope as am
from arithmoscope import PromptPair, load_model, path_patching

model = load_model("smollm2-135m")
pairs = [PromptPair("3 + 5 =", "3 @ 5 =", answer="8")]
reveal_type(path_patching(model, pairs, effect="direct").ranking("logit"))
reveal_type(am.fine_tune(model, ["L1H2"], pairs, steps=1, learning_rate=1e-3, batch_size=1).model)
try:
    am.knockout(model, pairs, ["MLP0"], ablation="zero", positions="after_first").curve("probability")
except am.ModelNotFound as refusal:
    reveal_type(refusal.code == "unknown_model")
"""
TYPOS = [
    'am.path_patching(model, pairs, effect="direkt")',
    'am.path_patching(model, pairs, effect="total", positions="everywhere")',
    'am.path_patching(model, pairs, source="meen")',
    'am.path_patching(model, pairs, direction="noise")',
    'am.path_patching(model, pairs).ranking("logits")',
    'am.knockout(model, pairs, [], ablation="average")',
    'am.knockout(model, pairs, []).curve("acuracy")',
    'am.transfer(model, {}, {}, metric="percent")',
    'am.edges(model, pairs, through="mlps")',
    'am.key_components(am.path_patching(model, pairs), rule="fdrs")',
    'am.fine_tune(model, [], pairs, steps=1, learning_rate=1e-3, batch_size=1, tuner="lorra")',
    'am.load_model("smollm2-135m", dtype="float23")',
    'am.generate(("plus",), tokenizer=model.tokenizer)',
    'am.read_public("gsm9k", b"")',
    "am.path_patchin(model, pairs)",
]


def test_a_type_checker_in_a_users_project_sees_the_types_and_catches_a_typo(tmp_path):
    (tmp_path / "user.py").write_text(USER + "\n".join(TYPOS) + "\n")
    config = {"extraPaths": [str(ROOT)], "reportMissingModuleSource": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    revealed = [each["message"] for each in diagnostics if each["severity"] == "information"]
    assert [text.split(" is ")[1] for text in revealed] == ['"list[RankingRow]"', '"LoadedModel"', '"bool"']
    first = USER.count("\n")
    assert [each["range"]["start"]["line"] - first for each in diagnostics if each["severity"] == "error"] == [
        *range(len(TYPOS))
    ]
