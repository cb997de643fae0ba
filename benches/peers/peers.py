"""The peers: each embeds the texts once, in its own process, with its best settings.

    python peers.py NAME WORK_DIR MODEL_DIR THREADS

This command reads `texts.json` in the work directory, loads the model, warms up, and measures one pass from texts to
vectors in memory, tokenization and pooling included. It writes the vectors to `vectors/NAME.npy`. The last line on
standard output is a JSON object: `seconds`, `peak_bytes`, and `ran`, the engine that ran.
"""

import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

THREADS = int(sys.argv[4]) if __name__ == "__main__" else 1
MAX_TOKENS = 256
DIMENSION = 384
WARM_UP_TEXTS = 64


def main(name, work, model_directory):
    texts = json.loads((work / "texts.json").read_text())
    embed, ran = PEERS[name](model_directory, work)
    # The first calls map memory, start threads and choose kernels.
    embed(texts[:WARM_UP_TEXTS])
    started = time.perf_counter()
    vectors = embed(texts)
    seconds = time.perf_counter() - started
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    assert len(vectors) == len(texts)
    (work / "vectors").mkdir(exist_ok=True)
    np.save(work / "vectors" / f"{name}.npy", vectors)
    ran = ran() if callable(ran) else ran
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_resident(), "ran": ran}))


def peak_resident():
    # Not getrusage: its peak includes the parent's.
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def sentence_transformers(dtype, batch_size):
    """With `batch_size` None, one call per text."""

    def load(model_directory, _):
        import sentence_transformers as st
        import torch

        torch.set_num_threads(THREADS)
        model = st.SentenceTransformer(
            str(model_directory), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)}, local_files_only=True
        )
        model.max_seq_length = MAX_TOKENS
        options = {"show_progress_bar": False, "convert_to_numpy": True}

        def embed(texts):
            if batch_size is None:
                return np.stack([model.encode(text, **options) for text in texts])
            return model.encode(texts, batch_size=batch_size, **options)

        return embed, f"sentence-transformers {st.__version__}, torch {torch.__version__}"

    return load


def onnx_runtime(file, tokens_per_batch, streams):
    """`streams` batches at a time."""
    streams = min(streams, THREADS)

    def load(model_directory, work):
        import onnxruntime as ort

        options = ort.SessionOptions()
        # A thread that calls a session also computes for it.
        options.intra_op_num_threads = THREADS - streams + 1
        options.inter_op_num_threads = 1
        session = ort.InferenceSession(
            work / file,
            options,
            providers=["CPUExecutionProvider"],
            # Its operator is slower than the addition and the norm that it replaces.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
        callers = ThreadPoolExecutor(streams)
        tokenizer = fast_tokenizer(model_directory)

        def embed(texts):
            ids = tokenize(tokenizer, texts)
            vectors = np.empty((len(texts), DIMENSION), np.float32)

            def embed_batch(rows):
                input_ids, mask = padded(ids, rows)
                vectors[rows] = session.run(None, {"input_ids": input_ids, "attention_mask": mask})[0]

            # The results are empty, but reading them raises what a call raised.
            list(callers.map(embed_batch, sorted_batches(ids, tokens_per_batch)))
            return vectors

        return embed, f"onnxruntime {ort.__version__}, {file}"

    return load


def openvino(file, precision, tokens_per_batch, streams):
    """`precision` is that of what the file does not quantize."""
    streams = min(streams, THREADS)

    def load(model_directory, work):
        import openvino as ov

        core = ov.Core()
        compiled = core.compile_model(
            work / file,
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": THREADS,
                "INFERENCE_PRECISION_HINT": precision,
            },
        )
        queue = ov.AsyncInferQueue(compiled, streams)
        tokenizer = fast_tokenizer(model_directory)

        def embed(texts):
            ids = tokenize(tokenizer, texts)
            vectors = np.empty((len(texts), DIMENSION), np.float32)

            def keep(request, rows):
                vectors[rows] = request.get_output_tensor().data

            queue.set_callback(keep)
            for rows in sorted_batches(ids, tokens_per_batch):
                input_ids, mask = padded(ids, rows)
                queue.start_async({"input_ids": input_ids, "attention_mask": mask}, userdata=rows)
            queue.wait_all()
            return vectors

        def ran():
            hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            kernels = Counter()
            for node in compiled.get_runtime_model().get_ops():
                info = node.get_rt_info()
                kind = info["layerType"].astype(str) if "layerType" in info else ""
                if kind in ("FullyConnected", "MatMul", "ScaledDotProductAttention", "MHA"):
                    kernels[info["primitiveType"].astype(str)] += 1
            products = ", ".join(f"{count} × {kernel}" for kernel, count in kernels.most_common())
            return f"openvino {ov.__version__.split('-')[0]}, {file}, precision in force {hint}; products: {products}"

        return embed, ran

    return load


def tfidf(_, __):
    import sklearn
    from sklearn.feature_extraction.text import TfidfVectorizer

    sizes = []

    def embed(texts):
        matrix = TfidfVectorizer().fit_transform(texts)
        sizes.append(matrix.shape[1])
        # Sparse rows over the words of the corpus, in another vector space; only their number is kept.
        return np.zeros((matrix.shape[0], 1), np.float32)

    return embed, lambda: f"scikit-learn {sklearn.__version__}, {sizes[-1]} words"


def reference(model_directory, _):
    """The model in double precision, the reference for all vectors."""
    import sentence_transformers as st
    import torch

    torch.set_num_threads(THREADS)
    model = st.SentenceTransformer(str(model_directory), device="cpu", local_files_only=True).double()
    model.max_seq_length = MAX_TOKENS

    def embed(texts):
        return model.encode(texts, batch_size=16, show_progress_bar=False)

    return embed, f"sentence-transformers {st.__version__}, float64"


def fast_tokenizer(model_directory):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def tokenize(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def sorted_batches(ids, tokens_per_batch):
    """Batches of rows of similar length, longest first, within a budget of padded tokens."""
    order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
    at = 0
    while at < len(order):
        size = max(1, tokens_per_batch // len(ids[order[at]]))
        yield order[at : at + size]
        at += size


def padded(ids, rows):
    longest = len(ids[rows[0]])
    input_ids = np.zeros((len(rows), longest), np.int64)
    for place, row in enumerate(rows):
        input_ids[place, : len(ids[row])] = ids[row]
    return input_ids, (input_ids != 0).astype(np.int64)


PEERS = {
    "reference": reference,
    "st-f32-alone": sentence_transformers("float32", None),
    "st-f32-16": sentence_transformers("float32", 16),
    "st-bf16-32": sentence_transformers("bfloat16", 32),
    "ort-f32": onnx_runtime("fused.onnx", 1024, 2),
    "ort-int8": onnx_runtime("int8.onnx", 1024, 2),
    "openvino-f32": openvino("model.onnx", "f32", 2048, 2),
    "openvino-bf16": openvino("model.onnx", "bf16", 2048, 2),
    "openvino-int8": openvino("openvino-int8.xml", "bf16", 2048, 2),
    "tfidf": tfidf,
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
