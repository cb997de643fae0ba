#!/usr/bin/env python3
"""Compares the Python package with the library below it, sentence-transformers, fastembed and ONNX Runtime.

    speed.py REEMBED LIBRARY_CALLS WORK_DIRECTORY [--rounds 5] [--threads N] [--into BENCHMARKS.md]

REEMBED is the program, LIBRARY_CALLS the example `library_calls`, both built with `--release`. The Python that runs
this script needs the wheel, and the packages of benches/peers/requirements.txt and benches/python/requirements.txt.

Each subject is a process that has loaded the same model files and is warm. The subjects take turns, in an order that
is turned in each round. Ratios are taken within a round; the table has their medians, and from the least to the most.
CPU seconds are those of the whole process. A ratio of CPU seconds depends less on what else the machine does.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
sys.path.insert(0, str(PEERS))
TICK = os.sysconf("SC_CLK_TCK")

SUBJECTS = {
    "library-f32": "the library's own calls, f32",
    "reembed-f32": "**reembed f32**",
    "library-default": "the library's own calls, default",
    "reembed-default": "**reembed, its default**",
    "reembed-int16": "**reembed int16**",
    "reembed-int8": "**reembed int8**",
    "reembed-avx2": "**reembed, its default with AVX2**",
    "sentence-transformers": "sentence-transformers f32",
    "onnxruntime": "ONNX Runtime f32",
    "fastembed": "fastembed f32",
}
# A mode, its heading, and the texts of a turn as a part of all.
MODES = {"alone": ("one call per text", 5), "32": ("one call, batches of 32", 1), "auto": ("one call, own default", 1)}
# What the package promises: the subject and its mode, what it is compared with, of what, and the bound.
LINES = [
    ("reembed-f32", "alone", "library-f32", "alone", "median_call", "<=", 1.2),
    ("reembed-default", "alone", "library-default", "alone", "median_call", "<=", 1.2),
    ("reembed-f32", "alone", "sentence-transformers", "alone", "median_call", "<=", 1.0),
    ("reembed-f32", "auto", "library-f32", "auto", "cpu", "<=", 1.03),
    ("reembed-default", "auto", "library-default", "auto", "cpu", "<=", 1.03),
    ("sentence-transformers", "alone", "reembed-default", "32", "per_text", ">=", None),
    ("sentence-transformers", "alone", "reembed-int16", "32", "per_text", ">=", None),
    ("sentence-transformers", "alone", "reembed-int8", "32", "per_text", ">=", None),
    # As on a machine that has no more; the others keep what they have.
    ("sentence-transformers", "alone", "reembed-avx2", "32", "per_text", ">=", 2.0),
]
# The bound of the last line, by the default precision: bf16 where there is AMX, bf16-avx512 where AVX512-BF16.
BATCH_BOUNDS = {"bf16": 10.0, "bf16-avx512": 4.0}
OTHER_BATCH_BOUND = 2.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=Path)
    parser.add_argument("library_calls", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="subjects whose name this regular expression finds")
    parser.add_argument("--into", type=Path, help="a file whose part between the marks becomes the table")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    model = prepare(options.reembed.absolute(), work, options.tasks)
    names = [name for name in SUBJECTS if re.search(options.only, name)]
    started, load = [], [os.getloadavg()[0]]
    for name in names:
        try:
            started.append(Subject(name, options, model, work))
        except EOFError:
            print(f"{name}: refused, see {work / name}.log", file=sys.stderr)
    for number in range(options.rounds + 1):
        turn = number % len(started)
        for mode, (_, part) in MODES.items():
            for subject in started[turn:] + started[:turn]:
                figures = subject.run(mode, options.tasks // part)
                # The first round maps memory, starts threads and chooses kernels.
                if number:
                    subject.figures.setdefault(mode, []).append(figures)
        load.append(os.getloadavg()[0])
        print(f"round {number} of {options.rounds}, load {load[-1]:.1f}", file=sys.stderr)
    report(options, work, started, load)


def prepare(reembed, work, tasks):
    """Writes the texts, and the model for ONNX Runtime; returns the directory of the model."""
    from measure import text_of

    rows = work / "sample.parquet"
    subprocess.run([reembed, "sample", rows, "--rows", str(tasks + tasks // 50 + 10)], check=True, stdout=subprocess.DEVNULL)
    texts = [text for row in pq.read_table(rows).to_pylist() if (text := text_of(row))][:tasks]
    (work / "texts.json").write_text(json.dumps(texts))
    shown = subprocess.run([reembed, "model", "show"], check=True, capture_output=True, text=True).stdout
    model = Path(re.search(r"^directory +(.+)$", shown, re.M)[1])
    if not (work / "fused.onnx").exists():
        subprocess.run([sys.executable, PEERS / "export.py", model, work], check=True, stdout=subprocess.DEVNULL)
    # A directory in fastembed's layout.
    (work / "fastembed").mkdir(exist_ok=True)
    for file in [*model.glob("*.json"), *model.glob("*.txt"), work / "fused.onnx"]:
        link = work / "fastembed" / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    # fastembed would cut at the 128 tokens of this file, and the model is used with 256.
    file = work / "fastembed/tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"max_length": 256, "model_max_length": 256}
    file.unlink()
    file.write_text(json.dumps(settings))
    return model


class Subject:
    """A process that has loaded the model and waits for a command."""

    def __init__(self, name, options, model, work):
        self.name, self.figures = name, {}
        texts, threads = work / "texts.json", str(options.threads)
        if name.startswith("library-"):
            command = [options.library_calls.absolute(), texts, name.removeprefix("library-"), threads]
        else:
            command = [sys.executable, HERE / "subject.py", name, texts, model, work, threads]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REEMBED_COMPUTE_")}
        kept |= {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        kept |= {"RAYON_NUM_THREADS": threads}
        if name == "reembed-avx2":
            kept["REEMBED_COMPUTE_ISA"] = "avx2"
        with open(work / f"{name}.log", "w") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=kept
            )
        self.ran = self.answer()["ran"]

    def run(self, mode, count):
        before = self.cpu()
        answer = self.say(f"{mode} {count}")
        return {
            "per_text": answer["seconds"] / count,
            "cpu": (self.cpu() - before) / count,
            "median_call": statistics.median(answer["each"]) if answer["each"] else None,
        }

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(self.name)
        return json.loads(line)

    def cpu(self):
        """CPU seconds of the process so far, all threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_bytes(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) * 1024


def report(options, work, subjects, load):
    by_name = {subject.name: subject for subject in subjects}
    for subject in subjects:
        subject.peak = subject.peak_bytes()
        if not subject.name.startswith("library-"):
            subject.say("save 0")
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {cpu_name()}, {options.threads} threads, "
        f"{options.tasks:,} texts; medians of {options.rounds} interleaved rounds; "
        f"load of the machine {min(load):.1f} to {max(load):.1f}.",
        "",
        "| | ms, one call per text | tasks/s, " + " | tasks/s, ".join(heading for heading, _ in list(MODES.values())[1:])
        + " | CPU ms/task, own default | spread | min cosine | peak MB |",
        "|---|" + "---:|" * 7,
    ]
    reference = vectors(work, "sentence-transformers") if "sentence-transformers" in by_name else None
    for subject in subjects:
        medians = {
            (mode, what): statistics.median(turn[what] for turn in subject.figures[mode])
            for mode in MODES
            for what in ("per_text", "cpu")
        }
        call = statistics.median(turn["median_call"] for turn in subject.figures["alone"])
        whole = [turn["per_text"] for turn in subject.figures["auto"]]
        cosine = "–"
        if reference is not None and not subject.name.startswith("library-"):
            cosine = f"{least_cosine(vectors(work, subject.name), reference):.7f}"
        lines.append(
            f"| {SUBJECTS[subject.name]} | {call * 1e3:.2f} | {1 / medians['32', 'per_text']:,.1f} "
            f"| {1 / medians['auto', 'per_text']:,.1f} | {medians['auto', 'cpu'] * 1e3:.2f} "
            f"| {max(whole) / min(whole):.2f} | {cosine} | {subject.peak / 1e6:,.0f} |"
        )
    lines += ["", "Ratios within a round, median (least to most):", ""]
    for name, mode, other, other_mode, what, sign, bound in LINES:
        if name in by_name and other in by_name:
            one, two = by_name[name].figures[mode], by_name[other].figures[other_mode]
            ratios = sorted(a[what] / b[what] for a, b in zip(one, two))
            median = statistics.median(ratios)
            if bound is None:
                default = by_name["reembed-default"].ran.rsplit(" ", 1)[-1]
                bound = BATCH_BOUNDS.get(default, OTHER_BATCH_BOUND)
            held = median <= bound if sign == "<=" else median >= bound
            words = {"median_call": "median call", "cpu": "CPU seconds", "per_text": "seconds per text"}[what]
            lines.append(
                f"- {words}, {SUBJECTS[name]} ({MODES[mode][0]}) over {SUBJECTS[other]} ({MODES[other_mode][0]}): "
                f"{median:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}); wanted {sign} {bound}: {'yes' if held else 'NO'}"
            )
    lines += ["", "What ran:", ""] + [f"- {SUBJECTS[subject.name]}: {subject.ran}" for subject in subjects]
    for subject in subjects:
        subject.process.stdin.close()
        subject.process.wait()
    text = "\n".join(lines) + "\n"
    (work / "speed.md").write_text(text)
    print(text)
    if options.into:
        from markdown_tables import put_between_marks

        put_between_marks(options.into, "python", text)


def vectors(work, name):
    return np.load(work / f"{name}.npy").astype(np.float64)


def least_cosine(a, b):
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def cpu_name():
    return re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)[1]


if __name__ == "__main__":
    main()
