"""Rows for the engines, and the vectors that the program makes of them.

A test runs where its engine is installed. With `TEST_NO_SKIPS=1` whatever is missing is a failure.
"""

import importlib.util
import os
import subprocess

import pytest

ROWS = 600
NO_SKIPS = bool(os.environ.get("TEST_NO_SKIPS"))
ENGINES = {
    "test_adapters.py": "langchain_core",
    "test_ray.py": "ray",
    "test_spark.py": "pyspark",
}
# pytest names a file that cannot be imported, and a run of named files must not lose one.
collect_ignore = [
    file for file, package in ENGINES.items() if not NO_SKIPS and importlib.util.find_spec(package) is None
]


def rows():
    """Task rows in an order that is not that of their ids; some have an empty field, some no text at all."""
    words = ["fix", "login", "loop", "dark", "theme", "rotate", "credentials", "größer", "漢字", "🏳️‍🌈"]
    for row in range(ROWS):
        empty = row % 17 == 3
        some = [words[(row * step) % len(words)] for step in range(1, 3 + row % 40)]
        yield {
            "id": f"T-{row * 7919 % ROWS}",
            "title": None if empty else " ".join(some),
            "description": (None, "")[row % 2] if empty or row % 5 == 0 else f"It never ends, {row}",
            "files": None if empty else ["a.py", f"b{row % 9}.py"][: row % 3],
        }


@pytest.fixture(scope="session")
def program():
    path = os.environ.get("TEST_REEMBED_PROGRAM")
    if not path:
        (pytest.fail if NO_SKIPS else pytest.skip)("TEST_REEMBED_PROGRAM does not name the program")
    return path


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """The rows as a Parquet file of several row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("tasks") / "tasks.parquet"
    text = pa.string()
    schema = pa.schema([("id", text), ("title", text), ("description", text), ("files", pa.list_(text))])
    pq.write_table(pa.Table.from_pylist(list(rows()), schema), path, row_group_size=100)
    return path


@pytest.fixture(scope="session")
def expected(program, tasks, tmp_path_factory):
    """The program's vectors in f32: a function from its arguments to pairs of an id and bytes, in order."""
    made = {}

    def run(*arguments):
        if arguments not in made:
            import pyarrow.parquet as pq

            out = tmp_path_factory.mktemp("program") / "out.parquet"
            # pyarrow reads a null in a list of a fixed size from version 26 on.
            environment = {**os.environ, "REEMBED_VECTOR_LAYOUT": "list"}
            command = [program, "run", "--quiet", "--precision", "f32", *arguments, tasks, out]
            subprocess.run(command, check=True, cwd=out.parent, env=environment)
            table = pq.read_table(out, columns=["id", "embedding"])
            made[arguments] = with_bytes(table["id"].to_pylist(), table["embedding"].to_pylist())
        return made[arguments]

    return run


def with_bytes(ids, vectors):
    """Pairs of an id and the bytes of its vector, None for a null."""
    import numpy as np

    return [
        (name, None if vector is None else np.array(vector, np.float32).tobytes())
        for name, vector in zip(ids, vectors, strict=True)
    ]
