"""Polars: an expression that makes vectors of a column of texts.

>>> import polars as pl, reembed, reembed.polars                                              # doctest: +SKIP
>>> embedder = reembed.Embedder()                                                             # doctest: +SKIP
>>> df.with_columns(embedding=reembed.polars.embed(pl.col("body"), embedder))                 # doctest: +SKIP
"""

from __future__ import annotations

import polars as pl

from .embedder import Embedder


def embed(
    texts: str | pl.Expr, embedder: Embedder, *, prompt_name: str | None = None, prompt: str | None = None
) -> pl.Expr:
    """The vectors of a column, ``Array(Float32, dimension)``; a null has a null.

    ``texts`` is an expression of strings, or the name of a column. The lazy engine calls the embedder with whole
    columns; the streaming engine, with what it has at a time, which changes no bit of a vector. ``prompt_name`` and
    ``prompt`` are those of `Embedder.encode`.
    """
    column = pl.col(texts) if isinstance(texts, str) else texts
    kind = pl.Array(pl.Float32, embedder.dimension)

    def vectors(series: pl.Series) -> pl.Series:
        return pl.Series(series.name, embedder.encode_arrow(series, prompt_name=prompt_name, prompt=prompt), dtype=kind)

    return column.map_batches(vectors, return_dtype=kind, is_elementwise=True)
