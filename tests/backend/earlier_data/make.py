"""Makes a data folder with an earlier version of the program, and records that version's answers about it.

``python make.py ARITHMOSCOPE...`` with the command that starts that version; README.md says more. Writes
``data.tar.gz`` and ``answers.json`` beside itself.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# A proxy of the environment has nothing to do with this machine talking to itself.
STRAIGHT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
MODEL = "tiny"
SUMS = {"source": "template", "operands": [1, 9], "pairs": 12, "shots": 0, "keep_wrong": True}
PAIRS = [{"reference": "3 + 5 =", "counterfactual": "3 + 2 =", "answer": " 8"}, {"reference": "7 - 4 ="}]
CUSTOM = {"source": "custom", "pairs": PAIRS, "corruption": "operand_swap"}
ANALYSIS = {"kind": "path_patching", "model": MODEL}
TUNING = {"kind": "fine_tune", "model": MODEL, "components": ["L1H0", "L0H1"], "batch_size": 8}
LESSONS = {**SUMS, "operands": [1, 30], "pairs": 40}
# So much decay turns every weight's sign and makes it 99 times as large, at every step.
BREAKS = {"learning_rate": 1, "weight_decay": 100, "warmup": 0, "schedule": "constant", "steps": 30}
FILES = (
    "result",
    "components.csv",
    "components.csv?metric=logit",
    "components.csv?metric=probability",
    "components.csv-metadata.json",
    "components.csv-metadata.json?metric=logit",
    "arrays.npz",
    "curve.csv",
    "matrix.csv",
    "raw.safetensors",
    "deltas.safetensors",
    "adapter.zip",
    "history.csv",
    "judged.csv",
    "repatched.csv",
)
VIEWS = (
    "key",
    "roles",
    "stages",
    "lens?prompt=0",
    "lens?prompt=1",
    "writes?component=L1H0",
    "writes?component=MLP0",
    "attention?layer=1&prompt=0",
)
LISTS = (
    "kind=path_patching",
    "kind=knockout",
    "kind=transfer",
    "kind=fine_tune",
    "state=queued",
    "state=succeeded",
    "state=failed",
    "state=cancelled",
    "deleted=true",
    "limit=3",
    f"model={MODEL}",
)
HEADERS = ("etag", "content-disposition", "link")


class Server:
    """A running part of the program; ``get`` also returns refusals."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+", line)
        if match is None:
            raise RuntimeError(f"it does not start: {line!r}")
        self.address = match[0]

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self._send(urllib.request.Request(self.address + path))

    def send(self, path: str, body: Any = None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"}, method=method)
        status, _, reply = self._send(request)
        if status >= 400:
            raise RuntimeError(f"{method} {path} is answered {status}: {reply.decode()}")
        return json.loads(reply) if reply else None

    def _send(self, request: urllib.request.Request) -> tuple[int, dict[str, str], bytes]:
        try:
            with STRAIGHT.open(request, timeout=30) as answer:
                return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()

    def ask(self, spec: dict[str, Any], more: str = "") -> str:
        return self.send(f"/api/experiments{more}", spec)["id"]

    def experiment(self, name: str) -> dict[str, Any]:
        return _json(self, f"/api/experiments/{name}")

    def ended(self, name: str, state: str = "succeeded") -> str:
        """Waits for its end in the expected state."""
        until(lambda: self.experiment(name)["state"] not in ("queued", "running"))
        experiment = self.experiment(name)
        if experiment["state"] != state:
            raise RuntimeError(f"{experiment['kind']} {experiment['state']}: {experiment['error']}")
        return name


@contextmanager
def running(command: list[str], settings: dict[str, str]) -> Iterator[Server]:
    """A part of the program with these settings alone, stopped at the end as by Ctrl-C."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARITHMOSCOPE_")}
    environment = {f"ARITHMOSCOPE_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**inherited, **environment})
    try:
        yield Server(process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def until(happened: Callable[[], bool], seconds: float = 120) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.05)


def write_model(folder: Path) -> None:
    """A random Llama of two layers with two heads, and a tokenizer for sums."""
    import torch
    import transformers
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = ["<unk>", *"0123456789", "+", "-", "*", "/", "=", "\n"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(" +"), "removed"), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Fuse()
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "embed" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)


def use(server: Server) -> None:
    """A typical history: every kind and final state of an experiment, names, views, deletions, and unfinished work."""
    analysis = server.ended(
        server.ask(
            {**ANALYSIS, "prompts": SUMS, "metrics": ["logit", "relative_logit", "logit_difference", "probability"]},
            "?name=Sums",
        )
    )
    server.send(f"/api/experiments/{analysis}", {"notes": "Layer 1 adds.\n"}, "PATCH")
    total = {**ANALYSIS, "prompts": CUSTOM, "effect": "total", "positions": "all"}
    back = server.ended(server.ask(total))
    server.send(f"/api/experiments/{back}", method="DELETE")
    server.send(f"/api/experiments/{back}/restore")
    deleted = server.ended(server.ask({**ANALYSIS, "prompts": CUSTOM, "effect": "direct"}))
    server.send(f"/api/experiments/{deleted}", method="DELETE")
    denoising = {**ANALYSIS, "effect": "direct", "direction": "denoising", "metrics": ["logit_difference"]}
    server.ended(server.ask({**denoising, "prompts": SUMS}, "?priority=low"))
    # A random model answers no sum.
    server.ended(
        server.ask({**ANALYSIS, "prompts": {**SUMS, "operands": [1, 4], "pairs": 3, "keep_wrong": False}}), "failed"
    )
    server.ended(server.ask({"kind": "knockout", "parent": analysis, "top_k": 2, "metric": "logit", "controls": 3}))
    own = {"components": ["L1H0", "MLP1"], "prompts": CUSTOM, "ablation": "zero", "controls": 0}
    server.ended(server.ask({"kind": "knockout", "parent": analysis, **own}))
    sets = [{**SUMS, "operations": [name]} for name in ("add", "subtract")]
    transfer = {"kind": "transfer", "model": MODEL, "found_on": sets, "evaluated_on": sets, "top_k": 2, "controls": 2}
    server.ended(server.ask({**transfer, "parent": analysis}))
    tuning = {**TUNING, "parent": analysis, "prompts": LESSONS, "steps": 20, "validate_every": 10}
    tuned = server.ended(server.ask(tuning))
    server.ended(server.ask({**TUNING, **BREAKS, "prompts": LESSONS}), "failed")
    result = _json(server, f"/api/experiments/{tuned}/result")
    server.ended(server.ask({**ANALYSIS, "model": result["tuned"], "prompts": CUSTOM, "metrics": ["logit"]}))
    for view in VIEWS:
        until(lambda at=f"/api/experiments/{analysis}/{view}": server.get(at)[0] == 200)

    def trains(steps: int) -> str:
        long = server.ask({**TUNING, "prompts": LESSONS, "steps": steps, "validate_every": 2000})
        until(lambda: server.experiment(long)["progress"]["stage"] == "steps")
        return long

    cut_short = trains(20_000)
    until(lambda: server.experiment(cut_short)["progress"]["done"] > 10)
    server.send(f"/api/experiments/{cut_short}/cancel")
    server.ended(cut_short, "cancelled")
    trains(6000)
    waits = server.ask({**ANALYSIS, "prompts": SUMS, "effect": "total"}, "?priority=high")
    never = server.ask({**ANALYSIS, "prompts": SUMS, "effect": "direct"})
    server.send(f"/api/experiments/{never}/cancel")
    server.ended(never, "cancelled")
    until(lambda: server.experiment(waits)["state"] == "queued")


def recorded(server: Server) -> str:
    """The answers at every address that a user or the page can have kept, one per line."""
    listed = _json(server, "/api/experiments")["items"]
    page = _json(server, "/api/experiments?limit=3")["next_cursor"]
    addresses = ["/api/models", "/api/experiments", *(f"/api/experiments?{more}" for more in LISTS)]
    addresses.append(f"/api/experiments?limit=3&cursor={page}")
    for each in listed:
        of = f"/api/experiments/{each['id']}"
        addresses += [of, f"/api/experiments?parent={each['id']}", *(f"{of}/{name}" for name in (*FILES, *VIEWS))]
    answers = {path: server.get(path) for path in addresses}
    lines = [
        f"{json.dumps(path)}: {json.dumps(_summary(headers, body), ensure_ascii=False)}"
        for path, (status, headers, body) in answers.items()
        if status == 200
    ]
    return f'{{"at": {time.time()}, "answers": {{\n' + ",\n".join(lines) + "\n}}\n"


def _json(server: Server, path: str) -> Any:
    return json.loads(server.get(path)[2])


def _summary(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Stored files by the SHA-256 of their bytes, JSON answers in full, and lists by their items."""
    summary: dict[str, Any] = {"type": headers["content-type"]}
    if kept := {name: headers[name] for name in HEADERS if name in headers}:
        summary["headers"] = kept
    if headers["content-type"] != "application/json" or "etag" in headers:
        return {**summary, "sha256": hashlib.sha256(body).hexdigest()}
    data = json.loads(body)
    if "next_cursor" in data:
        data["items"] = [{"id": each["id"]} for each in data["items"]]
    return {**summary, "json": data}


def pack(folder: Path, file: Path) -> None:
    """The database and the artifacts. Not the logs, the queue (the database knows what waits), nor the example, which
    every start brings anew."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and name.parts[0] in ("arithmoscope.db", "artifacts") and "example" not in name.parts:
                member = tarfile.TarInfo(str(name))
                member.size = path.stat().st_size
                tar.addfile(member, io.BytesIO(path.read_bytes()))
    file.write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))


def main(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        models, data, copy = (Path(place) / name for name in ("models", "data", "copy"))
        write_model(models / MODEL)
        data.mkdir()
        # Otherwise it is called after the machine.
        (data / "worker-name").write_text("earlier")
        settings = {"DATA_DIR": str(data), "MODELS_DIR": str(models), "DEVICE": "cpu"}
        with running([*command, "serve", "--port", "0"], settings) as server:
            use(server)
        pack(data, HERE / "data.tar.gz")
        with tarfile.open(HERE / "data.tar.gz") as tar:
            tar.extractall(copy, filter="data")
        # Nobody computes here: what waits stays as it was left.
        settings |= {"DATA_DIR": str(copy), "REDIS_URL": "redis://127.0.0.1:1/0"}
        with running([*command, "api", "--port", "0"], settings) as server:
            answers = recorded(server)
    (HERE / "answers.json").write_text(answers, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
