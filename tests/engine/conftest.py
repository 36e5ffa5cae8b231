"""Makes the oracle and the tiny models importable by name, and selects the families of a quick run."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

# One typical family, and one with norms after sublayers, capped scores and eager attention. Plain pytest takes these;
# `make test` takes every family.
QUICK = {"LlamaForCausalLM", "Gemma2ForCausalLM"}


def _family(item: pytest.Item) -> str | None:
    spec = getattr(item, "callspec", None)
    return None if spec is None else spec.params.get("architecture") or spec.params.get("variant")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and (family := _family(item)) is not None and family not in QUICK:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _one_thread_for_tiny_models(request: pytest.FixtureRequest):
    """One thread: tiny matrices are slower on several, much slower when the machine is busy."""
    before = torch.get_num_threads()
    if "slow" not in request.keywords or _family(request.node) is not None:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
