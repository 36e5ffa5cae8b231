"""Requests as the OpenAPI document allows and forbids them, made up by schemathesis, against the real server with a
real broker and experiments in every state: never a 5xx, always what is documented."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from api_helpers import finish, spec
from arithmoscope_api.config import ApiConfig
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from sockets import served

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.specs import PathPatchingSpec
from arithmoscope.contracts.system import WorkerStatus
from arithmoscope.store import Store

# What no schema can say, so that what fits the schema may still be refused with a 422: a text that is no sum, options
# that exclude each other, a cursor that no list gave, a component that the model lacks, a file without its header.
SAYS_MORE_THAN_ITS_SCHEMA = {
    ("GET", "/api/experiments"),
    ("GET", "/api/experiments/{experiment_id}/writes"),
    ("POST", "/api/experiments"),
    ("POST", "/api/prompts/preview"),
    ("POST", "/api/prompts/upload"),
    ("POST", "/api/tuning/preview"),
}


@dataclass(frozen=True)
class Running:
    address: str
    store: Store

    def experiments(self) -> dict[str, str]:
        """One experiment in every state, made anew, and a worker who is there to be asked for what is not stored."""
        self.store.record_heartbeat(WorkerStatus(id="w", device="cpu", models=(), busy=True))
        made = {}
        for number, state in enumerate(("queued", "running", "failed", "succeeded", "deleted")):
            asked = PathPatchingSpec.model_validate(spec(f"{number} + 1 ="))
            experiment, _ = self.store.submit(asked, key=f"{state} {self.store.counts()} {len(made)}")
            made[state] = experiment.id
            if state == "succeeded":
                finish(self.store, experiment.id)
            elif state in ("running", "failed"):
                claim = self.store.claim(experiment.id, 1, owner="test", lease_s=3600)
                assert claim is not None
                if state == "failed":
                    self.store.fail(claim, Refusal("out_of_memory", "Too large.").details())
            elif state == "deleted":
                self.store.delete(experiment.id)
        return made


@pytest.fixture
def running(config: ApiConfig, store: Store, redis_url: str) -> Iterator[Running]:
    with served(replace(config, redis_url=redis_url, rate_limit="0"), store) as port:
        yield Running(f"http://127.0.0.1:{port}", store)


def _any_requests(running: Running, examples: int) -> int:
    """How many requests were made and answered as documented, ``examples`` at most of each kind and operation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tool's own
        import schemathesis
        from schemathesis.checks import CHECKS, load_all_checks
        from schemathesis.generation import GenerationMode

        load_all_checks()
        document = schemathesis.openapi.from_url(f"{running.address}/api/openapi.json")
        made = 0
        for found in document.get_all_operations():
            operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue]
            checks = list(CHECKS.get_all())
            if (operation.method.upper(), operation.path) in SAYS_MORE_THAN_ITS_SCHEMA:
                checks = [check for check in checks if check.__name__ != "positive_data_acceptance"]
            known = running.experiments()
            if operation.path.endswith("/events"):  # the stream of an experiment that goes on has no end
                known = {state: one for state, one in known.items() if state not in ("queued", "running")}
            for mode in GenerationMode:
                cases = operation.as_strategy(generation_mode=mode)
                asked = _requests(cases, [*known.values(), None], checks, examples)
                assert asked > 0 or (mode.is_negative and _takes_nothing(operation)), (operation.label, mode)
                made += asked
        return made


def _takes_nothing(operation: Any) -> bool:
    # Any text fits into a path or a header of ours: an id that is none is asked for by the cases that fit.
    return not (len(operation.query) or len(operation.body))


def _requests(cases: st.SearchStrategy[Any], ids: list[str | None], checks: list[Any], examples: int) -> int:
    made = 0

    @seed(4)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=tuple(HealthCheck.__members__.values()),
    )
    @given(case=cases, one=st.sampled_from(ids))
    def request(case: Any, one: str | None) -> None:
        nonlocal made
        if one is not None and "experiment_id" in (case.path_parameters or {}):
            case.path_parameters["experiment_id"] = one
        case.call_and_validate(checks=checks, timeout=20)
        made += 1

    with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
        try:
            request()
        except BaseExceptionGroup as several:
            # Python 3.11 counts the depth of syntax trees for all threads together: hypothesis reads its own source
            # while the server's thread compiles something. That is nobody's answer, so it is asked again.
            if (
                several.subgroup(lambda error: isinstance(error, SystemError) and "AST constructor" in str(error))
                is None
            ):
                raise
            request()
    return made


def test_whatever_is_asked_the_answer_is_one_that_is_documented(running: Running) -> None:
    assert _any_requests(running, examples=8) > 200


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes on an idle machine, and others compute beside it
def test_from_outside_schemathesis_with_all_its_phases_and_checks_finds_nothing(running: Running) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(root / "schemathesis.toml")]
    command += ["run", f"{running.address}/api/openapi.json", "--checks", "all", "--max-examples", "4"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--seed", "4", "--request-timeout", "20"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=root)
    assert ran.returncode == 0, ran.stdout[-20_000:]
