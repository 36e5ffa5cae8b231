"""Garbage collection: what is deleted and, above all, what is not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from store_helpers import Clock, files_no_larger_than, finish, on_sqlite, refused, spec_of

from arithmoscope.store import UNDO_S, Store
from arithmoscope.store.blobs import Blobs
from arithmoscope.store.clock_watch import ClockWatch
from arithmoscope.store.garbage_collection import Collected
from arithmoscope.store.janitor import Janitor
from arithmoscope.store.views import View, attention_view
from benchmarks.patience import patience

HOUR = 3600.0
KB = b"x" * 1000


@pytest.fixture
def files(urls: tuple[str, str]) -> Path:
    """The folder of the artifacts."""
    return Path(urls[1].removeprefix("file://"))


@pytest.fixture
def small(urls: tuple[str, str], store: Store, clock: Clock) -> Iterator[Store]:
    """A store with a budget of 10 kB, on the same database and files."""
    with Store.open(*urls, budget=10_000, clock=clock) as small:
        yield small


def stored_files(files: Path) -> list[Path]:
    return sorted(path for path in files.rglob("*") if path.is_file() and path.name != "arithmoscope-owner")


def age(path: Path, clock: Clock, seconds: float) -> None:
    os.utime(path, (clock.now - seconds, clock.now - seconds))


def done(store: Store, clock: Clock, key: str, **attention: bytes) -> str:
    experiment, _ = store.submit(spec_of(), key=key)
    finish(store, experiment.id)
    for name, data in attention.items():
        store.put_artifact(experiment.id, f"attention.{name[1:]}.safetensors", data)
    clock.now += 1
    return experiment.id


def test_a_file_that_no_row_names_is_removed_an_hour_after_it_was_written(
    store: Store, clock: Clock, files: Path
) -> None:
    kept = done(store, clock, "k", _0=b"patterns")
    store.put_artifact(kept, "attention.0.safetensors", b"other patterns")  # the first file has no name any more
    gone = files / ("a" * 24)
    (gone / "chunks").mkdir(parents=True)
    for path in (gone / ("0" * 64), gone / "chunks" / ("1" * 64), files / kept / f".{'2' * 64}.12345678.part"):
        path.write_bytes(KB)
    before = stored_files(files)
    assert len(before) == 6
    for path in before:
        age(path, clock, HOUR - 1)
    assert store.collect_garbage() == Collected(), "a put may be about to name them"
    clock.now += 2
    assert store.collect_garbage() == Collected(files=4, bytes=3 * len(KB) + len(b"patterns"))
    assert store.read_artifact(kept, "result.json") == b"{}"
    assert store.read_artifact(kept, "attention.0.safetensors") == b"other patterns"
    assert len(stored_files(files)) == 2
    assert not gone.exists()


def test_what_other_people_keep_in_the_same_place_is_left_alone(store: Store, clock: Clock, files: Path) -> None:
    done(store, clock, "k")
    foreign = [files / "thesis.tex", files / "photos" / "cat.jpg", files / ("a" * 24) / "notes.txt"]
    foreign.append(files / "example" / ("a" * 64))
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(KB)
        age(path, clock, 10 * HOUR)
    assert store.collect_garbage() == Collected()
    assert all(path.exists() for path in foreign)


def test_a_new_database_does_not_throw_away_the_results_of_the_old_one(
    store: Store, clock: Clock, files: Path, tmp_path: Path
) -> None:
    kept = done(store, clock, "k")
    store.collect_garbage()
    for path in stored_files(files):
        age(path, clock, 10 * HOUR)
    with Store.open(f"sqlite:///{tmp_path / 'mistyped.db'}", files.as_uri(), clock=clock) as other:
        assert other.collect_garbage() == Collected()
    assert store.read_artifact(kept, "result.json") == b"{}"


def test_the_files_of_one_at_work_are_left_alone_however_old(store: Store, clock: Clock, files: Path) -> None:
    """A running put may name an old file: a second attempt puts it again."""
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    store._blobs.put(experiment.id, KB)
    age(stored_files(files)[0], clock, 10 * HOUR)
    assert store.collect_garbage() == Collected()
    store.succeed(claim, {"result.json": KB})
    assert store.read_artifact(experiment.id, "result.json") == KB


def test_a_file_that_is_put_again_is_as_good_as_new(files: Path) -> None:
    blobs = Blobs(str(files))
    folder = "a" * 24
    digest = blobs.put(folder, KB)
    os.utime(files / folder / digest, (1000.0, 1000.0))
    cut = time.time() - HOUR
    assert [each.written_at < cut for each in blobs.files()] == [True]
    blobs.put(folder, KB)
    assert not blobs.remove_if_older(f"{folder}/{digest}", cut)
    assert blobs.read(folder, digest) == KB


def test_putting_and_throwing_away_the_same_file_at_once_never_leaves_a_name_without_a_file(files: Path) -> None:
    """Every file put exists afterwards, although it looked old a moment before."""
    blobs, folder = Blobs(str(files)), "a" * 24
    stop = threading.Event()

    def throw_away() -> None:
        while not stop.is_set():
            for file in blobs.files():
                blobs.remove_if_older(file.path, time.time() - HOUR)

    with ThreadPoolExecutor(2) as pool:
        throwing = [pool.submit(throw_away) for _ in range(2)]
        try:
            for _ in range(300):
                digest = blobs.put(folder, KB)
                assert blobs.read(folder, digest) == KB
                os.utime(files / folder / digest, (1000.0, 1000.0))
        finally:
            stop.set()
        for each in throwing:
            each.result(timeout=10 * patience())


def test_a_deleted_one_is_gone_for_good_after_a_day(store: Store, clock: Clock, files: Path) -> None:
    gone, kept = done(store, clock, "gone"), done(store, clock, "kept")
    store.delete(gone)
    clock.now += UNDO_S - 1
    assert store.collect_garbage() == Collected()
    assert store.restore(gone).id == gone
    store.delete(gone)
    clock.now += UNDO_S
    assert store.collect_garbage() == Collected(files=1, bytes=2, experiments=1)
    assert [path.parent.name for path in stored_files(files)] == [kept]
    with refused("unknown_experiment"):
        store.restore(gone)
    assert store.store_report().deleted == 0


@on_sqlite
def test_a_full_disk_is_relieved_of_what_nothing_refers_to(store: Store, clock: Clock, files: Path) -> None:
    store.delete(done(store, clock, "k"))
    store.collect_garbage()  # the owner of the files is recorded
    clock.now += UNDO_S
    unnamed = files / ("a" * 24) / ("0" * 64)
    unnamed.parent.mkdir()
    unnamed.write_bytes(KB)
    age(unnamed, clock, HOUR + 1)
    with files_no_larger_than(4096), refused("store_unavailable"):
        store.collect_garbage()
    assert not unnamed.exists()
    assert store.collect_garbage().experiments == 1, "and the rest when it can be written again"


def test_a_used_link_is_remembered_for_longer_than_it_lives(store: Store, clock: Clock) -> None:
    assert store.use_link("a" * 64)
    clock.now += 7 * 86_400
    store.collect_garbage()
    assert not store.use_link("a" * 64)
    clock.now += 60 * 86_400
    store.collect_garbage()
    assert store.use_link("a" * 64), "its row is gone"


def test_several_may_collect_at_once(urls: tuple[str, str], store: Store, clock: Clock, files: Path) -> None:
    kept = done(store, clock, "kept")
    for number in range(20):
        store.delete(done(store, clock, str(number)))
    clock.now += UNDO_S
    others = [Store.open(*urls, clock=clock) for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        collected = sum(pool.map(lambda each: each.collect_garbage(), [store, *others]), Collected())
    for each in others:
        each.close()
    assert collected.experiments == 20
    assert [path.parent.name for path in stored_files(files)] == [kept]


def test_over_the_budget_attention_goes_first_the_longest_unused_before_all(
    small: Store, clock: Clock, files: Path
) -> None:
    never, once, lately = (done(small, clock, name, _0=name.encode() * 600) for name in ("a", "b", "c"))
    for each in (once, lately):
        clock.now += 100
        small.open_artifact(each, "attention.0.safetensors").close()
    assert small.collect_garbage() == Collected(), "it all fits"
    other = done(small, clock, "d", _0=b"d" * 9000)
    small.open_artifact(other, "attention.0.safetensors").close()
    small.collect_garbage()
    assert [small.artifact_names(each) for each in (never, once, lately, other)] == [
        ("result.json",),
        ("result.json",),
        ("attention.0.safetensors", "result.json"),
        ("attention.0.safetensors", "result.json"),
    ]
    assert small.store_report().artifact_bytes <= 10_000
    assert sum(path.stat().st_size for path in stored_files(files)) == small.store_report().artifact_bytes
    with refused("no_result"):
        small.open_artifact(never, "attention.0.safetensors")


def test_over_the_budget_every_view_goes_and_no_file_of_the_result(small: Store, clock: Clock) -> None:
    experiment_id = done(small, clock, "a")
    views = [View("key"), View("roles"), View("stages"), View("lens", "3"), View("writes", "L1H2"), attention_view(0)]
    for number, view in enumerate(views):
        small.put_artifact(experiment_id, view.file, bytes([number]) * 4_000)
    for name in ("raw.safetensors", "curve.csv", "viewed.json"):
        small.put_artifact(experiment_id, name, b"r" * 2_000 + name.encode())
    small.make_room()
    remaining = set(small.artifact_names(experiment_id))
    assert {"result.json", "raw.safetensors", "curve.csv", "viewed.json"} <= remaining
    assert len(remaining) == 4, "what is left comes to nearly the budget"


def test_several_that_make_room_at_once_give_up_no_more_than_one_would(
    urls: tuple[str, str], store: Store, clock: Clock
) -> None:
    kept = [done(store, clock, str(number), _0=bytes([number]) * 1000) for number in range(20)]
    keepers = [Store.open(*urls, budget=15_000, clock=clock) for _ in range(4)]
    start = threading.Barrier(4)

    def make_room(keeper: Store) -> None:
        start.wait(20 * patience())
        keeper.make_room()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make_room, keepers))
    for keeper in keepers:
        keeper.close()
    assert [len(store.artifact_names(each)) for each in kept] == [1] * 6 + [2] * 14


def test_over_the_budget_a_deleted_one_goes_before_its_day_is_over_and_a_result_never(
    small: Store, clock: Clock
) -> None:
    ids = []
    for number in range(3):
        experiment, _ = small.submit(spec_of(), key=str(number))
        claim = small.claim(experiment.id, 1, owner="w", lease_s=60)
        assert claim is not None
        small.succeed(claim, {"result.json": bytes([number]) * 6_000})
        ids.append(experiment.id)
        if number < 2:
            clock.now += 1
            small.delete(experiment.id)
    assert small.make_room() == Collected(files=2, bytes=12_000, experiments=2)
    assert small.read_artifact(ids[2], "result.json") == bytes([2]) * 6_000
    assert small.make_room() == Collected()


def test_a_full_store_refuses_new_questions_and_answers_old_ones(small: Store, clock: Clock) -> None:
    experiment, _ = small.submit(spec_of(), key="k")
    claim = small.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    small.succeed(claim, {"result.json": b"r" * 10_001})
    small.make_room()
    with refused("store_full"):
        small.submit(spec_of(), key="new")
    assert small.submit(spec_of(), key="k")[0].id == experiment.id
    assert small.read_artifact(experiment.id, "result.json") == b"r" * 10_001
    small.delete(experiment.id)
    assert small.submit(spec_of(), key="new")[1], "what is deleted gives way"


def test_a_store_that_is_full_of_what_can_be_computed_again_takes_questions(small: Store, clock: Clock) -> None:
    done(small, clock, "k", _0=b"p" * 20_000)
    assert small.submit(spec_of(), key="new")[1]


def test_the_bundled_example_keeps_its_attention(small: Store, clock: Clock, tmp_path: Path) -> None:
    experiment = small.experiment(done(small, clock, "k"))
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "experiment.json").write_text(experiment.model_dump_json())
    (bundle / "attention.safetensors").write_bytes(b"p" * 20_000)
    small.import_bundle(bundle)
    assert small.collect_garbage() == Collected()
    assert small.artifact_names("example") == ("attention.safetensors",)


def test_a_clock_that_is_set_wrong_for_a_moment_ends_nothing(store: Store, clock: Clock) -> None:
    steady = Clock()
    keeper = Janitor(store, clock_watch=ClockWatch(clock, steady, settles_s=120))
    experiment_id = done(store, clock, "k")
    keeper.run_once()
    store.delete(experiment_id)
    clock.now += 2 * 86_400
    assert keeper.run_once() == Collected()
    clock.now += 60
    steady.now += 60
    assert keeper.run_once() == Collected()
    clock.now -= 2 * 86_400
    assert keeper.run_once() == Collected()
    assert store.restore(experiment_id).state == "succeeded"
    store.delete(experiment_id)
    for _ in range(25):
        clock.now += 3600
        steady.now += 3600
        keeper.run_once()
    with refused("unknown_experiment"):
        store.restore(experiment_id)


def test_the_janitor_runs_by_itself_and_survives_errors(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.delete(done(store, clock, "k"))
    clock.now += UNDO_S
    collect, broken = store.collect_garbage, threading.Event()

    def break_once() -> Collected:
        if not broken.is_set():
            broken.set()
            raise ValueError("never seen before")
        return collect()

    monkeypatch.setattr(store, "collect_garbage", break_once)
    keeper = Janitor(store, every_s=0.01)
    keeper.start()
    deadline = time.monotonic() + 10 * patience()
    while store.store_report().deleted and time.monotonic() < deadline:
        time.sleep(0.01)
    keeper.stop()
    assert broken.is_set()
    assert store.store_report().deleted == 0
