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


def register(connection: duckdb.DuckDBPyConnection, embedder: Embedder, name: str = "embed") -> None:
    """Adds the function ``name(VARCHAR) -> FLOAT[dimension]`` to a connection. A null has a null.

    DuckDB hands it up to 2,048 texts at a time, as Arrow. It needs pyarrow.
    """

    # Without annotations: DuckDB evaluates those of a function, and pyarrow is not imported here.
    def embed(texts):
        return _vectors(embedder, texts)

    result = connection.array_type("FLOAT", embedder.dimension)
    connection.create_function(name, embed, ["VARCHAR"], result, type="arrow", null_handling="special")


def _vectors(embedder: Embedder, texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    vectors = embedder.encode_arrow(texts)
    return vectors if isinstance(vectors, (pa.Array, pa.ChunkedArray)) else pa.array(vectors)
