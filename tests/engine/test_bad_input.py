"""Odd prompts and calls: each gives a defined result, or a refusal with a way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from tiny import PAIRS, tiny_model, tiny_tokenizer
from tokenizers import AddedToken
from whole_run import whole_run

from arithmoscope import LoadedModel, PromptPair, attention, load_model, path_patching
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.prompts import MAX_PAIRS
from arithmoscope.engine.experiments.path_patching import RunOutput

EFFECTS: list[dict[str, Any]] = [
    {"effect": "direct"},
    {"effect": "through_mlps"},
    {"effect": "total"},
    {"effect": "total", "positions": "all"},
    {"effect": "through_mlps", "direction": "denoising"},
]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model("LlamaForCausalLM", torch.float32)


def refusal_of(model: LoadedModel, pairs: Any, **options: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        path_patching(model, pairs, **options)
    assert refused.value.way_out
    return refused.value


def run(model: LoadedModel, prompts: dict[str, Any]) -> RunOutput:
    spec = PathPatchingSpec.model_validate({"kind": "path_patching", "model": "tiny", "prompts": prompts})
    return whole_run(model, spec)


@pytest.mark.parametrize("options", EFFECTS, ids=str)
def test_prompts_of_one_token_have_effects_like_any_other(model: LoadedModel, options: dict[str, Any]) -> None:
    one = PromptPair("=", "@", "8")
    effects = path_patching(model, [one, PAIRS[0], one], **options)
    alone = path_patching(model, [one], **options)
    assert bool(effects.heads.isfinite().all())
    assert float(effects.mlps[0].abs().max()) > 0
    for row in (0, 2):
        torch.testing.assert_close(effects.heads[row], alone.heads[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(effects.mlps[row], alone.mlps[0], atol=1e-4, rtol=0)


def test_a_prompt_of_one_token_looks_at_itself(model: LoadedModel) -> None:
    (weights,) = attention(model, [PromptPair("=", "@", "8")]).weights
    assert weights.shape[-2:] == (1, 1)
    assert bool((weights == 1).all())


@pytest.mark.parametrize("options", EFFECTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_counterfactual_that_is_the_reference_has_no_effect_at_all(
    dtype: torch.dtype, options: dict[str, Any]
) -> None:
    pairs = [PromptPair(pair.reference, pair.reference, pair.answer) for pair in PAIRS]
    effects = path_patching(tiny_model("LlamaForCausalLM", dtype), pairs, probability=True, **options)
    assert effects.probability_heads is not None
    assert effects.probability_mlps is not None
    for values in (effects.heads, effects.mlps, effects.competitor_heads, effects.competitor_mlps):
        assert not bool(values.any())
    assert not bool(effects.probability_heads.any())
    assert not bool(effects.probability_mlps.any())
    torch.testing.assert_close(effects.reference, effects.counterfactual, atol=1e-6, rtol=0)


def test_a_whole_experiment_of_equal_prompts_says_zero_everywhere(model: LoadedModel) -> None:
    same = {"reference": "3 + 5 =", "counterfactual": "3 + 5 ="}
    result = run(
        model, {"source": "custom", "shots": 0, "pairs": [same, {"reference": "2 + 2 =", "counterfactual": "2 + 2 ="}]}
    )
    for metric in result.result.metrics.values():
        assert {value for row in metric.heads.mean for value in row} <= {0.0, None}
        assert {value for row in metric.mlps.mean for value in row} <= {0.0, None}
    assert result.result.checks.spot_check_error < 1e-3


@pytest.mark.parametrize(
    ("answer", "code"),
    [("8 apples", "answer_several_tokens"), ("42", "answer_several_tokens"), ("", "answer_not_a_token")],
)
def test_an_answer_that_is_not_one_token_is_refused_by_the_pairs_number(
    model: LoadedModel, answer: str, code: str
) -> None:
    refusal = refusal_of(model, [PAIRS[0], PromptPair("3 + 5 =", "3 @ 5 =", answer)])
    assert refusal.code == code
    assert refusal.detail.startswith("Pair 2: ")


def test_an_answer_that_no_vocabulary_has_is_refused(model: LoadedModel) -> None:
    refusal = refusal_of(model, [PromptPair("3 + 5 =", "3 @ 5 =", "eight")])
    assert (refusal.code, "no token" in refusal.detail) == ("answer_not_a_token", True)


def test_an_answer_beyond_the_models_embeddings_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken(f"word{number}") for number in range(80)])
    model = load_model(tiny_model("LlamaForCausalLM", torch.float32).hf, tokenizer)
    refusal = refusal_of(model, [PromptPair("3 + 5 =", "3 @ 5 =", "word79")])
    assert (refusal.code, "the model has 64 tokens" in refusal.detail) == ("bad_tokenizer", True)


def test_what_is_no_list_of_pairs_is_refused_with_the_way_to_write_it(model: LoadedModel) -> None:
    # As in a user's own program, where no shape and no argument type is checked.
    jaxtyping.config.update("jaxtyping_disable", True)
    write = "Write am.PromptPair(reference=..., counterfactual=..., answer=...)."
    a_list = "it must be a list of prompt pairs."
    calls: list[tuple[Any, str]] = [
        (PAIRS[0], f"pairs is a PromptPair; {a_list} Write pairs=[...], with brackets."),
        ("3 + 5 =", f"pairs is '3 + 5 ='; {a_list} Correct pairs."),
        (5, f"pairs is 5; {a_list} Correct pairs."),
        (["3 + 5 ="], f"pairs[0] is '3 + 5 ='; it must be a PromptPair. {write}"),
        (
            [PAIRS[0], {"reference": "3 + 5 ="}],
            "pairs[1] is a dict; it must be a PromptPair. Write am.PromptPair(**pair) for each.",
        ),
    ]
    for call in (path_patching, attention):
        for pairs, says in calls:
            with pytest.raises(Refusal) as refused:
                call(model, pairs)
            assert (refused.value.code, f"{refused.value.detail} {refused.value.way_out}") == ("bad_request", says)
    nothing: tuple[tuple[Any, str], ...] = (([], "no_prompts"), ((), "no_prompts"), (None, "bad_request"))
    for pairs, code in nothing:
        with pytest.raises(Refusal) as refused:
            path_patching(model, pairs)  # pyright: ignore[reportArgumentType]
        assert refused.value.code == code


_MANY = """
import resource, sys, time
import torch
from tiny import tiny_model
from arithmoscope import PromptPair, path_patching
from arithmoscope.engine.experiments.path_patching import run_path_patching
from arithmoscope.contracts.kinds import PathPatchingSpec
from arithmoscope.contracts.prompts import MAX_PAIRS

torch.set_num_threads(1)
model = tiny_model("LlamaForCausalLM", torch.float32)
sums = [(a, b) for a in range(1, 9) for b in range(1, 10 - a)]
sums = [sums[number % len(sums)] for number in range(MAX_PAIRS)]
pairs = [PromptPair(f"{a} + {b} =", f"{a} @ {b} =", str(a + b)) for a, b in sums]

def run(count):
    prompts = {"source": "custom", "pairs": [{"reference": pair.reference} for pair in pairs[:count]]}
    spec = PathPatchingSpec.model_validate({"kind": "path_patching", "model": "tiny", "prompts": prompts})
    quiet = lambda *_: None
    return run_path_patching(
        model, spec, "x", saved_chunks={}, save_chunk=quiet, on_progress=quiet, on_partial=quiet, should_stop=quiet
    )

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

for effect in ("direct", "through_mlps", "total"):
    few = path_patching(model, pairs[:36], effect=effect)
    before, started = peak(), time.process_time()
    effects = path_patching(model, pairs, effect=effect)
    print(len(effects), time.process_time() - started, peak() - before)
    assert effects.heads[-28:].allclose(few.heads[(MAX_PAIRS - 28) % 36:][:28], atol=1e-4)
run(36)
before, started = peak(), time.process_time()
print(len(run(MAX_PAIRS).result.pairs), time.process_time() - started, peak() - before)
"""


@pytest.mark.slow
def test_ten_thousand_pairs_take_some_seconds_and_little_more_memory_than_a_few() -> None:
    measured = [line.split() for line in _output_lines(_MANY)]
    assert len(measured) == 4
    for pairs, seconds, grown in measured:
        assert int(pairs) == MAX_PAIRS
        assert float(seconds) < 120
        assert int(grown) < 512 * 2**20


def _output_lines(code: str) -> list[str]:
    """The output of a fresh interpreter. In these tests argument types and tensor shapes are checked at every call of
    the engine, unlike in a user's own program."""
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert tried.returncode == 0, tried.stderr[-2_000:]
    return tried.stdout.splitlines()
