"""Tests of the measured free memory of a device, within a container's limit where one is set."""

from __future__ import annotations

import psutil
import pytest
import torch

from arithmoscope.engine.models.memory import cgroup_free_bytes, free_bytes


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(str(text))


def group_2(limit, used, *, inactive=0, active=0):
    stat = f"anon 5\nfile 999\ninactive_anon 777\ninactive_file {inactive}\nactive_file {active}\n"
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}


def group_1(limit, used, *, inactive=0, active=0):
    stat = f"cache 999\ninactive_file 1\ntotal_inactive_file {inactive}\ntotal_active_file {active}\n"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}


@pytest.fixture
def machine(tmp_path):
    """A root of control groups and the file that names this process's."""
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups", tmp_path / "membership"


def test_a_limit_of_version_2_leaves_what_is_not_used_and_what_is_only_cached(machine):
    root, membership = machine
    membership.write_text("0::/\n")
    write(root, group_2(1000, 700, inactive=100, active=20))
    assert cgroup_free_bytes(root, membership) == 1000 - 700 + 100 + 20


def test_a_limit_of_version_1_is_read_from_the_memory_controller(machine):
    root, membership = machine
    membership.write_text("4:cpu,cpuacct:/here\n7:memory:/box\n")
    write(root / "memory" / "box", group_1(5000, 4500, inactive=30, active=3))
    write(root / "memory", group_1(9223372036854771712, 4500))
    assert cgroup_free_bytes(root, membership) == 533
    write(root / "memory" / "box", group_1(9223372036854771712, 4500))
    assert cgroup_free_bytes(root, membership) is None


def test_the_tightest_group_on_the_way_up_counts(machine):
    root, membership = machine
    membership.write_text("0::/a/b/c\n")
    write(root / "a" / "b" / "c", group_2("max", 10))
    write(root / "a" / "b", group_2(900, 100))
    write(root / "a", group_2(500, 200))
    assert cgroup_free_bytes(root, membership) == 300


def test_a_name_from_outside_the_container_still_finds_its_limit(machine):
    root, membership = machine
    membership.write_text("0::/../system.slice/docker-1234.scope\n")
    write(root, group_2(800, 100))
    assert cgroup_free_bytes(root, membership) == 700


def test_a_group_beyond_its_limit_leaves_nothing_rather_than_less(machine):
    root, membership = machine
    membership.write_text("0::/\n")
    write(root, group_2(100, 150))
    assert cgroup_free_bytes(root, membership) == 0


@pytest.mark.parametrize("text", [None, "", "0::/\n", "nonsense\n", "7:memory:/gone\n", ":::\n"])
def test_where_nothing_is_limited_there_is_no_bound(machine, text):
    root, membership = machine
    if text is not None:
        membership.write_text(text)
    assert cgroup_free_bytes(root, membership) is None


@pytest.mark.parametrize(("limit", "expected"), [(10**18, 4000), (1000, 900)])
def test_the_cpu_gives_the_smaller_of_the_machine_and_its_limit(machine, monkeypatch, limit, expected):
    root, membership = machine
    membership.write_text("0::/\n")
    write(root, group_2(limit, 100))
    available = psutil.virtual_memory()._replace(available=4000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    monkeypatch.setattr(
        "arithmoscope.engine.models.memory.cgroup_free_bytes", lambda: cgroup_free_bytes(root, membership)
    )
    assert free_bytes(torch.device("cpu")) == expected


def test_this_machine_has_some_memory_and_not_more_than_it_has():
    assert 0 < free_bytes("cpu") <= psutil.virtual_memory().total


def test_what_the_allocator_holds_unused_is_free_on_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (300, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 420)
    assert free_bytes(torch.device("cuda:0")) == 380


@pytest.mark.parametrize(("taken", "expected"), [(400, 600), (1200, 0)])
def test_on_mps_it_is_what_metal_recommends_less_what_is_taken(monkeypatch, taken, expected):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 1000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: taken)
    assert free_bytes(torch.device("mps")) == expected
