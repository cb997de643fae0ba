"""Tables: the recipe of the program, the kind that was given, and what is refused."""

import datetime
import os
import subprocess
import sys

import numpy as np
import pytest

from reembed import ArrowTable, CacheBusy, CacheError, InvalidConfig, InvalidInput

# Outputs of the program for pyarrow before 26, the last for Python 3.10: it reads no null in a list of fixed size.
READABLE = {"REEMBED_VECTOR_LAYOUT": "list"}


def bits(vectors):
    return np.ascontiguousarray(vectors).view(np.uint32).tolist()


ROWS = {
    "title": ["fix", None, "", "fix"],
    "description": ["the login", None, "", "the login"],
    "number": [1, 2, 3, 4],
}
# The texts of the default recipe; None is a row without text.
TEXTS = ["fix\nthe login", None, None, "fix\nthe login"]


@pytest.fixture(scope="module")
def expected(embedder):
    return [None if text is None else bits(embedder.encode(text)) for text in TEXTS]


def rows_of(column):
    """The bits of each vector of a VectorColumn, pyarrow, Polars or pandas column."""
    if hasattr(column, "to_pylist"):
        column = column.to_pylist()
    elif hasattr(column, "to_list"):
        column = column.to_list()
    return [None if row is None else bits(np.asarray(row, dtype=np.float32)) for row in column]


def test_own_tables_need_no_library(embedder, expected):
    table = ArrowTable.from_columns(list(ROWS.items()))
    found = embedder.embed_table(table)
    assert isinstance(found, ArrowTable)
    assert found.column_names == [*ROWS, "embedding"] and len(found) == 4
    assert repr(found) == "<reembed.ArrowTable: 4 rows, 4 columns>"
    with pytest.raises(InvalidConfig, match="`embedding` already"):
        embedder.embed_table(found)
    again = embedder.embed_table(found, overwrite=True)
    assert again.column_names == found.column_names
    pa = pytest.importorskip("pyarrow")
    assert rows_of(again.to_pyarrow()["embedding"]) == expected


def test_pyarrow_tables_keep_kind_order_and_memory(embedder, expected):
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema(
        [("title", pa.string()), ("description", pa.string_view()), ("number", pa.int64())], metadata={"who": "me"}
    )
    table = pa.table(ROWS, schema=schema)
    chunked = pa.concat_tables([table[:1], table[1:1], table[1:]])
    for given in (table, chunked, table.to_batches()[0]):
        found = embedder.embed_table(given)
        assert type(found) is type(given)
        assert found.schema.names == [*ROWS, "embedding"]
        assert found.schema.metadata == {b"who": b"me"}
        assert found.schema.field("embedding").type == pa.list_(pa.float32(), embedder.dimension)
        assert rows_of(found["embedding"]) == expected
        assert found.select(list(ROWS)).equals(given)
    carried = embedder.embed_table(table)["number"].chunk(0)
    assert carried.buffers()[1].address == table["number"].chunk(0).buffers()[1].address
    assert embedder.embed_table(table[:0]).num_rows == 0


def test_polars_frames_stay_polars(embedder, expected):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(ROWS)
    found = embedder.embed_table(frame)
    assert found.columns == [*ROWS, "embedding"]
    assert found.schema["embedding"] == pl.Array(pl.Float32, embedder.dimension)
    assert rows_of(found["embedding"]) == expected
    assert found.select(list(ROWS)).equals(frame)
    with pytest.raises(InvalidInput, match="collect"):
        embedder.embed_table(frame.lazy())
    with pytest.raises(InvalidInput, match="Series"):
        embedder.embed_table(frame["title"])


def test_pandas_frames_stay_pandas(embedder, expected):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(ROWS, index=[3, 1, 4, 1])
    frame["title"] = frame["title"].astype(object)
    for given in (frame, frame.astype({"title": "string"}), frame.astype({"description": "category"})):
        found = embedder.embed_table(given)
        assert list(found.columns) == [*ROWS, "embedding"]
        assert rows_of(found["embedding"]) == expected
        assert found["embedding"].iloc[0].dtype == np.float32
        pd.testing.assert_frame_equal(found[list(ROWS)], given)
        assert "embedding" not in given.columns
    frame["number"] = frame["number"].astype("float32")
    frame["lists"] = [["a", "b"], None, [], np.array(["c"], dtype=object)]
    found = embedder.embed_table(frame, template="{number} {lists}")
    texts = ["1.0 a, b", "2.0 ", "3.0 ", "4.0 c"]
    assert rows_of(found["embedding"]) == [bits(embedder.encode(text)) for text in texts]


def test_pandas_objects_that_are_no_text_are_named(embedder):
    pd = pytest.importorskip("pandas")
    for wrong, message in [
        (["a", 3], "of type int"),
        ([None, b"a"], "of type bytes"),
        (["a", "\ud800"], "surrogate"),
        ([["a"], [1]], "list is not a str"),
        (["a", {}], "of type dict"),
    ]:
        frame = pd.DataFrame({"t": pd.Series(wrong, dtype=object, index=[8, 9])})
        with pytest.raises(InvalidInput, match=message) as raised:
            embedder.embed_table(frame, "t")
        assert raised.value.place == "rows[1]: column `t`", wrong


def test_duckdb_relations_and_small_libraries_are_read(embedder):
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql("SELECT range AS id, 'row ' || range AS text FROM range(3000)")
    found = embedder.embed_table(relation, "text")
    assert isinstance(found, ArrowTable) and found.column_names == ["id", "text", "embedding"]
    assert duckdb.sql("SELECT count(embedding) FROM found WHERE text = 'row ' || id").fetchall() == [(3000,)]
    arro3 = pytest.importorskip("arro3.core")
    again = embedder.embed_table(arro3.Table.from_arrow(found), "text", column="second")
    pa = pytest.importorskip("pyarrow")
    table = pa.table(again)
    assert table["second"].equals(table["embedding"])


def test_text_of_columns_and_templates(embedder):
    table = ArrowTable.from_columns([("a", ["x", None]), ("b", ["y", "z"]), ("n", [1, None])])
    for recipe, texts in [
        ({"text": "a"}, ["x", None]),
        ({"text": ["b", "a"]}, ["y\nx", "z"]),
        ({"text": ("n",)}, ["1", None]),
        ({"template": "{b}: {n}\n{{a}} {a}"}, ["y: 1\n{a} x", "z: "]),
    ]:
        found = embedder.embed_table(table, **recipe)
        vectors = vectors_of(found)
        for vector, text in zip(vectors, texts, strict=True):
            if text is None:
                assert np.isnan(vector).all(), recipe
            else:
                assert bits(vector) == bits(embedder.encode(text)), recipe


def vectors_of(table):
    """The vectors of an ArrowTable; NaN where there is none."""
    pa = pytest.importorskip("pyarrow")
    column = pa.table(table)["embedding"]
    dim = column.type.list_size
    return [np.full(dim, np.nan) if row is None else np.array(row, np.float32) for row in column.to_pylist()]


def test_arguments_of_encode_mean_the_same(embedder):
    table = ArrowTable.from_columns([("t", ["a", "b"])])
    for arguments in (
        {"truncate_dim": 32, "normalize_embeddings": True},
        {"prompt": "query: ", "batch_size": 1, "show_progress_bar": True},
    ):
        found = vectors_of(embedder.embed_table(table, "t", **arguments))
        assert bits(found) == bits(embedder.encode(["a", "b"], **arguments)), arguments


def test_wrong_tables_and_columns_are_refused(embedder):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"title": ["a"], "body": [{"x": "b"}], "raw": [b"c"]})
    for given, arguments, kind, message in [
        (table, {}, InvalidInput, "no column `description`"),
        (table, {"text": "titel"}, InvalidInput, "did you mean `title`"),
        (table, {"text": "body"}, InvalidInput, "struct with the fields `x`"),
        (table, {"text": "body.y"}, InvalidInput, "fields of `body` are `x`"),
        (table, {"text": "raw"}, InvalidInput, "Binary.*cast the column"),
        (table, {"text": []}, InvalidConfig, "names no column"),
        (table, {"text": ["title", "title"]}, InvalidConfig, "twice"),
        (table, {"text": 3}, InvalidConfig, "of type int"),
        (table, {"template": "title"}, InvalidConfig, "names no column"),
        (table, {"template": b"{title}"}, InvalidConfig, "bytes"),
        (table, {"text": "title", "template": "{title}"}, InvalidConfig, "both"),
        (table, {"text": "title", "column": "title"}, InvalidConfig, "overwrite"),
        (table, {"text": "title", "column": ""}, InvalidConfig, "name of the new column"),
        (table["title"], {"text": "title"}, InvalidInput, "of type ChunkedArray"),
        ({"title": ["a"]}, {"text": "title"}, InvalidInput, "of type dict"),
        (["a"], {}, InvalidInput, "of type list"),
        ("in.parquet", {}, InvalidInput, "of type str"),
        (table.append_column("title", table["title"]), {"text": "title"}, InvalidInput, "two columns `title`"),
    ]:
        with pytest.raises(kind, match=message):
            embedder.embed_table(given, **arguments)
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"meta": [{"k": 1}], "title": ["a"], "n": [1]})
    for given in (frame, pd.concat([frame, frame[["n"]]], axis=1)):
        with pytest.raises(InvalidInput, match="no column `titel`.*did you mean `title`"):
            embedder.embed_table(given, "titel")
        assert embedder.embed_table(frame, "title").embedding.shape == (1,)
    found = embedder.embed_table(table, "body.x")
    assert bits(np.array(found["embedding"][0].as_py(), np.float32)) == bits(embedder.encode("b"))


def test_overwritten_column_stays_where_it_is(embedder):
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    rows = {"embedding": [1, 2], "t": ["a", "b"]}
    expected = [bits(embedder.encode(text)) for text in "ab"]
    for table in (pa.table(rows), pa.record_batch(rows), pl.DataFrame(rows), pd.DataFrame(rows)):
        with pytest.raises(InvalidConfig, match="overwrite"):
            embedder.embed_table(table, "t")
        found = embedder.embed_table(table, "t", overwrite=True)
        names = found.schema.names if isinstance(found, (pa.Table, pa.RecordBatch)) else list(found.columns)
        assert names == ["embedding", "t"]
        assert rows_of(found["embedding"]) == expected


def test_cache_is_that_of_the_program(embedder, tmp_path):
    table = ArrowTable.from_columns([("t", ["a", "b", None, "a"])])
    path = tmp_path / "vectors.cache"
    first = vectors_of(embedder.embed_table(table, "t", cache=path))
    size = path.stat().st_size
    assert size > 0
    assert bits(vectors_of(embedder.embed_table(table, "t", cache=path))) == bits(first)
    assert bits(vectors_of(embedder.embed_table(table, "t"))) == bits(first)
    # What is not text is no cache.
    wrong = tmp_path / "wrong"
    wrong.write_text("no cache")
    with pytest.raises(CacheError, match="wrong"):
        embedder.embed_table(table, "t", cache=wrong)


def test_busy_cache_is_refused_at_once(embedder, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    table = ArrowTable.from_columns([("t", ["a"])])
    path = tmp_path / "vectors.cache"
    embedder.embed_table(table, "t", cache=path)
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CacheBusy):
            embedder.embed_table(table, "t", cache=str(path))
    embedder.embed_table(table, "t", cache=str(path))


def program():
    found = os.environ.get("TEST_REEMBED_PROGRAM")
    if not found:
        pytest.skip("TEST_REEMBED_PROGRAM does not name the program")
    return found


def typed_columns(pa):
    """Columns of every type that a text may have, with a null each."""
    day = datetime.datetime(2022, 1, 8, 12, 30, 15, 250_000)
    words = ["a", None, "c"]
    yield "string", pa.array(words)
    yield "large", pa.array(words, pa.large_string())
    yield "words", pa.array(words).dictionary_encode()
    yield "numbers", pa.array([1, None, 1]).dictionary_encode()
    yield "int8", pa.array([-1, None, 3], pa.int8())
    yield "uint64", pa.array([2**64 - 1, None, 3], pa.uint64())
    yield "half", pa.array(np.array([0.5, 1, 2.25], np.float16))
    yield "single", pa.array([0.1, None, 1e20], pa.float32())
    yield "double", pa.array([0.1, None, 1e300], pa.float64())
    yield "decimal", pa.array([1, None, -2], pa.int64()).cast(pa.decimal128(21, 2))
    yield "bool", pa.array([True, None, False])
    yield "date32", pa.array([day.date(), None, day.date()], pa.date32())
    yield "date64", pa.array([day.date(), None, day.date()], pa.date64())
    for unit in ("s", "ms", "us", "ns"):
        # Whole seconds fit in every unit.
        times = pa.array([day.replace(microsecond=0), None, day.replace(second=0, microsecond=0)])
        yield f"timestamp_{unit}", times.cast(pa.timestamp(unit))
        yield f"zoned_{unit}", times.cast(pa.timestamp(unit, "Europe/Berlin"))
        yield f"duration_{unit}", pa.array([5, None, 7], pa.int64()).cast(pa.duration(unit))
    yield "time_s", pa.array([5, None, 7], pa.int32()).cast(pa.time32("s"))
    yield "time_us", pa.array([5, None, 7], pa.int64()).cast(pa.time64("us"))
    yield "fraction", pa.array([day, None, day], pa.timestamp("us"))
    yield "list", pa.array([["a", None, "b"], None, []])
    yield "large_list", pa.array([["a"], None, []], pa.large_list(pa.large_string()))
    yield "fixed", pa.array([["a", "b"], None, ["c", None]], pa.list_(pa.string(), 2))
    yield "nested", pa.array([[["a"], ["b", "c"]], None, [[]]])
    yield "numbers_list", pa.array([[1, None, 2], None, []])
    yield "struct.x", pa.array([{"x": "a"}, None, {"x": None}])
    yield "structs.x", pa.array([[{"x": "a"}, {"x": "b"}], None, []])
    yield "null", pa.nulls(3)


def test_texts_are_those_of_the_program_for_every_type(embedder, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = list(typed_columns(pa))
    names = [name for name, _ in columns]
    table = pa.table({name.partition(".")[0]: column for name, column in columns})
    pq.write_table(table, tmp_path / "in.parquet")
    environment = {**os.environ, **READABLE, "REEMBED_COMPUTE_PRECISION": "f32"}
    # One column at a time, so that a difference is not lost in a long text.
    for name in names:
        out = tmp_path / "out" / f"{name}.parquet"
        out.parent.mkdir(exist_ok=True)
        template = "x {%s}" % name
        arguments = ["run", tmp_path / "in.parquet", out, "--text-template", template]
        subprocess.run([program(), *arguments], check=True, env=environment, capture_output=True)
        found = embedder.embed_table(table, template=template)
        assert rows_of(found["embedding"]) == rows_of(pq.read_table(out, columns=["embedding"])["embedding"]), name


def test_program_and_package_share_a_cache(embedder, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({"title": ["a", "b", None], "description": ["c", None, None], "files": [["d"], None, []]})
    pq.write_table(table, tmp_path / "in.parquet")
    cache, out = tmp_path / "vectors.cache", tmp_path / "out.parquet"
    found = embedder.embed_table(table, cache=cache)
    environment = {**os.environ, **READABLE, "REEMBED_COMPUTE_PRECISION": "f32", "REEMBED_CACHE_PATH": str(cache)}
    done = subprocess.run(
        [program(), "run", tmp_path / "in.parquet", out], check=True, env=environment, capture_output=True, text=True
    )
    assert "0 embedded, 2 reused" in done.stdout + done.stderr
    assert rows_of(found["embedding"]) == rows_of(pq.read_table(out, columns=["embedding"])["embedding"])


def test_ctrl_c_ends_a_table_and_keeps_its_vectors(tmp_path):
    code = """
import signal, sys, threading, os, reembed
signal.signal(signal.SIGINT, signal.default_int_handler)
embedder = reembed.Embedder(precision="f32")
rows = [f"word {row} " * 60 for row in range(20_000)]
table = reembed.ArrowTable.from_columns([("t", rows)])
threading.Timer(8, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    embedder.embed_table(table, "t", cache=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted")
embedder.embed_table(reembed.ArrowTable.from_columns([("t", ["a"])]), "t", cache=sys.argv[1])
"""
    path = tmp_path / "vectors.cache"
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=300)
    assert (found.stdout, found.returncode) == ("interrupted\n", 0), found.stderr
    # A vector takes 1.5 KB.
    assert path.stat().st_size > 50_000
