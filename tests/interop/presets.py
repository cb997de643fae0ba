#!/usr/bin/env python3
"""Checks that what each preset is for takes its output as it is.

    presets.py REEMBED WORK_DIRECTORY [--model DIRECTORY] [--rows N]

It writes a table some of whose rows have no text, runs `REEMBED run --for PRESET` over it, and gives the output to
LanceDB, Delta Lake, Apache Iceberg, DuckDB, and PostgreSQL with pgvector. What they hold must be equal to what
pyarrow reads. There is no Pinecone without its service: the types of that output are compared with those that its
import documents. Without --model the program's default model is used.

One line for each preset. It exits with 1 if a reader refuses an output or holds other values.
"""

import argparse
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables; it is made")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    parser.add_argument("--rows", type=int, default=60)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    work = options.work.resolve()
    model = ["--model-path", str(options.model.resolve())] if options.model else []
    (work / "empty.toml").write_text("")
    rows = range(options.rows)
    titles = ["" if row % 7 == 3 else f"fix the build of module {row}" for row in rows]
    table = pa.table({"id": [f"T-{row:05}" for row in rows], "title": titles})
    pq.write_table(table, work / "tasks.parquet")

    failed = 0
    for preset, judge in JUDGES.items():
        place = work / preset
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        output = place / "out.parquet"
        command = [options.reembed.resolve(), "run", work / "tasks.parquet", output, "--for", preset, "--text", "title"]
        command += ["--config", work / "empty.toml", "--quiet", *model]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            seen, wrong = "", f"the run failed with {run.returncode}: {run.stderr.strip()}"
        else:
            written = pq.read_table(output)
            try:
                seen, wrong = judge(place, written)
            except Exception as error:
                seen, wrong = "", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        failed += wrong is not None
        print(f"{preset}: {seen} {wrong or 'equal'}", flush=True)
    print(f"presets.py: {failed} of {len(JUDGES)} presets failed")
    return 1 if failed else 0


def version(*packages: str) -> str:
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


def vectors_by_id(ids: list, vectors: list) -> dict:
    return {row: None if vector is None else np.asarray(vector, dtype=np.float32) for row, vector in zip(ids, vectors)}


def difference(ids: list, vectors: list, written: pa.Table) -> str | None:
    """How rows that a reader holds, in any order, differ from those of the output."""
    found = vectors_by_id(ids, vectors)
    wanted = vectors_by_id(written["id"].to_pylist(), written["embedding"].to_pylist())
    if len(ids) != len(found) or found.keys() != wanted.keys():
        return f"{len(ids)} rows, not those of the output"
    for row, vector in wanted.items():
        if (vector is None) != (found[row] is None) or (vector is not None and not np.array_equal(vector, found[row])):
            return f"the vector of {row} differs"
    return None


def lance(place: pathlib.Path, written: pa.Table):
    import lancedb

    # Without an option: no schema, and no policy for bad vectors.
    table = lancedb.connect(place / "db").create_table("tasks", written)
    held = table.to_arrow()
    query = written["embedding"][5].as_py()
    nearest = table.search(query).limit(1).to_list()[0]["_distance"]
    kind = held.schema.field("embedding").type
    seen = f"{version('lancedb')}: create_table, {kind}, search finds a vector at distance {nearest:g}:"
    wrong = difference(held["id"].to_pylist(), held["embedding"].to_pylist(), written)
    return seen, wrong or (None if nearest == 0 and pa.types.is_fixed_size_list(kind) else "not searchable")


def delta(place: pathlib.Path, written: pa.Table):
    import deltalake

    deltalake.write_deltalake(place / "table", written)
    table = deltalake.DeltaTable(place / "table")
    kind = next(field for field in table.schema().fields if field.name == "embedding").type
    held = table.to_pyarrow_table()
    seen = f"{version('deltalake')}: write_deltalake, {kind}:"
    return seen, difference(held["id"].to_pylist(), held["embedding"].to_pylist(), written)


def iceberg(place: pathlib.Path, written: pa.Table):
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("judge", uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
    catalog.create_namespace("ns")
    appended = catalog.create_table("ns.appended", schema=written.schema)
    appended.append(written)
    # The file itself becomes one of the table: its columns are found by their names, that of the child included.
    added = catalog.create_table("ns.added", schema=written.schema)
    added.add_files([f"file://{place}/out.parquet"])
    kind = added.schema().find_field("embedding").field_type
    for table in (appended, added):
        held = table.scan().to_arrow()
        wrong = difference(held["id"].to_pylist(), held["embedding"].to_pylist(), written)
        if wrong:
            break
    return f"{version('pyiceberg')}: append and add_files, {kind}:", wrong


def duckdb(place: pathlib.Path, written: pa.Table):
    import duckdb as engine

    # The query of the README as it is printed there, for vectors of the model's width.
    printed = re.search(r'duckdb\.sql\("(SELECT .*?)"\)', README.read_text()).group(1)
    query = printed.replace("out.parquet", str(place / "out.parquet"))
    query = query.replace("FLOAT[384]", f"FLOAT[{len(written['embedding'][0].as_py())}]")
    with engine.connect() as connection:
        result = connection.sql(query)
        kind, rows = result.types[1], result.fetchall()
    ids, vectors = [row[0] for row in rows], [row[1] for row in rows]
    return f"{version('duckdb')}: {printed}, {kind}:", difference(ids, vectors, written)


def pinecone(place: pathlib.Path, written: pa.Table):
    schema = pq.ParquetFile(place / "out.parquet").schema_arrow
    values = schema.field("values")
    fits = pa.types.is_list(values.type) and values.type.value_type == pa.float32() and schema.field("id").type == pa.string()
    complete = written["values"].null_count == 0 and written["id"].null_count == 0
    seen = f"no service: id {schema.field('id').type}, values {values.type}:"
    return seen, None if fits and complete else "not what the import documents"


def pgvector(place: pathlib.Path, written: pa.Table):
    import pgserver
    import psycopg
    from pgvector.psycopg import register_vector

    # A socket's path is short.
    with tempfile.TemporaryDirectory(prefix="pg") as data:
        server = pgserver.get_server(data)
        try:
            with psycopg.connect(server.get_uri()) as connection:
                connection.execute("CREATE EXTENSION vector")
                register_vector(connection)
                width = len(written["embedding"][0].as_py())
                connection.execute(f"CREATE TABLE tasks (id text, embedding vector({width}))")
                with connection.cursor().copy("COPY tasks FROM STDIN") as copy:
                    for row in written.to_pylist():
                        copy.write_row((row["id"], row["embedding"] and str(row["embedding"])))
                rows = connection.execute("SELECT id, embedding FROM tasks").fetchall()
                query = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
                extension = connection.execute(query).fetchone()[0]
        finally:
            server.cleanup()
    vectors = [None if vector is None else vector.to_list() if hasattr(vector, "to_list") else vector for _, vector in rows]
    seen = f"{version('pgserver')} with pgvector {extension}: COPY as text, vector({width}):"
    return seen, difference([row for row, _ in rows], vectors, written)


JUDGES = {
    "lance": lance,
    "delta": delta,
    "iceberg": iceberg,
    "duckdb": duckdb,
    "pinecone": pinecone,
    "pgvector": pgvector,
}

if __name__ == "__main__":
    sys.exit(main())
