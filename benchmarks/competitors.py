"""The same effects computed by the tools in use today: TransformerLens on its bridge, and nnsight.

Each runs in its own process and environment, which sees the product's torch and transformers, on the same
weights, the same token ids and the same number of threads, and returns its numbers for comparison with ours. Neither
offers this kind of path patching ready-made, so each gets the loop that its documentation suggests: one forward pass
per component over all pairs at once. Where the tool allows it, only the last logits are computed and no cache is kept.
A tool that cannot be installed or fails is listed in the results with the reason.

Expected before measuring: the plain loop's time and the tool's overhead. nnsight runs the model as it is, with torch's
own attention, so little more than the loop. The bridge computes attention in steps, in order to expose them, and its
`patching` unembeds all positions (22 * 32 rows of 49 152, 4.0e10 operations, an eighth of a pass more).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from arithmoscope import LoadedModel, PatchingEffects
from arithmoscope.contracts.components import Component
from benchmarks.cases import COMPETITOR_CASES, Case, column, timed_once
from benchmarks.loops import Prompts, sample_components

ROOT = Path(__file__).resolve().parents[1]
_LIMIT_SECONDS = 1_800
# No hub access, no progress bars, no telemetry.
_QUIET = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "WANDB_MODE": "disabled", "DO_NOT_TRACK": "1"}
Log = Callable[[str], None]


class Tool(Protocol):
    """Another way to compute the same numbers."""

    def logits(self, component: Component | None, case: Case) -> Tensor:
        """The answer's logit of every pair with the component patched; for None, in the plain run."""
        ...


class Bridge:
    """TransformerLens: `patching` for the total effect; for the others a loop that freezes components by hooks."""

    def __init__(self, folder: str, reference: Tensor, source: Tensor, answers: Tensor) -> None:
        importlib.import_module("transformer_lens")
        self._patching: Any = importlib.import_module("transformer_lens.patching")
        self._name: Any = importlib.import_module("transformer_lens.utilities").get_act_name
        self._frame: Any = importlib.import_module("pandas").DataFrame
        bridge: Any = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
        self._model = bridge.boot_transformers(folder, device="cpu", dtype=torch.float32)
        self._model.eval()
        self._reference, self._answers = reference, answers
        self._kept = self._record(reference)
        self._source = self._record(source)

    def _record(self, ids: Tensor) -> Any:
        def is_recorded(name: str) -> bool:
            return name.endswith(("hook_z", "hook_mlp_out"))

        return self._model.run_with_cache(ids, names_filter=is_recorded)[1]

    def logits(self, component: Component | None, case: Case) -> Tensor:
        if component is not None and case.effect == "total":
            return self._by_patching(component, case)
        hooks = [] if component is None else self._frozen(component, case)
        logits = self._model.run_with_hooks(self._reference, fwd_hooks=hooks, use_cache=False, logits_to_keep=1)
        return self._metric(logits)

    def _metric(self, logits: Tensor) -> Tensor:
        return logits[:, -1].gather(1, self._answers)[:, 0]

    def _by_patching(self, component: Component, case: Case) -> Tensor:
        index: dict[str, int] = {"layer": component.layer}
        if case.positions == "end":
            index["pos"] = self._reference.shape[1] - 1
        if component.head is not None:
            index["head"] = component.head
        setters: dict[tuple[bool, bool], Callable[..., Tensor]] = {
            (True, True): self._patching.layer_pos_head_vector_patch_setter,
            (True, False): self._patching.layer_head_vector_patch_setter,
            (False, True): self._patching.layer_pos_patch_setter,
            (False, False): lambda _was, _index, patch: patch,  # it has no setter for an MLP at all positions
        }
        result = self._patching.generic_activation_patch(
            self._model,
            self._reference,
            self._source,
            self._metric,
            setters[component.head is not None, case.positions == "end"],
            "mlp_out" if component.head is None else "z",
            index_df=self._frame([index]),
            reduce="none",
        )
        return result.values[0]

    def _frozen(self, component: Component, case: Case) -> list[tuple[str, Callable[..., Tensor]]]:
        hooks: list[tuple[str, Callable[..., Tensor]]] = []
        for layer in range(self._model.cfg.n_layers):
            here = layer == component.layer
            z, mlp = self._name("z", layer), self._name("mlp_out", layer)
            hooks.append((z, partial(self._write, self._kept[z], None)))
            if here and component.head is not None:
                hooks.append((z, partial(self._write, self._source[z], component.head)))
            elif here:
                hooks.append((mlp, partial(self._write, self._source[mlp], None)))
            if case.effect == "direct" and not (here and component.head is None):
                hooks.append((mlp, partial(self._write, self._kept[mlp], None)))
        return hooks

    @staticmethod
    def _write(patch: Tensor, head: int | None, written: Tensor, hook: Any) -> Tensor:
        """Writes ``patch`` at END, for one head or for the whole tensor."""
        if head is None:
            written[:, -1] = patch[:, -1]
        else:
            written[:, -1, head] = patch[:, -1, head]
        return written


class Tracing:
    """nnsight: one trace per component over the transformers model."""

    def __init__(self, folder: str, reference: Tensor, source: Tensor, answers: Tensor) -> None:
        nnsight = importlib.import_module("nnsight")
        transformers = importlib.import_module("transformers")
        hf = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._model: Any = nnsight.NNsight(hf)
        self._save: Any = nnsight.save
        self._width: int = hf.model.layers[0].self_attn.head_dim
        self._reference, self._answers = reference, answers
        self._kept = self._record(reference)
        self._source = self._record(source)

    def _record(self, ids: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        with self._model.trace(input_ids=ids, use_cache=False, logits_to_keep=1):
            z, mlp = self._save([]), self._save([])
            for layer in self._model.model.layers:
                z.append(layer.self_attn.o_proj.input.clone())
                mlp.append(layer.mlp.output.clone())
        return z, mlp

    def logits(self, component: Component | None, case: Case) -> Tensor:
        patched_layer, head = (-1, None) if component is None else (component.layer, component.head)
        frozen = component is not None and case.effect != "total"
        positions = slice(None) if case.positions == "all" else slice(-1, None)
        kept, patch = self._kept, self._source
        with self._model.trace(input_ids=self._reference, use_cache=False, logits_to_keep=1):
            for index, layer in enumerate(self._model.model.layers):
                here = index == patched_layer
                if frozen:
                    layer.self_attn.o_proj.input[:, -1] = kept[0][index][:, -1]
                if here and head is not None:
                    cut = slice(head * self._width, (head + 1) * self._width)
                    layer.self_attn.o_proj.input[:, positions, cut] = patch[0][index][:, positions, cut]
                elif here:
                    layer.mlp.output[:, positions] = patch[1][index][:, positions]
                if frozen and case.effect == "direct" and not (here and head is None):
                    layer.mlp.output[:, -1] = kept[1][index][:, -1]
            logits = self._save(self._model.output.logits)
        return logits[:, -1].gather(1, self._answers)[:, 0]


@dataclasses.dataclass(frozen=True)
class Competitor:
    """A tool: its name, its package, its constructor, and a description of its method."""

    name: str
    package: str
    make: Callable[[str, Tensor, Tensor, Tensor], Tool]
    how: str


COMPETITORS = {
    "transformer-lens": Competitor(
        "TransformerLens", "transformer-lens", Bridge, "its bridge; `patching` for total, frozen by hooks otherwise"
    ),
    "nnsight": Competitor("nnsight", "nnsight", Tracing, "one trace per component"),
}


def compare(
    model: LoadedModel,
    folder: str,
    prompts: Prompts,
    effects: dict[Case, PatchingEffects],
    seconds: dict[str, float],
    *,
    python: Path,
    sample: int,
    log: Log,
    names: tuple[str, ...] = tuple(COMPETITORS),
) -> list[dict[str, Any]]:
    """Every tool's time for all components and its largest difference from our numbers, or the reason why there is
    none.

    ``folder``: the model's files. ``seconds``: ours, by case. ``python``: interpreter of the environment with the
    tools.
    """
    components = sample_components(model.layout.layers, model.layout.heads, sample)
    request = {
        "folder": folder,
        "reference": prompts.reference.tolist(),
        "source": prompts.source.tolist(),
        "answers": prompts.answers.tolist(),
        "components": [str(component) for component in components],
        "cases": [dataclasses.asdict(case) for case in COMPETITOR_CASES],
        "threads": torch.get_num_threads(),
    }
    total = model.layout.layers * (model.layout.heads + 1)
    results = []
    for name in names:
        tool = COMPETITORS[name]
        answer = _run_in_process(python, name, request)
        row: dict[str, Any] = {"name": tool.name, "how": tool.how}
        if "problem" in answer:
            log(f"{tool.name}: {answer['problem']}")
            results.append({**row, "problem": answer["problem"]})
            continue
        rows = []
        for case, passes in zip(COMPETITOR_CASES, answer["cases"], strict=True):
            differences = [
                column(effects[case], component) - torch.tensor(numbers)
                for component, numbers in zip(components, passes["effects"], strict=True)
            ]
            error = float(torch.stack(differences).abs().max())  # propagates NaN
            whole = passes["seconds"] * total
            rows.append(
                {
                    "case": str(case),
                    "seconds": round(whole, 1),
                    "times_ours": round(whole / seconds[str(case)], 1),
                    "largest_difference": float(f"{error:.1e}"),
                }
            )
            log(f"{tool.name}, {case}: {whole:.0f} s, {rows[-1]['times_ours']} times ours")
        results.append({**row, "version": answer["version"], "sample": len(components), "effects": rows})
    return results


def _run_in_process(python: Path, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """The measurements of a tool's own process, or its ``problem`` in one line."""
    with tempfile.TemporaryDirectory() as folder:
        request_file, answer_file = Path(folder, "request.json"), Path(folder, "answer.json")
        request_file.write_text(json.dumps(request), encoding="utf-8")
        command = [str(python), "-m", "benchmarks.competitors", name, str(request_file), str(answer_file)]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**os.environ, **_QUIET},
                capture_output=True,
                text=True,
                timeout=_LIMIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"problem": last_line(str(error))}
        if done.returncode != 0:
            return {"problem": last_line(done.stderr)}
        return json.loads(answer_file.read_text(encoding="utf-8"))


def last_line(text: str) -> str:
    """The last non-empty line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "the process ended without an error message"


@torch.no_grad()
def run_tool(tool: Tool, components: list[Component], cases: list[Case]) -> list[dict[str, Any]]:
    """Median seconds of a pass, and every component's effects, for each case."""
    base = tool.logits(None, cases[0])
    results = []
    for case in cases:
        times, effects = [], []
        for component in components:
            seconds, patched = timed_once(partial(tool.logits, component, case))
            times.append(seconds)
            effects.append((patched - base).tolist())
        results.append({"seconds": statistics.median(times), "effects": effects})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run one tool on the cases of a request file; started by `make bench`."
    )
    parser.add_argument("name", choices=COMPETITORS)
    parser.add_argument("request", type=Path)
    parser.add_argument("answer", type=Path)
    args = parser.parse_args()
    request = json.loads(args.request.read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    torch.set_grad_enabled(False)
    ids = [torch.tensor(request[key]) for key in ("reference", "source", "answers")]
    competitor = COMPETITORS[args.name]
    tool = competitor.make(request["folder"], *ids)
    components = [Component.parse(text) for text in request["components"]]
    results = {
        "version": importlib.metadata.version(competitor.package),
        "cases": run_tool(tool, components, [Case(**case) for case in request["cases"]]),
    }
    args.answer.write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main()
