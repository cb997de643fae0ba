#!/usr/bin/env python3
"""Checks that readers take a directory of outputs for one table, whatever reembed keeps beside them.

    directory.py REEMBED WORK_DIRECTORY [--model DIRECTORY] [--spark]

It writes two outputs into one directory, kills a third run while it writes, and reads the directory with pyarrow,
pandas, DuckDB, Polars and Spark: with both outputs complete, beside what the killed run left, and while the killed
run was writing. Then it embeds a Hive tree and reads it with its partitions: a column that is in the path is not in the
files. Without --model the program's default model is used.

One line for each way to read. It exits with 1 if one fails that is expected to work, or finds another number of rows.
"""

import argparse
import collections
import os
import pathlib
import signal
import subprocess
import sys
import time

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq

ROWS = {"a.parquet": 100, "b.parquet": 200}
# The killed run needs time to be caught while it writes.
MANY_ROWS = 20_000

READERS = {
    "pyarrow.parquet.read_table(out)": lambda out: pq.read_table(out).num_rows,
    "pyarrow.dataset.dataset(out)": lambda out: ds.dataset(out, format="parquet").count_rows(),
    "pandas.read_parquet(out)": lambda out: len(pd.read_parquet(out)),
    "DuckDB 'out'": lambda out: duckdb_rows(out),
    "DuckDB 'out/*'": lambda out: duckdb_rows(f"{out}/*"),
    "DuckDB 'out/*.parquet'": lambda out: duckdb_rows(f"{out}/*.parquet"),
    "DuckDB 'out/**/*.parquet'": lambda out: duckdb_rows(f"{out}/**/*.parquet"),
    "polars.read_parquet(out/*.parquet)": lambda out: len(pl.read_parquet(f"{out}/*.parquet")),
    "polars.scan_parquet(out/**/*.parquet)": lambda out: len(pl.scan_parquet(f"{out}/**/*.parquet").collect()),
    "polars.read_parquet(out)": lambda out: len(pl.read_parquet(out)),
}
# Polars walks into every directory, and refuses one with files of two kinds. docs/operations.md says so.
REFUSES = {"polars.read_parquet(out)"}


# Rows of each partition of the Hive tree. A value needs its percent encoding.
PARTITIONS = {"2026-11-01": 30, "2026-11-02": 40, "a:b": 50}
DIRECTORIES = {"2026-11-01": "dt=2026-11-01", "2026-11-02": "dt=2026-11-02", "a:b": "dt=a%3Ab"}

HIVE_READERS = {
    "pyarrow.dataset.dataset(hive)": lambda out: counted(
        ds.dataset(out, format="parquet", partitioning=ds.partitioning(flavor="hive")).to_table(columns=["dt"])["dt"]
    ),
    "pandas.read_parquet(hive)": lambda out: counted(pd.read_parquet(out, columns=["id", "dt"])["dt"]),
    "DuckDB hive_partitioning": lambda out: dict(
        duckdb.sql(
            f"SELECT dt::VARCHAR, count(*) FROM read_parquet('{out}/**/*.parquet', hive_partitioning = true) GROUP BY 1"
        ).fetchall()
    ),
    "polars.scan_parquet(hive_partitioning)": lambda out: counted(
        pl.scan_parquet(f"{out}/**/*.parquet", hive_partitioning=True).select("dt").collect()["dt"]
    ),
}


def counted(values) -> dict:
    values = values.to_pylist() if hasattr(values, "to_pylist") else values
    return dict(collections.Counter(str(value) for value in values))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables; it is made")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    parser.add_argument("--spark", action="store_true", help="read with Spark, too (needs requirements-spark.txt)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    reembed = options.reembed.resolve()
    (work / "empty.toml").write_text("")
    base = ["--config", "empty.toml", "--quiet"]
    if options.model:
        base += ["--model-path", str(options.model.resolve())]

    def run(*arguments):
        subprocess.run([reembed, *arguments], check=True, cwd=work, stdout=subprocess.DEVNULL)

    for output, rows in ROWS.items():
        run("sample", "tasks.parquet", "--rows", str(rows))
        run("run", "tasks.parquet", f"out/{output}", *base)
    readers = dict(READERS)
    if options.spark:
        readers["Spark read.parquet(out)"] = spark_reader()
    out = str(work / "out")
    failed = judge("complete", readers, out)

    run("sample", "tasks.parquet", "--rows", str(MANY_ROWS))
    # The worker itself, so that nobody starts it again.
    writing = subprocess.Popen(
        [reembed, "run", "tasks.parquet", "out/c.parquet", "--no-supervise", *base], cwd=work, stdout=subprocess.DEVNULL
    )
    wait_for_temporary(work / "out/_reembed", writing)
    os.kill(writing.pid, signal.SIGSTOP)
    failed += judge("while a run writes", readers, out)
    os.kill(writing.pid, signal.SIGKILL)
    writing.wait()
    failed += judge("after it was killed", readers, out)

    for value, rows in PARTITIONS.items():
        directory = work / "hive" / DIRECTORIES[value]
        directory.mkdir(parents=True, exist_ok=True)
        run("sample", str(directory / "part.parquet"), "--rows", str(rows))
    run("run", "hive", "hive-out", *base)
    run("verify", "hive-out", "--input", "hive", *base)
    hive_readers = dict(HIVE_READERS)
    if options.spark:
        hive_readers["Spark with partitions"] = spark_partitions()
    failed += judge("a Hive tree", hive_readers, str(work / "hive-out"), PARTITIONS)
    return 1 if failed else 0


def wait_for_temporary(directory, writing):
    for _ in range(6000):
        if any(entry.name.startswith("c.parquet.") and entry.suffix == ".tmp" for entry in directory.iterdir()):
            return
        if writing.poll() is not None:
            sys.exit("the run ended before it could be caught while it wrote: raise MANY_ROWS")
        time.sleep(0.01)
    sys.exit("the run wrote nothing within a minute")


def judge(when, readers, out, expected=None) -> int:
    expected = sum(ROWS.values()) if expected is None else expected
    failed = 0
    for name, read in readers.items():
        try:
            rows = read(out)
            right = rows == expected
            found = f"{rows} rows"
        except Exception as error:  # noqa: BLE001
            right = name in REFUSES
            found = f"refused: {str(error).splitlines()[0][:90]}"
        failed += not right
        print(f"{'ok' if right else 'WRONG':<5}  {when:<20}  {name:<38}  {found}")
    return failed


def duckdb_rows(pattern):
    return duckdb.sql(f"SELECT count(*) FROM read_parquet('{pattern}')").fetchall()[0][0]


def spark_reader():
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    return lambda out: spark.read.parquet(out).count()


def spark_partitions():
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    rows = lambda out: spark.read.parquet(out).groupBy("dt").count().collect()  # noqa: E731
    return lambda out: {str(row["dt"]): row["count"] for row in rows(out)}


if __name__ == "__main__":
    sys.exit(main())
