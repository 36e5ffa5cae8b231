"""``make example``: computes the finished example that the page shows before any other run.

The demo model, all one-digit additions of the templates, this engine: nothing in the folder is written by hand.
"""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime

from arithmoscope.contracts.experiments import Experiment, Progress
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.prompts import TemplatePrompts
from arithmoscope.serve.wiring import EXAMPLE_DIR
from arithmoscope.store import EXAMPLE_ID

SPEC = PathPatchingSpec(
    kind="path_patching",
    model="smollm2-135m",
    effect="through_mlps",
    prompts=TemplatePrompts(source="template", operations=("add",), styles=("equation",), operands=(0, 9), shots=2),
)
# The folder is in the repository: patterns of the first few prompts are enough to show.
_ATTENTION_BYTES = 4 * 2**20


def main() -> None:
    """Writes ``arithmoscope/example``."""
    from arithmoscope.engine.experiments.path_patching import run_path_patching
    from arithmoscope.engine.models.loaded import load_model

    started = datetime.now(UTC)
    output = run_path_patching(
        load_model(SPEC.model, device="cpu"),
        SPEC,
        EXAMPLE_ID,
        saved_chunks={},
        save_chunk=lambda _number, _data: None,
        on_progress=lambda progress: print(progress.model_dump_json(exclude_none=True), file=sys.stderr),  # noqa: T201
        on_partial=lambda _partial: None,
        should_stop=lambda: False,
        attention_bytes=_ATTENTION_BYTES,
    )
    if output is None:
        raise RuntimeError("the run stopped although no stop was requested")
    finished = datetime.now(UTC)
    total = output.result.n_asked
    experiment = Experiment(
        id=EXAMPLE_ID,
        kind="path_patching",
        spec=SPEC,
        state="succeeded",
        progress=Progress(stage="done", done=total, total=total),
        cancel_requested=False,
        parent=None,
        error=None,
        created_at=started,
        started_at=started,
        finished_at=finished,
    )
    shutil.rmtree(EXAMPLE_DIR, ignore_errors=True)
    EXAMPLE_DIR.mkdir(parents=True)
    (EXAMPLE_DIR / "experiment.json").write_text(experiment.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name, data in output.artifacts.items():
        (EXAMPLE_DIR / name).write_bytes(data)


if __name__ == "__main__":
    main()
