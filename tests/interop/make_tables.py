#!/usr/bin/env python3
"""Writes Parquet tables with every type, encoding and layout that their writers have.

    make_tables.py DIRECTORY [--spark]

`carry.py` runs reembed over them and `judge.py` compares input and output. Each table has `id`, `title`,
`description` and `files`; its other columns are only carried. Few texts are distinct: a run embeds them once.

A type that its writer refuses is left out and named on a line of the output: another version may write it.
--spark also writes tables with Spark, in the same directory (needs requirements-spark.txt and Java 17).

It exits with 0 if all tables were written.
"""

import argparse
import contextlib
import datetime
import decimal
import io
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# More than DuckDB's smallest row group, 2,048 rows.
DUCKDB_ROWS = 2_100
ROWS = 60
ROW_GROUP = 25
TEXTS = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=pathlib.Path, help="where the tables go; it is made")
    parser.add_argument("--spark", action="store_true", help="also write tables with Spark")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    duckdb_tables(options.directory)
    arrow_tables(options.directory)
    polars_tables(options.directory)
    pandas_tables(options.directory)
    if options.spark:
        spark_tables(options.directory)
    print(f"{len(list(options.directory.glob('*.parquet')))} tables in {options.directory}")
    return 0


def left_out(writer: str, what: str, error: Exception) -> None:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    print(f"left out: {writer}: {what}: {reason[0][:150]}")


def is_read_by_all(content: bytes) -> bool:
    """Whether pyarrow, pandas and Polars read a table.

    A reader that stumbles over one column reads nothing of the table: such columns go to tables of their own.
    """
    with quiet():
        for read in (pq.read_table, pd.read_parquet, pl.read_parquet):
            try:
                read(io.BytesIO(content))
            except BaseException as error:  # a panic of Polars is no `Exception`
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                return False
    return True


def is_everyday(content: bytes) -> bool:
    """Whether a table has no type that Spark refuses: one such column makes it refuse the table."""
    schema = pq.ParquetFile(io.BytesIO(content)).schema
    types = [str(schema.column(index).logical_type) for index in range(len(schema))]
    refused = ("Time(", "Float16", "Interval", "Null", "nanoseconds", "UUID", "Geometry", "Geography")
    return is_read_by_all(content) and not any(word in kind for word in refused for kind in types)


@contextlib.contextmanager
def quiet():
    """Nothing goes to the standard error: a panic of Polars prints its stack there."""
    kept = os.dup(sys.stderr.fileno())
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stderr.fileno())
        yield
    finally:
        os.dup2(kept, sys.stderr.fileno())
        os.close(kept)


def with_nulls(values: list) -> list:
    """`ROWS` values from a few, each fifth null."""
    return [None if row % 5 == 4 else values[row % len(values)] for row in range(ROWS)]


# ------------------------------------------------------------------------------------------------------------ DuckDB

# The value of row `i`.
DUCKDB_TYPES = {
    "boolean": "i % 2 = 0",
    "tinyint": "(i % 100)::TINYINT",
    "smallint": "i::SMALLINT",
    "integer": "i::INTEGER",
    "bigint": "i::BIGINT << 40",
    "utinyint": "(i % 200)::UTINYINT",
    "usmallint": "(65535 - i)::USMALLINT",
    "uinteger": "CASE i % 2 WHEN 0 THEN 4294967295 ELSE i END::UINTEGER",
    "uinteger_low": "i::UINTEGER",
    "ubigint": "(18446744073709551615 - i)::UBIGINT",
    "hugeint": "i::HUGEINT << 80",
    "uhugeint": "i::UHUGEINT << 80",
    "float": "CASE i % 4 WHEN 0 THEN 'nan' WHEN 1 THEN '-0.0' WHEN 2 THEN 'inf' ELSE '1.5' END::FLOAT",
    "double": "CASE i % 4 WHEN 0 THEN 'nan' WHEN 1 THEN '-0.0' WHEN 2 THEN '-inf' ELSE '0.1' END::DOUBLE",
    "decimal_4": "(i % 90 / 10)::DECIMAL(4, 1)",
    "decimal_9": "(i / 100)::DECIMAL(9, 2)",
    "decimal_18": "(i / 100)::DECIMAL(18, 4)",
    "decimal_38": "(i / 100)::DECIMAL(38, 10)",
    "varchar": "repeat('é' || i, i % 9)",
    "varchar_constant": "'the same'",
    "blob": "encode('b' || i) || '\\xFF\\x00'::BLOB",
    "bit": "i::INTEGER::BIT",
    "bignum": "(i::VARCHAR || '00000000000000000000000000000000000000000000')::BIGNUM",
    "date": "DATE '1000-01-01' + i::INTEGER * 500",
    "time": "TIME '00:00:01.000001' + INTERVAL (i) SECOND",
    "time_ns": "'12:30:00.123456789'::TIME_NS",
    "timetz": "('12:30:' || (i % 60) || '+02')::TIMETZ",
    "timestamp": "TIMESTAMP '1700-01-01 00:00:00.000001' + INTERVAL (i) DAY",
    "timestamp_s": "('2024-01-01 00:00:' || i % 60)::TIMESTAMP_S",
    "timestamp_ms": "('2024-01-01 00:00:00.' || i % 1000)::TIMESTAMP_MS",
    "timestamp_ns": "('2024-01-01 00:00:00.123456' || i % 1000)::TIMESTAMP_NS",
    "timestamptz": "TIMESTAMPTZ '2024-01-01 00:00:00+02' + INTERVAL (i) DAY",
    "interval": "INTERVAL (i % 30) MONTH + INTERVAL (i % 40) DAY + INTERVAL (i) MILLISECOND",
    "uuid": "('00000000-0000-0000-0000-' || lpad(i::VARCHAR, 12, '0'))::UUID",
    "json": """('{"a": [1, ' || i || ']}')::JSON""",
    "enum": "(['low', 'high', 'mid'])[i % 3 + 1]::ENUM ('high', 'mid', 'low')",
    "list": "CASE i % 3 WHEN 0 THEN [] WHEN 1 THEN [i, NULL] ELSE [i] END",
    "array": "[i, i + 1, NULL]::BIGINT[3]",
    "struct": "{'n': i, 'text': 't' || i, 'inner': {'when': DATE '2024-01-01'}}",
    "map": "MAP {'a' || i % 3: i, 'b': NULL}",
    "union": "CASE i % 2 WHEN 0 THEN union_value(number := i::INTEGER) ELSE union_value(text := 't') END",
    "geometry": "('POINT (' || i || ' 2)')::GEOMETRY",
    "geometry_crs": "('POINT (' || i || ' 2)')::GEOMETRY('OGC:CRS84')",
    "variant": "{'a': i, 'b': ['x']}::VARIANT",
    "list_of_uuid": "[('00000000-0000-0000-0000-' || lpad(i::VARCHAR, 12, '0'))::UUID, NULL]",
    "list_of_list": "[[i], NULL, []]",
    "list_of_interval": "[INTERVAL (i % 30) MONTH]",
    "list_of_json": """['{"a": 1}'::JSON, NULL]""",
    "struct_of_enum": "{'e': 'high'::ENUM ('high', 'low'), 't': '12:30:00+02'::TIMETZ}",
    "map_of_struct": "MAP {i: {'u': uuid_value, 'l': [1.5::DECIMAL(9, 2)]}}",
    "all_null": "NULL::INTEGER",
}
CODECS = ["uncompressed", "snappy", "gzip", "zstd", "lz4_raw", "brotli"]


def duckdb_tables(directory: pathlib.Path) -> None:
    with duckdb.connect() as connection, tempfile.TemporaryDirectory() as scratch:
        connection.sql("SET TimeZone = 'UTC'")
        connection.sql("SET preserve_insertion_order = true")
        columns, common, everyday = [], [], []
        for name, value in DUCKDB_TYPES.items():
            value = value.replace("uuid_value", "'00000000-0000-0000-0000-000000000001'::UUID")
            column = f"CASE WHEN i % 5 = 4 THEN NULL ELSE {value} END AS {name}"
            try:
                # Version 2 has more encodings, which not every reader reads.
                connection.sql(
                    f"COPY (SELECT {column} FROM range({DUCKDB_ROWS}) t(i)) TO '{scratch}/t.parquet' (PARQUET_VERSION V2)"
                )
                columns.append(column)
                content = pathlib.Path(scratch, "t.parquet").read_bytes()
                if is_read_by_all(content):
                    common.append(name)
                if is_everyday(content):
                    everyday.append(name)
            except duckdb.Error as error:
                left_out("DuckDB", name, error)
        source = f"""
            SELECT i AS id, 'task ' || i % {TEXTS} AS title, 'what to do in task ' || i % {TEXTS} AS description,
                CASE i % 3 WHEN 0 THEN ['a.py'] WHEN 1 THEN [] END AS files, {", ".join(columns)}
            FROM range({DUCKDB_ROWS}) t(i)"""
        connection.sql(f"CREATE TABLE source AS {source}")
        for codec in CODECS:
            for version in ("V1", "V2"):
                path = directory / f"duckdb_{codec}_{version.lower()}.parquet"
                connection.sql(
                    f"COPY source TO '{path}' (FORMAT parquet, CODEC '{codec}', PARQUET_VERSION {version},"
                    " ROW_GROUP_SIZE 2048, DICTIONARY_SIZE_LIMIT 100000)"
                )
        for kind, names in (("common", common), ("everyday", everyday)):
            selected = ", ".join(["id", "title", "description", "files", *(f'"{name}"' for name in names)])
            for version in ("V1", "V2"):
                connection.sql(
                    f"COPY (SELECT {selected} FROM source) TO '{directory}/duckdb_{kind}_{version.lower()}.parquet'"
                    f" (PARQUET_VERSION {version}, ROW_GROUP_SIZE 2048)"
                )
        # Without dictionaries: other encodings, and no bloom filters.
        connection.sql(f"COPY source TO '{directory}/duckdb_no_dictionary.parquet' (DICTIONARY_SIZE_LIMIT 1)")
        connection.sql(
            f"COPY source TO '{directory}/duckdb_metadata.parquet' (KV_METADATA {{owner: 'data', note: 'ein Ü'}},"
            " FIELD_IDS 'auto')"
        )


# ----------------------------------------------------------------------------------------------------------- pyarrow


def task_columns() -> dict[str, pa.Array]:
    return {
        "id": pa.array(range(ROWS), pa.int64()),
        "title": pa.array([f"task {row % TEXTS}" for row in range(ROWS)]),
        "description": pa.array([f"what to do in task {row % TEXTS}" for row in range(ROWS)]),
        "files": pa.array([[["a.py"], [], None][row % 3] for row in range(ROWS)], pa.list_(pa.string())),
    }


class Wkb(pa.ExtensionType):
    """Geometries, which pyarrow writes with the annotation GEOMETRY."""

    def __init__(self) -> None:
        super().__init__(pa.binary(), "geoarrow.wkb")

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps({"crs": "OGC:CRS84"}).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage, _serialized) -> "Wkb":
        return cls()


def arrow_types() -> dict:
    """For each column, a function that makes it: a version of pyarrow may lack its type."""
    day = datetime.date(2024, 2, 29)
    moment = datetime.datetime(2024, 5, 1, 12, 30, 0, 123456)
    clock = datetime.time(12, 30, 1, 123456)
    point = bytes.fromhex("0101000000000000000000f03f0000000000000040")
    made = {}

    def add(name, kind, values):
        made[name] = lambda: pa.array(with_nulls(values), kind() if callable(kind) else kind)

    add("bool", pa.bool_(), [True, False])
    for bits in (8, 16, 32, 64):
        add(f"int{bits}", getattr(pa, f"int{bits}")(), [-(2 ** (bits - 1)), 0, 2 ** (bits - 1) - 1])
        add(f"uint{bits}", getattr(pa, f"uint{bits}")(), [0, 2**bits - 1])
    add("float16", pa.float16(), [1.5, -0.0])
    add("float32", pa.float32(), [1.5, float("nan"), -0.0, float("inf")])
    add("float64", pa.float64(), [0.1, float("nan"), -0.0, float("-inf")])
    add("date32", pa.date32(), [day, datetime.date(1, 1, 1)])
    add("date64", pa.date64(), [day])
    for unit in ("s", "ms"):
        add(f"time32_{unit}", pa.time32(unit), [clock.replace(microsecond=0)])
    for unit in ("us", "ns"):
        add(f"time64_{unit}", pa.time64(unit), [clock])
    for unit in ("s", "ms", "us", "ns"):
        at = moment.replace(microsecond=0) if unit == "s" else moment.replace(microsecond=123000)
        add(f"timestamp_{unit}", pa.timestamp(unit), [at])
        add(f"timestamp_{unit}_utc", pa.timestamp(unit, "UTC"), [at])
        add(f"timestamp_{unit}_berlin", pa.timestamp(unit, "Europe/Berlin"), [at])
        add(f"duration_{unit}", pa.duration(unit), [1, -5])
    add("month_day_nano", pa.month_day_nano_interval, [pa.MonthDayNano([1, 2, 3])])
    price = decimal.Decimal("12.34")
    for bits, digits in ((32, 9), (64, 18), (128, 38), (256, 76)):
        add(f"decimal{bits}", lambda b=bits, d=digits: getattr(pa, f"decimal{b}")(d, 2), [price, -price])
    add("decimal128_5", pa.decimal128(5, 2), [price])
    add("binary", pa.binary(), [b"\xff\x00", b""])
    add("large_binary", pa.large_binary(), [b"\xff\x00"])
    add("fixed_size_binary", pa.binary(3), [b"abc"])
    add("string", pa.string(), ["é", ""])
    add("large_string", pa.large_string(), ["é"])
    add("string_view", pa.string_view, ["é", "longer than twelve bytes"])
    add("binary_view", pa.binary_view, [b"\xff", b"longer than twelve bytes"])
    add("null", pa.null(), [None])
    add("list", pa.list_(pa.int32()), [[1, None], []])
    add("large_list", pa.large_list(pa.string()), [["a", None], []])
    add("fixed_size_list", pa.list_(pa.float32(), 2), [[1.0, 2.0]])
    add("list_of_width_0", pa.list_(pa.int32(), 0), [[]])
    add("list_view", lambda: pa.list_view(pa.int32()), [[1], []])
    step = pa.struct([("n", pa.int32()), ("when", pa.timestamp("ns")), ("tags", pa.list_(pa.string()))])
    add("struct", step, [{"n": 1, "when": moment, "tags": ["a"]}, {"n": None, "when": None, "tags": None}])
    add("list_of_struct", pa.list_(step), [[{"n": 1, "when": moment, "tags": []}, None], []])
    add("map", pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", None)], []])
    add("map_of_list", pa.map_(pa.int8(), pa.list_(pa.date64())), [[(1, [day])]])
    add("list_of_duration", pa.list_(pa.duration("us")), [[5, None]])
    add("list_of_date64", pa.list_(pa.date64()), [[day]])
    add("list_with_named_field", pa.list_(pa.field("value", pa.int32(), nullable=False)), [[1, 2]])

    def categories(keys, values, ordered=False):
        codes = [None if row % 5 == 4 else row % len(values) for row in range(ROWS)]
        return pa.DictionaryArray.from_arrays(pa.array(codes, keys), values, ordered=ordered)

    made["dictionary"] = lambda: categories(pa.int32(), pa.array(["c", "b", "a"]))
    made["dictionary_ordered"] = lambda: categories(pa.int8(), pa.array(["c", "b", "a"]), ordered=True)
    made["dictionary_unused"] = lambda: categories(pa.int16(), pa.array(["x", "y"])).take(pa.array([0] * ROWS))
    made["dictionary_uint8"] = lambda: categories(pa.uint8(), pa.array(["c", "b"], pa.large_string()))
    made["dictionary_of_int"] = lambda: categories(pa.int8(), pa.array([5, 7], pa.int64()))
    made["dictionary_of_decimal"] = lambda: categories(pa.int8(), pa.array([price], pa.decimal128(9, 2)))
    made["dictionary_of_date"] = lambda: categories(pa.int8(), pa.array([day], pa.date32()))
    made["dictionary_of_binary"] = lambda: categories(pa.int8(), pa.array([b"\xff"]))
    add("uuid", pa.uuid, [b"0123456789abcdef"])
    add("list_of_uuid", lambda: pa.list_(pa.uuid()), [[b"0123456789abcdef", None]])
    add("json", pa.json_, ['{"a": 1}'])
    made["bool8"] = lambda: pa.ExtensionArray.from_storage(pa.bool8(), pa.array(with_nulls([1, 0]), pa.int8()))
    made["opaque"] = lambda: pa.ExtensionArray.from_storage(
        pa.opaque(pa.binary(), "point", "us"), pa.array(with_nulls([b"x"]), pa.binary())
    )
    made["geometry"] = lambda: pa.ExtensionArray.from_storage(Wkb(), pa.array(with_nulls([point]), pa.binary()))
    return made


def arrow_tables(directory: pathlib.Path) -> None:
    pa.register_extension_type(Wkb())
    columns, common, everyday = {}, [*task_columns()], [*task_columns()]
    for name, make in arrow_types().items():
        try:
            column = make()
            content = parquet_bytes(pa.table({name: column}))
            columns[name] = column
            if is_read_by_all(content.getvalue()):
                common.append(name)
            if is_everyday(content.getvalue()):
                everyday.append(name)
        except (pa.ArrowException, AttributeError, TypeError, ValueError) as error:
            left_out("pyarrow", name, error)
    table = pa.table({**task_columns(), **columns})

    every_type, table = table, table.select(common)

    def write(name, table=table, **options):
        options = {"row_group_size": ROW_GROUP, **options}
        pq.write_table(table, directory / f"pyarrow_{name}.parquet", **options)

    write("common")
    write("everyday", table.select(everyday))
    write("everyday_old_lists", table.select(everyday), use_compliant_nested_type=False, store_schema=False)
    write("types", every_type)
    write("types_no_arrow_schema", every_type, store_schema=False)
    write("types_one_row_group", every_type, row_group_size=ROWS)
    write("version_1_0", version="1.0", coerce_timestamps="ms", allow_truncated_timestamps=True)
    write("version_2_4", version="2.4")
    write("pages_v2", data_page_version="2.0", data_page_size=64, write_batch_size=4)
    write("pages_v1_small", data_page_version="1.0", data_page_size=64, write_batch_size=4)
    write("page_index", write_page_index=True, data_page_size=64, write_batch_size=4)
    write("page_checksums", write_page_checksum=True)
    write("no_statistics", write_statistics=False)
    write("no_dictionaries", use_dictionary=False)
    write("sorted", sorting_columns=[pq.SortingColumn(0), pq.SortingColumn(5, descending=True, nulls_first=True)])
    write("int96", use_deprecated_int96_timestamps=True)
    write("int96_no_arrow_schema", use_deprecated_int96_timestamps=True, store_schema=False)
    write("old_lists", use_compliant_nested_type=False)
    for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4"):
        write(f"codec_{codec}", compression=codec)
    write("byte_stream_split", table.select([*task_columns(), "float32", "float64"]), use_dictionary=False,
          use_byte_stream_split=["float32", "float64"])
    encodings(every_type, write)
    try:
        write("bloom_filters", bloom_filter_options={"string": {"ndv": 100, "fpp": 0.01}, "id": True})
    except (TypeError, ValueError, pa.ArrowException) as error:
        left_out("pyarrow", "bloom filters", error)

    farthest = pa.array(with_nulls([datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1)]), pa.timestamp("us"))
    write("int96_9999", pa.table({**task_columns(), "due": farthest}), use_deprecated_int96_timestamps=True,
          store_schema=False)
    field = pa.field("c", pa.int32(), metadata={"unit": "kg", "PARQUET:field_id": "77"})
    documented = pa.table([*task_columns().values(), pa.array(range(ROWS), pa.int32())],
                          schema=pa.schema([*pa.table(task_columns()).schema, field], {"owner": "data", "ü": "ö"}))
    write("metadata", documented)
    names = ["a.b", "a", "a.b.c", "with blank", "Ünï", 'q"uote', "it's", "ID", "list", "x`y", "line\nend", ""]
    write("names", pa.table({**task_columns(), **{name: pa.array(range(ROWS)) for name in names},
                             "s.t": pa.array([{"u.v": row, "w": [row]} for row in range(ROWS)])}))
    required = [pa.field(name, column.type, nullable=False) for name, column in task_columns().items() if name != "files"]
    inner = pa.list_(pa.field("element", pa.int32(), nullable=False))
    required_schema = pa.schema([*required, pa.field("c", inner, nullable=False)])
    whole = [column for name, column in task_columns().items() if name != "files"]
    write("required", pa.table([*whole, pa.array([[row] for row in range(ROWS)], inner)], schema=required_schema))
    write("no_rows", every_type.slice(0, 0))
    with pq.ParquetWriter(directory / "pyarrow_empty_row_group.parquet", table.schema) as writer:
        for rows in (table, table.slice(0, 0), table):
            writer.write_table(rows)
    broken = pa.array([b"fine", "Citroën".encode("latin-1")] * (ROWS // 2))
    write("not_utf8", pa.table({**task_columns(), "c": pa.Array.from_buffers(pa.string(), ROWS, broken.buffers())}))
    with pq.ParquetWriter(directory / "pyarrow_key_overflow.parquet",
                          pa.schema([*pa.table(task_columns()).schema, ("c", pa.dictionary(pa.int8(), pa.string()))])
                          ) as writer:
        for group in range(5):
            teams = pa.DictionaryArray.from_arrays(pa.array(range(ROWS), pa.int8()),
                                                   [f"team {group} {row}" for row in range(ROWS)])
            writer.write_table(pa.table([*task_columns().values(), teams], schema=writer.schema))


def encodings(table: pa.Table, write) -> None:
    """One table for each encoding, with the columns that take it."""
    for encoding in ("PLAIN", "RLE", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "BYTE_STREAM_SPLIT"):
        taken = []
        for name in table.column_names:
            one = table.select([name])
            path = pq.ParquetFile(parquet_bytes(one)).schema.column(0).path
            try:
                made = io.BytesIO()
                pq.write_table(one, made, use_dictionary=False, column_encoding={path: encoding})
                pq.read_table(made)
                taken.append((name, path))
            except (pa.ArrowException, ValueError, OSError):
                pass  # this column does not take it, or pyarrow cannot read it then
        if not taken:
            print(f"left out: pyarrow: encoding {encoding}: no column takes it")
            continue
        names = [*task_columns(), *(name for name, _ in taken if name not in task_columns())]
        write(f"encoding_{encoding.lower()}", table.select(names), use_dictionary=False,
              column_encoding={path: encoding for _, path in taken}, data_page_size=64, write_batch_size=4)


def parquet_bytes(table: pa.Table) -> io.BytesIO:
    made = io.BytesIO()
    pq.write_table(table, made)
    return made


# ------------------------------------------------------------------------------------------------------------ Polars


def polars_tables(directory: pathlib.Path) -> None:
    day = datetime.date(2024, 2, 29)
    moment = datetime.datetime(2024, 5, 1, 12, 30, 0, 123456)
    price = decimal.Decimal("12.34")
    types = {
        "boolean": ([True, False], lambda: pl.Boolean),
        "int8": ([-128, 127], lambda: pl.Int8),
        "int16": ([-5], lambda: pl.Int16),
        "int32": ([-5], lambda: pl.Int32),
        "int64": ([-5], lambda: pl.Int64),
        "int128": ([2**100, -5], lambda: pl.Int128),
        "uint128": ([2**100, 5], lambda: pl.UInt128),
        "uint8": ([255], lambda: pl.UInt8),
        "uint64": ([2**64 - 1], lambda: pl.UInt64),
        "float16": ([1.5], lambda: pl.Float16),
        "float32": ([1.5, float("nan"), -0.0], lambda: pl.Float32),
        "float64": ([0.1, float("nan")], lambda: pl.Float64),
        "decimal": ([price], lambda: pl.Decimal(20, 2)),
        "decimal_38": ([price], lambda: pl.Decimal(38, 10)),
        "string": (["é", "", "longer than twelve bytes"], lambda: pl.String),
        "binary": ([b"\xff\x00"], lambda: pl.Binary),
        "categorical": (["c", "a", "b"], lambda: pl.Categorical),
        "enum": (["c", "a", "b"], lambda: pl.Enum(["c", "b", "a", "unused"])),
        "date": ([day], lambda: pl.Date),
        "time": ([datetime.time(12, 30, 1, 123456)], lambda: pl.Time),
        "datetime_ms": ([moment], lambda: pl.Datetime("ms")),
        "datetime_us": ([moment], lambda: pl.Datetime("us", "Europe/Berlin")),
        "datetime_ns": ([moment], lambda: pl.Datetime("ns", "UTC")),
        "duration_us": ([datetime.timedelta(days=1)], lambda: pl.Duration("us")),
        "duration_ns": ([datetime.timedelta(days=-1)], lambda: pl.Duration("ns")),
        "list": ([[1, None], []], lambda: pl.List(pl.Int64)),
        "list_of_categorical": ([["a", "b"]], lambda: pl.List(pl.Categorical)),
        "list_of_enum": ([["b", None]], lambda: pl.List(pl.Enum(["b", "a"]))),
        "list_of_int128": ([[2**100]], lambda: pl.List(pl.Int128)),
        "array": ([[1, 2, None]], lambda: pl.Array(pl.Int32, 3)),
        "array_2d": ([[[1, 2], [3, 4]]], lambda: pl.Array(pl.Int32, (2, 2))),
        "array_of_width_0": ([[]], lambda: pl.Array(pl.Int32, 0)),
        "struct": ([{"a": 1, "b": ["x"]}], lambda: pl.Struct({"a": pl.Int8, "b": pl.List(pl.String)})),
        "struct_of_enum": ([{"e": "a", "d": datetime.timedelta(1)}],
                           lambda: pl.Struct({"e": pl.Enum(["b", "a"]), "d": pl.Duration("ms")})),
        "null": ([None], lambda: pl.Null),
    }
    columns, common, everyday = [], [*task_columns()], [*task_columns()]
    for name, (values, kind) in types.items():
        try:
            column = pl.Series(name, with_nulls(values), dtype=kind())
            made = io.BytesIO()
            column.to_frame().write_parquet(made)
            columns.append(column)
            if is_read_by_all(made.getvalue()):
                common.append(name)
                if is_everyday(made.getvalue()):
                    everyday.append(name)
        except (pl.exceptions.PolarsError, AttributeError, TypeError, ValueError) as error:
            left_out("Polars", name, error)
        except BaseException as error:  # a panic of Polars is no `Exception`
            if type(error).__name__ != "PanicException":
                raise
            left_out("Polars", name, error)
    frame = pl.from_arrow(pa.table(task_columns())).with_columns(columns)
    frame.write_parquet(directory / "polars_types.parquet", row_group_size=ROW_GROUP)
    frame = frame.select(common)
    frame.write_parquet(directory / "polars_common.parquet", row_group_size=ROW_GROUP)
    frame.select(everyday).write_parquet(directory / "polars_everyday.parquet", row_group_size=ROW_GROUP)
    for codec in ("uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4"):
        frame.write_parquet(directory / f"polars_{codec}.parquet", compression=codec, row_group_size=ROW_GROUP,
                            statistics="full", data_page_size=64)
    frame.write_parquet(directory / "polars_pyarrow.parquet", use_pyarrow=True)
    frame.write_parquet(directory / "polars_metadata.parquet", metadata={"owner": "data"})


# ------------------------------------------------------------------------------------------------------------ pandas


def pandas_tables(directory: pathlib.Path) -> None:
    task = pd.DataFrame({name: column.to_pylist() for name, column in task_columns().items()})
    levels = pd.Categorical(with_nulls(["c", "a", "b"]), categories=["c", "b", "a", "unused"], ordered=True)
    days = pd.date_range("2024-01-01", periods=ROWS, freq="D")
    columns = {
        "category": levels,
        "category_unordered": levels.as_unordered(),
        "category_of_int": pd.Categorical([row % 3 for row in range(ROWS)], categories=[2, 0, 1]),
        "category_of_decimal": pd.Categorical([decimal.Decimal(row % 3) for row in range(ROWS)]),
        "category_of_time": pd.Categorical([days[row % 3] for row in range(ROWS)]),
        "string": pd.array(with_nulls(["x"]), "string"),
        "string_python": pd.array(with_nulls(["x"]), "string[python]"),
        "object": pd.Series(with_nulls(["x"]), dtype=object),
        "object_bytes": pd.Series(with_nulls([b"\xff"]), dtype=object),
        "int_nullable": pd.array(with_nulls([1, 2]), "Int8"),
        "bool_nullable": pd.array(with_nulls([True, False]), "boolean"),
        "float_nullable": pd.array(with_nulls([1.5]), "Float32"),
        "arrow_int": pd.array(with_nulls([1]), "int64[pyarrow]"),
        "arrow_list": pd.Series(with_nulls([[1]]), dtype=pd.ArrowDtype(pa.list_(pa.int8()))),
        "datetime": days,
        "datetime_zone": days.tz_localize("Europe/Berlin"),
        "datetime_offset": days.tz_localize(datetime.timezone(datetime.timedelta(hours=2))),
        "timedelta": pd.to_timedelta(range(ROWS), unit="h"),
        "period": pd.period_range("2024-01", periods=ROWS, freq="M"),
        "interval": pd.interval_range(0, ROWS),
        "sparse": pd.arrays.SparseArray([row % 2 for row in range(ROWS)]),
        "complex": [complex(row, 1) for row in range(ROWS)],
    }
    written, common = {}, {}
    for name, column in columns.items():
        try:
            content = pd.DataFrame({name: column}).to_parquet()
            written[name] = column
            if is_read_by_all(content):
                common[name] = column
        except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as error:
            left_out("pandas", name, error)
    task.assign(**written).to_parquet(directory / "pandas_types.parquet", row_group_size=ROW_GROUP)
    frame = task.assign(**common)
    frame.attrs = {"owner": "data"}
    rows = pd.Index(range(100, 100 + ROWS))
    indexes = {
        "range": frame.index,
        "range_stepped": pd.RangeIndex(10, 10 + 3 * ROWS, 3, name="step"),
        "unnamed": pd.Index([f"r{row}" for row in range(ROWS)]),
        "named": pd.Index(rows, name="key"),
        "datetime": days.rename("day"),
        "category": pd.CategoricalIndex(levels.fillna("c"), name="level"),
        "multi": pd.MultiIndex.from_arrays([rows, days], names=["key", "day"]),
        "multi_unnamed": pd.MultiIndex.from_arrays([rows, days], names=[None, "day"]),
    }
    for name, index in indexes.items():
        frame.set_axis(index).to_parquet(directory / f"pandas_index_{name}.parquet", row_group_size=ROW_GROUP)
    frame.to_parquet(directory / "pandas_no_index.parquet", index=False, row_group_size=ROW_GROUP)
    # The index is the `id` that the run needs, too. It is no range, which pandas would not write as a column.
    frame.assign(id=[f"task-{row}" for row in range(ROWS)]).set_index("id").to_parquet(directory / "pandas_index_id.parquet")
    for column in ("title", "description", "files"):
        task.assign(**{column: None}).to_parquet(directory / f"pandas_null_{column}.parquet")


# ------------------------------------------------------------------------------------------------------------- Spark

# The value of row `i`.
SPARK_TYPES = {
    "boolean": "i % 2 = 0",
    "tinyint": "cast(i AS TINYINT)",
    "smallint": "cast(i AS SMALLINT)",
    "int": "cast(i AS INT)",
    "bigint": "i * 1000000000000",
    "float": "if(i % 3 = 0, cast('NaN' AS FLOAT), cast(i AS FLOAT))",
    "double": "if(i % 3 = 0, cast('-0.0' AS DOUBLE), cast(i AS DOUBLE))",
    "decimal_9": "cast(i / 100 AS DECIMAL(9, 2))",
    "decimal_18": "cast(i / 100 AS DECIMAL(18, 4))",
    "decimal_38": "cast(i / 100 AS DECIMAL(38, 10))",
    "string": "repeat('é', cast(i % 5 AS INT))",
    "binary": "unhex('FF00')",
    "date": "date_add(DATE '1900-01-01', cast(i AS INT))",
    "timestamp": "TIMESTAMP '2024-05-01 12:00:00.123456' + make_dt_interval(cast(i AS INT))",
    "timestamp_9999": "TIMESTAMP '9999-12-31 00:00:00'",
    "timestamp_ntz": "TIMESTAMP_NTZ '2024-05-01 12:00:00.123456'",
    "time": "TIME '12:30:00.123456'",
    "year_month": "make_ym_interval(cast(i AS INT), 3)",
    "day_time": "make_dt_interval(cast(i AS INT), 3)",
    "calendar_interval": "make_interval(1, 2, 3)",
    "array": "if(i % 2 = 0, array(), array(cast(i AS INT), NULL))",
    "map": "map('a', i, 'b', NULL)",
    "struct": "named_struct('n', i, 'text', 't', 'inner', named_struct('d', DATE '2024-01-01'))",
    "array_of_struct": "array(named_struct('n', i, 'price', cast(1.5 AS DECIMAL(9, 2))), NULL)",
    "map_of_array": "map(i, array(map('k', unhex('FF'))))",
    "array_of_interval": "array(make_ym_interval(cast(i AS INT), 3))",
    "variant": """parse_json('{"a": [1, "x"]}')""",
    "geometry": "st_geomfromwkb(unhex('0101000000000000000000f03f0000000000000040'))",
}


def spark_tables(directory: pathlib.Path) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").appName("make_tables")
    for key, value in {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        "spark.sql.ansi.enabled": "true",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    # It logs the whole stack of each type that Spark refuses.
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL + 1)
    nullable = {name: f"if(i % 5 = 4, NULL, {value}) AS `{name}`" for name, value in SPARK_TYPES.items()}
    task = (
        f"i AS id, concat('task ', i % {TEXTS}) AS title, concat('what to do in task ', i % {TEXTS}) AS description,"
        " if(i % 3 = 0, array('a.py', NULL), array()) AS files"
    )

    def write(name: str, columns, settings: dict = {}, options: dict = {}) -> bytes:
        for key, value in settings.items():
            spark.conf.set(key, value)
        try:
            with tempfile.TemporaryDirectory() as scratch:
                query = ", ".join([task, *columns])
                table = spark.sql(f"SELECT {query} FROM (SELECT id AS i FROM range(0, {ROWS}, 1, 1))")
                table.write.options(**options).parquet(f"{scratch}/table")
                (part,) = pathlib.Path(scratch, "table").glob("part-*.parquet")
                if name:
                    shutil.copy(part, directory / f"spark_{name}.parquet")
                return part.read_bytes()
        finally:
            for key in settings:
                spark.conf.unset(key)

    columns, common = [], []
    for name, column in nullable.items():
        try:
            content = write("", [column])
            columns.append(column)
            if is_read_by_all(content):
                common.append(column)
        except PySparkException as error:
            left_out("Spark", name, error)
    legacy = {"spark.sql.parquet.writeLegacyFormat": "true"}
    int96 = {"spark.sql.parquet.outputTimestampType": "INT96"}
    write("standard", columns)
    write("common", common)
    write("common_int96", common, int96)
    write("int96", columns, int96)
    write("millis", columns, {"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MILLIS"})
    for name, settings in (("legacy", legacy), ("legacy_int96", {**legacy, **int96})):
        try:
            write(name, columns, settings)
        except PySparkException as error:
            left_out("Spark", name, error)
    for codec in ("none", "gzip", "zstd", "lz4_raw"):
        write(f"codec_{codec}", common, options={"compression": codec})
    write("pages_v2", common, options={"parquet.writer.version": "PARQUET_2_0", "parquet.page.size": "64"})
    write("bloom_filters", common, options={"parquet.bloom.filter.enabled": "true"})
    write("row_groups", common, options={"parquet.block.size": "1024", "parquet.page.row.count.limit": "10"})
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
