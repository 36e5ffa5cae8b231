"""Tests of docker-compose.yml and the Dockerfiles: valid, and consistent with the existing settings and commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

from arithmoscope.cli.main import command_line
from arithmoscope.settings import PREFIX, Settings, read_settings

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "S3_PASSWORD"}
S3_VARIABLES = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"}
DOCKERFILES = [ROOT / "backend" / "Dockerfile", ROOT / "worker" / "Dockerfile"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def stages_of(file: Path) -> list[str]:
    """The stages of a Dockerfile; the first item is the text before them."""
    return file.read_text().split("\nFROM ")


def requirements(extras: list[str]) -> str:
    """The API image's requirements, one a line."""
    command = [sys.executable, str(ROOT / "scripts" / "requirements.py"), *extras]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _variables(value: Any) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", json.dumps(value)))


def test_the_compose_file_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec" / "compose_spec.json").read_text())
    assert [error.message for error in Draft201909Validator(schema).iter_errors(compose)] == []
    broken = {**compose, "services": {**compose["services"], "api": {"prots": []}}}
    assert list(Draft201909Validator(schema).iter_errors(broken))


def test_every_setting_in_it_exists_and_the_api_and_workers_share_theirs(compose: dict[str, Any]) -> None:
    names = {PREFIX + name.upper() for name in Settings.model_fields}
    environments = {name: service["environment"] for name, service in compose["services"].items() if "build" in service}
    for environment in environments.values():
        assert environment.keys() <= names | S3_VARIABLES
    for name in ("worker", "worker-gpu"):
        assert environments[name].items() <= environments["api"].items()
    assert _variables(compose) - names == SECRETS


def test_its_settings_are_accepted(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in compose["services"]["api"]["environment"].items():
        filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "0123456789abcdef", filled))
    settings = read_settings()
    assert settings.redis_url == "redis://:0123456789abcdef@redis:6379/0"
    assert settings.database == "postgresql+psycopg://arithmoscope:0123456789abcdef@postgres:5432/arithmoscope"
    assert settings.artifacts == "s3://arithmoscope/results"


def test_only_the_page_is_published_and_to_this_machine_alone(compose: dict[str, Any]) -> None:
    published = {name: service.get("ports", []) for name, service in compose["services"].items()}
    assert {name for name, ports in published.items() if ports} == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def test_only_the_api_and_the_workers_reach_the_stores(compose: dict[str, Any]) -> None:
    reached = {name: set(service["networks"]) for name, service in compose["services"].items()}
    own = {name for name, service in compose["services"].items() if "build" in service}
    assert compose["networks"]["stores"] == {"internal": True}
    assert {name for name, networks in reached.items() if networks != {"stores"}} == own
    assert all("stores" in networks for networks in reached.values())


def test_its_secrets_come_from_env_alone_and_each_is_required(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / ".env.example").read_text()
    for secret in SECRETS | {"ARITHMOSCOPE_TOKEN"}:
        assert re.findall(rf"\$\{{{secret}[^?}}]*\}}", text) == [], "without a value there would be no password"
        assert f"${{{secret}:?set {secret} in .env}}" in text
        assert re.search(rf"^# {secret}=$", example, flags=re.MULTILINE), secret
    for name, service in compose["services"].items():
        for variable, value in dict(service.get("environment", {})).items():
            if re.search("PASSWORD|SECRET|TOKEN|AUTH", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), (name, variable)


def test_the_bucket_that_is_made_is_the_one_that_is_used(compose: dict[str, Any]) -> None:
    environment = compose["services"]["api"]["environment"]
    root = compose["services"]["s3"]["environment"]
    bucket = environment["ARITHMOSCOPE_ARTIFACTS_URL"].removeprefix("s3://").partition("/")[0]
    assert f"mc mb --ignore-existing s3/{bucket}" in compose["services"]["bucket"]["command"][0]
    assert environment["AWS_ENDPOINT_URL"] == "http://s3:9000"
    assert environment["AWS_ACCESS_KEY_ID"] == root["MINIO_ROOT_USER"]
    assert environment["AWS_SECRET_ACCESS_KEY"] == root["MINIO_ROOT_PASSWORD"]


def test_all_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    for name in ("api", "worker", "worker-gpu"):
        assert compose["services"][name]["depends_on"].keys() == {"redis", "postgres", "bucket"}
    for service in compose["services"].values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][needed]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_an_image_installs_the_wheel_that_people_install(file: Path) -> None:
    stages = stages_of(file)
    built = re.sub(r" && python scripts/requirements.py .*", "", stages[2])
    assert built == stages_of(ROOT / "worker" / "Dockerfile")[2]
    assert "pip wheel --no-deps -w /wheel ." in built
    assert "/wheel/*.whl" in stages[3]
    assert "COPY arithmoscope" not in stages[3]
    assert "-e" not in stages[3].split()


def test_the_images_speak_to_postgresql_and_s3() -> None:
    api, worker = (file.read_text() for file in DOCKERFILES)
    assert "requirements.py server distributed" in api
    assert '"$(ls /wheel/*.whl)[distributed]"' in worker
    names = {name.partition("[")[0] for name in re.findall(r"^([\w-]+)", requirements(["server", "distributed"]), re.M)}
    assert {"fastapi", "psycopg", "s3fs", "redis", "tokenizers", "pydantic", "lazy-loader"} <= names
    assert not names & {"torch", "transformers", "numpy", "arithmoscope"}


def test_the_queue_is_kept_on_disk_behind_a_password(compose: dict[str, Any]) -> None:
    command = " ".join(compose["services"]["redis"]["command"])
    for option in ("--requirepass ${REDIS_PASSWORD:?", "--appendonly yes", "--maxmemory-policy noeviction"):
        assert option in command


def test_the_commands_in_it_and_in_the_images_exist(compose: dict[str, Any]) -> None:
    started = [" ".join(service.get("command", [])) for service in compose["services"].values() if "build" in service]
    started += [file.read_text().rpartition("\nCMD ")[2] for file in DOCKERFILES]
    commands = re.findall(r'arithmoscope[", ]+((?:[a-z][\w-]*[", ]*)+)', "\n".join(started))
    assert len(commands) == 4
    for command in commands:
        command_line().parse_args(re.findall(r"[\w-]+", command.replace("exec", "")))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_an_image_copies_what_exists_and_runs_as_an_unprivileged_user(file: Path) -> None:
    text = file.read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in [path for paths in copied for path in paths]:
        assert (ROOT / path).exists(), path
        assert f"!{path.split('/')[0]}" in ignored, path
    assert "USER arithmoscope" in text


def test_the_apis_image_has_no_science_in_it() -> None:
    text = (ROOT / "backend" / "Dockerfile").read_text()
    assert "pip install --no-deps /wheel/*.whl" in text
    assert "torch" not in text.lower().replace("no pytorch in it", "")
