"""The number of worked examples that a prompt set leaves open."""

import pytest

from arithmoscope.contracts.kinds.knockout import KnockoutSpec
from arithmoscope.contracts.kinds.transfer import TransferSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompt_terms import DEFAULT_SHOTS
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts, TemplatePrompts
from arithmoscope.prompts.sets.default_shots import shots_of, with_defaults_everywhere, with_shots


def custom(*references: str, shots: int | None = None) -> CustomPrompts:
    return CustomPrompts(source="custom", pairs=tuple(CustomPair(reference=each) for each in references), shots=shots)


@pytest.mark.parametrize(
    ("prompts", "shots"),
    [
        (custom("3 + 5 ="), DEFAULT_SHOTS),
        (custom("The sum of 3 and 5 is"), DEFAULT_SHOTS),
        (custom("  3 + 5 =\n"), DEFAULT_SHOTS),
        (custom("3 + 5 =", "7 times 2 is"), DEFAULT_SHOTS),
        (custom("2 + 3 = 5\n3 + 5 ="), 0),
        (custom("Once upon a time there was a"), 0),
        (custom("3 + 5 =", "Once upon a time there was a"), 0),
        (custom("3 + 5 =", shots=0), 0),
        (custom("Once upon a time there was a", shots=4), 4),
        (TemplatePrompts(source="template"), DEFAULT_SHOTS),
        (TemplatePrompts(source="template", shots=0), 0),
    ],
)
def test_bare_calculations_get_worked_examples_and_other_prompts_none(
    prompts: CustomPrompts | TemplatePrompts, shots: int
) -> None:
    assert shots_of(prompts) == shots
    assert with_shots(prompts).shots == shots
    assert with_shots(with_shots(prompts)) == with_shots(prompts)


def card(**changes: object) -> ModelCard:
    sizes = {"layers": 1, "heads": 1, "kv_heads": 1, "parameters": 1, "shots": DEFAULT_SHOTS, "supported": True}
    fields = {"id": "m", "name": "m", "source": "folder", "revision": "", **sizes, **changes}
    return ModelCard.model_validate(fields)


def test_the_models_defaults_are_written_into_every_set_of_a_spec() -> None:
    bare, other = custom("3 + 5 ="), custom("Once upon a time there was a")
    sets = TransferSpec(
        kind="transfer", model="m", found_on=(bare,), evaluated_on=(other, TemplatePrompts(source="template"))
    )
    usual, own = with_defaults_everywhere(sets, card()), with_defaults_everywhere(sets, card(shots=1, answer="first"))
    assert [prompts.shots for prompts in (*usual.found_on, *usual.evaluated_on)] == [DEFAULT_SHOTS, 0, DEFAULT_SHOTS]
    assert [prompts.shots for prompts in (*own.found_on, *own.evaluated_on)] == [1, 0, 1]
    assert {prompts.answer for prompts in (*own.found_on, *own.evaluated_on)} == {"first"}
    chosen = TemplatePrompts(source="template", shots=4, answer="whole")
    knockout = KnockoutSpec(kind="knockout", parent="a", prompts=chosen)
    assert with_defaults_everywhere(knockout, card(shots=1, answer="first")) == knockout
    assert with_defaults_everywhere(own, card(shots=7, answer="each")) == own, "what is written stays"
