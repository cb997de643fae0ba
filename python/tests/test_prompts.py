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
    with pytest.raises(InvalidConfig, match="unknown"):
        own.encode("a", prompt_name="unknown")


def test_default_prompt_is_none_of_queries_and_documents(directory, embedder):
    declare(directory, prompts={"other": "o: "}, default_prompt_name="other")
    own = Embedder(directory, precision="f32")
    plain = embedder.encode(["a"])
    assert np.array_equal(own.encode(["a"]), embedder.encode(["o: a"]))
    for found in [own.encode_query(["a"]), own.encode_document(["a"]), own.encode(["a"], prompt_name="query")]:
        assert np.array_equal(found, plain)
    assert np.array_equal(embedder.encode(["a"], prompt_name="document"), plain)


def test_prompts_need_no_file_of_a_loaded_model(directory, embedder):
    own = Embedder(directory, precision="f32")
    shutil.rmtree(directory)
    assert np.array_equal(own.encode(["a"], prompt="p: "), embedder.encode(["p: a"]))


def test_declared_dimension_is_kept(directory, embedder):
    declare(directory, truncate_dim=32)
    own = Embedder(directory, precision="f32")
    assert own.dimension == 32
    assert np.array_equal(own.encode(["a"]), embedder.encode(["a"])[:, :32])
    assert own.encode("a", truncate_dim=16).shape == (16,)
    assert own.encode("a", truncate_dim=384).shape == (384,)
