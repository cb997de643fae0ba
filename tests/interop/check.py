#!/usr/bin/env python3
"""Reads an output of reembed with pyarrow, Polars and DuckDB and compares the results.

    check.py INPUT.parquet OUTPUT.parquet [VECTORS.f32]

VECTORS.f32 is written by `examples/vectors.rs`: for each row of OUTPUT, in order, `dim` little-endian f32; a row
without a vector is `dim` quiet NaNs (0x7fc00000). No header.

The script checks the type, name and nullability of the embedding column; the schema and its metadata; the
JSON, counts and recomputed digests of the footer; the carried columns against INPUT; that exactly the rows
without a text are null; that vectors are finite and have length 1; and that all readers and VECTORS.f32 have
the same bits.

It exits with 0 on success, otherwise with 1 and a one-line error.
"""

import argparse
import hashlib
import json
import struct
import sys
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

FOOTER_KEY = b"reembed"
FOOTER_ROWS = "rows"
FOOTER_NULLS = "null_rows"
# An f32 vector of length 1 has a few rounding errors.
NORM_TOLERANCE = 1e-5
QUIET_NAN = 0x7FC00000


class Mismatch(Exception):
    """The output differs from its specification."""


class Vectors(NamedTuple):
    """The vectors as one reader returns them: a validity mask of the rows, and the bits of each valid vector."""

    valid: np.ndarray
    bits: np.ndarray


def main() -> int:
    options = parse_arguments()
    try:
        for line in check(options):
            print(line)
    except Mismatch as mismatch:
        print(f"check.py: {options.output}: {mismatch}", file=sys.stderr)
        return 1
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError, duckdb.Error) as error:
        print(f"check.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="the Parquet file that reembed read")
    parser.add_argument("output", help="the Parquet file that reembed wrote")
    parser.add_argument("vectors", nargs="?", help="the vectors of OUTPUT as raw f32, from examples/vectors.rs")
    parser.add_argument("--column", default="embedding", help="name of the embedding column (%(default)s)")
    parser.add_argument("--dim", type=int, default=384, help="components of a vector (%(default)s)")
    parser.add_argument(
        "--vector-type",
        choices=["fixed_size_list", "list"],
        default="fixed_size_list",
        help="Arrow type of the embedding column (%(default)s)",
    )
    parser.add_argument(
        "--on-empty",
        choices=["null", "embed"],
        default="null",
        help="the run's output.on_empty: what a row without a text gets (%(default)s)",
    )
    parser.add_argument("--title", default="title", help="name of the title column (%(default)s)")
    parser.add_argument("--description", default="description", help="name of the description column (%(default)s)")
    parser.add_argument("--files", default="files", help="name of the column of file lists (%(default)s)")
    parser.add_argument("--not-normalized", action="store_true", help="the model leaves lengths as they are")
    return parser.parse_args()


def check(options):
    """Yields a line for each check that passes."""
    given = pq.read_table(options.input)
    written = pq.read_table(options.output)

    check_vector_field(written.schema, options)
    yield f"pyarrow {pa.__version__}: {options.column}: {written.schema.field(options.column).type}"
    check_carried(given, written, options)
    check_footer(written, options)
    yield (
        f"pyarrow {pa.__version__}: {written.num_rows} rows, {len(written.schema) - 1} carried columns"
        f" and the schema's metadata equal to the input; the footer's counts are right"
    )
    yield f"hashlib: the vectors of {check_digests(written, options)} row groups have their digests in the footer"

    seen = vectors_of_arrow(written.column(options.column), options.dim)
    check_nulls(seen, given, options)
    check_lengths(seen, options)
    yield f"pyarrow {pa.__version__}: {len(seen.bits)} vectors, {int((~seen.valid).sum())} nulls, all where they belong"

    compare("Polars", vectors_of_polars(options), seen)
    yield f"polars {pl.__version__}: {polars_type(options)}, the same bits"
    kind, vectors = vectors_of_duckdb(options)
    compare("DuckDB", vectors, seen)
    yield f"duckdb {duckdb.__version__}: {kind}, cast to FLOAT[{options.dim}], the same bits"
    if options.vectors:
        compare(options.vectors, vectors_of_dump(options, written.num_rows), seen)
        yield f"{options.vectors}: the same bits"


def expect(is_so: bool, message: str) -> None:
    if not is_so:
        raise Mismatch(message)


def check_vector_field(schema: pa.Schema, options) -> None:
    names = schema.names
    expect(names.count(options.column) == 1, f"no single column `{options.column}` among {names}")
    field = schema.field(options.column)
    kind = field.type
    if options.vector_type == "fixed_size_list":
        expect(pa.types.is_fixed_size_list(kind), f"`{options.column}` is {kind}, not a fixed_size_list")
        expect(kind.list_size == options.dim, f"{kind.list_size} elements and not {options.dim}")
    else:
        expect(pa.types.is_list(kind), f"`{options.column}` is {kind}, not a list")
    element = kind.value_field
    expect(
        (element.name, element.type, element.nullable) == ("element", pa.float32(), False),
        f"the child field is `{element}`, not `element: float not null`",
    )
    nullable = options.on_empty == "null"
    expect(
        field.nullable == nullable,
        f"`{options.column}` is {'nullable' if field.nullable else 'not nullable'}"
        f" although empty rows are to be {'null' if nullable else 'embedded'}",
    )


def check_carried(given: pa.Table, written: pa.Table, options) -> None:
    carried = [name for name in given.schema.names if name != options.column]
    found = [name for name in written.schema.names if name != options.column]
    expect(carried == found, f"carried columns {found}, in the input {carried}")
    expect(
        given.num_rows == written.num_rows, f"{written.num_rows} rows, in the input {given.num_rows}"
    )
    for name in carried:
        before, after = given.schema.field(name), written.schema.field(name)
        expect(
            before.equals(after, check_metadata=True),
            f"field `{after}` {after.metadata}, in the input `{before}` {before.metadata}",
        )
        if not given.column(name).equals(written.column(name)):
            # Arrow's equality treats NaN as unequal to itself, and the message needs a row.
            pairs = zip(given.column(name).to_pylist(), written.column(name).to_pylist())
            for row, (old, new) in enumerate(pairs):
                expect(repr(old) == repr(new), f"column `{name}`, row {row}: {new!r}, in the input {old!r}")
    # pyarrow shows these footer entries only if `ARROW:schema` has no metadata of its own.
    before, after = given.schema.metadata or {}, dict(written.schema.metadata or {})
    after.pop(FOOTER_KEY, None)
    before = {key: value for key, value in before.items() if key != FOOTER_KEY}
    expect(before == after, f"schema metadata {after}, in the input {before}")


def check_footer(written: pa.Table, options) -> None:
    pairs = pq.read_metadata(options.output).metadata or {}
    expect(b"ARROW:schema" in pairs, "the footer has no `ARROW:schema`")
    expect(FOOTER_KEY in pairs, f"the footer has no `{FOOTER_KEY.decode()}`")
    try:
        footer = json.loads(pairs[FOOTER_KEY])
    except ValueError as error:
        raise Mismatch(f"the footer's `{FOOTER_KEY.decode()}` is not JSON: {error}") from error
    expect(isinstance(footer, dict), f"the footer's `{FOOTER_KEY.decode()}` is not an object: {footer}")
    for name, count in ((FOOTER_ROWS, written.num_rows), (FOOTER_NULLS, written.column(options.column).null_count)):
        expect(footer.get(name) == count, f"the footer's `{name}` is {footer.get(name)} and not {count}")


def check_digests(written: pa.Table, options) -> int:
    """Computes the digest of the vectors of each row group as src/digest.rs does; returns the number of row groups.

    The digests of carried columns are over their bytes, which judge.py compares with the input's."""
    footer = json.loads(pq.read_metadata(options.output).metadata[FOOTER_KEY])
    vectors = written.column(options.column).combine_chunks()
    first, values = 0, []
    for number, group in enumerate(footer["groups"]):
        found = digest(vectors.slice(first, group["rows"])).hex()
        expect(found == group["values"], f"the vectors of row group {number} have the digest {found}, not {group['values']}")
        values.append(found)
        first += group["rows"]
    expect(first == written.num_rows, f"the row groups of the footer have {first} rows")
    whole = sha256("".join(values).encode()).hex()
    expect(whole == footer["digests"]["vectors"], f"the digest of all vectors is {whole}")
    return len(values)


def digest(array: pa.Array) -> bytes:
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind, there = array.type, array.drop_null()
    nulls = np.flatnonzero(~np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool))
    width, rest = b"", []
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        tag, values = b"s", [value.encode() for value in there.to_pylist()]
        short = [value if len(value) <= 1024 else sha256(value) for value in values]
        rest = [sha256(numbers(len(value) for value in values)), sha256(b"".join(short))]
    elif pa.types.is_fixed_size_list(kind):
        tag, width = b"a", numbers([kind.list_size])
        rest = [digest(there.flatten())]
    elif pa.types.is_list(kind):
        tag = b"l"
        rest = [sha256(numbers(there.value_lengths().to_pylist())), digest(there.flatten())]
    elif pa.types.is_primitive(kind) and kind.bit_width % 8 == 0:
        tag, width = b"f", numbers([kind.bit_width // 8])
        rest = [sha256(there.to_numpy(zero_copy_only=False).tobytes())]
    else:
        raise NotImplementedError(kind)
    return sha256(tag + width + numbers([len(array)]) + sha256(numbers(nulls)) + b"".join(rest))


def numbers(values) -> bytes:
    return b"".join(struct.pack("<Q", int(value)) for value in values)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def check_nulls(seen: Vectors, given: pa.Table, options) -> None:
    fields = [
        given.column(name).to_pylist() if name in given.schema.names else [None] * given.num_rows
        for name in (options.title, options.description, options.files)
    ]
    for row, (title, description, files) in enumerate(zip(*fields)):
        is_empty = not title and not description and all(file is None for file in files or [])
        has_vector = bool(seen.valid[row])
        if options.on_empty == "embed":
            expect(has_vector, f"row {row}: null, although every row is to be embedded")
        else:
            expect(
                has_vector != is_empty,
                f"row {row}: a vector for an empty text" if is_empty else f"row {row}: null for a text",
            )


def check_lengths(seen: Vectors, options) -> None:
    values = seen.bits.view(np.float32).astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    rows = np.flatnonzero(seen.valid)
    expect(finite.all(), f"row {rows[int(np.argmin(finite))] if len(rows) else 0}: not finite")
    if options.not_normalized or not len(values):
        return
    off = np.abs(np.linalg.norm(values, axis=1) - 1.0)
    worst = int(np.argmax(off))
    expect(off[worst] <= NORM_TOLERANCE, f"row {rows[worst]}: its length is off from 1 by {off[worst]:.2e}")


def vectors_of_arrow(column: pa.ChunkedArray, dim: int) -> Vectors:
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    values = array.drop_null().flatten()
    expect(values.null_count == 0, f"{values.null_count} null elements inside the vectors")
    expect(len(values) == int(valid.sum()) * dim, f"{len(values)} values for {valid.sum()} vectors of {dim}")
    return Vectors(valid, bits_of(values.to_numpy(zero_copy_only=False), dim))


def polars_type(options) -> pl.DataType:
    return pl.Array(pl.Float32, options.dim) if options.vector_type == "fixed_size_list" else pl.List(pl.Float32)


def vectors_of_polars(options) -> Vectors:
    column = pl.read_parquet(options.output, columns=[options.column]).to_series()
    expect(column.dtype == polars_type(options), f"Polars sees {column.dtype}, not {polars_type(options)}")
    vectors = column.drop_nulls()
    values = vectors.explode().to_numpy() if len(vectors) else np.empty(0, np.float32)
    expect(len(values) == len(vectors) * options.dim, f"Polars sees {len(values)} values in {len(vectors)} vectors")
    return Vectors(column.is_not_null().to_numpy(), bits_of(values, options.dim))


def vectors_of_duckdb(options) -> tuple[str, Vectors]:
    name = '"' + options.column.replace('"', '""') + '"'
    source = "read_parquet($file, file_row_number = true)"
    parameters = {"file": options.output}
    with duckdb.connect() as connection:
        kind = connection.execute(f"DESCRIBE SELECT {name} FROM {source}", parameters).fetchall()[0][1]
        expect(kind in ("FLOAT[]", f"FLOAT[{options.dim}]"), f"DuckDB sees {kind}")
        query = f"SELECT {name}::FLOAT[{options.dim}] AS vector FROM {source} ORDER BY file_row_number"
        table = connection.sql(query, params=parameters).to_arrow_table()
    return kind, vectors_of_arrow(table.column("vector"), options.dim)


def vectors_of_dump(options, rows: int) -> Vectors:
    bits = np.fromfile(options.vectors, dtype="<u4")
    expect(bits.size == rows * options.dim, f"{options.vectors} holds {bits.size} values, not {rows} × {options.dim}")
    bits = bits.astype(np.uint32).reshape(rows, options.dim)
    valid = ~(bits == QUIET_NAN).all(axis=1)
    return Vectors(valid, bits[valid])


def bits_of(values: np.ndarray, dim: int) -> np.ndarray:
    expect(values.dtype == np.float32, f"values of type {values.dtype}")
    return np.ascontiguousarray(values).view(np.uint32).reshape(-1, dim)


def compare(reader: str, other: Vectors, seen: Vectors) -> None:
    expect(len(other.valid) == len(seen.valid), f"{reader} sees {len(other.valid)} rows, pyarrow {len(seen.valid)}")
    differing = np.flatnonzero(other.valid != seen.valid)
    if len(differing):
        raise Mismatch(f"{reader} and pyarrow disagree on whether row {int(differing[0])} is null")
    rows, places = np.nonzero(other.bits != seen.bits)
    if len(rows):
        row, place = np.flatnonzero(seen.valid)[rows[0]], places[0]
        theirs, ours = (v.bits.view(np.float32)[rows[0], place] for v in (other, seen))
        raise Mismatch(f"row {row}, element {place}: {reader} sees {theirs}, pyarrow {ours}")


if __name__ == "__main__":
    sys.exit(main())
