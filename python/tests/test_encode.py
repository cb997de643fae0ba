"""Vectors: shapes, inputs, arguments and the program's own bits."""

import os
import subprocess

import numpy as np
import pytest

from reembed import Embedder, InvalidInput


def bits(vectors):
    return np.ascontiguousarray(vectors).view(np.uint32).tolist()


def test_shapes_and_memory(embedder, texts):
    one = embedder.encode("a")
    assert one.shape == (embedder.dimension,) and one.dtype == np.float32
    many = embedder.encode(texts)
    assert many.shape == (64, embedder.dimension) and many.flags.c_contiguous
    assert many.flags.writeable
    assert embedder.encode([]).shape == (0, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, atol=1e-5)


def test_empty_text_has_a_vector(embedder):
    assert np.isfinite(embedder.encode("")).all()


def test_bits_do_not_depend_on_the_batch(embedder, texts):
    together = embedder.encode(texts)
    assert bits(embedder.encode(texts, batch_size=3)) == bits(together)
    assert bits([embedder.encode(text) for text in texts]) == bits(together)


def test_iterables_are_read_in_order(embedder, texts):
    expected = bits(embedder.encode(texts))
    for given in (tuple(texts), (text for text in texts), np.array(texts), np.array(texts, dtype=object)):
        assert bits(embedder.encode(given)) == expected


def test_columns_are_read_in_order(embedder, texts):
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    expected = bits(embedder.encode(texts))
    chunked = pa.chunked_array([texts[:10], texts[10:]])
    columns = [pd.Series(texts), pl.Series(texts), pa.array(texts), pa.array(texts, pa.large_string())]
    columns += [chunked, pa.array(texts).dictionary_encode(), pd.Series(texts, dtype="category")]
    for column in columns:
        assert bits(embedder.encode(column)) == expected, type(column)


def test_prompts_are_written_before_the_text(embedder):
    assert bits(embedder.encode("a", prompt="query: ")) == bits(embedder.encode("query: a"))
    # This model declares no prompt, so both are `encode`.
    assert bits(embedder.encode_query(["a"])) == bits(embedder.encode(["a"]))
    assert bits(embedder.encode_document(["a"], prompt="p: ")) == bits(embedder.encode(["p: a"]))


def test_vectors_are_cut_before_they_are_scaled(embedder, texts):
    whole = embedder.encode(texts)
    cut = embedder.encode(texts, truncate_dim=64)
    assert bits(cut) == bits(whole[:, :64])
    scaled = embedder.encode(texts, truncate_dim=64, normalize_embeddings=True)
    np.testing.assert_allclose(scaled, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    assert bits(embedder.encode(texts, normalize_embeddings=True)) == bits(whole)


def test_tasks_have_one_text(embedder):
    class Task:
        title, description, files = "t", "", ["a.py", "b.py"]

    text = "t\nFiles: a.py, b.py"
    expected = bits(embedder.encode(text))
    assert bits(embedder.compute_embedding("t", None, ["a.py", "b.py"])) == expected
    tasks = [Task(), {"title": "t", "files": ["a.py", "b.py"]}]
    batch = embedder.compute_embeddings_batch(tasks, batch_size=1, show_progress=True)
    assert batch.shape == (2, embedder.dimension)
    assert bits(batch) == [expected, expected]


def test_program_has_the_same_bits(embedder, texts, tmp_path):
    program = os.environ.get("TEST_REEMBED_PROGRAM")
    if not program:
        pytest.skip("TEST_REEMBED_PROGRAM does not name the program")
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = {"id": list(map(str, range(64))), "text": texts}
    pq.write_table(pa.table(rows), tmp_path / "in.parquet")
    for precision in ("f32", "bf16x3", "bf16", "bf16-avx512", "int16", "int8"):
        out = tmp_path / f"{precision}.parquet"
        arguments = ["run", tmp_path / "in.parquet", out, "--text", "text"]
        environment = {**os.environ, "REEMBED_COMPUTE_PRECISION": precision}
        subprocess.run([program, *arguments], check=True, env=environment)
        column = pq.read_table(out)["embedding"].combine_chunks()
        expected = column.values.to_numpy().reshape(64, -1)
        assert bits(Embedder(precision=precision).encode(texts)) == bits(expected), precision


def test_calls_of_sentence_transformers_are_the_same_call(embedder):
    texts = ["a", "b c"]
    expected = embedder.encode(texts, prompt="p: ")
    assert np.array_equal(embedder.encode(inputs=texts, prompt="p: "), expected)
    assert np.array_equal(embedder.encode_query(texts, None, "p: ", 64), expected)
    assert np.array_equal(embedder.encode_document(inputs=texts, prompt="p: "), expected)

    class Device:  # as torch.device is written
        def __str__(self):
            return "cpu"

    assert np.array_equal(embedder.encode(texts, prompt="p: ", device=Device()), expected)
    for arguments in [{}, {"sentences": texts, "inputs": texts}]:
        with pytest.raises(TypeError, match="`inputs`"):
            embedder.encode(**arguments)


def test_rows_of_frames_are_tasks(embedder):
    pa, pd = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    tasks = [
        {"title": "a", "description": "b", "files": ["x.py", "y.py"]},
        {"title": "c", "description": None, "files": None},
    ]
    expected = embedder.compute_embeddings_batch(tasks)
    frame = pd.DataFrame(tasks).assign(other=[{"k": 1}, 2])
    frame.loc[1, "description"] = float("nan")
    frames = [frame, pa.Table.from_pylist(tasks)]
    try:
        import polars as pl

        frames.append(pl.DataFrame(tasks))
    except ImportError:
        pass
    for given in frames:
        assert np.array_equal(embedder.compute_embeddings_batch(given), expected), type(given)
    empty = pd.DataFrame(columns=["title", "description"])
    assert embedder.compute_embeddings_batch(empty).shape == (0, embedder.dimension)
    for wrong, words in [
        (["Fix login"], r"tasks\[0\]: it is a str"),
        ("Fix login", "`tasks` is one str"),
        (pd.DataFrame({"name": ["a"]}), "without a column title"),
    ]:
        with pytest.raises(InvalidInput, match=words):
            embedder.compute_embeddings_batch(wrong)
