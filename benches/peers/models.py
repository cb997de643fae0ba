#!/usr/bin/env python3
"""Compares reembed with OpenVINO and ONNX Runtime on models of the size that people use, with random weights.

    python3 benches/peers/models.py --tokens 512,2048,8192

The weights do not matter to the speed, so nothing is downloaded: a directory of each model is made from its
configuration. In every round each tool embeds the same texts in its own process, one after the other. Figures are
medians over the rounds; a ratio is computed within each round first.

Started by the Python of a virtual environment, it uses that one; else it makes one, as run.py does.
"""

import argparse
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
from functools import partial
from pathlib import Path

from arguments import ROOT, at_least_one, usable_cores
from run import build, environment
from markdown_tables import heading, or_dash, put_between_marks

HERE = Path(__file__).resolve().parent
SCHEMA = "reembed-models/1"

# Texts of the first table are cut at so many tokens, as in the comparison of peers.
MOST_TOKENS = 256

# The model whose published form reads long texts.
LONG_SHAPE = "gte-modernbert"

# The texts of a length have at least so many tokens together, and each thread has a text.
LONG_TOTAL = 8192

# What vectors in f32 have to keep to: the least cosine with torch's, and the largest difference of a component.
LEAST_COSINE, LARGEST_DIFFERENCE = 0.9999, 1e-5


def main():
    options = parser().parse_args()
    is_virtual = sys.prefix != sys.base_prefix
    python = sys.executable if is_virtual else environment(options.venv.absolute())
    reembed = options.reembed.absolute() if options.reembed else build()
    bench = Bench(options, python, reembed)
    cases = [case for case in bench.cases() if re.search(options.only, case.name)]
    for case in cases:
        bench.prepare(case)
    text = ""
    for number in range(options.rounds):
        for case in cases:
            bench.peaks.append(bench.peak())
            for contender in case.contenders:
                if contender.refused:
                    continue
                contender.measure()
                said = contender.refused or f"{contender.runs[-1]['seconds']:8.3f} s"
                print(f"round {number + 1}  {case.name:22} {contender.name:20} {said}", file=sys.stderr)
                # Written each time, so that an interrupted run keeps its results.
                text = write(bench.report(cases), bench.work)
    print(text)
    if options.into:
        put_between_marks(options.into, "models", text)


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--venv", type=Path, default=ROOT / "target/peers-venv", help="the virtual environment, made if need be")
    add("--reembed", type=Path, help="the binary; built unless given")
    add("--tokenizer", type=Path, help="the model whose tokenizer all have; that of `reembed model show` unless given")
    add("--texts", type=at_least_one, default=64, help="sample rows with a text (64)")
    add("--tokens", type=lengths, default=[], help="lengths of long texts for ModernBERT, such as 512,2048,8192")
    add("--threads", type=at_least_one, default=usable_cores(), help="threads of every tool (all usable cores)")
    add("--rounds", type=at_least_one, default=3, help="interleaved rounds (3)")
    add("--only", default="", help="models whose name this regular expression finds; long texts: `long-512`")
    add("--work", type=Path, default=ROOT / "target/models", help="directory for what is made, some 6 GB")
    add("--into", type=Path, help="a file whose part between the marks becomes the tables")
    return parser


def lengths(text):
    return [at_least_one(part) for part in text.split(",")]


@dataclass
class Case:
    """A model and its texts."""

    name: str
    label: str
    shape: str
    count: int
    most: int  # tokens at which a text is cut
    is_long: bool = False
    lengths: list = field(default_factory=list)
    contenders: list = field(default_factory=list)


@dataclass
class Contender:
    name: str
    label: str
    once: callable  # one measurement: {"seconds", "peak_bytes", "ran"}
    agreement: callable  # {"min_cosine", "difference"} of the vectors of the last measurement
    is_f32: bool = True
    runs: list = field(default_factory=list)
    refused: str = ""

    def measure(self):
        try:
            run = self.once() | self.agreement()
        except subprocess.CalledProcessError as failure:
            lines = (failure.stderr or failure.stdout or "").strip().splitlines()
            self.refused = f"exit {failure.returncode}: {lines[-1] if lines else ''}"
            return
        if self.is_f32 and (run["min_cosine"] < LEAST_COSINE or run["difference"] > LARGEST_DIFFERENCE):
            self.refused = f"other vectors: cosine {run['min_cosine']:.7f}, difference {run['difference']:.1e}"
        else:
            self.runs.append(run)


class Bench:
    def __init__(self, options, python, reembed):
        self.options, self.python, self.reembed = options, python, reembed
        self.work, self.threads = options.work.absolute(), options.threads
        self.work.mkdir(parents=True, exist_ok=True)
        self.peaks = []
        self.tokenizer = options.tokenizer and options.tokenizer.absolute()
        if not self.tokenizer:
            self.tokenizer = Path(re.search(r"^directory +(.+)$", self.output("model", "show"), re.M)[1])
        self.precisions = ["f32"]
        if "int16" in self.output("bench", "--help"):
            self.precisions.append("int16")

    def cases(self):
        for name in ("e5-base", "mpnet-base", "gte-modernbert"):
            yield Case(name, name, name, self.options.texts, MOST_TOKENS)
        for length in self.options.tokens:
            count = max(self.threads, -(-LONG_TOTAL // length))
            yield Case(f"long-{length}", f"{length:,}", LONG_SHAPE, count, length, is_long=True)

    def prepare(self, case):
        """Makes the model, the texts and torch's vectors, and finds the peers' best settings."""
        print(f"preparing {case.name}", file=sys.stderr)
        model = {"directory": str(self.work / case.shape), "exported": str(self.work / f"{case.shape}-exported")}
        self.worker("model", shape=case.shape, tokenizer=str(self.tokenizer), **model)
        sample = self.work / "sample.parquet"
        # Some rows have no text, or that of another row.
        self.output("sample", sample, "--rows", str(max(2000, 2 * case.count)))
        directory = self.directory(case)
        texts = {"sample": str(sample), "count": case.count, "joined": case.is_long}
        told = {"case": str(directory), "most": case.most}
        case.lengths = self.worker("case", directory=model["directory"], **texts, **told)
        told |= model | {"threads": self.threads}
        for precision in self.precisions:
            case.contenders += self.reembed_of(case, precision, is_alone_too=case.is_long and precision == "f32")
        for engine, label in {"openvino": "OpenVINO f32", "ort": "ONNX Runtime f32"}.items():
            # The best settings for other threads may be others.
            file = directory / f"settings-{engine}-{self.threads}.json"
            if not file.exists():
                file.write_text(json.dumps(self.worker("tune", engine=engine, alone=case.is_long, **told), indent=2))
            case.contenders.append(self.peer(case, engine, label, json.loads(file.read_text()), told))

    def peer(self, case, engine, label, settings, told):
        def once():
            return self.worker("embed", engine=engine, settings=settings, **told)

        return Contender(engine, label, once, lambda: self.agreement(case, self.directory(case) / f"{engine}.npy"))

    def reembed_of(self, case, precision, is_alone_too):
        """reembed in memory, by one `reembed bench` for all its ways; the vectors are those of one run, of which a
        bench has the bits."""
        ways = {"auto": ("", "its own plan")} | ({"single": ("-alone", "one text at a time")} if is_alone_too else {})
        found, agreed = {}, {}

        def measure():
            flags = ["--tasks", str(case.count), *self.model(case), "--precision", precision]
            report = self.bench_report(",".join(ways), flags, case)
            assert report["corpus"]["tokens"] == sum(case.lengths), report["corpus"]
            subject = report["subjects"][0]
            for mode, way in zip(ways, subject["ways"], strict=True):
                # reembed counts operations too: the two have to be alike.
                counted = 1e9 * way["gflops"] * way["seconds"][0]
                assert abs(counted / self.operations(case) - 1) < 0.02, counted
                found[mode] = {
                    "seconds": way["seconds"][0],
                    "peak_bytes": max(report["load_peak_resident"], way["peak_resident"]),
                    "ran": f"{subject['numerics']} on {subject['runs_on']}",
                }

        def once(mode):
            if mode not in found:
                measure()
            return found.pop(mode)

        def agreement():
            if not agreed:
                agreed.update(self.agreement(case, self.run(case, precision)))
            return agreed

        for mode, (suffix, how) in ways.items():
            name, label = f"reembed-{precision}{suffix}", f"**reembed {precision}**, {how}"
            yield Contender(name, label, partial(once, mode), agreement, is_f32=precision == "f32")

    def run(self, case, precision):
        """The file of a whole `reembed run`."""
        out = self.directory(case) / "runs" / precision / "tasks.parquet"
        # No file of an earlier run may be used again.
        shutil.rmtree(out.parent, ignore_errors=True)
        out.parent.mkdir(parents=True)
        fixed = ["--output", out, "--cache-mode", "off", *self.common(case)]
        self.output("run", *fixed, *self.model(case), "--precision", precision)
        return out

    def peak(self):
        """The rate of f32 fused multiply-adds in registers that the machine has just now."""
        report = self.bench_report("single", ["--tasks", "1", "--model-path", self.tokenizer, "--precision", "f32"])
        self.machine = report["machine"]
        return 1e9 * report["ceiling"]["f32_gflops"]

    def bench_report(self, mode, flags, case=None):
        file = self.work / "bench.json"
        fixed = ["--repeats", "1", "--time", "0", "--no-memory", "--html", self.work / "bench.html"]
        if case:
            fixed += ["--input", self.directory(case) / "tasks.parquet"]
        self.output("bench", "--modes", mode, "--json", file, *fixed, *self.common(case), *flags)
        report = json.loads(file.read_text())
        assert report["schema"] == "reembed-bench/1", report["schema"]
        return report

    def agreement(self, case, vectors):
        return self.worker("compare", case=str(self.directory(case)), vectors=str(vectors))

    def directory(self, case):
        return self.work / "cases" / case.name

    def model(self, case):
        return ["--model-path", self.work / case.shape]

    def common(self, case):
        flags = ["--threads", str(self.threads), "--quiet"]
        if case:
            file = self.directory(case) / "config.toml"
            table = json.dumps(str(self.directory(case) / "tasks.parquet"))
            file.write_text(f'[input]\npath = {table}\n[text]\ncolumns = ["text"]\nmax_length = {case.most}\n')
        else:
            file = self.work / "none.toml"
            file.write_text("")
        return [*flags, "--config", file]

    def output(self, *arguments):
        # Runs in the work directory, so that no file lands in the caller's.
        return self.call([self.reembed, *arguments])

    def worker(self, command, **arguments):
        output = self.call([self.python, HERE / "model_peers.py", command, json.dumps(arguments)])
        return json.loads(output.splitlines()[-1])

    def call(self, command):
        """The standard output of a command that must succeed."""
        # Fixed threads, no network for the models, and no settings from the caller.
        threads = {"OMP_NUM_THREADS": str(self.threads), "RAYON_NUM_THREADS": str(self.threads)}
        env = {name: value for name, value in os.environ.items() if not name.startswith("REEMBED_COMPUTE_")}
        env |= threads | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        command = [str(part) for part in command]
        done = subprocess.run(command, env=env, cwd=self.work, capture_output=True, text=True)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def operations(self, case):
        config = json.loads((self.work / case.shape / "config.json").read_text())
        return sum(operations(config, length) for length in case.lengths)

    def report(self, cases):
        # The highest: other processes only lower it.
        peak = max(self.peaks)
        return {
            "schema": SCHEMA,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "commit": self.call(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip(),
            "reembed": self.output("--version").strip(),
            "machine": self.machine | {"kernel": platform.release(), "python": platform.python_version()},
            "threads": self.threads,
            "f32_peaks": self.peaks,
            "cases": [self.case_report(case, peak) for case in cases if any(c.runs for c in case.contenders)],
        }

    def case_report(self, case, peak):
        lines = []
        reembed = next(c for c in case.contenders if c.name == "reembed-f32")
        tokens, work = sum(case.lengths), self.operations(case)
        for c in case.contenders:
            line = {"name": c.name, "label": c.label, "refused": c.refused or None, "runs": c.runs}
            if c.runs:
                seconds = [run["seconds"] for run in c.runs]
                median = statistics.median(seconds)
                pairs = list(zip(c.runs, reembed.runs))
                line |= {
                    "seconds": median,
                    "texts_per_second": case.count / median,
                    "tokens_per_second": tokens / median,
                    "spread": max(seconds) / min(seconds) if len(seconds) > 1 else None,
                    # How many times as fast as this one reembed f32 is.
                    "ratio": statistics.median(a["seconds"] / b["seconds"] for a, b in pairs) if pairs else None,
                    "of_ceiling": work / median / peak if c.is_f32 else None,
                    "peak_bytes": max(run["peak_bytes"] for run in c.runs),
                    "min_cosine": min(run["min_cosine"] for run in c.runs),
                    "difference": max(run["difference"] for run in c.runs),
                    "ran": c.runs[-1]["ran"],
                }
            lines.append(line)
        return {
            "name": case.name,
            "label": case.label,
            "is_long": case.is_long,
            "texts": case.count,
            "tokens": tokens,
            "operations": work,
            "contenders": lines,
        }


def operations(config, tokens):
    """Floating point operations of a text: two for each multiply-add of the linear layers and of attention. A layer
    with a window has those of its window, whatever a tool computes."""
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    is_gated = config["model_type"] == "modernbert"
    linear = 2 * tokens * hidden * (4 * hidden + (3 if is_gated else 2) * inner)
    kinds = config.get("layer_types") or ["full_attention"] * layers
    assert len(kinds) == layers
    pairs = {"full_attention": tokens * tokens}
    if "sliding_attention" in kinds:
        side = config["local_attention"] // 2
        pairs["sliding_attention"] = sum(1 + min(at, side) + min(tokens - 1 - at, side) for at in range(tokens))
    return layers * linear + sum(4 * hidden * pairs[kind] for kind in kinds)


def write(report, work):
    (work / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    text = markdown(report)
    (work / "report.md").write_text(text)
    return text


def markdown(report):
    rounds = max((len(line["runs"]) for case in report["cases"] for line in case["contenders"]), default=0)
    lines = [
        *heading(report),
        f"{report['threads']} threads, f32 peak {max(report['f32_peaks']) / 1e9:.0f} GFLOP/s; "
        + ("one round." if rounds == 1 else f"medians of {rounds} interleaved rounds."),
    ]
    short = [case for case in report["cases"] if not case["is_long"]]
    long = [case for case in report["cases"] if case["is_long"]]
    if short:
        texts, tokens = short[0]["texts"], short[0]["tokens"]
        lines += ["", f"{texts:,} texts, {tokens:,} tokens:", "", *table("model", "texts/s", "texts_per_second", short)]
    if long:
        several = ", ".join(f"{case['texts']} of {case['label']} tokens" for case in long)
        lines += ["", f"Long texts, {LONG_SHAPE}; {several}:", ""]
        lines += table("tokens a text", "tokens/s", "tokens_per_second", long)
    lines += ["", "What ran:", ""]
    for case in report["cases"]:
        lines += [f"- {case['name']}, {line['label']}: {line['ran']}" for line in case["contenders"] if line["runs"]]
    return "\n".join(lines) + "\n"


def table(first, unit, key, cases):
    titles = [unit, "spread", "reembed f32 ÷ it", "of the ceiling", "min cosine", "largest difference", "peak MB"]
    yield f"| {first} | | {' | '.join(titles)} |"
    yield "|---|---|" + "---:|" * len(titles)
    for case in cases:
        for line in case["contenders"]:
            start = f"| {case['label']} | {line['label']} |"
            if line["refused"]:
                why = line["refused"].replace("|", "/")[:100]
                yield f"{start} refused: {why} |" + " |" * (len(titles) - 1)
            elif line["runs"]:
                cells = [
                    f"{line[key]:,.1f}",
                    or_dash(line["spread"], ".2f"),
                    or_dash(line["ratio"], ".2f"),
                    or_dash(line["of_ceiling"], ".0%"),
                    f"{line['min_cosine']:.7f}",
                    f"{line['difference']:.1e}",
                    f"{line['peak_bytes'] / 1e6:,.0f}",
                ]
                yield f"{start} {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
