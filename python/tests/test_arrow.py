"""Arrow in and out: columns of every library, nulls, and producers that fail."""

import gc
import subprocess
import sys

import numpy as np
import pytest

from reembed import ArrowTable, InvalidInput, VectorColumn


def bits(vectors):
    return np.ascontiguousarray(vectors).view(np.uint32).tolist()


TEXTS = ["fix the login", "", "dunkles Thema für alle", "修复登录", "a long text " * 40, "fix the login"]


@pytest.fixture(scope="module")
def expected(embedder):
    return bits(embedder.encode(TEXTS))


def test_vector_column_needs_no_library(embedder):
    column = embedder.encode_arrow(["a", None, ""])
    assert isinstance(column, VectorColumn)
    assert (len(column), column.null_count, column.dimension) == (3, 1, embedder.dimension)
    vectors = column.to_numpy()
    assert np.isnan(vectors[1]).all()
    assert bits(vectors[[0, 2]]) == bits(embedder.encode(["a", ""]))
    assert repr(column) == "<reembed.VectorColumn: 3 rows of 384 float32, 1 null>"


def test_vectors_without_nulls_are_a_view(embedder, expected):
    column = embedder.encode_arrow(TEXTS)
    vectors = column.to_numpy()
    assert not vectors.flags.owndata and not vectors.flags.writeable
    assert vectors.ctypes.data == column.to_numpy().ctypes.data
    del column
    gc.collect()
    assert bits(vectors) == expected
    assert np.asarray(embedder.encode_arrow(["a"]), dtype=np.float64).dtype == np.float64


def test_empty_columns_have_no_vectors(embedder):
    assert embedder.encode_arrow([]).to_numpy().shape == (0, embedder.dimension)
    assert embedder.encode(np.array([], dtype="U3")).shape == (0, embedder.dimension)
    assert embedder.encode_arrow([None, None]).null_count == 2


def test_numpy_strings_are_read(embedder, expected):
    array = np.array(TEXTS)
    swapped = array.astype(array.dtype.newbyteorder())
    every_second = np.array([text for text in TEXTS for _ in range(2)])[::2]
    arrays = [array, swapped, every_second, np.array(TEXTS, dtype=object)]
    if hasattr(np.dtypes, "StringDType"):
        arrays.append(np.array(TEXTS, dtype=np.dtypes.StringDType()))
    for given in arrays:
        assert bits(embedder.encode(given)) == expected, given.dtype
    assert bits(embedder.encode(np.array("a"))) == bits(embedder.encode("a"))
    with pytest.raises(InvalidInput, match=r"sentences\[1\].*surrogate"):
        embedder.encode(np.array(["a", "\ud800"]))


def columns_of_pyarrow():
    pa = pytest.importorskip("pyarrow")
    yield pa.array(TEXTS)
    yield pa.array(TEXTS, pa.large_string())
    yield pa.array(TEXTS).dictionary_encode()
    yield pa.array(["other", *TEXTS, "other"])[1:-1]
    yield pa.chunked_array([TEXTS[:2], [], TEXTS[2:]])
    yield pa.chunked_array([pa.array(TEXTS[:2]).dictionary_encode(), pa.array(TEXTS[2:]).dictionary_encode()])
    if hasattr(pa, "string_view"):
        yield pa.array(TEXTS, pa.string_view())
        yield pa.chunked_array([TEXTS[:1], TEXTS[1:]], pa.string_view())


def test_pyarrow_columns_come_back_as_pyarrow(embedder, expected):
    pa = pytest.importorskip("pyarrow")
    for column in columns_of_pyarrow():
        assert bits(embedder.encode(column)) == expected, column.type
        vectors = embedder.encode_arrow(column)
        assert vectors.type == pa.list_(pa.float32(), embedder.dimension)
        is_chunked = isinstance(column, pa.ChunkedArray)
        assert isinstance(vectors, pa.ChunkedArray if is_chunked else pa.FixedSizeListArray)
        vectors = vectors.combine_chunks() if is_chunked else vectors
        vectors = vectors.chunk(0) if isinstance(vectors, pa.ChunkedArray) else vectors
        vectors.validate(full=True)
        assert bits(vectors.flatten().to_numpy().reshape(len(TEXTS), -1)) == expected


def test_polars_columns_come_back_as_polars(embedder, expected):
    pl = pytest.importorskip("polars")
    for dtype in (pl.String, pl.Categorical):
        column = pl.Series("texts", TEXTS, dtype=dtype)
        assert bits(embedder.encode(column)) == expected
        vectors = embedder.encode_arrow(column)
        assert (vectors.name, vectors.dtype) == ("texts", pl.Array(pl.Float32, embedder.dimension))
        assert bits(vectors.to_numpy()) == expected
    appended = pl.concat([pl.Series(TEXTS[:3]), pl.Series(TEXTS[3:])], rechunk=False)
    assert bits(embedder.encode(appended)) == expected
    kept = embedder.encode_arrow(pl.Series(["a", None]))
    assert kept.is_null().to_list() == [False, True]


def test_pandas_columns_are_read(embedder, expected):
    pd = pytest.importorskip("pandas")
    for dtype in (None, "object", "category", "string"):
        column = pd.Series(TEXTS, dtype=dtype, index=range(10, 16))
        assert bits(embedder.encode(column)) == expected, dtype
        assert bits(embedder.encode_arrow(column).to_numpy()) == expected, dtype
    for missing in (None, float("nan"), pd.NA):
        for dtype in ("object", "string"):
            column = pd.Series(["a", missing], dtype=dtype, index=[7, 8])
            assert embedder.encode_arrow(column).null_count == 1, (missing, dtype)
            with pytest.raises(InvalidInput) as raised:
                embedder.encode(column)
            assert raised.value.place == "sentences[1]"


def test_small_arrow_libraries_are_read(embedder, expected):
    for name in ("nanoarrow", "arro3.core"):
        library = pytest.importorskip(name)
        if name == "nanoarrow":
            column = library.Array(TEXTS, library.string())
        else:
            column = library.Array(TEXTS, library.DataType.utf8())
        assert bits(embedder.encode(column)) == expected, name
        vectors = embedder.encode_arrow(column)
        assert isinstance(vectors, VectorColumn), name
        assert len(library.Array(vectors)) == len(TEXTS), name


def test_nulls_stay_null_and_are_named_where_they_may_not(embedder):
    pa = pytest.importorskip("pyarrow")
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array(["a", None]))
    for column, nulls in [
        (pa.chunked_array([["a", "b"], [], ["c", None]]), [3]),
        (pa.array([None, "a", None], pa.string_view()), [0, 2]),
        (pa.array(["a", None, "b", None])[1:], [0, 2]),
        (pa.nulls(2), [0, 1]),
        (words, [1, 2]),
    ]:
        vectors = embedder.encode_arrow(column)
        assert [row for row in range(len(column)) if not vectors[row].is_valid] == nulls
        with pytest.raises(InvalidInput, match="null") as raised:
            embedder.encode(column)
        assert raised.value.place == f"sentences[{nulls[0]}]"


def test_arguments_of_encode_mean_the_same(embedder):
    texts = ["a", "b", "c"]
    for arguments in (
        {"truncate_dim": 64},
        {"truncate_dim": 64, "normalize_embeddings": True},
        {"normalize_embeddings": True, "batch_size": 1},
        {"prompt": "query: "},
    ):
        found = embedder.encode_arrow(texts, **arguments).to_numpy()
        assert bits(found) == bits(embedder.encode(texts, **arguments)), arguments


def test_what_is_no_column_of_strings_is_refused(embedder):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"title": ["a"], "body": ["b"]})
    for given, message in [
        (table, "`title`, `body`.*one column"),
        (table.to_batches()[0], "`title`, `body`.*one column"),
        (table.to_struct_array(), "`title`, `body`.*one column"),
        ({"title": ["a"]}, "`title`.*one column"),
        (pa.array([1, 2]), "Int64"),
        (pa.array([b"a"]), "Binary"),
        (pa.array([["a"]]), "List"),
        (np.array([[1, 2]], dtype=np.uint32), r"sentences\[0\]"),
        (np.array([1.5]), r"sentences\[0\].*float"),
        (np.array([b"a"]), r"sentences\[0\].*bytes"),
    ]:
        for call in (embedder.encode, embedder.encode_arrow, embedder.tokenize_lengths):
            with pytest.raises(InvalidInput, match=message):
                call(given)


def test_damaged_strings_are_refused(embedder):
    pa = pytest.importorskip("pyarrow")
    offsets = np.array([0, 1], dtype=np.int32)
    column = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff")])
    with pytest.raises(InvalidInput, match="UTF-8|utf-8"):
        embedder.encode(column)
    with pytest.raises(InvalidInput, match="column `t`"):
        embedder.embed_table(pa.table({"t": column}), "t")


class Producer:
    """What offers the given capsules."""

    def __init__(self, stream):
        self.stream = stream

    def __arrow_c_stream__(self, requested_schema=None):
        return self.stream() if callable(self.stream) else self.stream


def test_producer_that_dies_is_an_error(embedder):
    pa = pytest.importorskip("pyarrow")
    schema = pa.schema({"t": pa.string()})

    def batches():
        yield pa.record_batch({"t": ["a"]})
        raise RuntimeError("the connection is lost")

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(InvalidInput, match="the connection is lost"):
        embedder.embed_table(Producer(reader.__arrow_c_stream__), "t")

    def refuses():
        raise RuntimeError("no memory")

    with pytest.raises(InvalidInput, match="no memory") as raised:
        embedder.encode(Producer(refuses))
    assert isinstance(raised.value.__cause__, RuntimeError)

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedder.encode(Producer(interrupted))


def test_stream_can_be_read_once(embedder):
    stream = ArrowTable.from_columns([("t", ["a"])]).__arrow_c_stream__()
    assert len(ArrowTable.read(Producer(stream))) == 1
    with pytest.raises(InvalidInput, match="read before"):
        ArrowTable.read(Producer(stream))
    for wrong in (3, embedder.encode_arrow(["a"]).__arrow_c_schema__()):
        with pytest.raises(InvalidInput, match="capsule"):
            embedder.encode(Producer(wrong))


def test_requested_type_is_given_where_values_stay_the_same(embedder):
    pa = pytest.importorskip("pyarrow")
    column = embedder.encode_arrow(["a", None])
    own = pa.list_(pa.float32(), embedder.dimension)
    for requested, expected in [
        (pa.list_(pa.float32()), pa.list_(pa.float32())),
        (pa.large_list(pa.float32()), pa.large_list(pa.float32())),
        (own, own),
        (pa.list_(pa.float16(), embedder.dimension), own),
        (pa.string(), own),
    ]:
        capsule = requested.__arrow_c_schema__()
        array = pa.Array._import_from_c_capsule(*column.__arrow_c_array__(capsule))
        assert array.type == expected, requested
        assert array.is_valid().to_pylist() == [True, False]
        array.validate(full=True)
        stream = pa.ChunkedArray._import_from_c_capsule(column.__arrow_c_stream__(capsule))
        assert stream.type == expected
    with pytest.raises(InvalidInput, match="capsule"):
        column.__arrow_c_array__(3)


def test_vectors_outlive_what_made_them(embedder):
    pa = pytest.importorskip("pyarrow")
    before = pa.total_allocated_bytes()
    vectors = embedder.encode_arrow(pa.array(["a", "b"]))
    gc.collect()
    # The vectors are in the memory that the encoder wrote, not in a copy of pyarrow's.
    assert pa.total_allocated_bytes() - before < vectors.nbytes
    assert bits(vectors.flatten().to_numpy().reshape(2, -1)) == bits(embedder.encode(["a", "b"]))


def test_tokens_are_counted_before_texts_are_cut(embedder):
    long = "login " * 1000
    lengths = embedder.tokenize_lengths(["", "login", long, None, long * 200])
    assert lengths.dtype == np.int64
    # "login" is two tokens; the special ones are two more.
    assert lengths.tolist() == [2, 4, 2002, 0, 400_002]
    assert (lengths > embedder.max_seq_length).tolist() == [False, False, True, False, True]
    assert embedder.tokenize_lengths(["login"], prompt="fix login ").tolist() == [7]
    assert embedder.tokenize_lengths([]).shape == (0,)
    with pytest.raises(InvalidInput, match=r"sentences\[1\]"):
        embedder.tokenize_lengths(["a", 3])


def test_ten_megabytes_of_text_have_the_vector_of_their_start(embedder):
    text = "login loop " * 1_000_000
    assert bits(embedder.encode(text)) == bits(embedder.encode(text[:11_000]))


def test_no_arrow_library_is_imported():
    code = """
import sys, reembed
embedder = reembed.Embedder(precision="f32")
embedder.encode_arrow(["a", None])
table = reembed.ArrowTable.from_columns([("t", ["a"])])
embedder.embed_table(table, "t")
print([name for name in ("pyarrow", "pandas", "polars") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
