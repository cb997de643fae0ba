#!/usr/bin/env python3
"""reembed beside its peers: the same texts, the same model files, the same machine, in turns.

    python3 benches/peers/run.py

needs Rust, Python 3.11 or later with venv, and a package index; about 6 GB for the virtual environment, since torch
comes with CUDA's libraries on Linux. It makes the environment with pinned versions, builds the release binary, exports
the model, measures in interleaved rounds, prints the table, and writes target/peers/report.json and report.md.

`run.py --help` names its options.
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
    # Before anything is made: who asks for help wants to read.
    options = parser(__doc__).parse_args()
    python = environment(options.venv.absolute())
    reembed = options.reembed.absolute() if options.reembed else build()
    # Of an option that is given twice, the last counts.
    command = [python, HERE / "measure.py", *sys.argv[1:], "--reembed", reembed]
    os.execv(python, [str(part) for part in command])


def environment(directory):
    """The Python of a virtual environment that has what requirements.txt pins, no more and no less."""
    python = directory / "bin/python"
    stamp = directory / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {directory}: some minutes, once", file=sys.stderr)
        venv.create(directory, clear=True, with_pip=True)
        # Every package is listed, so none is looked for that is not: torch would bring another gigabyte.
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
