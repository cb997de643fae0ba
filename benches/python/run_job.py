"""Runs one job of jobs/ for engines.py: starts its engine, says `up`, waits for a line, and says the seconds."""

import runpy
import sys
import time
from pathlib import Path

name = sys.argv.pop(1)
# A name of its own: what Ray and Spark pickle by value is what belongs to `__main__`.
job = runpy.run_path(str(Path(__file__).with_name("jobs") / f"{name}.py"))
job["start"]()
print("up", flush=True)
sys.stdin.readline()
started = time.perf_counter()
job["job"]()
print(time.perf_counter() - started, flush=True)
# CPU seconds are read before the engine ends.
sys.stdin.readline()
