"""`run`, `verify`, `status` and `merge`: arguments, results, exceptions, progress, logs, Ctrl-C and kills."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import reembed
from reembed import jobs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of 120 tasks."""
    return sample(tmp_path_factory.mktemp("input") / "tasks.parquet", 120)


def sample(path, rows):
    command(["sample", str(path), "--rows", str(rows)])
    return path


def command(arguments, **options):
    done = subprocess.run([sys.executable, "-m", "reembed", *arguments], capture_output=True, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_run_tells_what_it_did(table, tmp_path):
    output = tmp_path / "out.parquet"
    result = reembed.run(table, output, text=["title", "description"], id="id", precision="f32")
    counts = result.counts
    assert (counts.rows, counts.input_rows) == (120, 120)
    assert counts.embedded + counts.reused + counts.duplicates + counts.empty == 120
    assert counts.embedded > 100
    assert (result.input, result.output) == (table, output)
    assert result.report.is_file() and result.cache.is_file()
    assert result.tables is None and result.output_unchanged is False
    assert result.fingerprint == reembed.Embedder(precision="f32").fingerprint
    again = reembed.run(table, output, text=["title", "description"], id="id", precision="f32")
    assert again.output_unchanged and again.counts.embedded == 0


def test_output_has_the_bytes_of_the_program(table, tmp_path):
    reembed.run(table, tmp_path / "a.parquet", text="title", precision="f32")
    command(["run", str(table), str(tmp_path / "b.parquet"), "--text", "title", "--precision", "f32"], cwd=tmp_path)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_toml_is_read_only_where_it_is_named(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pipeline.toml").write_text('[output]\ncolumn = "from_toml"\n')
    other = reembed.run(table, "without.parquet", text="title")
    named = reembed.run(table, "with.parquet", text="title", config="pipeline.toml")
    pq = pytest.importorskip("pyarrow.parquet")
    assert "from_toml" not in pq.read_schema(other.output).names
    assert "from_toml" in pq.read_schema(named.output).names


def test_dataset_is_run_merged_and_told(table, tmp_path):
    for name in ["a", "b", "c"]:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(table, tmp_path / "in" / f"{name}.parquet")
    output = tmp_path / "out"
    for shard in ["1/2", "2/2"]:
        reembed.run(tmp_path / "in", output, text="title", shard=shard)
    merged = reembed.merge(output)
    assert (merged.shards, merged.tables, merged.rows) == (2, 3, 360)
    told = reembed.status(output, text="title")
    assert (told.in_place, told.rows, told.to_publish, told.unfinished) == (3, 360, [], False)
    (tmp_path / "in" / "b.parquet").write_bytes(b"no table")
    with pytest.raises(reembed.TablesFailed) as caught:
        reembed.run(tmp_path / "in", output, text="title")
    assert caught.value.code == "tables-failed"
    assert (caught.value.result.tables.failed, caught.value.result.tables.unchanged) == (1, 2)
    failed = reembed.status(output, text="title").failed
    assert [one.table for one in failed] == ["b.parquet"]


def test_lists_of_inputs_name_their_root(table, tmp_path):
    (tmp_path / "in").mkdir()
    paths = [shutil.copy(table, tmp_path / "in" / f"{name}.parquet") for name in "ab"]
    result = reembed.run(paths, tmp_path / "out", text="title")
    assert (result.tables.taken, result.tables.published) == (2, 2)


def test_dry_run_writes_nothing(table, tmp_path):
    result = reembed.run(table, tmp_path / "out.parquet", dry_run=True)
    assert result.estimate.tokens > 1000 and result.counts.rows == 120
    assert list(tmp_path.iterdir()) == []


def test_verify_is_false_where_a_byte_is_wrong(table, tmp_path):
    output = tmp_path / "out.parquet"
    reembed.run(table, output, text="title")
    good = reembed.verify(output, input=table, sample=4)
    assert good and good.ok and {check.verdict for check in good.checks} <= {"ok", "skipped"}
    found = bytearray(output.read_bytes())
    found[len(found) // 3] ^= 1
    output.write_bytes(found)
    try:
        assert not reembed.verify(output, sample=0)
    except reembed.InvalidInput as error:
        # The byte may be one that makes a page unreadable.
        assert str(output) in error.place


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda p: reembed.run(p / "no.parquet", p / "out.parquet"), reembed.InvalidInput, "no.parquet"),
        (lambda p: reembed.run(p / "in", p / "o", chache="x"), reembed.InvalidConfig, "did you mean `cache`"),
        (lambda p: reembed.run(p / "in", p / "o", rebuild="yes"), reembed.InvalidConfig, "True or False"),
        (lambda p: reembed.run(p / "in", p / "o", text=["a", 3]), reembed.InvalidConfig, "holds a int"),
        (lambda p: reembed.run(p / "in", p / "o", text=["a,b"]), reembed.InvalidConfig, "a comma"),
        (lambda p: reembed.run(p / "in", p / "o", precision="f8"), reembed.InvalidConfig, "f8"),
        (lambda p: reembed.run([], p / "o"), reembed.InvalidConfig, "empty list"),
        (lambda p: reembed.run([p / "in"]), reembed.InvalidConfig, "`output` is missing"),
        (lambda p: reembed.run(7, p / "o"), (reembed.InvalidConfig, TypeError), "7|int"),
        (lambda p: reembed.run(), reembed.InvalidConfig, "input.path"),
        (lambda p: reembed.run(p / "in", p / "o", config=p / "no.toml"), reembed.InvalidConfig, "no.toml"),
        (lambda p: reembed.verify(p / "no.parquet"), reembed.InvalidInput, "no.parquet"),
        (lambda p: reembed.status(p), reembed.OutputError, "no manifest"),
    ],
)
def test_wrong_calls_are_refused_by_name(call, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        call(tmp_path)


def test_wrong_column_names_the_table(table, tmp_path):
    with pytest.raises(reembed.InvalidInput, match="titel") as caught:
        reembed.run(table, tmp_path / "out.parquet", text="titel")
    assert "tasks.parquet" in caught.value.place
    assert caught.value.advice is not None


def test_other_model_is_refused(table, tmp_path):
    output = tmp_path / "out.parquet"
    reembed.run(table, output, text="title", precision="f32")
    with pytest.raises(reembed.ModelMismatch) as caught:
        reembed.run(table, output, text="title", precision="bf16x3")
    assert caught.value.code == "other-vectors"
    reembed.run(table, output, text="title", precision="bf16x3", switch_model=True)


def test_held_output_is_busy(tmp_path):
    table = sample(tmp_path / "in.parquet", 20_000)
    with running(table, tmp_path) as first:
        with pytest.raises(reembed.OutputBusy):
            reembed.run(table, tmp_path / "out.parquet", precision="f32")
        first.send_signal(signal.SIGTERM)


def test_deadline_is_an_exception_of_its_own(tmp_path):
    table = sample(tmp_path / "in.parquet", 20_000)
    config = tmp_path / "short.toml"
    config.write_text('[run]\ndeadline = "2s"\n')
    with pytest.raises(reembed.DeadlineExceeded):
        reembed.run(table, tmp_path / "out.parquet", precision="f32", config=config)


def test_log_lines_go_to_logging(table, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="reembed"):
        reembed.run(table, tmp_path / "out.parquet", text="title", show_progress_bar=False)
    first = next(record for record in caplog.records if record.message.startswith("embedding"))
    assert first.reembed["rows"] == 120 and first.levelno == logging.INFO


def test_bar_counts_every_row(table, tmp_path, monkeypatch):
    tqdm = pytest.importorskip("tqdm.auto")
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            bars.append(self)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    reembed.run(table, tmp_path / "out.parquet", text="title", show_progress_bar=True)
    assert [(bar.n, bar.total) for bar in bars] == [(120, 120)]


def test_notebook_shows_key_figures_escaped(table, tmp_path):
    output = tmp_path / "<b>.parquet"
    shown = reembed.run(table, output, text="title")._repr_html_()
    assert "&lt;b&gt;.parquet" in shown and "<b>.parquet" not in shown
    assert "embedded" in shown and "report.html" in shown


def test_result_is_the_answer_of_the_program(table, tmp_path):
    result = reembed.run(table, tmp_path / "out.parquet", text="title", run_id="night-7")
    answer = result.to_dict()
    assert answer["schema"] == "reembed-result/1" and answer["run_id"] == "night-7" == result.run_id
    json.dumps(answer)
    answer["counts"]["rows"] = 0
    assert result.to_dict()["counts"]["rows"] == 120


def test_threads_run_at_the_same_time(table, tmp_path):
    found = {}

    def work(name):
        found[name] = reembed.run(table, tmp_path / name / "out.parquet", text="title").counts.rows

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for name in "ab":
        (tmp_path / name).mkdir()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": 120, "b": 120}


CALL = """
import signal, sys, time
import reembed
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    reembed.run(sys.argv[1], sys.argv[2], precision="f32", show_progress_bar=False)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class running:
    """A process that calls `run` over a large table, once its run writes."""

    def __init__(self, table, directory, seconds=2):
        self.seconds = seconds
        self.arguments = [sys.executable, "-c", CALL, str(table), str(directory / "out.parquet")]
        self.hidden = directory / "_reembed"

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, text=True)
        wait_for(lambda: self.hidden.is_dir() and any("tmp" in path.name for path in self.hidden.rglob("*")))
        time.sleep(self.seconds)
        return self.process

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def children(pid):
    """The processes that a process and its children have started."""
    found, names = [], [pid]
    while names:
        parent = names.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            below = [int(child) for child in task.read_text().split()]
            found += below
            names += below
    return found


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_ctrl_c_keeps_finished_work(tmp_path):
    table = sample(tmp_path / "in.parquet", 20_000)
    # Batches take up to four seconds, and what is in flight is lost.
    with running(table, tmp_path, 12) as process:
        before = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0] == "interrupted\n"
        # One second, and a second more for a busy machine.
        assert time.monotonic() - before < 2
    assert not (tmp_path / "out.parquet").exists()
    small = reembed.run(table, tmp_path / "out.parquet", precision="f32", dry_run=True)
    assert small.counts.reused > 0


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_run_ends_with_its_caller(tmp_path):
    table = sample(tmp_path / "in.parquet", 20_000)
    with running(table, tmp_path) as process:
        below = children(process.pid)
        # The supervisor and its worker.
        assert len(below) == 2
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_alive, below)), 20)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_killed_worker_is_restarted(tmp_path):
    table = sample(tmp_path / "in.parquet", 800)
    with running(table, tmp_path, 0.5) as process:
        _, worker = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(now := children(process.pid)) == 2 and now[1] != worker)
        assert process.wait(120) == 0
    assert reembed.verify(tmp_path / "out.parquet", sample=0)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")
def test_killed_supervisor_is_an_exception(tmp_path):
    table = sample(tmp_path / "in.parquet", 20_000)
    raised = []

    def work():
        try:
            reembed.run(table, tmp_path / "out.parquet", precision="f32")
        except reembed.InternalError as error:
            raised.append(error)

    known = children(os.getpid())
    thread = threading.Thread(target=work)
    thread.start()
    wait_for(lambda: any("tmp" in path.name for path in tmp_path.rglob("*")))
    supervisor = next(child for child in children(os.getpid()) if child not in known)
    os.kill(supervisor, signal.SIGKILL)
    thread.join(30)
    assert "was killed by SIGKILL" in str(raised[0])


def test_every_flag_of_run_is_a_setting_or_an_argument():
    flags = {name for name, _ in reembed._reembed.flags("run")}
    assert jobs._OWN_FLAGS - {"help", "version"} <= flags
    assert {"cache-mode", "only", "shard", "text-template", "run-id", "no-supervise"} <= flags
