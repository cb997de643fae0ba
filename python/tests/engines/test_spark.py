"""Spark on two cores: the program's bits, order, nulls, threads, and a killed Python worker."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet
import pyspark
import pytest
from engines.conftest import ROWS, with_bytes
from pyspark.sql import SparkSession, functions

import reembed.spark
from reembed import InvalidInput

F32 = {"precision": "f32"}


@pytest.fixture(scope="module")
def spark():
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2,4]").appName("reembed").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    # Several batches in a partition.
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "40")
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    print(f"\nSpark {pyspark.__version__}")
    yield session
    session.stop()


def pairs(df):
    found = df.select("id", "embedding").collect()
    return with_bytes([row["id"] for row in found], [row["embedding"] for row in found])


def test_defaults_are_those_of_the_program(spark, tasks, expected):
    df = reembed.spark.embed(spark.read.parquet(str(tasks)), **F32)
    assert df.schema["embedding"].dataType.simpleString() == "array<float>"
    found = pairs(df)
    assert len(found) == ROWS and sum(vector is None for _, vector in found) > 10
    assert found == expected()


def test_prompt_is_written_before_each_text(spark, tasks, embedder):
    df = reembed.spark.embed(spark.read.parquet(str(tasks)), text="title", prompt="fix: ", **F32)
    found = embedder.embed_table(pyarrow.parquet.read_table(tasks), "title", prompt="fix: ")
    assert pairs(df) == with_bytes(found["id"].to_pylist(), found["embedding"].to_pylist())


def test_rows_keep_order_and_columns(spark, tasks):
    source = spark.read.parquet(str(tasks)).repartition(5, "id")
    df = reembed.spark.embed(source, **F32)
    assert df.columns == [*source.columns, "embedding"]
    assert df.drop("embedding").collect() == source.collect()


@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        ({"text": "title"}, ("--text", "title")),
        ({"text": ["description", "title"]}, ("--text", "description,title")),
        ({"template": "{title} ({files})"}, ("--text-template", "{title} ({files})")),
    ],
)
def test_recipes_are_those_of_the_program(recipe, arguments, spark, tasks, expected):
    df = reembed.spark.embed(spark.read.parquet(str(tasks)), **recipe, **F32)
    assert pairs(df) == expected(*arguments)


def test_columns_of_other_types_pass(spark, tasks):
    source = spark.read.parquet(str(tasks)).limit(50)
    source = source.withColumn("at", functions.current_timestamp()).withColumn("day", functions.current_date())
    source = source.withColumn("nested", functions.struct("id", functions.array(functions.lit(1.5))))
    source = source.withColumn("price", functions.lit("1.25").cast("decimal(9,2)")).cache()
    df = reembed.spark.embed(source, text="title", **F32)
    assert df.drop("embedding").collect() == source.collect()


def test_vectors_are_read_back_from_parquet(spark, tasks, expected, tmp_path):
    df = reembed.spark.embed(spark.read.parquet(str(tasks)), **F32)
    df.coalesce(1).write.parquet(str(tmp_path / "out"))
    assert pairs(spark.read.parquet(str(tmp_path / "out"))) == expected()


def test_worker_loads_once_and_takes_its_cpus(spark, tasks):
    source = spark.read.parquet(str(tasks)).repartition(8)
    reembed.spark.embed(source, **F32).write.format("noop").mode("overwrite").save()

    # Runs in the same workers, which Spark keeps.
    def look(batches):
        import pyarrow as pa

        from reembed import shared
        from reembed.threads import engine_grant

        for _ in batches:
            pass
        yield pa.RecordBatch.from_pylist([{"pid": os.getpid(), "loads": shared.loads(), "cpus": engine_grant()}])

    probe = spark.range(0, 8, 1, 8).mapInArrow(look, "pid long, loads long, cpus long").collect()
    assert os.getpid() not in {row["pid"] for row in probe}
    # Eight tasks on two cores, and no worker has loaded twice.
    assert {row["loads"] for row in probe} == {1}
    assert {row["cpus"] for row in probe} == {1}


def workers_with_a_model():
    """PIDs of the processes below this one that have reembed's library and are no longer than a task."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes()
            # The daemon forks the workers and imports nothing of ours.
            if b"pyspark" in command and "_reembed" in (directory / "maps").read_text():
                found.append(int(directory.name))
        except OSError:
            continue
    return [pid for pid in found if is_below(pid, os.getpid())]


def busiest(pids, seconds=0.3):
    """The process that has computed most of this time; None if none has computed half of it."""
    before = {pid: cpu_seconds(pid) for pid in pids}
    time.sleep(seconds)
    spent = {pid: cpu_seconds(pid) - then for pid, then in before.items()}
    most = max(spent, key=spent.get, default=None)
    return most if most is not None and spent[most] > seconds / 2 else None


def cpu_seconds(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def failed_tasks(spark, group):
    tracker = spark.sparkContext.statusTracker()
    stages = [stage for job in tracker.getJobIdsForGroup(group) for stage in tracker.getJobInfo(job).stageIds]
    return sum(tracker.getStageInfo(stage).numFailedTasks for stage in stages)


def is_below(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def test_killed_worker_loses_and_changes_nothing(spark, tasks, expected):
    if not Path("/proc/self/maps").exists():
        pytest.skip("there is no /proc")
    # Ten times the rows: a worker is caught in the middle of its task.
    source = spark.read.parquet(str(tasks))
    many = source.crossJoin(spark.range(10).withColumnRenamed("id", "copy"))
    df = reembed.spark.embed(many.coalesce(2), **F32)
    result, failed = [], []

    def run():
        # The group belongs to the thread that starts the job.
        spark.sparkContext.setJobGroup("killed", "a worker is killed", False)
        try:
            result.extend(df.select("id", "copy", "embedding").collect())
        except Exception as error:
            failed.append(error)

    job = threading.Thread(target=run)
    started = time.monotonic()
    job.start()
    time.sleep(2)
    killed = None
    while killed is None and job.is_alive() and time.monotonic() - started < 60:
        # Workers of earlier jobs wait for tasks: their end would be no failure.
        if (killed := busiest(workers_with_a_model())) is not None:
            os.kill(killed, signal.SIGKILL)
    assert killed is not None and job.is_alive()
    job.join(timeout=300)
    assert not job.is_alive() and not failed, failed
    assert failed_tasks(spark, "killed") >= 1
    wanted = dict(expected())
    assert len(result) == 10 * ROWS
    assert len({(row["id"], row["copy"]) for row in result}) == 10 * ROWS
    for name, vector in with_bytes([row["id"] for row in result], [row["embedding"] for row in result]):
        assert vector == wanted[name], name


def test_existing_and_missing_columns_are_refused(spark, tasks):
    source = spark.read.parquet(str(tasks))
    with pytest.raises(InvalidInput, match="Title"):
        reembed.spark.embed(source.withColumnRenamed("title", "Title"), column="title")
    with pytest.raises(InvalidInput, match="titel"):
        reembed.spark.embed(source, text="titel")


def test_driver_has_no_grant(spark):
    from reembed.threads import engine_grant

    assert engine_grant() is None
