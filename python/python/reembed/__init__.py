"""Sentence embeddings on the CPU: texts and tables in, NumPy arrays and Arrow out.

>>> from reembed import Embedder                                   # doctest: +SKIP
>>> embedder = Embedder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
>>> embedder.encode(["Fix the login loop", "Add a dark theme"]).shape  # doctest: +SKIP
(2, 384)

Vectors are those of the program `reembed` and of its Rust library, bit for bit, in any batch and on any number of
threads. No thread starts when this package is imported.
"""

from __future__ import annotations

from .interpreter import refuse_subinterpreter

refuse_subinterpreter()

from ._reembed import ArrowTable, VectorColumn, __version__  # noqa: E402, before the native part
from .embedder import Embedder
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
    "ModelError",
    "ModelMismatch",
    "ModelUnavailable",
    "OutOfMemory",
    "OutputBusy",
    "OutputError",
    "ReembedError",
    "Stopped",
    "TablesFailed",
    "UnsupportedArgument",
    "VectorColumn",
    "__version__",
]


def __getattr__(name: str):
    """The adapters, imported when they are first used: ``reembed.ray.Embed``."""
    if name in ("duckdb", "langchain", "llama_index", "polars", "ray", "shared", "spark"):
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
