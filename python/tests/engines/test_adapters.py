"""LangChain, LlamaIndex, Polars, DuckDB, Dask, Daft and Dagster: the program's bits through each of them."""

import asyncio
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from engines.conftest import with_bytes

from reembed import Embedder, ModelError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/python"
QUERY, DOCUMENTS = "how to log in", ["Fix the login loop", "", "Add a dark theme"]


@pytest.fixture(scope="module")
def titles(expected):
    return expected("--text", "title")


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_f32(vectors):
    """LangChain and LlamaIndex have floats of Python, which hold each f32 exactly."""
    exact = np.array(vectors, np.float64)
    assert (exact == exact.astype(np.float32)).all()
    return exact.astype(np.float32)


def test_langchain_has_the_vectors_of_the_embedder(embedder):
    from langchain_core.vectorstores import InMemoryVectorStore

    from reembed.langchain import ReembedEmbeddings

    embeddings = ReembedEmbeddings(precision="f32")
    assert np.array_equal(as_f32(embeddings.embed_documents(DOCUMENTS)), embedder.encode(DOCUMENTS))
    assert np.array_equal(as_f32(embeddings.embed_query(QUERY)), embedder.encode(QUERY))
    assert embeddings.embed_documents([]) == []
    again = asyncio.run(embeddings.aembed_documents(DOCUMENTS))
    assert np.array_equal(as_f32(again), embedder.encode(DOCUMENTS))
    store = InMemoryVectorStore.from_texts(DOCUMENTS, embeddings)
    assert store.similarity_search(QUERY, k=1)[0].page_content == DOCUMENTS[0]


def test_llama_index_has_the_vectors_of_the_embedder(embedder):
    from llama_index.core.schema import TextNode

    from reembed.llama_index import ReembedEmbedding

    model = ReembedEmbedding(precision="f32", embed_batch_size=2)
    assert np.array_equal(as_f32(model.get_query_embedding(QUERY)), embedder.encode(QUERY))
    assert np.array_equal(as_f32(model.get_text_embedding(QUERY)), embedder.encode(QUERY))
    assert np.array_equal(as_f32(model.get_text_embedding_batch(DOCUMENTS)), embedder.encode(DOCUMENTS))
    again = asyncio.run(model.aget_text_embedding_batch(DOCUMENTS))
    assert np.array_equal(as_f32(again), embedder.encode(DOCUMENTS))
    nodes = model([TextNode(text=text) for text in DOCUMENTS if text])
    assert np.array_equal(as_f32(nodes[1].embedding), embedder.encode(DOCUMENTS[2]))
    assert ReembedEmbedding.class_name() in str(model.to_dict())
    model_of_name = ReembedEmbedding(model_name="all-MiniLM-L6-v2", precision="f32")
    assert np.array_equal(as_f32(model_of_name.get_text_embedding(QUERY)), embedder.encode(QUERY))
    for copy in [ReembedEmbedding.from_dict(model.to_dict()), pickle.loads(pickle.dumps(model))]:
        settings = (copy.model_name, copy.precision, copy.fingerprint, copy.embed_batch_size)
        assert settings == (embedder.source, "f32", embedder.fingerprint, 2)
        assert np.array_equal(as_f32(copy.get_text_embedding(QUERY)), embedder.encode(QUERY))
    with pytest.raises(TypeError, match="`model_name`"):
        ReembedEmbedding("a", model_name="b")
    with pytest.raises(ValueError, match="frozen"):
        model.precision = "int16"
    with pytest.raises(ModelError, match="nowhere"):
        ReembedEmbedding(Path("nowhere"))


def test_polars_expression_has_the_program_bits(embedder, tasks, titles):
    import polars as pl

    import reembed.polars

    vectors = reembed.polars.embed(pl.col("title"), embedder)
    frame = pl.read_parquet(tasks).with_columns(embedding=vectors)
    assert frame.schema["embedding"] == pl.Array(pl.Float32, 384)
    assert with_bytes(frame["id"].to_list(), frame["embedding"].to_list()) == titles
    prompted = reembed.polars.embed("title", embedder, prompt="fix: ")
    found = pl.DataFrame({"title": ["a", None]}).select(prompted).to_series()
    assert found.to_list() == [embedder.encode("fix: a").tolist(), None]
    # Lazy, by the name of the column, on the streaming engine, and in a selection.
    lazy = pl.scan_parquet(tasks).with_columns(embedding=reembed.polars.embed("title", embedder))
    found = lazy.select("id", "embedding").collect(engine="streaming")
    assert with_bytes(found["id"].to_list(), found["embedding"].to_list()) == titles


def test_duckdb_function_has_the_program_bits(embedder, tasks, titles):
    import duckdb

    import reembed.duckdb

    with duckdb.connect() as connection:
        reembed.duckdb.register(connection, embedder)
        relation = connection.sql(f"SELECT id, embed(title) AS embedding FROM '{tasks}'")
        assert str(relation.types[1]) == "FLOAT[384]"
        found = relation.fetchall()
        reembed.duckdb.register(connection, embedder, "embed_fix", prompt="fix: ")
        prompted = connection.sql("SELECT embed_fix('a')").fetchall()[0][0]
        near = connection.sql("SELECT array_cosine_similarity(embed('login'), embed('log in'))").fetchall()[0][0]
    assert with_bytes([row[0] for row in found], [row[1] for row in found]) == titles
    assert 0.5 < near < 1
    assert list(prompted) == embedder.encode("fix: a").tolist()


def test_dask_example_has_the_program_bits(tasks, titles, tmp_path):
    example("dask_frame").main(str(tasks), str(tmp_path / "out"), "title")
    # Dask writes an index of its own; the order of files is that of the partitions.
    files = sorted((tmp_path / "out").glob("*.parquet"), key=lambda file: int(file.name.split(".")[1]))
    assert len(files) > 1
    found = pa.concat_tables(pq.read_table(file, columns=["id", "embedding"]) for file in files)
    assert with_bytes(found["id"].to_pylist(), found["embedding"].to_pylist()) == titles


def test_daft_example_has_the_program_bits(tasks, titles, tmp_path):
    import polars as pl

    example("daft_frame").main(str(tasks), str(tmp_path / "out"), "title")
    # Not by pyarrow, which reads a null in a list of a fixed size from version 26 on.
    found = pl.read_parquet(tmp_path / "out")
    pairs = with_bytes(found["id"].to_list(), found["embedding"].to_list())
    assert sorted(pairs, key=str) == sorted(titles, key=str)


def test_dagster_example_has_the_program_bits(tasks, expected):
    import dagster as dg

    recipe = example("dagster_asset")

    @dg.asset(name="tasks")
    def source() -> pa.Table:
        return pq.read_table(tasks)

    result = dg.materialize([source, recipe.task_vectors], resources={"model": recipe.Model()})
    found = result.output_for_node("task_vectors")
    assert with_bytes(found["id"].to_pylist(), found["embedding"].to_pylist()) == expected()
    metadata = result.asset_materializations_for_node("task_vectors")[0].metadata
    assert metadata["rows"].value == 600 and metadata["rows_without_text"].value > 10
    assert metadata["fingerprint"].value == Embedder(precision="f32").fingerprint
