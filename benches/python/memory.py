#!/usr/bin/env python3
"""Peak memory of many short texts: how much a call takes beside its result.

    python benches/python/memory.py [--texts 1000000] [--model DIRECTORY]

Each way of calling runs in a process of its own, over the first layer of the default model: a shallow model leaves memory
as it is and makes a million texts a matter of a minute. Needs NumPy, and pyarrow for the Arrow columns.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

DIMENSION = 384


def texts(count):
    return [f"row {number} of the table" for number in range(count)]


def column(count):
    import pyarrow as pa

    return pa.array((f"row {number} of the table" for number in range(count)), pa.large_string())


def numpy_strings(count):
    import numpy as np

    return np.array(texts(count))


# What is given, and the call.
WAYS = {
    "list of str, encode": (texts, lambda embedder, given: embedder.encode(given)),
    "pyarrow column, encode": (column, lambda embedder, given: embedder.encode(given)),
    "pyarrow column, encode_arrow": (column, lambda embedder, given: embedder.encode_arrow(given)),
    "NumPy strings, encode": (numpy_strings, lambda embedder, given: embedder.encode(given)),
    "pyarrow table, embed_table": (
        lambda count: __import__("pyarrow").table({"text": column(count)}),
        lambda embedder, given: embedder.embed_table(given, "text"),
    ),
}


def memory(field):
    """``VmRSS``, the memory of this process now, or ``VmHWM``, its peak, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) * 1024


def measure(way, count, model):
    """Prints the bytes of the result, and those by which the process grew over what it had with model and texts."""
    import reembed

    make, call = WAYS[way]
    embedder = reembed.Embedder(model)
    embedder.encode(texts(64))
    given = make(count)
    # Linux takes the peak anew from here on.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = call(embedder, given)
    assert len(result) == count
    print(json.dumps({"result": count * DIMENSION * 4, "grown": memory("VmHWM") - before}))


def shallow(model, directory):
    """A copy of a model with its first layer alone."""
    shutil.copytree(model, directory)
    path = Path(directory, "config.json")
    settings = json.loads(path.read_text())
    settings["num_hidden_layers"] = 1
    path.write_text(json.dumps(settings))
    return directory


def default_model():
    import reembed

    reembed.Embedder()
    cache = os.environ.get("REEMBED_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "reembed")
    return Path(cache, "models/sentence-transformers--all-MiniLM-L6-v2/main")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--model", help="a directory of a model of 384 components; default: the default model")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measure(arguments.way, arguments.texts, arguments.model)
        return
    with tempfile.TemporaryDirectory() as temporary:
        model = shallow(arguments.model or default_model(), Path(temporary, "shallow"))
        print(f"| {arguments.texts:,} texts | result, MB | grown by, MB | beside the result |")
        print("|---|---:|---:|---:|")
        for way in WAYS:
            command = [sys.executable, __file__, "--texts", str(arguments.texts), "--model", str(model), "--way", way]
            found = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
            result, grown = found["result"], found["grown"]
            print(f"| {way} | {result / 1e6:,.0f} | {grown / 1e6:,.0f} | {100 * (grown - result) / result:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
