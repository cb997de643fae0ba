"""Errors: each has a type, a code and the place as Python counts."""

import pickle

import pytest

import reembed
from reembed import Embedder, InvalidConfig, InvalidInput, ModelError, ModelMismatch, _reembed, errors


def test_every_kind_has_an_exception():
    codes = [code for _, code in _reembed.ERROR_KINDS]
    # The command line alone has usage errors.
    assert sorted([*codes, "usage"]) == sorted(errors.BY_CODE)
    for kind, code in _reembed.ERROR_KINDS:
        error = errors.from_native("sentence", kind, code, "advice", "place")
        assert (error.kind, error.code, error.advice, error.place) == (kind, code, "advice", "place")
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.code, str(copy)) == (type(error), code, "sentence (advice)")


@pytest.mark.parametrize("wrong", [None, b"a", 3, float("nan"), ["a"], "\ud800"])
def test_what_is_no_text_is_named_from_0(embedder, wrong):
    for sentences in (["a", "b", wrong], (text for text in ["a", "b", wrong])):
        with pytest.raises(InvalidInput, match=r"sentences\[2\]") as raised:
            embedder.encode(sentences)
        assert isinstance(raised.value, ValueError)
        assert (raised.value.place, raised.value.code) == ("sentences[2]", "input")
        assert raised.value.advice


@pytest.mark.parametrize("wrong", [None, b"a", 3, {"a": 1}, "\udc00"])
def test_what_is_no_column_is_refused(embedder, wrong):
    with pytest.raises(InvalidInput):
        embedder.encode(wrong)


@pytest.mark.parametrize(
    "argument",
    [
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"output_value": "token_embeddings"},
        {"precision": "int8"},
        {"device": "cuda"},
    ],
)
def test_unsupported_arguments_are_refused_by_name(embedder, argument):
    with pytest.raises(TypeError, match=next(iter(argument))) as raised:
        embedder.encode("a", **argument)
    assert isinstance(raised.value, ValueError)


def test_devices_other_than_the_cpu_are_refused():
    assert Embedder(precision="f32", device="cpu").precision == "f32"
    for device in ("cuda", "cuda:0", "mps"):
        with pytest.raises(reembed.UnsupportedArgument, match=f"device='{device}'.*--features cuda"):
            Embedder(device=device)


def test_unknown_arguments_are_refused(embedder):
    with pytest.raises(TypeError, match="chunk_size"):
        embedder.encode("a", chunk_size=3)


@pytest.mark.parametrize(
    "argument",
    [
        {"batch_size": 0},
        {"batch_size": 2**70},
        {"truncate_dim": -1},
        {"prompt_name": "no"},
        {"prompt": 3},
        {"prompt": "a\ud800"},
    ],
)
def test_impossible_arguments_are_refused(embedder, argument):
    with pytest.raises(InvalidConfig):
        embedder.encode("a", **argument)


def test_wrong_tasks_are_named_from_0(embedder):
    for wrong in ({"title": 3}, {"files": "a.py"}, object()):
        with pytest.raises(InvalidInput, match=r"tasks\[1\]") as raised:
            embedder.compute_embeddings_batch([{"title": "t"}, wrong])
        assert raised.value.place == "tasks[1]"
    for none in (None, 3):
        with pytest.raises(InvalidInput, match="`tasks`"):
            embedder.compute_embeddings_batch(none)


def test_wrong_models_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ModelError):
        Embedder(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(reembed.ModelUnavailable, match="nobody/nothing"):
        Embedder("nobody/nothing")
    with pytest.raises(InvalidConfig, match="precision"):
        Embedder(precision="f33")
    for wrong in ("", "a/\ud800", 3):
        with pytest.raises(InvalidConfig, match="`model`"):
            Embedder(wrong)
    with pytest.raises(InvalidConfig, match="threads"):
        Embedder(threads=0)
    with pytest.raises(ModelMismatch):
        Embedder(precision="f32", fingerprint="0" * 64)
