"""Spark: a data frame with one more column, of vectors.

>>> import reembed.spark                                                   # doctest: +SKIP
>>> reembed.spark.embed(spark.read.parquet("tasks/"), text="body")         # doctest: +SKIP
DataFrame[id: string, body: string, embedding: array<float>]
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .embedder import DEFAULT_MODEL
from .errors import invalid
from .shared import shared_embedder

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame


def embed(
    df: DataFrame,
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
) -> DataFrame:
    """Adds a column of vectors, ``array<float>``, to a data frame. Each Python worker of Spark loads the model once.

    Parameters
    ----------
    df:
        The rows. They keep their order within a partition and their columns.
    text:
        The column with the texts, or a list of columns, each a line of the text; None: ``title``, ``description`` and
        ``files``, those that the table has.
    template:
        The text with columns in braces, in the place of ``text``.
    column:
        The name of the new column. A row without text has a null.
    model, precision, threads, fingerprint:
        As in `Embedder`, in each worker. Without ``threads`` a worker takes ``spark.task.cpus``. Without ``precision``
        each machine chooses its own: say it, or the ``fingerprint``, where the executors have different CPUs.
    prompt_name, prompt:
        The name of a prompt of the model, such as ``"document"``, or a text, to be written before each text. A model
        that expects one, and gets none, is told about once in the log of each worker.

    A vector depends on its text and the model alone, so a task that Spark tries again makes the same bits.

    Raises
    ------
    InvalidInput
        A column named ``column`` exists, or a column of ``text`` does not. What only a worker can see is an exception
        of the job.
    """
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

    check_columns(df.columns, text, column)
    # A worker has another working directory.
    found = os.path.abspath(model) if os.path.isdir(model) else model
    options = {"model": found, "precision": precision, "threads": threads, "fingerprint": fingerprint}
    recipe = {
        "text": text,
        "template": template,
        "column": column,
        "prompt_name": prompt_name,
        "prompt": prompt,
    }

    # A function, since Spark reads its signature; a nested one, so that it is pickled with its options.
    def embed_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return _embedded(batches, options, recipe)

    vectors = StructField(column, ArrayType(FloatType(), containsNull=False), nullable=True)
    return df.mapInArrow(embed_batches, StructType([*df.schema.fields, vectors]))


def check_columns(existing: Sequence[str], text: str | Sequence[str] | None, column: str) -> None:
    """Raises `InvalidInput` for what can be seen before a job starts.

    Spark does not tell names apart by case when it looks a column up, so a new one must differ in more.
    """
    taken = [name for name in existing if name.lower() == column.lower()]
    if taken:
        raise invalid(f"the data frame has a column {taken[0]!r} already", "drop it, or give `column` another name", column)
    for name in [text] if isinstance(text, str) else text or ():
        # `payload.title` is a field of the column `payload`.
        if name not in existing and name.split(".")[0] not in existing:
            raise invalid(f"the data frame has no column {name!r}", f"it has {', '.join(existing)}", name)


def _embedded(batches: Iterable[pa.RecordBatch], options: dict, recipe: dict) -> Iterator[pa.RecordBatch]:
    embedder = None
    for batch in batches:
        # A partition without rows needs no model.
        embedder = embedder or shared_embedder(**options)
        yield with_lists(embedder.embed_table(batch, **recipe), recipe["column"])


def with_lists(batch: pa.RecordBatch, column: str) -> pa.RecordBatch:
    """The batch with the vectors of a column as ``list<float>``: Spark has no lists of a fixed size."""
    import numpy as np
    import pyarrow as pa

    place = batch.schema.get_field_index(column)
    vectors = batch.column(place)
    if not pa.types.is_fixed_size_list(vectors.type):
        return batch
    present = vectors.is_valid().to_numpy(zero_copy_only=False)
    starts = np.append(0, np.cumsum(present, dtype=np.int64)) * vectors.type.list_size
    if starts[-1] > np.iinfo(np.int32).max:
        raise invalid(
            f"a batch of {len(batch):,} rows is too large for Spark's lists",
            "set spark.sql.execution.arrow.maxRecordsPerBatch to 10000",
        )
    # A null offset makes a null list; `flatten` leaves out the places of nulls.
    offsets = pa.array(starts.astype(np.int32), mask=np.append(~present, False))
    lists = pa.ListArray.from_arrays(offsets, vectors.flatten())
    columns = [*batch.columns[:place], lists, *batch.columns[place + 1 :]]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
