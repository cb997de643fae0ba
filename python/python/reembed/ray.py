"""Ray Data: a class for `Dataset.map_batches` that adds a column of vectors.

>>> import ray, reembed.ray                                      # doctest: +SKIP
>>> ds = ray.data.read_parquet("tasks/")                         # doctest: +SKIP
>>> ds = ds.map_batches(                                         # doctest: +SKIP
...     reembed.ray.Embed, batch_format="pyarrow", concurrency=4, fn_constructor_kwargs={"text": "body"}
... )
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .embedder import DEFAULT_MODEL, Embedder
from .errors import invalid


class Embed:
    """Adds a column of vectors to batches of Arrow rows. Each actor of Ray loads the model once.

    The arguments are given by ``fn_constructor_kwargs``:

    text:
        The column with the texts, or a list of columns, each a line of the text; None: ``title``, ``description`` and
        ``files``, those that the table has.
    template:
        The text with columns in braces, in the place of ``text``.
    column:
        The name of the new column, of type ``fixed_size_list<float>``. A row without text has a null.
    model, precision, threads, fingerprint:
        As in `Embedder`. Without ``threads`` an actor takes the CPUs that Ray has assigned to it: one, unless
        ``map_batches`` says ``num_cpus``. Without ``precision`` each machine chooses its own: say it, or the
        ``fingerprint``, where the nodes have different CPUs.
    prompt_name, prompt:
        The name of a prompt of the model, such as ``"document"``, or a text, to be written before each text. A model
        that expects one, and gets none, is told about once in the log of each worker.

    Rows keep their order and the other columns; other columns are not touched. A vector depends on its text and the
    model alone, so an actor that Ray starts again makes the same bits.

    Raises `InvalidInput` if a column does not exist or cannot be text, or if a column named ``column`` exists.
    """

    def __init__(
        self,
        text: str | Sequence[str] | None = None,
        template: str | None = None,
        column: str = "embedding",
        *,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        precision: str | None = None,
        threads: int | None = None,
        fingerprint: str | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> None:
        self._recipe = {
            "text": text,
            "template": template,
            "column": column,
            "prompt_name": prompt_name,
            "prompt": prompt,
        }
        self._embedder = Embedder(model, precision, threads, fingerprint=fingerprint)

    def __call__(self, batch: Any) -> Any:
        """The batch with the new column, of the same kind: a pyarrow table, or a pandas frame."""
        if isinstance(batch, Mapping):
            raise invalid("the batch is a mapping of NumPy arrays", 'give map_batches `batch_format="pyarrow"`')
        return self._embedder.embed_table(batch, **self._recipe)
