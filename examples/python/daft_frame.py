"""Daft: a frame with a column of vectors. See docs/python-engines.md."""

import sys

import daft
import pyarrow as pa
from daft import DataType, Series, col

from reembed import Embedder

VECTOR = DataType.fixed_size_list(DataType.float32(), 384)


@daft.cls
class Embed:
    def __init__(self, precision: str):
        self.embedder = Embedder(precision=precision)

    @daft.method.batch(return_dtype=VECTOR)
    def vectors(self, texts: Series):
        return pa.array(self.embedder.encode_arrow(texts.to_arrow()))


def with_vectors(frame: daft.DataFrame, text: str, precision: str) -> daft.DataFrame:
    return frame.with_column("embedding", Embed(precision).vectors(col(text)))


def main(source: str, target: str, text: str, precision: str = "f32") -> None:
    with_vectors(daft.read_parquet(source), text, precision).write_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
