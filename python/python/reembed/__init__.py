"""Embeddings for texts and tables: `Embedder` for texts in memory, `run` for Parquet tables.

>>> from reembed import Embedder                                   # doctest: +SKIP
>>> embedder = Embedder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
>>> embedder.encode(["Fix the login loop", "Add a dark theme"]).shape  # doctest: +SKIP
(2, 384)
>>> from reembed import run                                        # doctest: +SKIP
>>> run("tasks.parquet", "embedded.parquet", text="title").counts.embedded  # doctest: +SKIP
1200

Vectors are those of the program `reembed` and of its Rust library, bit for bit, in any batch and on any number of
threads. No thread starts when this package is imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .interpreter import refuse_subinterpreter

refuse_subinterpreter()

from ._reembed import ArrowTable, VectorColumn, __version__  # noqa: E402, after what it cannot refuse itself
from .errors import (
    CacheBusy,
    CacheError,
    DeadlineExceeded,
    EncodeError,
    InternalError,
    InvalidConfig,
    InvalidInput,
    ModelError,
    ModelMismatch,
    ModelUnavailable,
    OutOfMemory,
    OutputBusy,
    OutputError,
    ReembedError,
    Stopped,
    TablesFailed,
    UnsupportedArgument,
)

if TYPE_CHECKING:
    from .embedder import Embedder
    from .jobs import merge, run, status, verify
    from .results import MergeResult, RunResult, StatusResult, VerifyResult

# What is imported when it is first used: the program, which imports this package too, needs no NumPy.
_LAZY = {
    "Embedder": "embedder",
    "MergeResult": "results",
    "RunResult": "results",
    "StatusResult": "results",
    "VerifyResult": "results",
    "merge": "jobs",
    "run": "jobs",
    "status": "jobs",
    "verify": "jobs",
}


# Modules over other libraries: ``reembed.ray.Embed``.
_ADAPTERS = ("duckdb", "langchain", "llama_index", "polars", "ray", "shared", "spark")


def __getattr__(name: str) -> Any:
    if name in _ADAPTERS:
        return importlib.import_module(f".{name}", __name__)
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_ADAPTERS})


__all__ = [
    "ArrowTable",
    "CacheBusy",
    "CacheError",
    "DeadlineExceeded",
    "Embedder",
    "EncodeError",
    "InternalError",
    "InvalidConfig",
    "InvalidInput",
    "MergeResult",
    "ModelError",
    "ModelMismatch",
    "ModelUnavailable",
    "OutOfMemory",
    "OutputBusy",
    "OutputError",
    "ReembedError",
    "RunResult",
    "StatusResult",
    "Stopped",
    "TablesFailed",
    "UnsupportedArgument",
    "VectorColumn",
    "VerifyResult",
    "__version__",
    "merge",
    "run",
    "status",
    "verify",
]
