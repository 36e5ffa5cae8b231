"""The schema: created, upgraded, shared."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from store_helpers import on_sqlite, refused, spec_of
from test_registry import CARD

import arithmoscope.store as store_package
from arithmoscope.contracts.errors import Refusal
from arithmoscope.store import Store
from arithmoscope.store.database import Database
from arithmoscope.store.tables import REVISION, metadata
from benchmarks.patience import patience


def test_the_migrations_make_the_tables_that_the_code_uses(urls: tuple[str, str]) -> None:
    database = Database.open(urls[0])
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


def test_the_revision_that_is_opened_quickly_is_the_newest_migration() -> None:
    migrations = ScriptDirectory(str(Path(store_package.__file__).parent / "migrations"))
    assert migrations.get_current_head() == REVISION


def test_what_was_kept_is_there_when_the_store_is_opened_again(urls: tuple[str, str]) -> None:
    with Store.open(*urls) as store:
        experiment, _ = store.submit(spec_of(), key="k")
    with Store.open(*urls) as store:
        assert store.experiment(experiment.id) == experiment


def _made_by(revision: str, url: str) -> None:
    """A database as created by the program version whose newest migration is this one."""
    config = Config()
    config.set_main_option("script_location", str(Path(store_package.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_a_database_of_an_earlier_version_keeps_what_it_has(urls: tuple[str, str], revision: str) -> None:
    if urls[0].startswith("sqlite"):
        Path(urls[0].removeprefix("sqlite:///")).parent.mkdir()
    _made_by(revision, urls[0])
    engine = create_engine(urls[0])
    spec = spec_of().model_dump_json()
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO models (id, card, tokenizer_json) VALUES ('tiny', :card, '{}')"),
            {"card": CARD.model_dump_json()},
        )
        for name, state in (("a", "queued"), ("b", "succeeded"), ("c", "failed")):
            connection.execute(
                text(
                    "INSERT INTO experiments (id, kind, model, spec, key, bundled, state, attempt, fruitless, progress,"
                    " cancel_requested, created_at, queued_at) VALUES (:id, 'path_patching', 'tiny', :spec, :id, false,"
                    " :state, 2, 0, '{}', false, 1.5, 1.5)"
                ),
                {"id": name, "state": state, "spec": spec},
            )
    engine.dispose()
    with Store.open(*urls) as opened:
        assert opened.models() == [CARD]
        assert (opened.tokenizer_json(CARD.id), opened.chat(CARD.id)) == ("{}", None)
        experiments = {each.id: each for each in opened.experiments().items}
        assert {name: each.state for name, each in experiments.items()} == {
            "a": "queued",
            "b": "succeeded",
            "c": "failed",
        }
        assert all(
            (each.name, each.notes, each.priority, each.attempt) == ("", "", "normal", 2)
            for each in experiments.values()
        )
        assert [each.id for each in opened.unsent()] == ["a"]
        assert opened.submit(spec_of(), key="b")[0].id == "b"
        assert opened.submit(spec_of(), key="c")[1]


def test_a_database_of_a_newer_version_is_refused_and_left_alone(urls: tuple[str, str]) -> None:
    database = Database.open(urls[0])
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(Refusal, match="another version") as refusal:
        Store.open(*urls)
    assert refusal.value.code == "bad_setting"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear reader, " * 1000)
    with pytest.raises(Refusal):
        Store.open(f"sqlite:///{path}", tmp_path.as_uri())
    assert path.read_text().startswith("Dear reader")


def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    with store._database.write() as connection:
        connection.execute(text("UPDATE experiments SET model = 'other'"))
        started = time.monotonic()
        assert store.experiment(experiment.id) == experiment
        assert time.monotonic() - started < 1 * patience()


def test_what_a_reader_sees_is_of_one_moment(store: Store) -> None:
    count = text("SELECT count(*) FROM experiments")
    with store._database.read() as connection:
        assert connection.execute(count).scalar() == 0
        store.submit(spec_of(), key="k")
        assert connection.execute(count).scalar() == 0
    assert len(store.experiments().items) == 1


@on_sqlite
def test_a_second_writer_waits_for_its_turn(store: Store) -> None:
    done = threading.Event()

    def submit() -> None:
        store.submit(spec_of(), key="second")
        done.set()

    with store._database.write() as connection:
        connection.execute(text("UPDATE experiments SET model = 'other'"))
        waiting = threading.Thread(target=submit)
        waiting.start()
        assert not done.wait(0.2)
    assert done.wait(5 * patience())
    waiting.join()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_the_database_is_found_by_the_address_that_people_write(urls: tuple[str, str]) -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        with Store.open(scheme + urls[0].removeprefix("postgresql+psycopg"), urls[1]) as store:
            assert store.is_up()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_store_goes_on_when_its_connections_were_cut(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    engine = create_engine(store._database.engine.url)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    with engine.connect() as connection:
        connection.execute(text(cut + "pg_backend_pid()"))
    engine.dispose()
    assert store.experiment(experiment.id) == experiment
    assert store.submit(spec_of(), key="other")[1]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_process_frozen_in_the_middle_of_a_change_blocks_no_other(store: Store, urls: tuple[str, str]) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    frozen = Database.open(urls[0])

    def change() -> None:
        with frozen.write() as connection:
            connection.execute(text("UPDATE experiments SET notes = 'early'"))
            started = time.monotonic()
            assert store.claim(experiment.id, 1, owner="w", lease_s=60) is not None
            assert time.monotonic() - started < 9 * patience()
            connection.execute(text("UPDATE experiments SET notes = 'late'"))

    with pytest.raises(Refusal, match="does not answer"):
        change()
    frozen.close()
    assert (store.experiment(experiment.id).state, store.experiment(experiment.id).notes) == ("running", "")


def test_a_database_that_does_not_answer_is_a_refusal_without_its_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Refusal, match="does not answer") as refusal:
        Store.open(f"postgresql://ada:hunter2@127.0.0.1:{port}/lab", tmp_path.as_uri())
    assert refusal.value.code == "store_unavailable"
    assert "hunter2" not in str(refusal.value)
    assert "disk" not in refusal.value.way_out


def test_the_address_of_a_lost_database_is_in_the_log_and_in_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lost = Database(create_engine(f"postgresql+psycopg://ada:hunter2@127.0.0.1:{port}/lab"))
    for use in (lost.read, lost.write):
        with pytest.raises(Refusal) as refusal, use():
            pass
        assert refusal.value.detail == "The database does not answer."
    assert str(port) in caplog.text
    assert "hunter2" not in caplog.text
    lost.close()


def test_a_name_that_no_database_can_hold_finds_nothing(store: Store) -> None:
    looks: tuple[Callable[[str], object], ...] = (store.experiment, store.experiment_status, store.model, store.delete)
    for look in looks:
        with pytest.raises(Refusal) as refusal:
            look("a\0b")
        assert refusal.value.code in ("unknown_experiment", "unknown_model", "bad_request")
    with refused("unknown_experiment"):
        store.experiment("after")


def test_the_store_loads_no_science() -> None:
    code = (
        "import sys, arithmoscope.store.dispatch, arithmoscope.store.outbox, arithmoscope.store.tensor_slices\n"
        "assert not {'torch', 'numpy', 'transformers', 'safetensors'} & set(sys.modules)\n"
        "assert not {'arithmoscope.prompts', 'arithmoscope.engine'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
