"""Measures the contenders in rounds and prints the table; started by run.py in its virtual environment.

Each contender embeds the same texts once per round in its own process, one after the other: machine drift affects all
equally, and each has its own peak memory. Figures are medians over the rounds; a ratio is computed within each round
first.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from arguments import ROOT, parser
from markdown_tables import heading, or_dash, put_between_marks

HERE = Path(__file__).resolve().parent
SCHEMA = "reembed-peers/2"

# Texts that NNCF chooses its scales by.
CALIBRATION_TEXTS = 300
# Neighbours of each text to compare, and the texts among which they are: all pairs of a large table would take hours.
NEIGHBOURS = 10
NEIGHBOUR_TEXTS = 1000

# The baselines of the ratios.
BASELINES = {
    "st-f32-alone": "× ST alone",
    "candle-alone": "× candle alone",
    "openvino-f32": "× OV f32",
    "openvino-bf16": "× OV bf16",
}


def main():
    options = parser(__doc__).parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, work)
    contenders = [c for c in bench.contenders() if re.search(options.only, c.name)]
    if options.list:
        print("\n".join(f"{c.name:26} {c.label}" for c in contenders))
        return
    bench.prepare()
    if options.add:
        earlier = json.loads((work / "report.json").read_text())
        alike = earlier["corpus"]["rows"] == len(bench.texts) and earlier["threads"] == bench.threads
        assert earlier["schema"] == SCHEMA and alike, "of another kind of run"
        for line in earlier["contenders"]:
            for contender in contenders:
                if contender.name == line["name"]:
                    contender.runs, contender.refused = line["runs"], line["refused"] or ""
    for number in range(options.rounds):
        for contender in contenders:
            if contender.refused or len(contender.runs) >= contender.most_rounds:
                continue
            started = time.monotonic()
            contender.measure()
            took = time.monotonic() - started
            said = contender.refused or f"{contender.runs[-1]['seconds']:8.3f} s"
            print(f"round {number + 1}  {contender.name:26} {said}  (process {took:.0f} s)", file=sys.stderr)
            # Written after each round, so that an interrupted run keeps its results.
            write(bench.report(contenders), work)
    text = write(bench.report(contenders), work)
    print(text)
    if options.into:
        put_between_marks(options.into, "peers", text)


def write(report, work):
    (work / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    text = markdown(report)
    (work / "report.md").write_text(text)
    return text


@dataclass
class Contender:
    """A library or engine, with its mode of embedding the texts."""

    name: str
    label: str
    once: callable  # one measurement: {"seconds", "peak_bytes", "ran"}
    vectors: callable = None  # its vectors, after a measurement; None where there are none to compare
    most_rounds: int = 10**9
    runs: list = field(default_factory=list)
    refused: str = ""
    accuracy: dict = None  # of its last vectors; None where it is to be computed

    def measure(self):
        try:
            self.runs.append(self.once())
            self.accuracy = None
        except subprocess.CalledProcessError as failure:
            lines = (failure.stderr or failure.stdout or "").strip().splitlines()
            self.refused = f"exit {failure.returncode}: {lines[-1] if lines else ''}"


class Bench:
    def __init__(self, options, work):
        self.reembed, self.work = options.reembed.absolute(), work
        self.tasks, self.threads = options.tasks, options.threads
        self.rows = options.rows and options.rows.absolute()
        if options.model:
            self.model = options.model.absolute()
            self.model_flags = ["--model-path", self.model]
        else:
            directory = re.search(r"^directory +(.+)$", self.output("model", "show"), re.M)
            self.model = Path(directory[1])
            self.model_flags = []
        self.precisions = ["f32"]
        if "--precision" in self.output("bench", "--help"):
            self.precisions = ["f32", "bf16x3", "bf16", "bf16-avx512", "int16", "int8"]

    def contenders(self):
        peers = {
            "st-f32-alone": "sentence-transformers f32, one call per text",
            "st-f32-16": "sentence-transformers f32, batch 16",
            "st-bf16-32": "sentence-transformers bf16, batch 32",
            "ort-f32": f"ONNX Runtime f32, 1,024 tokens a batch, {self.streams()}",
            "ort-int8": f"ONNX Runtime int8 (dynamic), 1,024 tokens a batch, {self.streams()}",
            "openvino-f32": f"OpenVINO f32, 2,048 tokens a batch, {self.streams()}",
            "openvino-bf16": f"OpenVINO bf16, 2,048 tokens a batch, {self.streams()}",
            "openvino-int8": f"OpenVINO int8 (NNCF, static), 2,048 tokens a batch, {self.streams()}",
            "tfidf": "TF-IDF (scikit-learn, fit and transform)",
        }
        for name, label in peers.items():
            yield Contender(name, label, self.peer(name), None if name == "tfidf" else self.peer_vectors(name))
        candle = {"REEMBED_COMPUTE_ENGINE": "candle"}
        yield self.bench("candle-alone", "stock candle f32, one call per text", "single", [], candle)
        yield self.bench("candle-8", "stock candle f32, sorted batches of 8", "8", [], candle)
        run = self.run("candle-run", "stock candle f32, Parquet to Parquet", ["--batch-size", "8"], candle)
        run.most_rounds = 1
        yield run
        for precision in self.precisions:
            flags = self.precision_flags(precision)
            name = f"reembed-{precision}"
            yield self.bench(f"{name}-alone", f"**reembed {precision}**, one call per text", "single", flags)
            yield self.bench(f"{name}-32", f"**reembed {precision}**, batch 32", "32", flags)
            yield self.bench(f"{name}-plan", f"**reembed {precision}**, its own plan", "auto", flags)
            yield self.run(f"{name}-run", f"**reembed {precision}**, Parquet to Parquet", flags)
        avx2 = {"REEMBED_COMPUTE_ISA": "avx2"}
        for precision in ("f32", "int16", "int8"):
            if precision in self.precisions:
                label = f"**reembed {precision}**, AVX2 only, its own plan"
                yield self.bench(f"reembed-{precision}-avx2-plan", label, "auto", self.precision_flags(precision), avx2)

    def precision_flags(self, precision):
        return ["--precision", precision] if len(self.precisions) > 1 else []

    def streams(self):
        """The number of streams of OpenVINO and ONNX Runtime, as peers.py sets it."""
        return "1 stream" if self.threads == 1 else "2 streams"

    def prepare(self):
        """Creates the texts, the exported and quantized models, and the reference vectors in double precision."""
        check_text_building()
        self.machine = self.bench_report("auto", ["--tasks", "1"])["machine"]
        source = self.rows
        if not source:
            source = self.work / "sample.parquet"
            # A few rows in ten thousand have no text.
            self.output("sample", source, "--rows", str(self.tasks + self.tasks // 50 + 10))
        table = pq.read_table(source)
        texts = [text_of(row) for row in table.to_pylist()]
        kept = [at for at, text in enumerate(texts) if text]
        kept = kept if self.rows else kept[: self.tasks]
        pq.write_table(table.take(pa.array(kept)), self.work / "tasks.parquet")
        texts = [texts[at] for at in kept]
        calibration = self.calibration(texts)
        # The models and the reference are reused while what they are made of is unchanged.
        makers = [version(package) for package in ("torch", "transformers", "onnxruntime", "openvino", "nncf")]
        scripts = [(HERE / script).read_text() for script in ("export.py", "quantize.py")]
        made_of = json.dumps([texts, calibration, str(self.model), makers, scripts])
        self.texts, self.tasks = texts, len(texts)
        if not (self.work / "made_of.json").exists() or (self.work / "made_of.json").read_text() != made_of:
            print("exporting and quantizing the model, and embedding the texts in double precision", file=sys.stderr)
            (self.work / "texts.json").write_text(json.dumps(texts))
            (self.work / "calibration.json").write_text(json.dumps(calibration))
            self.python("export.py", self.model, self.work)
            self.python("quantize.py", self.model, self.work)
            self.python("peers.py", "reference", self.work, self.model, self.threads)
            (self.work / "made_of.json").write_text(made_of)
        self.reference = np.load(self.work / "vectors/reference.npy")
        from peers import fast_tokenizer, tokenize

        self.tokens = sum(map(len, tokenize(fast_tokenizer(self.model), texts)))

    def calibration(self, texts):
        """Sample texts, without any that is measured: scales chosen by those would flatter the vectors."""
        source = self.work / "calibration.parquet"
        # Even a measured sample leaves enough: a few rows in a hundred have no text or the text of another.
        self.output("sample", source, "--rows", str(len(texts) * 21 // 20 + CALIBRATION_TEXTS * 3 // 2))
        others = dict.fromkeys(text_of(row) for row in pq.read_table(source).to_pylist())
        measured = set(texts)
        return [text for text in others if text and text not in measured][:CALIBRATION_TEXTS]

    def peer(self, name):
        def once():
            output = self.python("peers.py", name, self.work, self.model, self.threads)
            return json.loads(output.splitlines()[-1])

        return once

    def peer_vectors(self, name):
        return lambda: np.load(self.work / "vectors" / f"{name}.npy")

    def bench(self, name, label, mode, flags, variables=None):
        """reembed in memory, measured by `reembed bench`."""

        def once():
            corpus = ["--input", self.work / "tasks.parquet"] if self.rows else []
            report = self.bench_report(mode, [*corpus, "--tasks", str(self.tasks), *flags], variables)
            assert (report["corpus"]["rows"], report["corpus"]["tokens"]) == (len(self.texts), self.tokens)
            return {
                "seconds": report["subjects"][0]["ways"][0]["seconds"][0],
                "peak_bytes": max(report["load_peak_resident"], report["subjects"][0]["ways"][0]["peak_resident"]),
                "ran": f"{report['subjects'][0]['numerics']} on {report['subjects'][0]['runs_on']}",
            }

        return Contender(name, label, once)

    def bench_report(self, mode, flags, variables=None):
        file = self.work / "bench.json"
        fixed = ["--repeats", "1", "--time", "0", "--no-memory", "--html", self.work / "bench.html", *self.common("bench")]
        self.output("bench", "--modes", mode, "--json", file, *fixed, *flags, env=variables)
        report = json.loads(file.read_text())
        assert report["schema"] == "reembed-bench/1", report["schema"]
        return report

    def run(self, name, label, flags, variables=None):
        """A whole `reembed run`, model load excluded, which also returns the vectors."""
        out = self.work / "runs" / name

        def once():
            # No file of an earlier run may be reused.
            shutil.rmtree(out, ignore_errors=True)
            summary = self.output("run", *self.common(name), *flags, env=variables)
            seconds = re.search(r"^seconds +([\d.]+)", summary, re.M)[1]
            peak, unit = re.search(r"^peak memory +([\d.]+) (\w+)$", summary, re.M).groups()
            place = re.search(r"^device +(.+)$", summary, re.M)[1]
            return {
                "seconds": float(seconds),
                "peak_bytes": float(peak) * {"MB": 1e6, "GB": 1e9}[unit],
                "ran": place,
            }

        def vectors():
            column = pq.read_table(out / "tasks.parquet", columns=["embedding"])["embedding"].combine_chunks()
            return column.flatten().to_numpy().reshape(len(column), -1)

        return Contender(name, label, once, vectors)

    def common(self, name):
        return ["--threads", str(self.threads), "--quiet", "--config", self.config(name), *self.model_flags]

    def config(self, name):
        directory = self.work / "runs" / name
        directory.mkdir(parents=True, exist_ok=True)
        file = self.work / "runs" / f"{name}.toml"
        paths = {"input": self.work / "tasks.parquet", "output": directory / "tasks.parquet"}
        file.write_text("".join(f"[{table}]\npath = {json.dumps(str(path))}\n" for table, path in paths.items()))
        return file

    def output(self, *arguments, env=None):
        # Runs in the work directory, so that no file lands in the caller's.
        return self.call([self.reembed, *arguments], env, self.work)

    def python(self, script, *arguments):
        return self.call([sys.executable, HERE / script, *arguments])

    def call(self, command, variables=None, directory=None):
        # Fixed threads, no network for the models, and no settings from the caller.
        threads = {"OMP_NUM_THREADS": str(self.threads), "RAYON_NUM_THREADS": str(self.threads)}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("REEMBED_COMPUTE_")}
        return call(command, kept | threads | {"HF_HUB_OFFLINE": "1"} | (variables or {}), directory)

    def report(self, contenders):
        by_name = {c.name: c for c in contenders}
        lines = []
        for c in contenders:
            line = {"name": c.name, "label": c.label, "refused": c.refused or None, "runs": c.runs}
            if c.runs:
                if c.vectors and not c.accuracy:
                    c.accuracy = accuracy(c.vectors(), self.reference)
                seconds = [run["seconds"] for run in c.runs]
                line |= {
                    "seconds": statistics.median(seconds),
                    "tasks_per_second": len(self.texts) / statistics.median(seconds),
                    "spread": max(seconds) / min(seconds) if len(seconds) > 1 else None,
                    "peak_bytes": max(run["peak_bytes"] for run in c.runs),
                    "ran": c.runs[-1]["ran"],
                    "ratios": {b: ratio(by_name[b], c) for b in BASELINES if b in by_name and by_name[b].runs},
                }
                line |= c.accuracy or dict.fromkeys(("min_cosine", "mean_cosine", "top_10"))
            lines.append(line)
        return {
            "schema": SCHEMA,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "commit": call(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip(),
            "reembed": self.output("--version").strip(),
            "machine": self.machine | {"kernel": platform.release(), "python": platform.python_version()},
            "threads": self.threads,
            "rounds": max(len(c.runs) for c in contenders),
            "corpus": {"rows": len(self.texts), "tokens": self.tokens},
            "contenders": lines,
        }


def ratio(baseline, contender):
    """The median speed-up over the baseline, computed within each round."""
    pairs = zip(baseline.runs, contender.runs)
    return statistics.median(base["seconds"] / run["seconds"] for base, run in pairs)


def accuracy(vectors, reference):
    """The least and the mean cosine with the reference, and the percentage of nearest neighbours in common."""
    a, b = (of_length_1(rows.astype(np.float64)) for rows in (vectors, reference))
    cosines = (a * b).sum(1)
    pairs = list(zip(nearest(a[:NEIGHBOUR_TEXTS]), nearest(b[:NEIGHBOUR_TEXTS])))
    shared = [np.intersect1d(ours, theirs).size for ours, theirs in pairs]
    top_10 = 100 * sum(shared) / (len(pairs) * NEIGHBOURS) if len(pairs) > NEIGHBOURS else None
    return {"min_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean()), "top_10": top_10}


def of_length_1(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(vectors):
    """The nearest other rows of each row."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -np.inf)
    # Stable, so that equal texts come in the same order for every contender.
    return np.argsort(-similarities, axis=1, kind="stable")[:, :NEIGHBOURS]


def markdown(report):
    corpus = report["corpus"]
    lines = [
        *heading(report),
        f"{corpus['rows']:,} texts, {corpus['tokens']:,} tokens, {report['threads']} threads; "
        + ("one round." if report["rounds"] == 1 else f"medians of {report['rounds']} interleaved rounds."),
        "",
        f"| | tasks/s | ms/task | spread | {' | '.join(BASELINES.values())} "
        "| min cosine | mean cosine | top 10 | peak MB |",
        "|---|" + "---:|" * (len(BASELINES) + 7),
    ]
    for line in report["contenders"]:
        if line["refused"]:
            why = line["refused"].replace("|", "/")[:100]
            lines.append(f"| {line['label']} | refused: {why} |" + " |" * (len(BASELINES) + 6))
        elif line["runs"]:
            ratios = [f"{line['ratios'][b]:.2f}" if b in line["ratios"] else "–" for b in BASELINES]
            spread = or_dash(line["spread"], ".2f")
            cosines = f"{or_dash(line['min_cosine'], '.7f')} | {or_dash(line['mean_cosine'], '.7f')}"
            top_10 = or_dash(line["top_10"], ".1f")
            speed = line["tasks_per_second"]
            lines.append(
                f"| {line['label']} | {speed:,.1f} | {1000 / speed:.2f} | {spread} | {' | '.join(ratios)} "
                f"| {cosines} | {top_10} | {line['peak_bytes'] / 1e6:,.0f} |"
            )
    lines += ["", "What ran:", ""]
    lines += [f"- {line['label']}: {line['ran']}" for line in report["contenders"] if line["runs"]]
    return "\n".join(lines) + "\n"


def check_text_building():
    """Checks the text rule against the golden rows: with another rule the texts would differ from reembed's."""
    for row in pq.read_table(ROOT / "tests/golden/golden.parquet").to_pylist():
        assert text_of(row) == row["text"], row["id"]


def text_of(row):
    parts = [part for part in (row["title"], row["description"]) if part]
    if row["files"]:
        parts.append("Files: " + ", ".join(row["files"]))
    return "\n".join(parts)


def call(command, env=None, directory=None):
    """The standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], env=env, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()
