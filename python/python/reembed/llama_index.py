"""LlamaIndex: a `BaseEmbedding`, for indices and query engines.

>>> from reembed.llama_index import ReembedEmbedding      # doctest: +SKIP
>>> Settings.embed_model = ReembedEmbedding()             # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from llama_index.core.base.embeddings.base import DEFAULT_EMBED_BATCH_SIZE, BaseEmbedding
from pydantic import Field, PrivateAttr

from .embedder import DEFAULT_MODEL, Embedder


class ReembedEmbedding(BaseEmbedding):
    """Vectors for LlamaIndex. ``model``, ``precision``, ``threads`` and ``fingerprint`` are those of `Embedder`;
    ``model_name`` is LlamaIndex's name of the first.

    Queries have the model's prompt ``query``, texts ``document``, if it declares them. ``to_dict`` and ``from_dict``
    keep the settings and the fingerprint, and the second loads the model: its vectors are the same, or it raises.
    """

    # Frozen: the model is loaded with them.
    precision: str | None = Field(default=None, frozen=True, description="The precision of the vectors.")
    threads: int | None = Field(default=None, frozen=True, description="Threads; None: as `Embedder` chooses.")
    fingerprint: str | None = Field(default=None, frozen=True, description="The fingerprint of the model.")

    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        precision: str | None = None,
        threads: int | None = None,
        *,
        fingerprint: str | None = None,
        model_name: str | None = None,
        embed_batch_size: int = DEFAULT_EMBED_BATCH_SIZE,
        **others: Any,
    ) -> None:
        if model is not None and model_name is not None:
            raise TypeError("give `model` or `model_name`, which is the same")
        given = [name for name in (model, model_name) if name is not None]
        embedder = Embedder(*given or [DEFAULT_MODEL], precision, threads, fingerprint=fingerprint)
        super().__init__(
            # What makes the same vectors again on another machine and in another directory.
            model_name=embedder.source,
            precision=embedder.precision,
            threads=threads,
            fingerprint=embedder.fingerprint,
            embed_batch_size=embed_batch_size,
            **others,
        )
        self._embedder = embedder

    @classmethod
    def class_name(cls) -> str:
        return "ReembedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.encode_query(query).tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.encode_document(text).tolist()

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.encode_document(list(texts)).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
