"""One `Embedder` for all tasks of a process: what engines call that hand a worker one task after the other."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict

from .embedder import DEFAULT_MODEL, Embedder
from .threads import resolve_threads

# A worker lives longer than a job. Another job's model may stay beside the first, and no third one.
KEPT = 2

_kept: OrderedDict[tuple, Embedder] = OrderedDict()
_loads = 0
_lock = threading.Lock()


def shared_embedder(
    model: str | os.PathLike[str] = DEFAULT_MODEL,
    precision: str | None = None,
    threads: int | None = None,
    *,
    fingerprint: str | None = None,
) -> Embedder:
    """The embedder of this process with these arguments, those of `Embedder`; it is loaded when it is first asked for.

    Threads of the process share it. A process keeps the two that it used last.
    """
    global _loads
    key = (os.fspath(model), precision, resolve_threads(threads), fingerprint)
    # Held while a model is loaded, so that no other thread loads it too.
    with _lock:
        if key not in _kept:
            _kept[key] = Embedder(model, precision, key[2], fingerprint=fingerprint)
            _loads += 1
        _kept.move_to_end(key)
        while len(_kept) > KEPT:
            _kept.popitem(last=False)
        return _kept[key]


def loads() -> int:
    """How many models `shared_embedder` has loaded in this process."""
    return _loads


def _forget() -> None:
    """In a forked process: another thread of the parent may have held the lock."""
    global _kept, _loads, _lock
    _kept, _loads, _lock = OrderedDict(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
