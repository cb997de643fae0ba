"""Dask: a frame with a column of vectors, each partition in a worker. See docs/python-engines.md."""

import sys

import dask.dataframe as dd
import pandas as pd
import pyarrow as pa
from dask.distributed import Client

from reembed.shared import shared_embedder


# Dask cannot tell what a column of objects holds; this says it.
VECTOR = pd.ArrowDtype(pa.list_(pa.float32()))


def embed(part: pd.DataFrame, text: str, precision: str) -> pd.DataFrame:
    # One model for all partitions of a worker process.
    part = shared_embedder(precision=precision).embed_table(part, text=text)
    return part.assign(embedding=part["embedding"].astype(VECTOR))


def with_vectors(frame: dd.DataFrame, text: str, precision: str) -> dd.DataFrame:
    meta = frame._meta.assign(embedding=pd.Series(dtype=VECTOR))
    return frame.map_partitions(embed, text, precision, meta=meta)


def main(source: str, target: str, text: str, precision: str = "f32") -> None:
    # Dask lets each worker have one thread of OpenMP, and so of reembed.
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        frame = with_vectors(dd.read_parquet(source, split_row_groups=True, dtype_backend="pyarrow"), text, precision)
        frame.to_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
