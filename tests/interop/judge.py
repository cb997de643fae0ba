#!/usr/bin/env python3
"""Compares inputs and outputs of reembed as DuckDB, pyarrow, Polars, pandas and Spark read them.

    judge.py INPUT OUTPUT [INPUT OUTPUT ...] [--column embedding ...] [--spark]

For each reader: the old columns have the same names, order, types and values, and the new columns are there. For
pyarrow also the Parquet schema and the metadata. Without a reader's help: each chunk of an old column has the same
bytes, encodings, statistics, bloom filter and indexes.

A reader that cannot read the input, or a column of it, cannot judge that: a line `skipped: ...` says so. What it
reads of the input, it has to read of the output.

One line for each difference: TABLE: COLUMN: READER: what differs. It exits with 1 if there is any.
"""

import argparse
import json
import logging
import multiprocessing
import os
import pathlib
import sys
import warnings
from typing import Callable, Iterator, NamedTuple

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# Entries of the footer that list the columns: they change with the new column.
COLUMN_LISTS = {
    b"pandas",
    b"huggingface",
    b"org.apache.spark.sql.parquet.row.metadata",
    b"parquet.avro.schema",
    b"avro.schema",
    b"iceberg.schema",
    b"ARROW:schema",
}
# The entry that reembed adds.
ADDED = b"reembed"
# Stands for a column where the whole table differs.
TABLE = "(table)"


class Pair(NamedTuple):
    input: str
    output: str

    @property
    def table(self) -> str:
        return pathlib.Path(self.input).stem


class Finding(NamedTuple):
    column: str
    what: str
    is_skip: bool = False


def main() -> int:
    options = parse_arguments()
    paths = options.paths
    pairs = [Pair(*pair) for pair in zip(paths[::2], paths[1::2])]
    differences = skips = 0

    def tell(pair, reader, found):
        nonlocal differences, skips
        for finding in found:
            start = "skipped: " if finding.is_skip else ""
            print(f"{start}{pair.table}: {finding.column}: {reader}: {short(finding.what)}", flush=True)
            differences += not finding.is_skip
            skips += finding.is_skip

    for pair in pairs:
        for reader, judge in READERS.items():
            tell(pair, reader, findings(judge, pair, options.added))
    if options.spark:
        judge = spark_reader()
        for pair in pairs:
            tell(pair, "Spark", caught(judge, pair, options.added))
    print(f"judge.py: {len(pairs)} tables, {differences} differences, {skips} skipped")
    return 1 if differences else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="INPUT OUTPUT", help="files that reembed read and wrote, in turn")
    parser.add_argument("--column", action="append", help="name of a new column (embedding)")
    parser.add_argument("--spark", action="store_true", help="read with Spark, too (needs requirements-spark.txt)")
    options = parser.parse_args()
    options.added = options.column or ["embedding"]
    if len(options.paths) % 2:
        parser.error("each INPUT needs an OUTPUT")
    return options


def findings(judge: Callable, pair: Pair, added: list) -> list[Finding]:
    """The findings of one reader, which works in a process of its own: a reader may abort on a file."""
    found = in_child(judge, pair, added)
    if found is not None:
        return found
    if in_child(judge, Pair(pair.input, pair.input), added) is None:
        return [Finding(TABLE, "the reader aborts on the input", is_skip=True)]
    return [Finding(TABLE, "the reader aborts on the output, not on the input")]


def in_child(judge: Callable, pair: Pair, added: list) -> list[Finding] | None:
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work():
        # Panics and aborts of readers print their stacks.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        sender.send([finding._replace(what=short(finding.what)) for finding in caught(judge, pair, added)])

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return None
    finally:
        child.join()


def caught(judge: Callable, pair: Pair, added: list) -> Iterator[Finding]:
    yield from unreadable_is_finding(TABLE, judge(pair, added))


def unreadable_is_finding(name: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """An exception of a judge is a finding, too: what it could read of the input it has to read of the output."""
    try:
        yield from found
    except BaseException as error:  # a panic of Polars is no `Exception`
        if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        yield Finding(name, f"cannot be read: {type(error).__name__}: {error}")


def attempt(read: Callable):
    """What `read` returns, or its error."""
    try:
        return read(), None
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return None, error


def short(text: str) -> str:
    """One line of at most 300 characters."""
    if isinstance(text, BaseException) and not str(text):
        text = type(text).__name__
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else line[:297] + "..."


def columns_differ(before: list, after: list, added: list) -> Iterator[Finding]:
    for column in added:
        if column not in after:
            yield Finding(column, "the new column is missing")
    rest = [name for name in after if name not in added]
    if rest != [name for name in before if name not in added]:
        yield Finding(TABLE, f"the columns are {rest}, before {before}")


# ------------------------------------------------------------------------------------------------------------ DuckDB


def judge_duckdb(pair: Pair, added: list) -> Iterator[Finding]:
    with duckdb.connect() as connection:
        connection.sql("SET TimeZone = 'UTC'")

        def describe(path):
            return {row[0]: row[1] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [path]).fetchall()}

        before, error = attempt(lambda: describe(pair.input))
        if error:
            yield Finding(TABLE, error, is_skip=True)
            return
        after = describe(pair.output)
        yield from columns_differ(list(before), list(after), added)
        for name in before:
            if name in added or name not in after:
                continue
            if before[name] != after[name]:
                yield Finding(name, f"its type is {after[name]}, before {before[name]}")
                continue
            yield from unreadable_is_finding(name, duckdb_values(connection, pair, name))


def duckdb_values(connection, pair: Pair, name: str) -> Iterator[Finding]:
    quoted = '"' + name.replace('"', '""') + '"'

    def materialise(table, path):
        query = f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {quoted} AS v FROM read_parquet(?)"
        connection.execute(query, [path])

    _, error = attempt(lambda: materialise("old", pair.input))
    if error:
        yield Finding(name, error, is_skip=True)
        return
    materialise("new", pair.output)
    rows = [connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in ("old", "new")]
    if rows[0] != rows[1]:
        yield Finding(name, f"{rows[1]} rows, before {rows[0]}")
        return
    # As text, too: a month and 30 days compare equal.
    texts = "o.v::VARCHAR IS DISTINCT FROM n.v::VARCHAR"
    for condition in (f"{texts} OR o.v IS DISTINCT FROM n.v", texts):
        query = f"SELECT o.v::VARCHAR, n.v::VARCHAR FROM old o POSITIONAL JOIN new n WHERE {condition} LIMIT 1"
        found, error = attempt(lambda: connection.execute(query).fetchall())
        if not error:
            break
    if error:
        yield Finding(name, f"values cannot be compared: {error}", is_skip=True)
    elif found:
        yield Finding(name, f"a value is {found[0][1]!r}, before {found[0][0]!r}")


# ----------------------------------------------------------------------------------------------------------- pyarrow


def judge_pyarrow(pair: Pair, added: list) -> Iterator[Finding]:
    before, error = attempt(lambda: pq.ParquetFile(pair.input))
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    after = pq.ParquetFile(pair.output)
    yield from parquet_schemas(before.schema, after.schema, added)
    yield from footer_entries(before.metadata.metadata or {}, after.metadata.metadata or {})
    old, error = attempt(lambda: before.schema_arrow)
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    new = after.schema_arrow
    yield from columns_differ(old.names, new.names, added)
    yield from footer_entries(old.metadata or {}, new.metadata or {})
    for index, field in enumerate(old):
        name = field.name
        if name in added or index >= len(new) or new.field(index).name != name:
            continue
        found = new.field(index)
        # `Field.equals` leaves out the metadata of children and the order of categories in some versions.
        if not field.equals(found, check_metadata=True) or str(field) != str(found):
            yield Finding(name, f"its field is {found} {found.metadata}, before {field} {field.metadata}")
            continue
        yield from unreadable_is_finding(name, arrow_values(pair, index, name))


def arrow_values(pair: Pair, index: int, name: str) -> Iterator[Finding]:
    def read(path):
        # By leaves: a name with points would be taken for a path. By row groups: some types cannot be put together.
        file = pq.ParquetFile(path)
        leaves = leaves_of(file.schema)[index]
        groups = range(file.num_row_groups)
        return [file.reader.read_row_group(group, column_indices=leaves).column(0) for group in groups]

    before, error = attempt(lambda: read(pair.input))
    if error:
        yield Finding(name, error, is_skip=True)
        return
    after = read(pair.output)
    lengths = [[len(group) for group in groups] for groups in (before, after)]
    if lengths[0] != lengths[1]:
        yield Finding(name, f"row groups of {lengths[1]} values, before {lengths[0]}")
        return
    for group, (old, new) in enumerate(zip(before, after)):
        if old.type != new.type:
            yield Finding(name, f"row group {group}: its type is {new.type}, before {old.type}")
            return
        equal, error = attempt(lambda: old.equals(new))
        if equal:
            continue
        # Arrow takes NaN as unlike itself.
        olds, error = attempt(old.to_pylist)
        if error:
            yield Finding(name, f"row group {group}: values differ, and cannot be shown: {error}")
            return
        for row, (a, b) in enumerate(zip(olds, new.to_pylist())):
            if repr(a) != repr(b):
                yield Finding(name, f"row group {group}, row {row}: {b!r}, before {a!r}")
                return


def leaves_of(schema: pq.ParquetSchema) -> list[list[int]]:
    """For each root column, the indexes of its leaves. Roots with equal names are no concern here."""
    names = schema.to_arrow_schema().names
    roots, at = [], 0
    for name in names:
        leaves = []
        while at < len(schema):
            path = schema.column(at).path
            if path != name and not path.startswith(name + "."):
                break
            # The root `a` is followed by a root `a.b`: a leaf of `a` alone is `a` itself.
            if leaves and path in names and path != name and schema.column(at).max_repetition_level == 0:
                break
            leaves.append(at)
            at += 1
            if path == name:
                break
        roots.append(leaves)
    return roots


def parquet_schemas(before: pq.ParquetSchema, after: pq.ParquetSchema, added: list) -> Iterator[Finding]:
    def leaves(schema):
        return [
            (c.path, (c.physical_type, str(c.logical_type), c.converted_type, c.length, c.precision, c.scale,
                      c.max_definition_level, c.max_repetition_level))
            for c in map(schema.column, range(len(schema)))
            if c.path.split(".")[0] not in added
        ]

    old, new = leaves(before), leaves(after)
    if [path for path, _ in old] != [path for path, _ in new]:
        yield Finding(TABLE, f"the leaves are {[path for path, _ in new]}, before {[path for path, _ in old]}")
        return
    for (path, a), (_, b) in zip(old, new):
        if a != b:
            yield Finding(path, f"the Parquet type is {b}, before {a}")


def footer_entries(before: dict, after: dict) -> Iterator[Finding]:
    for key, value in before.items():
        if key == ADDED:
            continue
        found = after.get(key)
        if key in COLUMN_LISTS:
            # An Avro or Iceberg schema may go: the new column has no form in it that all readers take.
            if found is None and key in (b"pandas", b"huggingface", b"org.apache.spark.sql.parquet.row.metadata"):
                yield Finding(TABLE, f"the footer entry {key.decode()} is missing")
        elif found != value:
            yield Finding(TABLE, f"the footer entry {key} is {found}, before {value}")
    for key in after.keys() - before.keys() - COLUMN_LISTS - {ADDED}:
        yield Finding(TABLE, f"the footer entry {key} is new")
    old, new = (json.loads(entries.get(b"pandas") or "{}") for entries in (before, after))
    for key in old:
        wanted, found = old[key], new.get(key)
        if key == "columns":
            found = [entry for entry in found or [] if entry in wanted]
        if wanted != found:
            yield Finding(TABLE, f"`{key}` of the footer entry pandas is {found}, before {wanted}")


# ------------------------------------------------------------------------------------------------------------ Polars


def judge_polars(pair: Pair, added: list) -> Iterator[Finding]:
    def schema(path):
        return pl.read_parquet_schema(path)

    before, error = attempt(lambda: schema(pair.input))
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    after = schema(pair.output)
    yield from columns_differ(list(before), list(after), added)
    for name, kind in before.items():
        if name in added or name not in after:
            continue
        if kind != after[name] or str(kind) != str(after[name]):
            yield Finding(name, f"its type is {after[name]}, before {kind}")
            continue
        yield from unreadable_is_finding(name, polars_values(pair, name))


def polars_values(pair: Pair, name: str) -> Iterator[Finding]:
    old, error = attempt(lambda: pl.read_parquet(pair.input, columns=[name]).to_series())
    if error:
        yield Finding(name, error, is_skip=True)
        return
    new = pl.read_parquet(pair.output, columns=[name]).to_series()
    # The type of an Enum has its categories in their order.
    if old.dtype != new.dtype:
        yield Finding(name, f"its type is {new.dtype}, before {old.dtype}")
    equal, error = attempt(lambda: old.equals(new, check_dtypes=True, null_equal=True))
    if error or not equal:
        pairs = enumerate(zip(old.to_list(), new.to_list()))
        row = next((row for row, (a, b) in pairs if repr(a) != repr(b)), None)
        if row is not None or len(old) != len(new):
            yield Finding(name, f"values differ in row {row} of {len(new)}, before {len(old)}")


# ------------------------------------------------------------------------------------------------------------ pandas


def judge_pandas(pair: Pair, added: list) -> Iterator[Finding]:
    before, error = attempt(lambda: pd.read_parquet(pair.input, engine="pyarrow"))
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    after = pd.read_parquet(pair.output, engine="pyarrow")
    yield from columns_differ(list(before.columns), list(after.columns), added)
    if before.attrs != after.attrs:
        yield Finding(TABLE, f"attrs are {after.attrs}, before {before.attrs}")
    _, error = attempt(lambda: pd.testing.assert_index_equal(before.index, after.index, exact=True))
    if error:
        yield Finding("(index)", error)
    for name in before.columns:
        if name in added or name not in after.columns:
            continue
        old, new = before[name].reset_index(drop=True), after[name].reset_index(drop=True)
        if old.dtype != new.dtype or getattr(old.dtype, "ordered", None) != getattr(new.dtype, "ordered", None):
            yield Finding(name, f"its dtype is {new.dtype}, before {old.dtype}")
            continue
        if isinstance(old.dtype, pd.CategoricalDtype) and list(old.cat.categories) != list(new.cat.categories):
            yield Finding(name, f"categories {list(new.cat.categories)}, before {list(old.cat.categories)}")
            continue
        _, error = attempt(lambda: pd.testing.assert_series_equal(old, new, check_exact=True))
        # pandas compares nested values by `==`, which arrays in arrays refuse.
        if error:
            olds, unreadable = attempt(lambda: [repr(value) for value in old])
            if unreadable:
                yield Finding(name, unreadable, is_skip=True)
            elif olds != [repr(value) for value in new]:
                yield Finding(name, error)


# ------------------------------------------------------------------------------------------------------------- bytes

CHUNK_FIELDS = [
    "physical_type", "num_values", "compression", "encodings", "total_compressed_size", "total_uncompressed_size",
    "has_dictionary_page", "has_offset_index", "has_column_index", "is_stats_set", "statistics", "geo_statistics",
]


def judge_bytes(pair: Pair, added: list) -> Iterator[Finding]:
    """Compares chunks as pyarrow finds them in the footer."""
    before, error = attempt(lambda: pq.read_metadata(pair.input))
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    after = pq.read_metadata(pair.output)
    rows = [[m.row_group(g).num_rows for g in range(m.num_row_groups)] for m in (before, after)]
    if rows[0] != rows[1]:
        yield Finding(TABLE, f"row groups of {rows[1]} rows, before {rows[0]}")
        return
    seen = set()
    with open(pair.input, "rb") as old_file, open(pair.output, "rb") as new_file:
        for group in range(before.num_row_groups):
            old_group, new_group = before.row_group(group), after.row_group(group)
            if old_group.sorting_columns != new_group.sorting_columns:
                yield Finding(TABLE, f"row group {group}: sorting columns differ")
            new_chunks = {}
            for index in range(new_group.num_columns):
                chunk = new_group.column(index)
                new_chunks.setdefault(chunk.path_in_schema, []).append(chunk)
            for index in range(old_group.num_columns):
                old, error = attempt(lambda: old_group.column(index))
                if error:
                    yield Finding(f"leaf {index}", error, is_skip=True)
                    continue
                path = old.path_in_schema
                if path in seen or path.split(".")[0] in added:
                    continue
                found = new_chunks.get(path)
                what = chunk_difference(old, found.pop(0), old_file, new_file) if found else "the chunk is missing"
                if what:
                    seen.add(path)
                    yield Finding(path, f"row group {group}: {what}")


def chunk_difference(old, new, old_file, new_file) -> str | None:
    for field in CHUNK_FIELDS:
        a, error = attempt(lambda: plain(getattr(old, field, None)))
        if error:
            continue
        b = plain(getattr(new, field, None))
        if a != b:
            return f"{field} is {b}, before {a}"
    if chunk_bytes(old, old_file) != chunk_bytes(new, new_file):
        return "the bytes differ"
    return None


def plain(value):
    return repr(value.to_dict()) if hasattr(value, "to_dict") else repr(value)


def chunk_bytes(chunk, file) -> bytes:
    return bytes_at(file, first_page(chunk.dictionary_page_offset, chunk.data_page_offset), chunk.total_compressed_size)


# What moves with the chunk, or counts the new column.
MOVED = {
    "file_name", "file_offset", "column_id", "row_group_bytes", "row_group_compressed_bytes", "row_group_num_columns",
    # Offsets of pages, as numbers of variable length.
    "offset_index_length",
}
OFFSETS = [
    "data_page_offset", "dictionary_page_offset", "index_page_offset", "bloom_filter_offset", "column_index_offset",
    "offset_index_offset",
]


def judge_bytes_by_duckdb(pair: Pair, added: list) -> Iterator[Finding]:
    """Compares chunks, bloom filters and column indexes as DuckDB finds them in the footer."""

    def read(path):
        with duckdb.connect() as connection:
            result = connection.execute("SELECT * FROM parquet_metadata(?)", [path])
            names = [entry[0] for entry in result.description]
            return [dict(zip(names, row)) for row in result.fetchall()]

    before, error = attempt(lambda: read(pair.input))
    if error:
        yield Finding(TABLE, error, is_skip=True)
        return
    after = {}
    for chunk in read(pair.output):
        after.setdefault((chunk["row_group_id"], chunk["path_in_schema"]), []).append(chunk)
    seen = set()
    with open(pair.input, "rb") as old_file, open(pair.output, "rb") as new_file:
        for old in before:
            leaf = old["path_in_schema"]
            if leaf in seen or leaf.split(", ")[0] in added:
                continue
            found = after.get((old["row_group_id"], leaf))
            what = differing_field(old, found.pop(0), old_file, new_file) if found else "the chunk is missing"
            if what:
                seen.add(leaf)
                yield Finding(leaf, f"row group {old['row_group_id']}: {what}")


def differing_field(old: dict, new: dict, old_file, new_file) -> str | None:
    for field, value in old.items():
        if field in OFFSETS:
            if bool(value) != bool(new[field]):
                return f"{field} is {new[field]}, before {value}"
        elif field not in MOVED and repr(value) != repr(new[field]):
            return f"{field} is {new[field]}, before {value}"
    # DuckDB 2.0.0 does not tell where indexes are.
    parts = {
        "chunk": lambda entry: (
            first_page(entry["dictionary_page_offset"], entry["data_page_offset"]), entry["total_compressed_size"]
        ),
        "bloom filter": lambda entry: (entry.get("bloom_filter_offset"), entry.get("bloom_filter_length")),
        # An offset index has the places of pages, which move.
        "column index": lambda entry: (entry.get("column_index_offset"), entry.get("column_index_length")),
    }
    for part, range_of in parts.items():
        if bytes_at(old_file, *range_of(old)) != bytes_at(new_file, *range_of(new)):
            return f"the bytes of the {part} differ"
    return None


def first_page(dictionary: int | None, data: int) -> int:
    """Where a chunk begins. Zero is no place: the file begins with four magic bytes."""
    return min((offset for offset in (dictionary, data) if offset), default=0)


def bytes_at(file, offset: int | None, length: int | None) -> bytes | None:
    if not offset or not length:
        return None
    file.seek(offset)
    return file.read(length)


# ------------------------------------------------------------------------------------------------------------- Spark


def spark_reader() -> Callable:
    """A judge that has one Spark session for all tables."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    builder = SparkSession.builder.master("local[1]").appName("judge")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.caseSensitive": "true",
        "spark.sql.legacy.parquet.nanosAsLong": "true",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    # They log the whole stack of each error, which is a finding here.
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def values(table, places: list[int]) -> list[list]:
        """The columns at `places`, as text."""
        renamed = table.toDF(*(f"c{place}" for place in range(len(table.columns))))

        def text(place):
            kind, value = renamed.schema[place].dataType.typeName(), F.col(f"c{place}")
            if kind.startswith("geometry"):
                return F.hex(F.st_asbinary(value))
            # Bytes as hex digits: as text, bytes that are not UTF-8 would look equal.
            return F.hex(value) if kind == "binary" else value.cast("string")

        rows = renamed.select(*map(text, places)).collect()
        return [[row[index] for row in rows] for index in range(len(places))]

    def judge(pair: Pair, added: list) -> Iterator[Finding]:
        before, error = attempt(lambda: spark.read.parquet(str(pathlib.Path(pair.input).absolute())))
        if error:
            yield Finding(TABLE, error, is_skip=True)
            return
        after = spark.read.parquet(str(pathlib.Path(pair.output).absolute()))
        yield from columns_differ(before.columns, after.columns, added)
        places = {name: place for place, name in enumerate(after.columns)}
        for column in filter(places.__contains__, added):
            kind = after.schema[places[column]].dataType.simpleString()
            if kind not in ("array<float>", "array<double>"):
                yield Finding(column, f"its type is {kind}")
        comparable = []
        for place, field in enumerate(before.schema):
            if field.name in added or field.name not in places:
                continue
            found = after.schema[places[field.name]]
            if field.jsonValue() != found.jsonValue():
                yield Finding(field.name, f"its type is {found.jsonValue()}, before {field.jsonValue()}")
            else:
                comparable.append((field.name, place))
        # All at once is quick. One by one, a column that Spark cannot read keeps no other from its judge.
        equal, error = attempt(lambda: not list(spark_values(before, after, comparable, places)))
        if error or not equal:
            for one in comparable:
                yield from unreadable_is_finding(one[0], spark_values(before, after, [one], places))

    def spark_values(before, after, columns: list, places: dict) -> Iterator[Finding]:
        olds, error = attempt(lambda: values(before, [place for _, place in columns]))
        if error:
            if len(columns) > 1:
                raise error
            yield Finding(columns[0][0], error, is_skip=True)
            return
        news = values(after, [places[name] for name, _ in columns])
        for (name, _), old, new in zip(columns, olds, news):
            if old != new:
                row = next((row for row, (a, b) in enumerate(zip(old, new)) if a != b), None)
                there = (new[row], old[row]) if row is not None else (len(new), len(old))
                yield Finding(name, f"row {row}: {there[0]!r}, before {there[1]!r}")

    return judge


READERS = {
    "DuckDB": judge_duckdb,
    "pyarrow": judge_pyarrow,
    "Polars": judge_polars,
    "pandas": judge_pandas,
    "bytes (pyarrow)": judge_bytes,
    "bytes (DuckDB)": judge_bytes_by_duckdb,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
