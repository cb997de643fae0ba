#!/usr/bin/env python3
"""Checks that every reader finds the same vectors in each form of the vector column.

    vector_forms.py REEMBED WORK_DIRECTORY [--model DIRECTORY] [--rows N] [--spark]

It runs `REEMBED sample`, `calibrate` and `run` once for each form, and compares what pyarrow, DuckDB, Polars, pandas
and Spark read with what NumPy makes of the f32 vectors, by the rules of sentence-transformers 6. Without --model the
program's default model is used.

One line for each form and reader. It exits with 1 if a value differs or a reader fails that is expected to read it.
"""

import argparse
import json
import pathlib
import subprocess
import sys

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

TYPES = ("f32", "f16", "int8", "uint8", "binary", "ubinary")
# Readers without a type for the elements: what they do is printed, and is no failure.
MAY_FAIL = {("Spark", "f16")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables; it is made")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--spark", action="store_true", help="read with Spark, too (needs requirements-spark.txt)")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    reembed = options.reembed.resolve()
    model = ["--model-path", str(options.model.resolve())] if options.model else []
    (work / "empty.toml").write_text("")

    def run(*arguments):
        subprocess.run([reembed, *arguments, "--quiet"], check=True, cwd=work, stdout=subprocess.DEVNULL)

    run("sample", "tasks.parquet", "--rows", str(options.rows))
    base = ["--config", "empty.toml", *model]
    run("calibrate", "tasks.parquet", "--output", "ranges.json", "--sample", "1000", *base)
    readers = dict(READERS)
    if options.spark:
        readers["Spark"] = spark_reader()
    failed, whole = 0, None
    for layout in ("fixed_size_list", "list"):
        for kind in TYPES:
            lines = [f'type = "{kind}"', f'layout = "{layout}"']
            if kind.endswith("int8"):
                lines.append('ranges = "ranges.json"')
            (work / "form.toml").write_text("[vector]\n" + "\n".join(lines) + "\n")
            output = work / f"{kind}-{layout}.parquet"
            output.unlink(missing_ok=True)
            run("run", "tasks.parquet", output.name, "--config", "form.toml", *model)
            if whole is None:
                whole = read_pyarrow(output)[1]
            wanted = expected(kind, whole, json.loads((work / "ranges.json").read_text()))
            for reader, read in readers.items():
                try:
                    seen, found = read(output)
                    what = difference(found, wanted)
                except BaseException as error:  # a panic of Polars is no `Exception`
                    if isinstance(error, (KeyboardInterrupt, SystemExit)):
                        raise
                    seen, what = "", f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                failed += what is not None and (reader, kind) not in MAY_FAIL
                print(f"{kind} {layout} {reader}: {seen} {what or 'equal'} ({output.stat().st_size} bytes)", flush=True)
    print(f"vector_forms.py: {failed} differences")
    return 1 if failed else 0


def expected(kind: str, vectors: list, ranges: dict) -> list:
    if kind == "f32":
        return vectors
    present = np.array([vector for vector in vectors if vector is not None], dtype=np.float32)
    low, high = (np.array(ranges[key], dtype=np.float32) for key in ("min", "max"))
    if kind == "f16":
        made = present.astype(np.float16)
    elif kind.endswith("int8"):
        steps = (high - low) / 255
        made = np.clip(np.floor((present - low) / np.where(steps == 0, 1, steps)), 0, 255)
        made = made if kind == "uint8" else made - 128
    else:
        made = np.packbits(present > 0, axis=-1)
        made = made if kind == "ubinary" else made.astype(np.int16) - 128
    rows = iter(made.astype(np.float64))
    return [None if vector is None else next(rows) for vector in vectors]


def difference(found: list, wanted: list) -> str | None:
    if len(found) != len(wanted):
        return f"{len(found)} rows, not {len(wanted)}"
    for row, (a, b) in enumerate(zip(found, wanted)):
        if (a is None) != (b is None):
            return f"row {row}: {a}, not {b}"
        if a is not None and not np.array_equal(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)):
            return f"row {row}: {list(a)[:4]}, not {list(b)[:4]}"
    return None


def read_pyarrow(path):
    column = pq.read_table(path, columns=["embedding"]).column(0)
    return column.type, column.to_pylist()


def read_pandas(path):
    import pandas as pd

    column = pd.read_parquet(path, columns=["embedding"])["embedding"]
    first = next(vector for vector in column if vector is not None)
    return first.dtype, [None if vector is None else list(vector) for vector in column]


def read_duckdb(path):
    with duckdb.connect() as connection:
        query = "SELECT embedding FROM read_parquet($file, file_row_number = true) ORDER BY file_row_number"
        result = connection.execute(query, {"file": str(path)})
        return result.description[0][1], [row[0] for row in result.fetchall()]


def read_polars(path):
    column = pl.read_parquet(path, columns=["embedding"]).to_series()
    return column.dtype, column.to_list()


def spark_reader():
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("OFF")

    def read(path):
        rows = spark.read.parquet(str(path)).select("embedding")
        return rows.schema[0].dataType.simpleString(), [row[0] for row in rows.collect()]

    return read


READERS = {"pyarrow": read_pyarrow, "pandas": read_pandas, "DuckDB": read_duckdb, "Polars": read_polars}

if __name__ == "__main__":
    sys.exit(main())
