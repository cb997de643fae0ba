#!/usr/bin/env python3
"""Carries the public files of apache/parquet-testing and compares every column chunk, byte for byte.

    public_files.py REEMBED WORK_DIRECTORY

The files come with the crate parquet2 0.17.2 (Apache License 2.0), which cargo fetches. Hardly one has an id and a text,
so a column of each is added behind the pages of every row group; the bytes that were there stay where they are.

It prints a line for each file that is refused or differs, then the counts. It exits with 0 if all are equal.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys

CRATE = "parquet2"
VERSION = "0.17.2"
# Wire types of Thrift's compact protocol.
BYTE, I16, I32, I64, BINARY, LIST, STRUCT = 3, 4, 5, 6, 8, 9, 12
# Physical types of Parquet.
INT32, BYTE_ARRAY = 1, 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=pathlib.Path, help="the program")
    parser.add_argument("work", type=pathlib.Path, help="a directory for tables and outputs; it is made")
    parser.add_argument("--model", type=pathlib.Path, help="a model directory; a small one is quick")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    equal, wrong = 0, 0
    for file in public_files(options.work):
        table, output = options.work / f"in_{file.name}", options.work / f"out_{file.name}"
        table.write_bytes(with_id_and_title(file.read_bytes()))
        fault = carry(options, table, output)
        if fault is None and chunks(table.read_bytes()) != chunks(output.read_bytes(), without=b"embedding"):
            fault = "the bytes of a column differ"
        if fault:
            print(f"{file.name}: {fault}")
        equal, wrong = equal + (fault is None), wrong + (fault is not None)
    print(f"public_files.py: {equal} files carried byte for byte, {wrong} not")
    return 1 if wrong or not equal else 0


def public_files(work: pathlib.Path) -> list[pathlib.Path]:
    """Fetches the crate and returns the Parquet files in it."""
    crate = work / "crate"
    (crate / "src").mkdir(parents=True, exist_ok=True)
    (crate / "src" / "lib.rs").write_text("")
    (crate / "Cargo.toml").write_text(
        '[package]\nname = "files"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n\n'
        f'[dependencies]\n{CRATE} = {{ version = "={VERSION}", default-features = false }}\n'
    )
    command = ["cargo", "metadata", "--quiet", "--format-version", "1", "--manifest-path", crate / "Cargo.toml"]
    packages = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["packages"]
    (manifest,) = [pathlib.Path(p["manifest_path"]) for p in packages if p["name"] == CRATE]
    return sorted((manifest.parent / "testing" / "parquet-testing").rglob("*.parquet"))


def carry(options, table: pathlib.Path, output: pathlib.Path) -> str | None:
    """Runs the program; returns what it says if it fails."""
    model = f"[model]\npath = {json.dumps(str(options.model.resolve()))}\n" if options.model else ""
    config = options.work / "pipeline.toml"
    config.write_text(
        f'[input]\npath = {json.dumps(table.name)}\nid = "added_id"\ntitle = "added_title"\ndescription = ""\n'
        f'files = ""\n[output]\npath = {json.dumps(output.name)}\n[report]\nkeep = 0\n{model}'
    )
    command = [options.reembed.resolve(), "run", "--config", config.name, "--quiet", "--cache-mode", "off"]
    run = subprocess.run(command, cwd=options.work, capture_output=True, text=True)
    return None if run.returncode == 0 else f"exit {run.returncode}: {run.stderr.strip()}"


def with_id_and_title(file: bytes) -> bytes:
    """The file with two required columns more, uncompressed and plain, in every row group."""
    footer, pages = split(file)
    schema = field(footer, 2)[1]
    root = schema[0]
    put(root, 5, I32, field(root, 5) + 2)
    schema.append([[1, I32, INT32], [3, I32, 0], [4, BINARY, b"added_id"]])
    schema.append([[1, I32, BYTE_ARRAY], [3, I32, 0], [4, BINARY, b"added_title"], [6, I32, 0]])
    orders = field(footer, 7)
    if orders:
        orders[1].extend([[[1, STRUCT, []]], [[1, STRUCT, []]]])
    for group in groups(footer):
        rows = field(group, 3)
        ids = b"".join(struct.pack("<i", row) for row in range(rows))
        titles = b"".join(struct.pack("<I", 1) + b"t" for _ in range(rows))
        for name, kind, values in ((b"added_id", INT32, ids), (b"added_title", BYTE_ARRAY, titles)):
            data = [[1, I32, rows], [2, I32, 0], [3, I32, 3], [4, I32, 3]]
            header = [[1, I32, 0], [2, I32, len(values)], [3, I32, len(values)], [5, STRUCT, data]]
            page = encode(STRUCT, header) + values
            metadata = [
                [1, I32, kind], [2, LIST, [I32, [0]]], [3, LIST, [BINARY, [name]]], [4, I32, 0], [5, I64, rows],
                [6, I64, len(page)], [7, I64, len(page)], [9, I64, len(pages)],
            ]
            field(group, 1)[1].append([[2, I64, len(pages)], [3, STRUCT, metadata]])
            pages += page
    end = encode(STRUCT, footer)
    return pages + end + struct.pack("<I", len(end)) + b"PAR1"


def chunks(file: bytes, without: bytes = b"") -> list[tuple[int, bytes, bytes]]:
    """Row group, path and bytes of every column chunk, but for one root column."""
    found = []
    for number, group in enumerate(groups(split(file)[0])):
        for chunk in field(group, 1)[1]:
            metadata = field(chunk, 3)
            path = field(metadata, 3)[1]
            dictionary, data = field(metadata, 11) or 0, field(metadata, 9)
            start = dictionary if dictionary > 0 and (data <= 0 or dictionary < data) else data
            if path[0] != without:
                found.append((number, b".".join(path), file[start : start + field(metadata, 7)]))
    return found


def split(file: bytes) -> tuple[list, bytes]:
    """The footer, and the bytes before it."""
    start = len(file) - 8 - struct.unpack("<I", file[-8:-4])[0]
    return decode(file, start, STRUCT)[0], file[:start]


def groups(footer: list) -> list:
    return (field(footer, 4) or [STRUCT, []])[1]


def field(struct_: list, number: int):
    return next((value for found, _, value in struct_ if found == number), None)


def put(struct_: list, number: int, kind: int, value) -> None:
    struct_[:] = sorted([f for f in struct_ if f[0] != number] + [[number, kind, value]], key=lambda f: f[0])


def decode(data: bytes, at: int, kind: int):
    """A value of Thrift's compact protocol, and the position after it: a struct is a list of [number, kind, value]."""
    if kind in (1, 2):
        return None, at
    if kind == BYTE:
        return data[at], at + 1
    if kind in (I16, I32, I64):
        number, at = varint(data, at)
        return (number >> 1) ^ -(number & 1), at
    if kind == 7:
        return data[at : at + 8], at + 8
    if kind == BINARY:
        length, at = varint(data, at)
        return data[at : at + length], at + length
    if kind == LIST:
        length, kind, at = data[at] >> 4, data[at] & 15, at + 1
        if length == 15:
            length, at = varint(data, at)
        items = []
        for _ in range(length):
            item, at = decode(data, at, BYTE if kind <= 2 else kind)
            items.append(item)
        return [kind, items], at
    fields, number = [], 0
    while data[at]:
        head, at = data[at], at + 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = decode(data, at, I16)
        value, at = decode(data, at, head & 15)
        fields.append([number, head & 15, value])
    return fields, at + 1


def varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return number, at
        shift += 7


def encode(kind: int, value) -> bytes:
    if kind in (1, 2):
        return b""
    if kind == BYTE:
        return bytes([value])
    if kind in (I16, I32, I64):
        return encode_varint((value << 1) ^ (value >> 63))
    if kind == 7:
        return value
    if kind == BINARY:
        return encode_varint(len(value)) + value
    if kind == LIST:
        item_kind, items = value
        short = len(items) < 15
        head = bytes([len(items) << 4 | item_kind]) if short else bytes([0xF0 | item_kind]) + encode_varint(len(items))
        return head + b"".join(encode(BYTE if item_kind <= 2 else item_kind, item) for item in items)
    out, last = b"", 0
    for number, field_kind, field_value in value:
        step = number - last
        out += bytes([step << 4 | field_kind]) if 1 <= step <= 15 else bytes([field_kind]) + encode(I16, number)
        out += encode(field_kind, field_value)
        last = number
    return out + b"\0"


def encode_varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


if __name__ == "__main__":
    sys.exit(main())
