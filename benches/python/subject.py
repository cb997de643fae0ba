"""One subject of speed.py: reads texts once, then a command from each line of standard input, as library_calls.rs does.

    subject.py NAME TEXTS.json MODEL_DIR WORK_DIR THREADS

A command is `alone N` (one call for each text), `32 N` (one call, batches of 32) or `auto N` (one call, the subject's
own default); each embeds the first N texts and answers with a line of JSON: `seconds`, and for `alone` those of `each`
call. `save` writes the vectors of all texts.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))


def main(name, texts, model, work, threads):
    texts = json.loads(Path(texts).read_text())
    encode, ran = SUBJECTS[name](model, Path(work), int(threads))
    answer({"ran": ran})
    for line in sys.stdin:
        command, count = line.split()
        if command == "save":
            np.save(Path(work) / f"{name}.npy", encode(texts, 32))
            answer({})
            continue
        given, each = texts[: int(count)], []
        started = time.perf_counter()
        if command == "alone":
            for text in given:
                call = time.perf_counter()
                encode(text, None)
                each.append(time.perf_counter() - call)
        else:
            encode(given, 32 if command == "32" else None)
        answer({"seconds": time.perf_counter() - started, "each": each})


def answer(line):
    print(json.dumps(line), flush=True)


def reembed(precision):
    def load(model, _, threads):
        import reembed

        embedder = reembed.Embedder(model, precision, threads)
        ran = f"reembed {reembed.__version__}, {embedder.precision}"
        return lambda texts, size: embedder.encode(texts, batch_size=size), ran

    return load


def sentence_transformers(model, _, threads):
    import sentence_transformers as st
    import torch

    torch.set_num_threads(threads)
    loaded = st.SentenceTransformer(model, device="cpu", local_files_only=True)

    def encode(texts, size):
        return loaded.encode(texts, batch_size=size or 32, show_progress_bar=False)

    return encode, f"sentence-transformers {st.__version__}, torch {torch.__version__}"


def onnx_runtime(model, work, threads):
    import onnxruntime as ort
    from peers import DIMENSION, fast_tokenizer, padded, sorted_batches, tokenize

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(work / "fused.onnx", options, providers=["CPUExecutionProvider"])
    tokenizer = fast_tokenizer(Path(model))

    def encode(texts, size):
        texts = [texts] if isinstance(texts, str) else texts
        ids = tokenize(tokenizer, texts)
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for rows in batches(ids, size):
            input_ids, mask = padded(ids, rows)
            vectors[rows] = session.run(None, {"input_ids": input_ids, "attention_mask": mask})[0]
        return vectors

    def batches(ids, size):
        if size is None:
            return sorted_batches(ids, 1024)
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        return [order[at : at + size] for at in range(0, len(order), size)]

    return encode, f"onnxruntime {ort.__version__}, fused.onnx"


def fastembed(model, work, threads):
    from importlib.metadata import version

    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    # Its own catalogue loads from a hub; a custom model may be a directory. Pooling is inside of the exported file.
    TextEmbedding.add_custom_model(
        model="local/all-MiniLM-L6-v2",
        pooling=PoolingType.DISABLED,
        normalization=False,
        sources=ModelSource(hf="local/all-MiniLM-L6-v2"),
        dim=384,
        model_file="fused.onnx",
    )
    loaded = TextEmbedding(
        "local/all-MiniLM-L6-v2", threads=threads, specific_model_path=str(work / "fastembed"), local_files_only=True
    )

    def encode(texts, size):
        return np.stack(list(loaded.embed(texts, batch_size=size or 256)))

    return encode, f"fastembed {version('fastembed')}, fused.onnx"


SUBJECTS = {
    "reembed-f32": reembed("f32"),
    "reembed-default": reembed(None),
    "reembed-int16": reembed("int16"),
    "reembed-int8": reembed("int8"),
    "reembed-avx2": reembed(None),
    "sentence-transformers": sentence_transformers,
    "onnxruntime": onnx_runtime,
    "fastembed": fastembed,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
