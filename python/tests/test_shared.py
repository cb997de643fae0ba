"""One embedder for all tasks of a process."""

import threading

import numpy as np
import pytest

from reembed import shared
from reembed.shared import shared_embedder


@pytest.fixture(autouse=True)
def nothing_is_loaded():
    shared._forget()
    yield
    shared._forget()


def test_equal_arguments_share_a_model():
    one, other = shared_embedder(precision="f32", threads=1), shared_embedder(precision="f32", threads=1)
    assert one is other and shared.loads() == 1
    assert shared_embedder(precision="f32", threads=2) is not one
    assert shared.loads() == 2


def test_threads_load_a_model_once():
    found = []
    threads = [threading.Thread(target=lambda: found.append(shared_embedder(precision="f32"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(map(id, found))) == 1 and shared.loads() == 1


def test_third_model_displaces_the_first():
    first = shared_embedder(precision="f32", threads=1)
    for threads in (2, 3):
        shared_embedder(precision="f32", threads=threads)
    again = shared_embedder(precision="f32", threads=1)
    assert again is not first and shared.loads() == 4
    assert np.array_equal(again.encode(["a"]), first.encode(["a"]))
