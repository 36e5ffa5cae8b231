"""Tests of settings: sources, defaults, and refusals of invalid ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.folders import default_models_dir
from arithmoscope.settings import PREFIX, Settings, is_loopback, read_settings
from arithmoscope.store import EXAMPLE_ID, Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Removes the settings of the environment that runs the tests, and hides its .env."""
    for name in Settings.model_fields:
        monkeypatch.delenv(PREFIX + name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_any_setting_everything_stays_on_this_machine() -> None:
    settings = read_settings()
    assert (settings.host, settings.port, settings.token, settings.redis_url) == ("127.0.0.1", 8000, None, None)
    assert (settings.device, settings.dtype, settings.allow_hub) == ("auto", "float32", False)
    assert settings.database == f"sqlite:///{settings.data_dir}/arithmoscope.db"
    assert settings.artifacts == f"{settings.data_dir}/artifacts"


@pytest.mark.parametrize("name", ["a b#ü%", "really?", "50%20", "~", "a:b"])
def test_everything_stays_in_a_data_folder_of_any_name(tmp_path: Path, name: str) -> None:
    settings = read_settings(data_dir=tmp_path / name)
    with Store.open(settings.database, settings.artifacts) as store:
        store.import_bundle(ROOT / "arithmoscope" / "example")
        store.read_artifact(EXAMPLE_ID, "result.json")
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert {each.name for each in (tmp_path / name).iterdir()} == {"arithmoscope.db", "artifacts"}
    with Store.open(settings.database, (tmp_path / name / "artifacts").as_uri()) as store:
        store.read_artifact(EXAMPLE_ID, "result.json")


def test_proxies_are_trusted_by_address_or_network_and_none_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().proxies == ()
    monkeypatch.setenv(f"{PREFIX}TRUSTED_PROXIES", "10.0.0.2, 172.16.0.0/12,fd00::/8")
    assert read_settings().proxies == ("10.0.0.2", "172.16.0.0/12", "fd00::/8")
    for wrong in ("*", "proxy.example", "10.0.0.1/8"):
        monkeypatch.setenv(f"{PREFIX}TRUSTED_PROXIES", wrong)
        with pytest.raises(Refusal, match="ARITHMOSCOPE_TRUSTED_PROXIES"):
            read_settings()


def test_the_page_and_the_engine_look_for_models_in_the_same_folder() -> None:
    assert read_settings().models_dir == default_models_dir()


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("ARITHMOSCOPE_PORT=7001\nARITHMOSCOPE_DTYPE=float64\nOTHER=1\n")
    monkeypatch.setenv("ARITHMOSCOPE_PORT", "7002")
    assert (read_settings().port, read_settings().dtype) == (7002, "float64")
    assert read_settings(port="7003", host=None).port == 7003


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps", "balanced"])
def test_every_device_word_of_the_engine_is_a_setting(device: str) -> None:
    assert read_settings(device=device).device == device


def test_every_dtype_of_the_engine_is_a_setting_and_no_other() -> None:
    from arithmoscope.engine.models.loading import DTYPES

    assert set(get_args(Settings.model_fields["dtype"].annotation)) == set(DTYPES)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_TOKEN", "")
    monkeypatch.setenv("ARITHMOSCOPE_REDIS_URL", "")
    assert (read_settings().token, read_settings().redis_url) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("DEVICE", "toaster"),
        ("DTYPE", "int4"),
        ("REDIS_URL", "localhost:6379"),
        ("ROOT_PATH", "no-slash"),
        ("TOKEN", "short"),
        ("ALLOW_HUB", "perhaps"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(Refusal, match=PREFIX + name) as refused:
        read_settings()
    assert refused.value.code == "bad_setting"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "lab.example"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(Refusal, match="ARITHMOSCOPE_TOKEN"):
        read_settings(host=host)
    assert read_settings(host=host, token="long enough").host == host


def test_several_tokens_are_separated_by_commas_and_each_is_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARITHMOSCOPE_TOKEN", " first token , second-token,,first token")
    assert read_settings(host="0.0.0.0").tokens == ("first token", "second-token")
    for wrong in (",", "long enough,short", "x" * 513, "with\nline end"):
        monkeypatch.setenv("ARITHMOSCOPE_TOKEN", wrong)
        with pytest.raises(Refusal, match="ARITHMOSCOPE_TOKEN") as refused:
            read_settings(host="0.0.0.0")
        assert wrong == "," or wrong not in str(refused.value)


def test_quota_and_rate_have_defaults_and_what_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read_settings().quota, read_settings().rate_limit) == (5000, "6000/minute")
    assert (read_settings(quota=0).quota, read_settings(rate_limit="0").rate_limit) == (0, "0")
    for name, wrong in (
        ("QUOTA", "-1"),
        ("RATE_LIMIT", "many"),
        ("RATE_LIMIT", "5/fortnight"),
        ("RATE_LIMIT", "0/hour"),
    ):
        with monkeypatch.context() as text:
            text.setenv(PREFIX + name, wrong)
            with pytest.raises(Refusal, match=PREFIX + name):
                read_settings()


def test_loopback_is_every_spelling_of_this_machine() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "localhost.example", "10.0.0.1"))


def test_every_setting_is_in_the_example_file_and_nothing_else() -> None:
    documented = set(re.findall(rf"^#? ?{PREFIX}(\w+)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_a_budget_is_given_in_bytes_or_with_a_unit_and_is_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings().store_budget is None
    for text, size in (("1000", 1000), ("20GB", 20 * 10**9), ("1.5 GiB", 3 * 2**29)):
        monkeypatch.setenv("ARITHMOSCOPE_STORE_BUDGET", text)
        assert read_settings().store_budget == size
    for text in ("0", "-1", "much"):
        monkeypatch.setenv("ARITHMOSCOPE_STORE_BUDGET", text)
        with pytest.raises(Refusal, match="STORE_BUDGET"):
            read_settings()
