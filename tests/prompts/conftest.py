"""Fixtures: tiny tokenizers."""

import pytest
from tokenizers import Tokenizer
from vocabularies import VOCABULARIES


@pytest.fixture(scope="session")
def vocabularies() -> dict[str, Tokenizer]:
    return {name: make() for name, make in VOCABULARIES.items()}


@pytest.fixture
def tokenizer(vocabularies: dict[str, Tokenizer]) -> Tokenizer:
    """The demo model's kind."""
    return vocabularies["digits_and_bare_spaces"]


@pytest.fixture(params=sorted(VOCABULARIES))
def any_tokenizer(request: pytest.FixtureRequest, vocabularies: dict[str, Tokenizer]) -> Tokenizer:
    return vocabularies[request.param]
