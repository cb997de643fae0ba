#!/usr/bin/env python3
"""What a call from Python costs over the same call of the library: 1,000 texts, and one warm text.

    cargo build --release -p reembed-encoder --example python_overhead
    python benches/python/overhead.py target/release/examples/python_overhead [--rounds 5]

Both run in processes of their own, in turn, with the same model, precision and threads. The two must be built with the
same profile.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTS = 1000
CALLS = 200


def texts():
    words = "fix the login loop that begins when a session ends before its token does and show what happened".split()
    return [f"row {number} " + " ".join(words[: 3 + number % 16]) * (1 + number % 4) for number in range(TEXTS)]


def cpu_seconds():
    times = os.times()
    return times.user + times.system


def measure(file):
    import reembed

    lines = Path(file).read_text().splitlines()
    embedder = reembed.Embedder()
    embedder.encode(lines[:64])
    cpu, wall = cpu_seconds(), time.perf_counter()
    embedder.encode(lines)
    all_wall, all_cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    each = []
    for _ in range(CALLS):
        started = time.perf_counter()
        embedder.encode(lines[0])
        each.append(time.perf_counter() - started)
    print(json.dumps({"all_wall": all_wall, "all_cpu": all_cpu, "one_wall": statistics.median(each)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", help="the program that cargo built")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "texts")
        file.write_text("\n".join(texts()))
        ways = {
            "library": [arguments.library, str(file), str(CALLS)],
            "python": [sys.executable, __file__, arguments.library, "--measure", str(file)],
        }
        rounds = {way: [] for way in ways}
        for number in range(arguments.rounds):
            # Each is first in every other round.
            for way in list(ways)[:: 1 if number % 2 else -1]:
                rounds[way].append(json.loads(subprocess.check_output(ways[way], text=True)))
    print("| | library | python | ratio, median (least to most) |")
    print("|---|---:|---:|---:|")
    for name, key, scale, unit in [
        (f"{TEXTS:,} texts, CPU", "all_cpu", 1, "s"),
        (f"{TEXTS:,} texts, wall", "all_wall", 1, "s"),
        ("one warm text, wall", "one_wall", 1e3, "ms"),
    ]:
        found = {way: [round[key] * scale for round in rounds[way]] for way in ways}
        ratios = [python / library for library, python in zip(found["library"], found["python"], strict=True)]
        library, python = (statistics.median(found[way]) for way in ways)
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"| {name} | {library:.2f} {unit} | {python:.2f} {unit} | {spread} |")


if __name__ == "__main__":
    main()
