"""Spark with `reembed.spark.embed`."""

import sys

source, target, model, workers, precision = sys.argv[1:]


def job():
    import reembed.spark
    from pyspark.sql import SparkSession

    spark = SparkSession.getActiveSession()
    rows = spark.read.parquet(source)
    reembed.spark.embed(rows, text="text", model=model, precision=precision).write.parquet(target)


def start():
    from engines import start_spark

    start_spark(int(workers))
