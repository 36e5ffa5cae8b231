"""The models in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from arithmoscope_worker.model_cache import ModelCache

from arithmoscope.contracts.errors import Refusal


def test_the_least_recently_used_model_is_unloaded() -> None:
    loaded = []
    cache = ModelCache(lambda name: loaded.append(name) or name, lambda: None, max_models=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name, "1") == name
    assert loaded == ["a", "b", "c", "b"]
    assert cache.names() == ("a", "b")


def test_other_weights_under_the_same_name_are_loaded_anew() -> None:
    loaded = []
    cache = ModelCache(lambda name: loaded.append(name) or len(loaded), lambda: None, max_models=2)
    assert [cache.get("a", revision) for revision in ("1", "1", "2", "2")] == [1, 1, 2, 2]
    assert cache.names() == ("a",)


def test_a_model_that_does_not_fit_beside_the_others_is_loaded_alone() -> None:
    held_while_loading, freed = [], []

    def load(name: str) -> str:
        held_while_loading.append(cache.names())
        if name == "large" and cache.names():
            raise MemoryError
        return name

    cache = ModelCache(load, lambda: freed.append(1), max_models=2)
    cache.get("small", "1")
    assert cache.get("large", "1") == "large"
    assert held_while_loading == [(), ("small",), ()]
    assert cache.names() == ("large",)
    assert freed


def test_a_model_that_does_not_fit_at_all_or_is_refused_leaves_the_cache_usable() -> None:
    def load(name: str) -> str:
        if name == "huge":
            raise MemoryError
        if name == "odd":
            raise Refusal("unsupported_architecture", "No.")
        return name

    cache = ModelCache(load, lambda: None, max_models=2)
    with pytest.raises(MemoryError):
        cache.get("huge", "1")
    with pytest.raises(Refusal):
        cache.get("odd", "1")
    assert cache.get("small", "1") == "small"


def test_threads_that_want_the_same_model_load_it_once() -> None:
    loaded, start = [], threading.Barrier(4)
    cache = ModelCache(lambda name: loaded.append(name) or name, lambda: None, max_models=2)

    def take(_: int) -> str:
        start.wait()
        return cache.get("a", "1")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(take, range(4))) == ["a"] * 4
    assert loaded == ["a"]
