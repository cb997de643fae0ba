"""The number of threads: who may say it, in which order, and what an engine grants."""

import sys
from types import SimpleNamespace

import pytest

from reembed import Embedder, InvalidConfig
from reembed.threads import choose_threads, engine_grant, resolve_threads


@pytest.mark.parametrize(
    ("argument", "own", "granted", "openmp", "expected"),
    [
        (2, "4", 5, "3", 2),
        (None, "4", 5, "3", 4),
        (None, "auto", 5, "3", 5),
        (None, "", 5, "3", 5),
        (None, "", None, "3,1", 3),
        (None, "", None, "0", None),
        (None, "", None, "many", None),
        (1024, "", None, "", 1024),
        (None, "", 5000, "", 1024),
        (None, "", None, "5000", 1024),
        (None, "", None, "", None),
    ],
)
def test_first_that_says_a_number_wins(argument, own, granted, openmp, expected):
    environment = {"REEMBED_COMPUTE_THREADS": own, "OMP_NUM_THREADS": openmp}
    assert choose_threads(argument, environment, lambda: granted) == expected


@pytest.mark.parametrize("own", ["none", "0", "-1", "1.5", "1025"])
def test_wrong_variable_is_refused(own, monkeypatch):
    monkeypatch.setenv("REEMBED_COMPUTE_THREADS", own)
    with pytest.raises(InvalidConfig, match="REEMBED_COMPUTE_THREADS"):
        Embedder()


@pytest.mark.parametrize("argument", [0, -1, 1025, True, 1.5, "2", 2**70])
def test_wrong_number_of_threads_is_refused_before_a_thread_starts(argument):
    with pytest.raises(InvalidConfig, match="`threads`"):
        Embedder(threads=argument)


def fake_ray(mode, resources, initialized=True):
    context = SimpleNamespace(worker=SimpleNamespace(mode=mode), get_assigned_resources=lambda: resources)
    return SimpleNamespace(
        WORKER_MODE=1, is_initialized=lambda: initialized, get_runtime_context=lambda: context
    )


def fake_spark(cpus):
    context = None if cpus is None else SimpleNamespace(cpus=lambda: cpus)
    return SimpleNamespace(TaskContext=SimpleNamespace(get=lambda: context))


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ({}, None),
        ({"ray": fake_ray(1, {"CPU": 3.0})}, 3),
        ({"ray": fake_ray(1, {"CPU": 0.5})}, 1),
        ({"ray": fake_ray(1, {})}, 1),
        ({"ray": fake_ray(0, {"CPU": 8.0})}, None),
        ({"ray": fake_ray(1, {"CPU": 8.0}, initialized=False)}, None),
        ({"pyspark.taskcontext": fake_spark(2)}, 2),
        ({"pyspark.taskcontext": fake_spark(None)}, None),
        ({"ray": fake_ray(0, {}), "pyspark.taskcontext": fake_spark(2)}, 2),
    ],
)
def test_grant_is_that_of_a_worker(modules, expected, monkeypatch):
    for name in ("ray", "pyspark.taskcontext"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert engine_grant() == expected


def test_asking_for_a_grant_imports_no_engine(monkeypatch):
    monkeypatch.delenv("REEMBED_COMPUTE_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = set(sys.modules)
    assert resolve_threads(None) is None
    assert not {name for name in set(sys.modules) - before if name.startswith(("ray", "pyspark"))}
