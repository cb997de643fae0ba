#!/usr/bin/env python3
"""Instructions that the program executes for 8 sample rows on an emulated 64-bit ARM CPU, on one thread.

    python3 benches/arm/count.py REEMBED

REEMBED is the program built for ARM, as `.ci/arm WORK PROGRAM full` builds it. Needs gcc and Debian's qemu-user (the
static emulator loads no plugins). A run over 1 row is taken off a run over 9, so starting and loading do not count;
what an emulator cannot tell is speed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

QEMU = ["qemu-aarch64", "-cpu", "max,pauth-impdef=on,sve=off"]


def count(reembed, plugin, work, rows, precision, engine):
    table = work / f"{rows}.parquet"
    if not table.exists():
        sample = [*QEMU, reembed, "sample", table, "--rows", str(rows), "--quiet"]
        subprocess.run(sample, check=True, stdout=subprocess.DEVNULL)
    run = [reembed, "run", table, work / f"{engine}-{precision}-{rows}.parquet", "--precision", precision, "--threads", "1"]
    run += ["--cache-mode", "off", "--no-supervise", "--quiet"]
    environment = {**os.environ, "REEMBED_COMPUTE_ENGINE": engine}
    done = subprocess.run(
        [*QEMU, "-plugin", plugin, *run], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    counted = [line for line in done.stderr.splitlines() if line.startswith("counted ")]
    if done.returncode != 0 or not counted:
        sys.exit(f"{engine} {precision}: exit {done.returncode}\n{done.stderr}")
    return [int(number) for number in counted[-1].split()[1:]]


def main():
    reembed = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        plugin = work / "count.so"
        source = Path(__file__).with_name("count.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", plugin, source], check=True)
        print(f"{'billions for 8 rows':<22}{'all':>8}{'f32':>8}{'SMLAL':>8}{'SDOT':>8}")
        for engine, precision in [("candle", "f32"), ("packed", "f32"), ("packed", "int16"), ("packed", "int8")]:
            one, nine = (count(reembed, plugin, work, rows, precision, engine) for rows in (1, 9))
            numbers = "".join(f"{(more - few) / 1e9:>8.2f}" for few, more in zip(one, nine))
            print(f"{engine + ' ' + precision:<22}{numbers}", flush=True)


main()
