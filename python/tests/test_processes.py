"""Threads, forks, pickles and Ctrl-C."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from reembed import Embedder

CALL = """
import signal
import reembed
# A shell that runs the tests in the background has its children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
embedder = reembed.Embedder(precision="f32")
print("ready", flush=True)
try:
    embedder.encode(["word " * 250] * 100_000)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(embedder.encode("a").shape, flush=True)
"""


def test_threads_share_an_embedder(embedder, texts):
    expected, found = embedder.encode(texts), [None] * 4

    def work(slot):
        found[slot] = embedder.encode(texts)

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((vectors == expected).all() for vectors in found)


def test_forked_child_embeds_a_batch(embedder, texts):
    expected = embedder.encode(texts)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns that threads do not survive a fork, which is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            same = (embedder.encode(texts) == expected).all()
            os.write(writing, b"same" if same else b"other")
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    deadline = time.monotonic() + 120
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.05)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"same"


def test_spawned_child_embeds_a_batch(embedder, texts):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply_async(embedder.encode, (texts,)).get(timeout=120)
    assert (found == embedder.encode(texts)).all()


def test_pickle_keeps_the_model_and_not_its_weights(embedder):
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert (copy.fingerprint, repr(copy)) == (embedder.fingerprint, repr(embedder))
    assert np.array_equal(copy.encode(["a"]), embedder.encode(["a"]))


def test_ctrl_c_ends_a_call_within_a_second():
    child = subprocess.Popen([sys.executable, "-c", CALL], stdout=subprocess.PIPE, text=True)
    # A call that is not interrupted would take hours.
    limit = threading.Timer(120, child.kill)
    limit.start()
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(2)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        line = child.stdout.readline()
        took = time.monotonic() - sent
        assert line == "interrupted\n"
        assert took < 1, took
        assert child.stdout.readline() == "(384,)\n"
        assert child.wait(timeout=60) == 0
    finally:
        limit.cancel()
        child.kill()
