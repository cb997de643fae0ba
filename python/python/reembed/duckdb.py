"""DuckDB: a function of SQL that makes vectors of texts.

>>> import duckdb, reembed, reembed.duckdb                                  # doctest: +SKIP
>>> connection = duckdb.connect()                                           # doctest: +SKIP
>>> reembed.duckdb.register(connection, reembed.Embedder())                 # doctest: +SKIP
>>> connection.sql("SELECT id, embed(body) AS embedding FROM 'tasks.parquet'")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .embedder import Embedder

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def register(
    connection: duckdb.DuckDBPyConnection,
    embedder: Embedder,
    name: str = "embed",
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> None:
    """Adds the function ``name(VARCHAR) -> FLOAT[dimension]`` to a connection. A null has a null.

    DuckDB hands it up to 2,048 texts at a time, as Arrow. It needs pyarrow. ``prompt_name`` and ``prompt`` are those of
    `Embedder.encode`; functions of two names may have two prompts.
    """

    # Without annotations: DuckDB evaluates those of a function, and pyarrow is not imported here.
    def embed(texts):
        return _vectors(embedder, texts, {"prompt_name": prompt_name, "prompt": prompt})

    result = connection.array_type("FLOAT", embedder.dimension)
    connection.create_function(name, embed, ["VARCHAR"], result, type="arrow", null_handling="special")


def _vectors(embedder: Embedder, texts: pa.Array, prompts: dict) -> pa.Array:
    import pyarrow as pa

    vectors = embedder.encode_arrow(texts, **prompts)
    return vectors if isinstance(vectors, (pa.Array, pa.ChunkedArray)) else pa.array(vectors)
