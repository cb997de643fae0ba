"""Spark with a `pandas_udf` over sentence-transformers, as its users write it."""

import sys

source, target, model, workers, _ = sys.argv[1:]


def job():
    from typing import Iterator

    import pandas as pd
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import pandas_udf
    from sentence_transformers import SentenceTransformer

    name = model

    @pandas_udf("array<float>")
    def embed(batches: Iterator[pd.Series]) -> Iterator[pd.Series]:
        model = SentenceTransformer(name, device="cpu")
        for texts in batches:
            yield pd.Series(list(model.encode(texts.tolist(), batch_size=32)))

    spark = SparkSession.getActiveSession()
    rows = spark.read.parquet(source)
    rows.withColumn("embedding", embed("text")).write.parquet(target)


def start():
    from engines import start_spark

    start_spark(int(workers))
