#!/usr/bin/env python3
"""Compares reembed with its peers on the same texts, model files and machine.

    python3 benches/peers/run.py

This script needs Rust, Python 3.11 or later with venv, and a package index. The virtual environment takes about 6 GB,
since torch includes the CUDA libraries on Linux. The script creates the environment with pinned versions, builds the
release binary, exports and quantizes the model, measures in interleaved rounds, prints the table, and writes
target/peers/report.json and report.md.

`run.py --help` lists the options.
"""

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

from arguments import ROOT, parser

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"


def main():
    # Parsed first: `--help` must not create the environment.
    options = parser(__doc__).parse_args()
    python = environment(options.venv.absolute())
    reembed = options.reembed.absolute() if options.reembed else build()
    # argparse uses the last value of a repeated option.
    command = [python, HERE / "measure.py", *sys.argv[1:], "--reembed", reembed]
    os.execv(python, [str(part) for part in command])


def environment(directory):
    """The Python of a virtual environment with exactly the packages of requirements.txt."""
    python = directory / "bin/python"
    stamp = directory / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {directory}: some minutes, once", file=sys.stderr)
        venv.create(directory, clear=True, with_pip=True)
        # Every package is listed, and --no-deps keeps torch from adding another gigabyte.
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "-r", REQUIREMENTS]
        subprocess.run([python, *install], check=True)
        stamp.write_text(wanted)
    return python


def build():
    subprocess.run(["cargo", "build", "--locked", "--release"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release/reembed"


if __name__ == "__main__":
    main()
