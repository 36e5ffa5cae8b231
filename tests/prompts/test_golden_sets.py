"""Sets without newer options are drawn as before, so that results stay comparable over the years."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from arithmoscope.contracts.prompts import CustomPrompts, TemplatePrompts
from arithmoscope.prompts import prepare

GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "golden" / "sets.json").read_text("utf-8"))

_FOUR = ["add", "subtract", "multiply", "divide"]
_CORRUPTIONS = ["null_operator", "operand_swap", "operand_swap_same_answer", "operator_swap"]
_TYPED = ["3 + 5 =", "three plus five is", "Subtract 3 from 5:", "-(2 + 3) + 9 =", "The product of 2 and 4 is"]
SETS: dict[str, dict[str, Any]] = {
    "default": {},
    "the example's": {"operands": [0, 9], "shots": 2},
    "without shots": {"shots": 0},
    **{f"{operation} alone": {"operations": [operation], "operands": [0, 20]} for operation in _FOUR},
    **{
        f"all by {corruption}, seed {seed}": {
            "operations": _FOUR,
            "styles": ["equation", "statement", "question"],
            "operands": [0, 99],
            "pairs": 120,
            "shots": 3,
            "corruption": corruption,
            "seed": seed,
        }
        for corruption in _CORRUPTIONS
        for seed in (0, 7)
    },
    "four digits": {"operations": ["subtract", "divide"], "operands": [0, 9999], "corruption": "operand_swap"},
    **{
        f"typed, by {corruption}": {
            "source": "custom",
            "pairs": [{"reference": text} for text in _TYPED],
            "shots": 2,
            "corruption": corruption,
        }
        for corruption in ("null_operator", "operand_swap")
    },
}


def fingerprint(prompts_spec: dict[str, Any], tokenizer: Tokenizer) -> str:
    """SHA-256 of texts, questions and roles. Not of token ids: those come from a vocabulary that is trained here."""
    kind = CustomPrompts if prompts_spec.get("source") == "custom" else TemplatePrompts
    prompts = prepare(kind.model_validate({"source": "template", **prompts_spec}), tokenizer)
    rows = [
        [
            each.pair.reference,
            each.pair.counterfactual,
            each.pair.answer,
            each.question,
            [token.role for token in (*each.reference_tokens, *each.counterfactual_tokens)],
        ]
        for each in prompts.pairs
    ]
    text = json.dumps([rows, prompts.n_distinct, prompts.notes])
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_before_is_drawn_as_before(name: str, vocabularies: dict[str, Tokenizer]):
    # Words are several tokens for the demo model's kind.
    vocabulary = "spaced_numbers" if name.startswith("typed") else "digits_and_bare_spaces"
    assert fingerprint(SETS[name], vocabularies[vocabulary]) == GOLDEN[name]


def test_every_set_has_its_fingerprint():
    assert list(GOLDEN) == list(SETS)
