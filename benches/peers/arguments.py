"""The arguments of run.py. This module needs only the standard library, so that help and argument errors are
immediate."""

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def parser(description):
    parser = argparse.ArgumentParser(
        prog="run.py", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--venv", type=Path, default=ROOT / "target/peers-venv", help="the virtual environment, made if need be")
    add("--reembed", type=Path, help="the binary; built unless given")
    add("--model", type=Path, help="the model's directory; the one that `reembed model show` names unless given")
    add("--tasks", type=at_least_one, default=1000, help="sample rows with a text (1000)")
    add("--rows", type=Path, help="a Parquet file of task rows, in the place of the sample; all with a text are embedded")
    add("--threads", type=at_least_one, default=usable_cores(), help="threads of every contender (all usable cores)")
    add("--rounds", type=at_least_one, default=3, help="interleaved rounds (3)")
    add("--add", action="store_true", help="add the rounds to those of the last report")
    add("--only", default="", help="contenders whose name this regular expression finds")
    add("--list", action="store_true", help="list the contenders and stop")
    add("--work", type=Path, default=ROOT / "target/peers", help="directory for what is made")
    add("--into", type=Path, help="a file whose part between the marks becomes the table")
    return parser


def at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def usable_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
