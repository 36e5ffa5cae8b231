"""Artifact files: complete or absent, and correct errors on a full disk."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from store_helpers import files_no_larger_than, on_sqlite, refused, spec_of

from arithmoscope.store import Store
from arithmoscope.store.blobs import Blobs


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_named_by_its_content_and_written_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    digest = blobs.put("e", b"content")
    (path,) = files_under(tmp_path)
    assert path.name == digest == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    with path.open("rb") as file:
        assert blobs.put("e", b"content") == digest
        assert path.stat().st_ino == os.fstat(file.fileno()).st_ino


def test_a_write_that_breaks_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path.as_uri())
    with files_no_larger_than(1000), refused("store_unavailable"):
        blobs.put("e", b"x" * 100_000)
    assert files_under(tmp_path) == []
    blobs.put("e", b"x" * 100_000)
    assert len(files_under(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("a file is in the way")
    with refused("store_unavailable"):
        Blobs(tmp_path.as_uri()).put("e", b"content")


def test_every_place_gives_back_what_was_put_there(blobs: Blobs) -> None:
    digest = blobs.put("e", b"content")
    assert blobs.put("e", b"content") == digest
    assert blobs.read("e", digest) == b"content"
    with blobs.open("e", digest) as file:
        assert file.seek(3) == 3
        assert file.read(2) == b"te"
        assert file.seek(0, os.SEEK_END) == 7
    blobs.remove("e")
    blobs.remove("e")
    with refused("no_result"):
        blobs.read("e", digest)
    with refused("no_result"):
        blobs.open("e", digest)
    assert blobs.put("e", b"content") == digest
    assert blobs.read("e", digest) == b"content"


def test_a_damaged_file_is_not_served_from_any_place(blobs: Blobs) -> None:
    digest = blobs.put("e", b"content")
    blobs._files.pipe_file(f"{blobs._root}/e/{digest}", b"CONTENT")
    with refused("no_result"):
        blobs.read("e", digest)
    assert blobs.put("e", b"content") == digest
    assert blobs.read("e", digest) == b"content"


def test_removing_one_folder_leaves_the_others(blobs: Blobs) -> None:
    kept, gone = "a" * 24, "a" * 23 + "b"
    digests = {
        folder: blobs.put(folder, folder.encode()) for folder in (kept, gone, f"{kept}/chunks", f"{gone}/chunks")
    }
    blobs.remove(gone)
    assert {each.path for each in blobs.files()} == {
        f"{kept}/{digests[kept]}",
        f"{kept}/chunks/{digests[kept + '/chunks']}",
    }
    blobs.remove(f"{kept}/chunks")
    assert [each.folder for each in blobs.files()] == [kept]


def test_only_what_is_older_than_it_should_be_is_removed(blobs: Blobs) -> None:
    folder = "a" * 24
    digest = blobs.put(folder, b"content")
    (file,) = blobs.files()
    assert (file.path, file.folder, file.digest, file.size) == (f"{folder}/{digest}", folder, digest, 7)
    assert abs(file.written_at - time.time()) < 60
    assert not blobs.remove_if_older(file.path, file.written_at)
    assert blobs.read(folder, digest) == b"content"
    assert blobs.remove_if_older(file.path, file.written_at + 60)
    assert not blobs.remove_if_older(file.path, file.written_at + 60)
    assert list(blobs.files()) == []


def test_a_place_belongs_to_the_first_database_that_asks(blobs: Blobs) -> None:
    assert blobs.claim_ownership("first")
    assert not blobs.claim_ownership("second")
    assert blobs.claim_ownership("first")


def test_artifacts_that_a_full_disk_kept_an_owner_from_claiming_go_to_the_next(tmp_path: Path) -> None:
    with closing(Blobs(tmp_path.as_uri())) as blobs:
        with files_no_larger_than(0), refused("store_unavailable"):
            blobs.claim_ownership("first")
        assert blobs.claim_ownership("second")
        assert not blobs.claim_ownership("first")


def test_a_success_that_a_full_disk_cannot_store_is_no_success(store: Store, tmp_path: Path) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    with files_no_larger_than(1000), refused("store_unavailable"):
        store.succeed(claim, {"small.json": b"{}", "large.npz": b"x" * 10_000})
    assert store.experiment(experiment.id).state == "running"
    assert store.artifact_names(experiment.id) == ()
    store.succeed(claim, {"small.json": b"{}", "large.npz": b"x" * 10_000})
    assert store.read_artifact(experiment.id, "large.npz") == b"x" * 10_000


@on_sqlite
def test_a_database_on_a_full_disk_refuses_and_recovers(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="before")
    with files_no_larger_than(4096), refused("store_unavailable"):
        store.submit(spec_of(*(f"{n} + 1 =" for n in range(2000))), key="too much")
    assert [each.id for each in store.experiments().items] == [experiment.id]
    assert store.is_up()
    assert store.submit(spec_of(), key="after")[1]


def test_an_artifact_can_be_added_and_replaced(store: Store) -> None:
    experiment, _ = store.submit(spec_of(), key="k")
    store.put_artifact(experiment.id, "report.html", b"one")
    store.put_artifact(experiment.id, "report.html", b"two")
    assert store.read_artifact(experiment.id, "report.html") == b"two"


def test_what_was_read_off_another_result_than_the_one_that_is_kept_is_not_added(store: Store) -> None:
    experiment_id = store.submit(spec_of(), key="k")[0].id
    store.put_artifact(experiment_id, "result.json", b"partial")
    partial = store.artifact_info(experiment_id, "result.json")
    assert store.put_artifact(experiment_id, "view.key.json", b"of the partial one", derived_from=partial)
    store.put_artifact(experiment_id, "result.json", b"whole")
    assert not store.put_artifact(experiment_id, "view.key.json", b"too late", derived_from=partial)
    assert store.read_artifact(experiment_id, "view.key.json") == b"of the partial one"
    assert store.put_artifact(
        experiment_id, "view.key.json", b"new", derived_from=store.artifact_info(experiment_id, "result.json")
    )
    store.request_cancel(experiment_id)
    store.retry(experiment_id)
    assert not store.put_artifact(experiment_id, "view.key.json", b"too late", derived_from=partial)
    assert store.artifact_names(experiment_id) == ()


def test_nothing_is_added_to_an_experiment_that_is_gone(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused("unknown_experiment"):
        store.put_artifact("nobody", "report.html", b"one")
    assert files_under(tmp_path / "artifacts") == []
    experiment, _ = store.submit(spec_of(), key="k")
    put = Blobs.put

    def put_late(blobs: Blobs, folder: str, data: bytes) -> str:
        store.delete(experiment.id)
        return put(blobs, folder, data)

    monkeypatch.setattr(Blobs, "put", put_late)
    with refused("unknown_experiment"):
        store.put_artifact(experiment.id, "report.html", b"one")
    store.restore(experiment.id)
    assert store.artifact_names(experiment.id) == ()


def _write(url: str, done: multiprocessing.Queue) -> None:
    done.put(Blobs(url).put("e", b"the same" * 100_000))


def test_processes_that_write_the_same_at_once_agree(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    writers = [context.Process(target=_write, args=(tmp_path.as_uri(), done)) for _ in range(4)]
    for writer in writers:
        writer.start()
    digests = {done.get(timeout=20) for _ in writers}
    for writer in writers:
        writer.join()
    assert len(digests) == 1
    assert len(files_under(tmp_path)) == 1
    assert Blobs(tmp_path.as_uri()).read("e", digests.pop()) == b"the same" * 100_000
