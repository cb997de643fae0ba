"""Prompts and a shorter vector that a model's own files declare."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from reembed import Embedder, InvalidConfig


@pytest.fixture
def directory(embedder, tmp_path):
    """The default model, copied from the model cache that `embedder` has filled."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reembed"
    cache = Path(os.environ.get("REEMBED_CACHE") or default)
    name = "models/sentence-transformers--all-MiniLM-L6-v2/main"
    if not (cache / name).is_dir():
        pytest.skip("the model is not in the model cache")
    return Path(shutil.copytree(cache / name, tmp_path / "model"))


def declare(directory, **settings):
    (directory / "config_sentence_transformers.json").write_text(json.dumps(settings))


def test_declared_prompts_are_used_by_their_names(directory, embedder):
    prompts = {"query": "q: ", "passage": "p: ", "other": "o: "}
    declare(directory, prompts=prompts, default_prompt_name="other")
    own = Embedder(directory, precision="f32")
    assert own.fingerprint != embedder.fingerprint
    for found, text in [
        (own.encode(["a"]), "o: a"),
        (own.encode(["a"], prompt_name="query"), "q: a"),
        (own.encode(["a"], prompt=""), "a"),
        (own.encode_query(["a"]), "q: a"),
        # As sentence-transformers: `document` is always there, empty here, and so `passage` is not looked for.
        (own.encode_document(["a"]), "a"),
        (own.encode(["a"], prompt_name="passage"), "p: a"),
        (own.encode_document(["a"], prompt_name="other"), "o: a"),
    ]:
        assert np.array_equal(found, embedder.encode([text])), text
    assert own.prompts == prompts | {"document": ""}
    with pytest.raises(InvalidConfig, match="'unknown'.*'query', 'document', 'other', 'passage'"):
        own.encode("a", prompt_name="unknown")


def test_default_prompt_is_none_of_queries_and_documents(directory, embedder):
    declare(directory, prompts={"other": "o: "}, default_prompt_name="other")
    own = Embedder(directory, precision="f32")
    plain = embedder.encode(["a"])
    assert np.array_equal(own.encode(["a"]), embedder.encode(["o: a"]))
    for found in [own.encode_query(["a"]), own.encode_document(["a"]), own.encode(["a"], prompt_name="query")]:
        assert np.array_equal(found, plain)
    assert np.array_equal(embedder.encode(["a"], prompt_name="document"), plain)


def test_table_without_a_prompt_is_told_about_once(directory, embedder, caplog):
    pa = pytest.importorskip("pyarrow")
    declare(directory, prompts={"query": "q: ", "passage": "p: "})
    own = Embedder(directory, precision="f32")
    table = pa.table({"body": ["a"]})
    own.embed_table(table, "body", prompt_name="passage")
    assert not caplog.records
    for _ in range(2):
        own.embed_table(table, "body")
    (record,) = caplog.records
    assert record.name == "reembed" and "passage, query" in record.message.replace('"', "")
    assert "`prompt_name`" in record.message and "`model." not in record.message
    caplog.clear()
    embedder.embed_table(table, "body")
    assert not caplog.records


def test_prompts_need_no_file_of_a_loaded_model(directory, embedder):
    own = Embedder(directory, precision="f32")
    shutil.rmtree(directory)
    assert np.array_equal(own.encode(["a"], prompt="p: "), embedder.encode(["p: a"]))


def test_prompt_is_left_out_of_the_pooling_where_the_model_says_so(directory, embedder, tmp_path):
    pooling = directory / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"include_prompt": False}))
    own = Embedder(directory, precision="f32")
    found = {prompt: own.encode(["a b"], prompt=prompt) for prompt in ["", "p: ", "another one: ", "p: "]}
    assert np.array_equal(found[""], embedder.encode(["a b"]))
    for prompt in ["p: ", "another one: "]:
        assert not np.array_equal(found[prompt], embedder.encode([prompt + "a b"])), prompt
        # A model that is opened with the prompt as its own.
        declare(directory, prompts={"own": prompt}, default_prompt_name="own")
        of_model = Embedder(directory, precision="f32")
        assert np.array_equal(of_model.encode(["a b"]), found[prompt]), prompt
        assert np.array_equal(of_model.encode(["a b"], prompt=""), found[""])
    with pytest.raises(InvalidConfig, match="no token"):
        own.encode("a", prompt="long " * 300)


def test_declared_dimension_is_kept(directory, embedder):
    declare(directory, truncate_dim=32)
    own = Embedder(directory, precision="f32")
    assert own.dimension == 32
    assert np.array_equal(own.encode(["a"]), embedder.encode(["a"])[:, :32])
    assert own.encode("a", truncate_dim=16).shape == (16,)
    assert own.encode("a", truncate_dim=384).shape == (384,)
