#!/usr/bin/env python3
"""Compares Ray Data and Spark with reembed, with what people write today, and with the plain package.

    engines.py REEMBED WORK_DIRECTORY [--rows 2000] [--rounds 3] [--workers 2] [--precision f32] [--into BENCHMARKS.md]

REEMBED is the program; the Python that runs this script needs the wheel, sentence-transformers, Ray and PySpark. A job
is a file in jobs/: it reads one Parquet directory with a file for each worker, adds a column of vectors and writes it.
It runs in a process of its own, with as many actors or Python workers as --workers, each with one thread. Its time
starts when the engine is up, so loading the model counts and starting the engine does not. CPU seconds and memory are
those of the process and of everything that it starts, the JVM and Ray's own processes too, from that moment on; memory
is the largest sum of proportional set sizes (PSS), looked at four times a second. Lines of code are those of `job`.

The vectors of a job are compared with the program's: reembed's have to be equal bit for bit.
"""

import argparse
import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
# In the environment of a job, and so of all that it starts.
MARK = "TEST_ENGINES_JOB"
JOBS = {
    "library": "the package alone",
    "ray_reembed": "**Ray Data, `reembed.ray.Embed`**",
    "ray_today": "Ray Data, sentence-transformers",
    "spark_reembed": "**Spark, `reembed.spark.embed`**",
    "spark_today": "Spark, `pandas_udf` with sentence-transformers",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reembed", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--only", default="", help="jobs whose name this regular expression finds")
    parser.add_argument("--into", type=Path, help="a file whose part between the marks becomes the table")
    options = parser.parse_args()
    options.work = options.work.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    model, expected = prepare(options)
    names = [name for name in JOBS if re.search(options.only, name)]
    runs, differences, load = {name: [] for name in names}, {}, [os.getloadavg()[0]]
    for number in range(options.rounds):
        for name in names:
            figures, differences[name] = measure(name, options, model, expected)
            runs[name].append(figures)
            load.append(os.getloadavg()[0])
            print(f"round {number + 1}  {name:16} {figures}  difference {differences[name]:.1e}", file=sys.stderr)
    text = table(options, runs, differences, load)
    (options.work / "engines.md").write_text(text)
    print(text)
    wrong = [name for name in names if not name.endswith("today") and differences[name] != 0]
    if options.into and not wrong:
        from markdown_tables import put_between_marks

        put_between_marks(options.into, "engines", text)
    sys.exit(f"not the program's bits: {', '.join(wrong)}" if wrong else 0)


def prepare(options):
    """Writes the rows, a file for each worker, and returns the model's directory and the program's vectors by id."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(HERE.parent / "peers"))
    from measure import text_of

    work, reembed = options.work, options.reembed.absolute()
    sample = work / "sample.parquet"
    command = [reembed, "sample", sample, "--rows", str(options.rows + options.rows // 50 + 10)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = [{"id": row["id"], "text": text_of(row)} for row in pq.read_table(sample).to_pylist()]
    rows = [row for row in rows if row["text"]][: options.rows]
    shutil.rmtree(work / "rows", ignore_errors=True)
    (work / "rows").mkdir()
    for part in range(options.workers):
        pq.write_table(pa.Table.from_pylist(rows[part :: options.workers]), work / "rows" / f"part-{part}.parquet")
    pq.write_table(pa.Table.from_pylist(rows), work / "rows.parquet")
    out = work / "program.parquet"
    # An output of fewer rows does not replace one of more.
    out.unlink(missing_ok=True)
    precision = ["--precision", options.precision]
    command = [reembed, "run", "--quiet", "--cache-mode", "off", *precision, "--text", "text", work / "rows.parquet", out]
    subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL)
    shown = subprocess.run([reembed, "model", "show"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^directory +(.+)$", shown, re.M)[1], by_id(pq.read_table(out))


def by_id(table):
    import numpy as np

    vectors = table["embedding"].combine_chunks().flatten().to_numpy()
    vectors = vectors.astype(np.float32).reshape(len(table), -1)
    return dict(zip(table["id"].to_pylist(), vectors, strict=True))


def measure(name, options, model, expected):
    import numpy as np
    import pyarrow.dataset

    target = options.work / f"{name}.out"
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    mark = uuid.uuid4().hex
    arguments = [options.work / "rows", target, model, options.workers, options.precision]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REEMBED_COMPUTE_", "OMP_"))}
    kept |= {MARK: mark, "HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    kept |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    with open(options.work / f"{name}.log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, HERE / "run_job.py", name, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=kept, cwd=options.work,
        )  # fmt: skip
        if process.stdout.readline() != "up\n":
            sys.exit(f"{name}: the engine does not start, see {log.name}")
        with Watch(mark) as watch:
            process.stdin.write("go\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        process.stdin.close()
        if process.wait() or not answer:
            sys.exit(f"{name}: the job failed, see {log.name}")
    found = by_id(pyarrow.dataset.dataset(target).to_table())
    assert found.keys() == expected.keys(), f"{name}: other rows"
    worst = max(float(np.abs(found[key] - expected[key]).max()) for key in found)
    return {"seconds": json.loads(answer), "cpu": watch.cpu(), "peak": watch.peak}, worst


class Watch:
    """Adds up the CPU seconds and the memory of all processes that have the mark, while it is open."""

    def __init__(self, mark):
        self.mark = f"{MARK}={mark}".encode()
        self.first, self.last, self.peak = {}, {}, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.first = {key: used for key, used, _ in self.processes()}
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.look()
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(0.25):
            self.look()

    def look(self):
        memory = 0
        for key, used, pss in self.processes():
            self.last[key] = max(used, self.last.get(key, 0))
            memory += pss
        self.peak = max(self.peak, memory)

    def cpu(self):
        return sum(used - self.first.get(key, 0) for key, used in self.last.items())

    def processes(self):
        """The processes: PID and start, CPU seconds so far, and bytes of memory."""
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark not in (directory / "environ").read_bytes():
                    continue
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
                pss = re.search(r"^Pss:\s+(\d+)", (directory / "smaps_rollup").read_text(), re.M)
            except OSError:
                continue
            yield (directory.name, fields[19]), (int(fields[11]) + int(fields[12])) / TICK, int(pss[1]) * 1024 if pss else 0


def table(options, runs, differences, load):
    from importlib.metadata import version

    from speed import cpu_name

    packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "pyspark", "sentence-transformers", "torch", "pyarrow"))
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}; {cpu_name()}, {options.workers} workers with one thread, "
        f"{options.rows:,} texts, precision {options.precision} of reembed; {packages}; medians of {options.rounds} "
        f"interleaved rounds; load of the machine {min(load):.1f} to {max(load):.1f}.",
        "",
        "| | tasks/s | spread | CPU s per 1,000 | × package alone | peak MB | lines of code | largest difference |",
        "|---|" + "---:|" * 7,
    ]
    for name, rounds in runs.items():
        seconds = [run["seconds"] for run in rounds]
        cpu = statistics.median(run["cpu"] for run in rounds) / options.rows * 1000
        ratio = "–"
        if runs.get("library"):
            ratio = f"{statistics.median(a['cpu'] / b['cpu'] for a, b in zip(rounds, runs['library'])):.2f}"
        equal = "0, all bits" if differences[name] == 0 else f"{differences[name]:.1e}"
        lines.append(
            f"| {JOBS[name]} | {options.rows / statistics.median(seconds):,.1f} | {max(seconds) / min(seconds):.2f} "
            f"| {cpu:.2f} | {ratio} | {max(run['peak'] for run in rounds) / 1e6:,.0f} | {lines_of_code(name)} | {equal} |"
        )
    return "\n".join(lines) + "\n"


def lines_of_code(name):
    """Lines of `job` without its head, blank lines and comments."""
    source = (HERE / "jobs" / f"{name}.py").read_text()
    job = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "job")
    body = source.splitlines()[job.lineno : job.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body)


def start_ray(workers):
    import ray

    # Ray holds CPUs back for reading and writing: two more than the actors take.
    ray.init(num_cpus=workers + 2, include_dashboard=False, log_to_driver=False, object_store_memory=500_000_000)
    ray.data.DataContext.get_current().enable_progress_bars = False


def start_spark(workers):
    from pyspark.sql import SparkSession

    scratch = tempfile.mkdtemp()
    builder = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    # A task for each file.
    builder = builder.config("spark.sql.files.openCostInBytes", "134217728").config("spark.local.dir", scratch)
    # The JVM is warm when the time starts.
    builder.getOrCreate().range(10).selectExpr("sum(id)").collect()


if __name__ == "__main__":
    main()
