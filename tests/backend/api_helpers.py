"""Helpers of the API tests: a client, a byte-level vocabulary, and a finished experiment written by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Timer
from typing import Any

from arithmoscope_api.app import create_app
from arithmoscope_api.config import ApiConfig
from starlette.testclient import TestClient
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from arithmoscope.contracts.kinds.path_patching import PathPatchingResult, PathPatchingSpec
from arithmoscope.contracts.models import ModelCard
from arithmoscope.contracts.prompts import Token
from arithmoscope.contracts.results import (
    Checks,
    DroppedPair,
    Effects,
    MetricResult,
    ModelFacts,
    PairResult,
    Provenance,
)
from arithmoscope.store import Store

CARD = ModelCard(
    id="tiny",
    name="Tiny",
    source="folder",
    revision="r1",
    layers=2,
    heads=2,
    kv_heads=1,
    parameters=10,
    shots=0,
    supported=True,
)
PROBLEM = "application/problem+json"


def unsupported() -> ModelCard:
    return CARD.model_copy(update={"id": "odd", "name": "Odd", "supported": False, "reason": "It is odd."})


def tokenizer_json() -> str:
    """A vocabulary of bytes: every digit is a token, and so is every space."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={text: place for place, text in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def spec(reference: str = "3 + 5 =", **changes: Any) -> dict[str, Any]:
    """A spec as a client sends it."""
    prompts = {"source": "custom", "shots": 0, "pairs": [{"reference": reference}]}
    return {"kind": "path_patching", "model": "tiny", "effect": "direct", "prompts": prompts, **changes}


class Api(TestClient):
    """A client of the application that sends the headers of the server's own page."""

    def __init__(self, config: ApiConfig, store: Store, base_url: str = "http://localhost:8000") -> None:
        self.store = store
        app = create_app(config, store)
        super().__init__(app, base_url=base_url, raise_server_exceptions=False, follow_redirects=False)

    def submit(self, body: dict[str, Any] | None = None) -> str:
        answer = self.post("/api/experiments", json=body or spec())
        assert answer.status_code in (200, 202), answer.text
        return answer.json()["id"]


def finish(store: Store, experiment_id: str, **more: bytes) -> PathPatchingResult:
    """Do the worker's part: claim the experiment and store a result with a dropped and an unstored prompt."""
    claim = store.claim(experiment_id, 1, owner="test", lease_s=60)
    assert claim is not None
    assert isinstance(claim.spec, PathPatchingSpec)
    result = _result(experiment_id, claim.spec)
    artifacts = {
        "result.json": result.model_dump_json().encode(),
        "components.relative_logit.csv": b"rank,component\n1,L0H0\n",
        "components.logit.csv": b"rank,component\n1,L1H1\n",
        "arrays.npz": b"PK\x05\x06" + b"\0" * 18,
        "attention.safetensors": attention_file(),
        **more,
    }
    store.succeed(claim, {name: data for name, data in artifacts.items() if data})
    return result


def finish_with(store: Store, experiment_id: str, **artifacts: bytes) -> None:
    """Do the worker's part for any kind: these files, a ``_`` in a name being its dot."""
    claim = store.claim(experiment_id, 1, owner="test", lease_s=60)
    assert claim is not None
    store.succeed(claim, {name.replace("_", "."): data for name, data in artifacts.items()})


def knockout(parent: str, **changes: Any) -> dict[str, Any]:
    """A knock-out as a client sends it, of the first head of `CARD`; over several prompts."""
    pairs = [{"reference": f"3 + {number} ="} for number in range(1, 5)]
    prompts = {"source": "custom", "shots": 0, "pairs": pairs}
    return {"kind": "knockout", "parent": parent, "components": ["L0H0"], "prompts": prompts, **changes}


def transfer(**changes: Any) -> dict[str, Any]:
    """A transfer as a client sends it, between two sets."""
    sets = [{"source": "template", "operations": [name], "pairs": 16, "shots": 0} for name in ("add", "subtract")]
    return {"kind": "transfer", "model": "tiny", "found_on": sets, "evaluated_on": sets, **changes}


def tuning(**changes: Any) -> dict[str, Any]:
    """A fine-tuning as a client sends it, of a head and an MLP of `CARD`."""
    prompts = {"source": "template", "operations": ["add"], "operands": [1, 40], "pairs": 60, "shots": 0}
    return {"kind": "fine_tune", "model": "tiny", "components": ["L1H0", "MLP0"], "prompts": prompts, **changes}


def attention_file() -> bytes:
    """``prompt.0`` [layer 2, head 2, query 2, key 2]: every row sums to one, every layer differs."""
    rows = [[1.0, 0.0, layer / 10, 1 - layer / 10] for layer in range(2) for _ in range(2)]
    data = struct.pack("<16f", *(weight for row in rows for weight in row))
    head = json.dumps({"prompt.0": {"dtype": "F32", "shape": [2, 2, 2, 2], "data_offsets": [0, len(data)]}}).encode()
    return len(head).to_bytes(8, "little") + head + data


def _result(experiment_id: str, spec: PathPatchingSpec) -> PathPatchingResult:
    grid, column = ((0.0, 0.0), (0.0, 0.0)), ((0.0,), (0.0,))
    metric = MetricResult(
        unit="logits",
        n_pairs=1,
        left_out=0,
        heads=Effects(mean=grid, std=grid, ci_low=grid, ci_high=grid),
        mlps=Effects(mean=column, std=column, ci_low=column, ci_high=column),
    )
    tokens = (Token(text="3", id=1, role="first"), Token(text="=", id=2, role="equals"))
    pair = PairResult(
        index=0,
        reference=tokens,
        counterfactual=tokens,
        answer="8",
        answer_id=3,
        competitor="7",
        competitor_id=4,
        top="8",
        correct=True,
        reference_logit=1.0,
        counterfactual_logit=0.5,
        reference_probability=0.9,
    )
    return PathPatchingResult(
        experiment_id=experiment_id,
        spec=spec,
        effect=spec.effect,
        model=ModelFacts(
            id="tiny", name="Tiny", revision="r1", architecture="x", layers=2, heads=2, kv_heads=1, parameters=10
        ),
        complete=True,
        n_asked=3,
        n_distinct=3,
        n_correct=2,
        notes=(),
        pairs=(pair, pair.model_copy(update={"index": 2})),
        dropped=(DroppedPair(index=1, reference="4 + 4 =", answer="8", reason="The model answers '7'."),),
        metrics=dict.fromkeys(spec.metrics, metric),
        checks=Checks(noise_floor=0.0, spot_check=(), spot_check_pairs=0, spot_check_error=0.0),
        provenance=Provenance(
            code_version="0",
            method_version=1,
            torch="0",
            transformers="0",
            dtype="float32",
            device="cpu",
            prompt_set_hash="0",
            chunk_pairs=1,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            seconds=0.0,
        ),
    )


@dataclass(frozen=True)
class Sse:
    id: str | None
    event: str
    data: Any


def sse(text: str) -> list[Sse]:
    """The frames of an event stream, comments left out."""
    frames = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            frames.append(Sse(fields.get("id"), fields["event"], json.loads(fields["data"])))
    return frames


def events(api: Api, experiment_id: str, after: str | None = None) -> list[Sse]:
    headers = {} if after is None else {"Last-Event-ID": after}
    answer = api.get(f"/api/experiments/{experiment_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return sse(answer.text)


@contextmanager
def soon(seconds: float, what: Callable[..., object], *args: object) -> Iterator[None]:
    """Runs an action while the reader reads."""
    timer = Timer(seconds, what, args)
    timer.start()
    yield
    timer.join()
