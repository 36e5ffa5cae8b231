# ruff: noqa: E501 (rows of tables)
"""Plausible mistakes in Python and on the command line: what is raised, in which words, before anything is computed.

Each row is the mistake as it would be typed, the exception's class, and what its message says: the argument, what was
given, what is allowed, the way out.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny import tiny_model, tiny_tokenizer  # pyright: ignore[reportMissingImports]

import arithmoscope as am
from arithmoscope.cli.main import main
from arithmoscope.engine.models import loaded

NAN = float("nan")


class DataFrame:
    """The least that pandas' DataFrame has in common with a list: iterating over it gives the names of its columns."""

    columns = ("reference", "counterfactual", "answer")

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


@pytest.fixture(scope="module")
def names(tiny_models_dir: Path) -> dict[str, Any]:
    """The names in the mistakes' source."""
    torch.set_num_threads(1)
    model = am.load_model("smollm2-135m", models_dir=tiny_models_dir)
    pairs = am.generate(pairs=12, tokenizer=model.tokenizer)
    first, second = am.split_operands(pairs)
    return {
        "am": am,
        "np": np,
        "torch": torch,
        "nan": NAN,
        "model": model,
        "other": tiny_model("LlamaForCausalLM", torch.float64),
        "wide": transformers.PreTrainedTokenizerFast(tokenizer_object=_wide_tokenizer()),
        "pairs": pairs,
        "first": first,
        "second": second,
        "table": DataFrame(),
        "effects": am.path_patching(model, pairs),
        "tuned": am.fine_tune(model, ["L1H2"], pairs[:2], steps=1, learning_rate=1e-3, batch_size=2),
    }


def _wide_tokenizer() -> Any:
    tokenizer = tiny_tokenizer().backend_tokenizer
    vocabulary = {word: number + 1_000 for word, number in tokenizer.get_vocab().items()}
    return type(tokenizer)(type(tokenizer.model)(vocabulary, unk_token="<unk>"))


# fmt: off
MISTAKES: list[tuple[str, type[am.Refusal], str]] = [
    # models
    ("am.path_patching('smollm2-135m', pairs)", am.BadArgument,
     r"model is 'smollm2-135m'; it must be a model that am.load_model returned. Load it first: model = am.load_model\('smollm2-135m'\)"),
    ("am.lens(model.hf, pairs)", am.BadArgument, r"model is a LlamaForCausalLM; .*Load it first: .*tokenizer"),
    ("am.attention(pairs, model)", am.BadArgument, r"model is a list; it must be a model"),
    ("am.load_model('')", am.ModelNotFound, r"There is no model ''.*am.list_models\(\)"),
    ("am.load_model('ü' * 300)", am.ModelNotFound, r"There is no model 'ü.*am.list_models\(\)"),
    ("am.load_model(None)", am.BadArgument, r"model is None; it must be the name of a model, a path"),
    ("am.load_model(model)", am.BadArgument, r"model is a LoadedModel; it must be the name of a model"),
    ("am.load_model(model.hf)", am.UnsupportedModel, r"needs its tokenizer as the second argument"),
    ("am.load_model(model.hf, 'smollm2-135m')", am.UnsupportedModel, r"tokenizer is 'smollm2-135m'; it must be a transformers tokenizer"),
    ("am.load_model(model.hf, wide)", am.UnsupportedModel, r"token ids up to 10\d\d; the model has embeddings for 64 tokens"),
    ("am.load_model('smollm2-135m', dtype='fp16')", am.BadArgument, r"dtype is 'fp16'; it must be one of 'float32', .*or None"),
    ("am.load_model('smollm2-135m', device='gpu')", am.BadArgument, r"'gpu' is not available"),
    ("tuned.deltas.apply(other)", am.BadArgument, r"These deltas belong to .*Load .*dtype='float32'"),
    # pairs and prompts
    ("am.path_patching(model, [])", am.BadPrompt, r"The list of prompt pairs is empty"),
    ("am.path_patching(model, None)", am.BadArgument, r"pairs is None; it must be a list of prompt pairs"),
    ("am.path_patching(model, pairs[0])", am.BadArgument, r"pairs is a PromptPair; it must be a list .*Write pairs=\[\.\.\.\]"),
    ("am.path_patching(model, '3 + 5 =')", am.BadArgument, r"pairs is '3 \+ 5 ='; it must be a list of prompt pairs"),
    ("am.stream(model, table)", am.BadArgument, r"pairs is a DataFrame; it must be a list .*PromptPair\(\*row\) for row in"),
    ("am.stream(model, np.array([['3 + 5 =', '3 @ 5 =', '8']]))", am.BadArgument, r"pairs is an? ndarray; it must be a list"),
    ("am.writes(model, [('3 + 5 =', '3 @ 5 =', '8')], ['MLP0'])", am.BadArgument, r"pairs\[0\] is a tuple; it must be a PromptPair.*PromptPair\(\*pair\)"),
    ("am.edges(model, [*pairs, {'reference': '3 + 5 ='}])", am.BadArgument, r"pairs\[12\] is a dict; .*PromptPair\(\*\*pair\)"),
    ("am.attribution(model, am.prepare(am.TemplatePrompts(source='template'), model.text).pairs)", am.BadArgument,
     r"pairs\[0\] is an EncodedPair; .*each.pair for each"),
    ("am.PromptPair(3 + 5, '3 @ 5 =', '8')", am.BadArgument, r"reference is 8; it must be a text. Write reference='8'"),
    ("am.PromptPair('3 + 5 =', '3 @ 5 =', 8)", am.BadArgument, r"answer is 8; it must be a text"),
    ("am.PromptPair(b'3 + 5 =', '3 @ 5 =', '8')", am.BadArgument, r"reference is b'3 \+ 5 ='; it must be a text"),
    ("am.PromptPair('3 + 5 =', None, '8')", am.BadArgument, r"counterfactual is None; it must be a text"),
    ("am.path_patching(model, [am.PromptPair('\\udcff + 5 =', '3 @ 5 =', '8')])", am.BadArgument, r"Pair 1: The reference prompt contains a lone surrogate"),
    ("am.path_patching(model, [am.PromptPair('9 + 9 =', '9 @ 9 =', '18')])", am.BadPrompt, r"Pair 1: .*'18'"),
    ("am.path_patching(model, [am.PromptPair('9 + 9 =', '9 @ 9 =', '')])", am.BadPrompt, r"Pair 1: "),
    ("am.generate('add', tokenizer=model.tokenizer)", am.BadArgument, r"operations is 'add'; it must be a list.*operations=\['add'\]"),
    ("am.generate(['addd'], tokenizer=model.tokenizer)", am.BadArgument, r"operations\[0\] is 'addd'; .*operations\[0\]='add'"),
    ("am.generate(operands=9, tokenizer=model.tokenizer)", am.BadArgument, r"operands is 9; it must be 2 values, .*operands=\(1, 9\)"),
    ("am.generate(operands=(9, 1), tokenizer=model.tokenizer)", am.BadArgument, r"operands must be \[smallest, largest\]"),
    ("am.generate(shots=99, tokenizer=model.tokenizer)", am.BadArgument, r"shots is 99; it must be a whole number from 0 to 8"),
    ("am.generate(tokenizer=None)", am.UnsupportedModel, r"NoneType is not a tokenizer. Pass the model's tokenizer"),
    ("am.prepare({'source': 'template'}, model.text)", am.BadArgument, r"spec is a dict; .*am.TemplatePrompts\(\*\*spec\)"),
    ("am.TemplatePrompts(source='template', pars=3)", am.BadArgument, r"The field pars does not exist. See help\(am.TemplatePrompts\)"),
    ("am.split_operands(pairs, share=1.5)", am.BadArgument, r"share is 1.5; it must be a number between 0 and 1.*share=0.5"),
    ("am.read_public('gsm9k', b'')", am.BadArgument, r"name is 'gsm9k'; .*name='gsm8k'"),
    # numbers and options
    ("am.lens(model, pairs, k=2.5)", am.BadArgument, r"k is 2.5; it must be a whole number from 1 to 100. Write k=2."),
    ("am.lens(model, pairs, k=True)", am.BadArgument, r"k is True; it must be a whole number"),
    ("am.lens(model, pairs, k='3')", am.BadArgument, r"k is '3'; it must be a whole number.*k=10"),
    ("am.lens(model, pairs, k=0)", am.BadArgument, r"k is 0; it must be a whole number from 1 to 100"),
    ("am.path_patching(model, pairs, effect='totl')", am.BadArgument, r"effect is 'totl'; .*Did you mean effect='total'"),
    ("am.path_patching(model, pairs, positions='all')", am.BadArgument, r"'all' needs.*'total'"),
    ("am.path_patching(model, pairs, mean_over=pairs)", am.BadArgument, r"mean_over is given, but the source is not the mean"),
    ("am.path_patching(model, pairs, seed='0')", am.BadArgument, r"seed is '0'; it must be a whole number.*seed=0"),
    ("am.path_patching(model, pairs, memory='1 GB')", am.BadArgument, r"memory is '1 GB'; it must be a whole number .*or None"),
    ("am.path_patching(model, pairs, probability=1)", am.BadArgument, r"probability is 1; it must be True or False"),
    ("am.path_patching(model, pairs, progress=True)", am.BadArgument, r"progress is True; it must be a function of 2 arguments"),
    ("am.path_patching(model, pairs, progress=lambda done: None)", am.BadArgument, r"it must be a function of 2 arguments.*too many"),
    ("am.attention(model, pairs, layers=[99])", am.BadArgument, r"There is no layer 99; the model has 3"),
    ("am.attention(model, pairs, layers=1)", am.BadArgument, r"layers is 1; it must be a list of whole numbers"),
    ("am.key_components(effects, rate=nan)", am.BadArgument, r"rate is nan; it must be a number between 0 and 1"),
    ("am.key_components(effects, rule='threshold', threshold=nan)", am.BadArgument, r"threshold is nan; it must be a finite number"),
    ("am.key_components(effects, metric='probability')", am.BadArgument, r"Probabilities were not computed.*"),
    ("am.key_components(pairs)", am.BadArgument, r"effects is a list; it must be the result of path_patching"),
    ("effects.ranking('logit_diff')", am.BadArgument, r"metric is 'logit_diff'; .*metric='logit_difference'"),
    ("am.elbow([1.0, nan, 0.2])", am.BadArgument, r"curve is a list; it must be a finite number for each k"),
    # components and sets
    ("am.knockout(model, pairs, 'L1H2')", am.BadComponent, r"components is 'L1H2'; it must be a list .*components=\['L1H2'\]"),
    ("am.knockout(model, pairs, ['L9H9'])", am.BadComponent, r"There is no L9H9; the model has 3 layers of 4 heads"),
    ("am.knockout(model, pairs, ['L1H2', 'L1H2'])", am.BadComponent, r"L1H2 is named twice"),
    ("am.knockout(model, pairs, {'L1H2', 'MLP0'})", am.BadComponent, r"components is a set; .*sorted\(components\)"),
    ("am.knockout(model, pairs, ['L1H2'], controls=-1)", am.BadArgument, r"controls is -1; it must be a whole number from 0 to 1000"),
    ("am.writes(model, pairs, [3])", am.BadComponent, r"components\[0\] is 3; .*Write a head as 'L14H2'"),
    ("am.Component.parse(None)", am.BadComponent, r"None is not a component"),
    ("am.Component(-1)", am.BadArgument, r"layer is -1; it must be a whole number of at least 0"),
    ("am.transfer(model, pairs, pairs)", am.BadArgument, r"found_on is a list; it must be a dict of names .*found_on=\{'a name'"),
    ("am.transfer(model, {'a': pairs}, {'b': pairs})", am.BadArgument, r"share operands: .*split_operands"),
    ("am.transfer(model, {'a': first}, {'b': second}, top_k=999)", am.BadArgument, r"top_k is 999; it must be a whole number from 1 to 12"),
    # training
    ("am.fine_tune(model, ['L1H2'], pairs, steps=0, learning_rate=1e-3, batch_size=4)", am.BadArgument, r"steps is 0; it must be a whole number"),
    ("am.fine_tune(model, ['L1H2'], pairs, steps=1, learning_rate=0, batch_size=4)", am.BadArgument, r"learning_rate is 0; it must be a number above 0"),
    ("am.fine_tune(model, ['L1H2'], pairs, steps=1, learning_rate=nan, batch_size=4)", am.BadArgument, r"learning_rate is nan; it must be"),
    ("am.fine_tune(model, ['L1H2'], pairs, steps=1, learning_rate=1e-3, batch_size=2.5)", am.BadArgument, r"batch_size is 2.5; .*batch_size=2"),
    ("am.fine_tune(model, [], pairs, steps=1, learning_rate=1e-3, batch_size=4)", am.BadComponent, r"No component is named"),
    ("am.fine_tune(model, ['L1H2'], [], steps=1, learning_rate=1e-3, batch_size=4)", am.BadPrompt, r"no prompt to train on"),
    ("am.fine_tune(model, ['L1H2'], pairs, steps=1, learning_rate=1e-3, batch_size=4, tuner='lore')", am.BadArgument, r"tuner is 'lore'; .*tuner='lora'"),
    ("am.evaluate(model, tuned.model, [], pairs)", am.BadPrompt, r"The list of held-out pairs \(test\) is empty"),
    # files
    ("effects.save('missing/effects.safetensors')", am.BadArgument, r"'missing/effects.safetensors' cannot be written: .*Create the folder 'missing' first"),
    ("effects.save('.')", am.BadArgument, r"'.' cannot be written: .*Name a file in this folder"),
    ("am.attention(model, pairs[:1]).save('missing/x')", am.BadArgument, r"'missing/x' cannot be written: .*Create the folder"),
    ("am.PatchingEffects.load('nowhere.safetensors')", am.BadArgument, r"'nowhere.safetensors' cannot be read: .*Check its name"),
    ("am.PatchingEffects.load(3)", am.BadArgument, r"path is 3; it must be a path"),
    ("tuned.export('')", am.BadArgument, r"folder is ''; it must be a path"),
    ("am.PatchingEffects.concatenate([])", am.BadArgument, r"at least one (PatchingEffects|Knockout)"),
    ("am.Knockout.concatenate([])", am.BadArgument, r"at least one (PatchingEffects|Knockout)"),
    ("am.Deltas.from_bytes('tuned.safetensors')", am.BadArgument, r"data is 'tuned.safetensors'; it must be bytes.*read_bytes"),
]
# fmt: on
COMPUTES = {"am.attention(model, pairs[:1]).save('missing/x')"}  # what is saved was computed before


@pytest.fixture
def passes() -> Iterator[list[str]]:
    """The names of the modules that run, in order."""
    ran: list[str] = []

    def note(module: torch.nn.Module, _args: Any) -> None:
        ran.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    yield ran
    handle.remove()


@pytest.mark.parametrize(("source", "error", "message"), MISTAKES, ids=[source for source, _, _ in MISTAKES])
def test_a_mistake_in_python_is_refused_before_anything_is_computed(
    source: str,
    error: type[am.Refusal],
    message: str,
    names: dict[str, Any],
    passes: list[str],
    tiny_models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tiny_models_dir))
    with pytest.raises(am.Refusal) as refused:
        eval(source, names)
    assert type(refused.value) is error, refused.value
    assert re.search(message, str(refused.value)), refused.value
    assert "\n" not in str(refused.value)
    assert refused.value.way_out
    assert passes == [] or source in COMPUTES
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "am.path_patching(model, pairs, efect='total')",
            r"path_patching\(\) got an unexpected keyword argument 'efect'",
        ),
        ("am.path_patching(model)", r"path_patching\(\) missing 1 required positional argument: 'pairs'"),
        ("am.path_patching(model, pairs, 'total')", r"path_patching\(\) takes 2 positional arguments but 3 were given"),
        ("am.PromptPair('3 + 5 =', '3 @ 5 =')", r"missing 1 required positional argument: 'answer'"),
    ],
)
def test_a_missing_or_unexpected_argument_is_pythons_own_error(
    source: str, message: str, names: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=message):
        eval(source, names)


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("am.lens(model, pairs, k=np.int64(3)).top", "am.lens(model, pairs, k=3).top"),
        ("am.lens(model, pairs, k=torch.tensor(3)).top", "am.lens(model, pairs, k=3).top"),
        ("am.lens(model, (pair for pair in pairs)).logit", "am.lens(model, pairs).logit"),
        ("am.lens(model, np.array(pairs, dtype=object)).logit", "am.lens(model, pairs).logit"),
        ("am.attention(model, pairs, layers=np.arange(2)).layers", "(0, 1)"),
        ("am.key_components(effects, rule='threshold', threshold=np.float32(-0.5)).components", "am.key_components(effects, rule='threshold', threshold=-0.5).components"),
        ("am.knockout(model, pairs, np.array(['L1H2']), controls=np.int32(1)).logits",
         "am.knockout(model, pairs, ['L1H2'], controls=1).logits"),
        ("am.split_operands(pairs, np.float64(0.5), np.int8(1))", "am.split_operands(pairs, 0.5, 1)"),
        ("am.generate(operands=np.array([1, 5]), pairs=np.int64(4), tokenizer=model.text)",
         "am.generate(operands=(1, 5), pairs=4, tokenizer=model.text)"),
        ("am.prepare(am.TemplatePrompts(source='template', pairs=np.int64(2)), model.tokenizer).pairs",
         "am.prepare(am.TemplatePrompts(source='template', pairs=2), model.text).pairs"),
        ("am.elbow([1.0, 0.2, 0.1, 0.0]), am.elbow(np.array([1.0, 0.2, 0.1, 0.0]))", "1, 1"),
        ("str(am.Component(np.int64(1), np.int64(2))), am.Component(np.int64(1)) == am.Component(1)", "'L1H2', True"),
        ("vars(am.fine_tune(model, ['L1H2'], pairs[:2], steps=np.int64(1), learning_rate=np.float32(0.5), "
         "batch_size=np.int64(2)).deltas)['settings']['learning_rate']", "0.5"),
    ],
)  # fmt: skip
def test_what_numpy_torch_and_iterators_hold_is_read(source: str, plain: str, names: dict[str, Any]) -> None:
    torch.testing.assert_close(*(_plain(eval(each, names)) for each in (source, plain)), rtol=0, atol=0, equal_nan=True)


def _plain(value: Any) -> Any:
    return value if isinstance(value, torch.Tensor) else torch.tensor(bytearray(repr(value).encode()))


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "of another kind", "zeros"])
def test_a_file_that_is_not_ours_is_refused_by_every_load(damage: str, names: dict[str, Any], tmp_path: Path) -> None:
    model, pairs = names["model"], names["pairs"][:2]
    sets = {"a": names["first"]}, {"b": names["second"]}
    results = [
        am.attention(model, pairs),
        am.attention_roles(model, pairs),
        am.attribution(model, pairs),
        am.edges(model, pairs, ["L1H2"], top=2),
        am.knockout(model, pairs, ["L1H2"], controls=1),
        am.lens(model, pairs),
        am.stream(model, pairs),
        am.transfer(model, *sets, top_k=1, metric="logit", controls=1),
        am.writes(model, pairs, ["L1H2"]),
        names["effects"],
        names["tuned"].deltas,
    ]
    for number, result in enumerate(results):
        path, other = tmp_path / "result.safetensors", tmp_path / "other.safetensors"
        result.save(path)
        results[number - 1].save(other)
        whole = path.read_bytes()
        content = {
            "empty": b"",
            "cut": whole[: len(whole) // 2],
            "text": b"reference,counterfactual,answer\n",
            "of another kind": other.read_bytes(),
            "zeros": bytes(64),
        }
        path.write_bytes(content[damage])
        with pytest.raises(am.BadArgument) as refused:
            type(result).load(path)
        assert "\n" not in str(refused.value)


COMMANDS = [
    ("analyze '3 + 5 =' --effect totl", r"--effect.*totl.*total"),
    ("analyze '3 + 5 =' --model nix", r"nix.*models list"),
    ("analyze '3 + 5 =' --model ''", r"--model is ''"),
    ("analyze '3 + 5 =' --positions all", r"[Pp]ositions.*'total'"),
    ("analyze '3 + 5 =' --shots few", r"--shots.*few"),
    ("analyze '3 + 5 =' --shots 99", r"shots"),
    ("analyze '3 + 5 =' --pairs 3", r"--pairs"),
    ("knockout --components L1", r"L1.*L14H2"),
    ("knockout --components L1H1 --top-k 3", r"--(top-k|components)"),
    ("knockout --controls -1", r"--controls is -1.*0 to 200"),
    ("knockout --top-k 9999", r"--top-k is 9999.*1 to 128"),
    ("transfer --top-k 0", r"--top-k is 0"),
    ("knockout --controls many", r"--controls.*many"),
    ("knockout --operands 9 1", r"operands"),
    ("knockout --answer-tokens 0", r"answer.tokens.*1"),
    ("transfer --sets addition poems", r"poems"),
    ("fine-tune --components L1H2 --steps 0", r"steps"),
    ("fine-tune --components L1H2 --learning-rate -1", r"learning.rate"),
    ("fine-tune --components L1H2 --learning-rate nan", r"learning.rate"),
    ("fine-tune --components L1H2 --tuner lore", r"tuner.*lore.*lora"),
    ("inspect lens '3 + 5 =' --file own.csv", r"one of them"),
    ("inspect key --file gone.csv", r"gone.csv"),
    ("inspect writes '3 + 5 ='", r"component"),
    ("models check nix", r"nix"),
    ("serve --port many", r"PORT"),
    ("dance", r"dance"),
]


@pytest.mark.parametrize(("command", "message"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_mistake_on_the_command_line_is_one_line_before_a_model_loads(
    command: str,
    message: str,
    tiny_models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def load(*_args: Any, **_options: Any) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARITHMOSCOPE_MODELS_DIR", str(tiny_models_dir))
    monkeypatch.setenv("ARITHMOSCOPE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(loaded, "read_model", load)
    try:
        code = main(shlex.split(command))
    except SystemExit as left:
        code = int(left.code or 0)
    output = capsys.readouterr()
    assert code == 2
    assert output.out == ""
    assert output.err.count("\n") == 1, output.err
    assert re.search(message, output.err), output.err
