"""LangChain: an `Embeddings`, for vector stores and retrievers.

>>> from reembed.langchain import ReembedEmbeddings       # doctest: +SKIP
>>> InMemoryVectorStore(ReembedEmbeddings())              # doctest: +SKIP
"""

from __future__ import annotations

import os

from langchain_core.embeddings import Embeddings

from .embedder import DEFAULT_MODEL, Embedder


class ReembedEmbeddings(Embeddings):
    """Vectors for LangChain. The arguments are those of `Embedder`.

    Queries have the model's prompt ``query``, documents ``document``, if it declares them.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        precision: str | None = None,
        threads: int | None = None,
        *,
        fingerprint: str | None = None,
    ) -> None:
        self.embedder = Embedder(model, precision, threads, fingerprint=fingerprint)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents, in order."""
        return self.embedder.encode_document(list(texts)).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query."""
        return self.embedder.encode_query(text).tolist()
