"""What models.py needs packages for: it makes the models and the texts, and runs the peers.

    python model_peers.py COMMAND ARGUMENTS

ARGUMENTS are a JSON object. The last line on standard output is the command's answer in JSON.
"""

import json
import shutil
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from peers import padded, peak_resident, sorted_batches, tokenize

SEED = 7
OPSET = 17

BERT_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 514,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}

# Configurations of published models. Only the vocabulary is another one: that of the tokenizer that all share.
SHAPES = {
    "e5-base": {
        "like": "multilingual-e5-base",
        "model_type": "xlm-roberta",
        "pooling": "mean",
        "config": BERT_BASE | {"type_vocab_size": 1},
    },
    "mpnet-base": {
        "like": "all-mpnet-base-v2",
        "model_type": "mpnet",
        "pooling": "mean",
        "config": BERT_BASE | {"relative_attention_num_buckets": 32},
    },
    "gte-modernbert": {
        "like": "gte-modernbert-base",
        "model_type": "modernbert",
        "pooling": "cls",
        "config": {
            "hidden_size": 768,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "intermediate_size": 1152,
            "max_position_embeddings": 8192,
            "global_attn_every_n_layers": 3,
            "local_attention": 128,
            # Its defaults are tokens of the published vocabulary.
            "pad_token_id": 0,
            "bos_token_id": 101,
            "cls_token_id": 101,
            "eos_token_id": 102,
            "sep_token_id": 102,
        },
    },
}

# Tokens a batch among which the peers choose.
BUDGETS = [512, 1024, 2048]

# Longer texts are cut for the choice of settings, which would take too long otherwise.
TUNING_TOKENS = 2048
# The first is a warm-up.
TUNING_ROUNDS = 3


# ---------------------------------------------------------------------------------------------------------- the models


def make_model(shape, tokenizer, directory, exported):
    """Writes the model with random weights as sentence-transformers has it, and what the peers read."""
    directory, exported = Path(directory), Path(exported)
    packages = ("torch", "transformers", "onnxruntime", "openvino")
    made_of = json.dumps([SHAPES[shape], SEED, OPSET, tokenizer, [version(package) for package in packages]])
    if is_made(exported, made_of):
        return
    for made in (directory, exported):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
    write_directory(SHAPES[shape], Path(tokenizer), directory)
    export(SHAPES[shape]["pooling"], directory, exported)
    (exported / "made_of.json").write_text(made_of)


def is_made(directory, made_of):
    file = directory / "made_of.json"
    return file.exists() and file.read_text() == made_of


def write_directory(shape, tokenizer, directory):
    import torch
    from transformers import AutoConfig, AutoModel

    for name in ("tokenizer.json", "special_tokens_map.json"):
        shutil.copyfile(tokenizer / name, directory / name)
    most = shape["config"]["max_position_embeddings"]
    # RoBERTa counts positions after the padding id.
    most -= 0 if shape["model_type"] == "modernbert" else 2
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text())
    write_json(directory / "tokenizer_config.json", settings | {"model_max_length": most})
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": most, "do_lower_case": False})
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    lines = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(modules)
    ]
    write_json(directory / "modules.json", lines)
    (directory / "1_Pooling").mkdir()
    kinds = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}
    pooling = {key: kind == shape["pooling"] for key, kind in kinds.items()}
    size = {"word_embedding_dimension": shape["config"]["hidden_size"]}
    write_json(directory / "1_Pooling/config.json", size | pooling)

    words = json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"]
    torch.manual_seed(SEED)
    config = AutoConfig.for_model(shape["model_type"], vocab_size=len(words), **shape["config"])
    AutoModel.from_config(config, dtype=torch.float32).save_pretrained(directory)


def write_json(file, value):
    file.write_text(json.dumps(value, indent=2) + "\n")


def export(pooling, directory, out):
    """`model.onnx` as torch exports it, `fused.onnx` with ONNX Runtime's own fusions, and `converted.xml`: OpenVINO's
    own conversion, which keeps each attention as one operation; only where transformers has the attention for it."""
    import torch
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions
    from transformers import AutoModel

    class SentenceModel(torch.nn.Module):
        def __init__(self, attention):
            super().__init__()
            self.model = AutoModel.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention)

        def forward(self, input_ids, attention_mask):
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if pooling == "cls":
                vector = hidden[:, 0]
            else:
                mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
                vector = (hidden * mask).sum(1) / mask.sum(1)
            return vector / torch.linalg.vector_norm(vector, dim=1, keepdim=True)

    # Two texts of unlike length, longer than a window of ModernBERT.
    ids = torch.randint(1000, 2000, (2, 200))
    ids[1, 100:] = 0
    example = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        model = SentenceModel("eager").eval()
        torch.onnx.export(
            model,
            tuple(example.values()),
            out / "model.onnx",
            input_names=list(example),
            output_names=["vectors"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in example} | {"vectors": {0: "texts"}},
            opset_version=OPSET,
            dynamo=False,
        )
        if model.model._supports_sdpa:
            import openvino as ov

            converted = ov.convert_model(SentenceModel("sdpa").eval(), example_input=example)
            ov.save_model(converted, out / "converted.xml", compress_to_fp16=False)
    # BERT's fusions are those for these shapes too: what they do not find stays as it is.
    fused = optimizer.optimize_model(
        str(out / "model.onnx"),
        model_type="bert",
        num_heads=model.model.config.num_attention_heads,
        hidden_size=model.model.config.hidden_size,
        optimization_options=FusionOptions("bert"),
    )
    fused.save_model_to_file(str(out / "fused.onnx"))


# ----------------------------------------------------------------------------------------------------------- the texts


def make_case(case, sample, count, directory, most, joined):
    """Writes the texts, the table of them that reembed reads, and their vectors by torch. `joined`: sample texts are
    joined until each text has at least `most` tokens."""
    from measure import check_text_building, text_of

    check_text_building()
    case, directory = Path(case), Path(directory)
    case.mkdir(parents=True, exist_ok=True)
    # Each once: reembed embeds equal texts of a table once.
    found = list(dict.fromkeys(text for row in pq.read_table(sample).to_pylist() if (text := text_of(row))))
    if joined:
        found = join(found, cut_tokenizer(directory, None), count, most)
    texts = found[:count]
    assert len(texts) == count, "the sample is too small"
    ids = tokenize(cut_tokenizer(directory, most), texts)
    weights = (directory / "model.safetensors").stat().st_mtime_ns
    made_of = json.dumps([texts, most, weights, version("torch"), version("sentence-transformers")])
    if not is_made(case, made_of):
        (case / "texts.json").write_text(json.dumps(texts))
        numbers = [str(number) for number in range(count)]
        pq.write_table(pa.table({"id": numbers, "text": texts}), case / "tasks.parquet")
        np.save(case / "reference.npy", reference(directory, texts, ids, most))
        for settings in case.glob("settings-*.json"):
            settings.unlink()
        (case / "made_of.json").write_text(made_of)
    return [len(some) for some in ids]


def join(texts, tokenizer, count, least):
    # Less the two special tokens of each.
    lengths = [len(some) - 2 for some in tokenize(tokenizer, texts)]
    at, whole = 0, []
    for _ in range(count):
        parts, tokens = [], 2
        while tokens < least:
            parts.append(texts[at % len(texts)])
            tokens += lengths[at % len(texts)]
            at += 1
        whole.append("\n".join(parts))
    return whole


def reference(directory, texts, ids, most):
    """The vectors by sentence-transformers in f32."""
    import sentence_transformers as st

    model = st.SentenceTransformer(str(directory), device="cpu", local_files_only=True)
    model.max_seq_length = most
    for text, expected in zip(texts, ids):
        assert model.preprocess([text])["input_ids"][0].tolist() == expected, text
    # Alone: no padding can change a vector, and long texts fit in memory.
    return model.encode(texts, batch_size=1, show_progress_bar=False)


def cut_tokenizer(directory, most):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation() if most is None else tokenizer.enable_truncation(most)
    return tokenizer


# ----------------------------------------------------------------------------------------------------------- the peers


def embed(engine, case, directory, exported, most, threads, settings):
    """One pass from texts to vectors in memory, tokenization included, as peers.py measures it."""
    texts = json.loads((Path(case) / "texts.json").read_text())
    tokenizer = cut_tokenizer(directory, most)
    run, ran = ENGINES[engine](exported, threads, **settings["load"])
    # New lengths make a peer choose kernels and map memory; `reembed bench` embeds its texts before, too.
    embed_with(run, tokenizer, texts if settings["tokens"] > 1 else texts[:threads], settings)
    started = time.perf_counter()
    vectors = embed_with(run, tokenizer, texts, settings)
    seconds = time.perf_counter() - started
    np.save(Path(case) / f"{engine}.npy", vectors)
    budget = settings["tokens"]
    ran += f", {budget:,} tokens a batch" if budget > 1 else ", one text a batch"
    return {"seconds": seconds, "peak_bytes": peak_resident(), "ran": ran}


def embed_with(run, tokenizer, texts, settings):
    ids = tokenize(tokenizer, texts)
    batches = ((rows, *padded(ids, rows)) for rows in sorted_batches(ids, settings["tokens"]))
    parts = run(batches)
    vectors = np.empty((len(texts), parts[0][1].shape[1]), np.float32)
    for rows, part in parts:
        vectors[rows] = part
    return vectors


def onnx_runtime(exported, threads, file):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(Path(exported) / file, options, providers=["CPUExecutionProvider"])

    def run(batches):
        return [
            (rows, session.run(None, {"input_ids": ids, "attention_mask": mask})[0]) for rows, ids, mask in batches
        ]

    return run, f"onnxruntime {ort.__version__}, {file}"


def openvino(exported, threads, file, streams):
    import openvino as ov

    settings = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = ov.Core().compile_model(Path(exported) / file, "CPU", settings)
    queue = ov.AsyncInferQueue(compiled, streams)

    def run(batches):
        parts = []
        queue.set_callback(lambda request, rows: parts.append((rows, request.get_output_tensor().data.copy())))
        for rows, ids, mask in batches:
            queue.start_async({"input_ids": ids, "attention_mask": mask}, userdata=rows)
        queue.wait_all()
        return parts

    precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    number = "1 stream" if streams == 1 else f"{streams} streams"
    return run, f"openvino {ov.__version__.split('-')[0]}, {file}, precision in force {precision}, {number}"


ENGINES = {"openvino": openvino, "ort": onnx_runtime}


def tune(engine, case, directory, exported, most, threads, alone):
    """The fastest settings of a peer for these texts: first the file and the streams, then the tokens of a batch."""
    texts = json.loads((Path(case) / "texts.json").read_text())
    if alone:
        texts = texts[:threads]
    tokenizer = cut_tokenizer(directory, min(most, TUNING_TOKENS))
    if engine == "ort":
        loads = [{"file": file} for file in ("fused.onnx", "model.onnx")]
    else:
        streams = [1] if threads == 1 else [2, 1]
        files = [file for file in ("model.onnx", "converted.xml") if (Path(exported) / file).exists()]
        loads = [{"file": file, "streams": number} for number in streams for file in files]
    budget = 1 if alone else BUDGETS[1]
    runs = [ENGINES[engine](exported, threads, **load)[0] for load in loads]
    best, tried = fastest([(run, {"load": load, "tokens": budget}) for run, load in zip(runs, loads)], tokenizer, texts)
    if not alone:
        run, settings = best
        best, more = fastest([(run, settings | {"tokens": budget}) for budget in BUDGETS], tokenizer, texts)
        tried += more
    return best[1] | {"tried": tried}


def fastest(candidates, tokenizer, texts):
    """The fastest candidate, by the least time of each, and all times. They take turns, as the tools do."""
    seconds = [[] for _ in candidates]
    for _ in range(TUNING_ROUNDS):
        for (run, settings), found in zip(candidates, seconds):
            started = time.perf_counter()
            embed_with(run, tokenizer, texts, settings)
            found.append(time.perf_counter() - started)
    best = min(range(len(candidates)), key=lambda at: min(seconds[at]))
    return candidates[best], [settings | {"seconds": found} for (_, settings), found in zip(candidates, seconds)]


def compare(case, vectors):
    """The least cosine and the largest difference of a component, against the vectors by torch."""
    from measure import accuracy

    expected = np.load(Path(case) / "reference.npy")
    if vectors.endswith(".npy"):
        found = np.load(vectors)
    else:
        column = pq.read_table(vectors, columns=["embedding"])["embedding"].combine_chunks()
        found = column.flatten().to_numpy().reshape(len(column), -1)
    assert found.shape == expected.shape and np.isfinite(found).all()
    return {"min_cosine": accuracy(found, expected)["min_cosine"], "difference": float(np.abs(found - expected).max())}


COMMANDS = {"model": make_model, "case": make_case, "tune": tune, "embed": embed, "compare": compare}

if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](**json.loads(sys.argv[2]))))
