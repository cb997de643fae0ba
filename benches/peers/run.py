#!/usr/bin/env python3
"""reembed beside its peers: the same texts, the same model files, the same machine, in turns.

    python3 benches/peers/run.py

needs Rust, Python 3.11 or later with venv, and a package index; about 6 GB for the virtual environment, since torch
comes with CUDA's libraries on Linux. It makes the environment with pinned versions, builds the release binary, exports
the model, measures in interleaved rounds, prints the table, and writes target/peers/report.json and report.md.

Options of its own: --venv FOLDER (target/peers-venv unless given), --reembed BINARY (built unless given). The others go
to measure.py: --tasks, --rounds, --add, --only, --into; see `run.py --help`.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--venv", type=Path, default=ROOT / "target/peers-venv")
    parser.add_argument("--reembed", type=Path)
    own, others = parser.parse_known_args()

    python = environment(own.venv.absolute())
    reembed = own.reembed.absolute() if own.reembed else build()
    command = [python, HERE / "measure.py", "--reembed", reembed, *others]
    os.execv(python, [str(part) for part in command])


def environment(folder):
    """The Python of a virtual environment that has what requirements.txt pins, no more and no less."""
    python = folder / "bin/python"
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making {folder}: some minutes, once", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
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
