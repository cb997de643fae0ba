"""A class over sentence-transformers, and the same class after its import was replaced.

sentence-transformers and torch take gigabytes. Where they are not installed, its vectors are those that
`TEST_RECORD=1 pytest test_seed.py` has written to seed_vectors.npz.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import reembed
from reembed import Embedder

HERE = Path(__file__).parent
RECORDED = HERE / "seed_vectors.npz"
SEED = (HERE / "seed.py").read_text()
THEIRS = "from sentence_transformers import SentenceTransformer\n"
OURS = "from reembed import Embedder as SentenceTransformer\n"
TASKS = json.loads((HERE / "seed_tasks.json").read_text())
# What tokenizers and cuts of long texts get wrong first.
HARD = [
    "",
    " \t\n ",
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "Ünïcödé naïve Straße İstanbul",
    "\u0041\u030a\u0301 e\u0301 \u1100\u1161\u11a8",
    "漢字とかな交じり文。中文，标点；한국어",
    "مرحبا بالعالم שלום עולם",
    "👩‍👩‍👧‍👦 🏳️‍🌈 ¯\\_(ツ)_/¯",
    "zero\u200bwidth\u00a0space\ufeff\u00ad\u0000null\ufffd",
    "𝕞𝕒𝕥𝕙 ﬁ ligature Ⅷ ½",
    "x" * 300,
    "a" * 99 + " " + "b" * 100 + " " + "c" * 101,
    "word " * 5000,
    "!?" * 700,
    "https://example.org/a/b?c=d&e=%20f#g user@example.org C:\\a\\b.txt",
    "def f(x):\n\treturn {'a': [x ** 2 for _ in range(10)]}\r\n",
    "CamelCase snake_case kebab-case ALLCAPS 3.14159e-10 0xDEADBEEF",
]
WITHIN = 1e-6


@pytest.fixture(scope="module")
def directory():
    """The files of the default model, in the model cache that the program fills."""
    Embedder(precision="f32")
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reembed"
    cache = Path(os.environ.get("REEMBED_CACHE") or default)
    return str(cache / "models/sentence-transformers--all-MiniLM-L6-v2/main")


@pytest.fixture(scope="module")
def st():
    return pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def theirs(directory, st):
    return st.SentenceTransformer(directory, device="cpu", local_files_only=True)


@pytest.fixture(scope="module")
def ours(directory):
    return Embedder(directory, precision="f32")


def difference(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype == np.float32
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())


def class_of(source):
    names = {}
    exec(compile(source, "seed.py", "exec"), names)
    return names["TaskEmbedder"]


def test_class_with_the_replaced_import_has_recorded_vectors(directory):
    after = class_of(SEED.replace(THEIRS, OURS))(directory, precision="f32")
    recorded = np.load(RECORDED)
    tasks = difference(recorded["tasks"], after.compute_embeddings_batch(TASKS))
    hard = difference(recorded["hard"], after.model.encode(HARD))
    print(f"\nrecorded vectors: {len(TASKS)} tasks {tasks:.1e}, {len(HARD)} hard texts {hard:.1e}")
    assert max(tasks, hard) < WITHIN
    for row, task in enumerate(TASKS[:5]):
        assert difference(recorded["tasks"][row], after.compute_embedding(**task)) < WITHIN


def test_one_import_is_all_that_changes(directory, st):
    assert SEED.count(THEIRS) == 1
    before, after = class_of(SEED), class_of(SEED.replace(THEIRS, OURS))
    before, after = before(directory, device="cpu"), after(directory, precision="f32")
    assert isinstance(after.model, reembed.Embedder)
    for task in TASKS[:5]:
        assert difference(before.compute_embedding(**task), after.compute_embedding(**task)) < WITHIN
    both = before.compute_embeddings_batch(TASKS), after.compute_embeddings_batch(TASKS)
    if os.environ.get("TEST_RECORD"):
        np.savez_compressed(RECORDED, tasks=both[0], hard=before.model.encode(HARD))
    worst = difference(*both)
    print(f"\n{len(TASKS)} tasks: largest difference of a component {worst:.1e}")
    assert worst < WITHIN


def test_own_calls_are_those_of_the_class(directory, st):
    before = class_of(SEED)(directory, device="cpu")
    ours = Embedder(directory, precision="f32")
    assert difference(before.compute_embedding(**TASKS[0]), ours.compute_embedding(**TASKS[0])) < WITHIN
    both = before.compute_embeddings_batch(TASKS), ours.compute_embeddings_batch(TASKS)
    assert difference(*both) < WITHIN


def test_hard_texts_have_the_same_vectors(theirs, ours):
    for text in HARD:
        alone = difference(theirs.encode(text), ours.encode(text))
        assert alone < WITHIN, (text[:40], alone)
    worst = difference(theirs.encode(HARD), ours.encode(HARD))
    print(f"\n{len(HARD)} hard texts: largest difference of a component {worst:.1e}")
    assert worst < WITHIN


@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 3},
        {"prompt": "query: "},
        {"normalize_embeddings": True},
        {"truncate_dim": 64},
        {"truncate_dim": 64, "normalize_embeddings": True},
        {"show_progress_bar": False, "convert_to_numpy": True},
        {"show_progress_bar": True, "device": "cpu"},
    ],
    ids=lambda arguments: ",".join(arguments) or "none",
)
def test_arguments_mean_the_same(method, arguments, theirs, ours):
    texts = [task["title"] for task in TASKS[:20]] + HARD[:5]
    for sentences in (texts, texts[0], [], np.array(texts[:4])):
        both = [getattr(model, method)(sentences, **arguments) for model in (theirs, ours)]
        if len(sentences) == 0:
            assert len(both[0]) == len(both[1]) == 0
        else:
            assert difference(*both) < WITHIN, arguments


def test_prompt_names_mean_the_same(directory, st):
    prompts = {"query": "search for: ", "document": "passage: "}
    theirs = st.SentenceTransformer(directory, device="cpu", local_files_only=True, prompts=prompts)
    ours = Embedder(directory, precision="f32")
    for name, prompt in prompts.items():
        assert difference(theirs.encode(HARD, prompt_name=name), ours.encode(HARD, prompt=prompt)) < WITHIN
    assert difference(theirs.encode_query(HARD), ours.encode_query(HARD, prompt=prompts["query"])) < WITHIN


@pytest.mark.parametrize("is_pooled", [True, False])
def test_declared_prompts_are_pooled_alike(directory, st, tmp_path, is_pooled):
    own = Path(shutil.copytree(directory, tmp_path / "model"))
    pooling = own / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text()) | {"include_prompt": is_pooled}))
    prompts = {"query": "search for: ", "other": "Instruction [SEP] of two sentences. "}
    (own / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    theirs = st.SentenceTransformer(str(own), device="cpu", local_files_only=True)
    ours = Embedder(own, precision="f32")
    for call in (lambda it: it.encode_query(HARD), lambda it: it.encode_document(HARD)):
        assert difference(call(theirs), call(ours)) < WITHIN
    for name in prompts:
        both = (it.encode(HARD, prompt_name=name) for it in (theirs, ours))
        assert difference(*both) < WITHIN, name
    both = (it.encode(HARD, prompt="one more: ") for it in (theirs, ours))
    assert difference(*both) < WITHIN
