"""The plain package in one process: what the engines' overhead is measured against."""

import sys

source, target, model, workers, precision = sys.argv[1:]


def job():
    import pyarrow.parquet as pq
    import reembed

    embedder = reembed.Embedder(model, precision=precision, threads=int(workers))
    pq.write_table(embedder.embed_table(pq.read_table(source), text="text"), target)


def start():
    pass
