"""Ray Data with several worker processes: the program's bits, order, nulls, threads, and a killed actor."""

import os
import signal
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
import ray
from engines.conftest import ROWS, with_bytes

import reembed.ray
from reembed.threads import resolve_threads

F32 = {"precision": "f32"}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # The workers cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=300_000_000)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    yield
    ray.shutdown()


def vectors(dataset, **arguments):
    options = {"batch_format": "pyarrow", "batch_size": 50, "concurrency": 2, **arguments}
    options.setdefault("fn_constructor_kwargs", F32)
    return dataset.map_batches(options.pop("fn", reembed.ray.Embed), **options)


def table(dataset):
    return pa.concat_tables(ray.get(dataset.to_arrow_refs()), promote_options="default")


def pairs(found):
    return with_bytes(found["id"].to_pylist(), found["embedding"].to_pylist())


def test_defaults_are_those_of_the_program(tasks, expected):
    found = table(vectors(ray.data.read_parquet(str(tasks)).repartition(6)))
    assert found.column_names == ["id", "title", "description", "files", "embedding"]
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), 384)
    assert found.num_rows == ROWS and found["embedding"].null_count > 10
    assert pairs(found) == expected()


def test_prompt_is_written_before_each_text(tasks, embedder):
    options = {"text": "title", "prompt": "fix: ", **F32}
    found = table(vectors(ray.data.read_parquet(str(tasks)), fn_constructor_kwargs=options))
    assert pairs(found) == pairs(embedder.embed_table(pa.parquet.read_table(tasks), "title", prompt="fix: "))


def test_other_columns_are_kept(tasks):
    source = pa.parquet.read_table(tasks)
    found = table(vectors(ray.data.from_arrow(source)))
    for name in source.column_names:
        assert found[name].to_pylist() == source[name].to_pylist(), name


@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        ({"text": "title"}, ("--text", "title")),
        ({"text": ["description", "title"]}, ("--text", "description,title")),
        ({"template": "{title} ({files})"}, ("--text-template", "{title} ({files})")),
    ],
)
def test_recipes_are_those_of_the_program(recipe, arguments, tasks, expected):
    found = table(vectors(ray.data.read_parquet(str(tasks)), fn_constructor_kwargs={**recipe, **F32}))
    assert pairs(found) == expected(*arguments)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_text_may_have_any_type_of_arrow(kind, tasks, expected):
    source = pa.parquet.read_table(tasks, columns=["id", "title"])
    dataset = ray.data.from_arrow(source.set_column(1, "title", source["title"].cast(kind)))
    found = table(vectors(dataset, fn_constructor_kwargs={"text": "title", **F32}))
    assert pairs(found) == expected("--text", "title")


def test_string_views_are_read_where_ray_has_them(tasks, expected):
    # Ray cannot send them to another process yet; a reader within the actor may make them.
    source = pa.parquet.read_table(tasks, columns=["id", "title"])
    views = source.set_column(1, "title", source["title"].cast(pa.string_view()))
    assert pairs(reembed.ray.Embed("title", **F32)(views)) == expected("--text", "title")


class Counted(reembed.ray.Embed):
    """Says which process made a batch, on how many threads, and how often the model was loaded there."""

    loads = 0

    def __init__(self, **arguments):
        super().__init__(**arguments)
        Counted.loads += 1

    def __call__(self, batch):
        batch = super().__call__(batch)
        facts = {"pid": os.getpid(), "loads": Counted.loads, "threads": resolve_threads(None)}
        for name, value in facts.items():
            batch = batch.append_column(name, pa.array([value] * len(batch)))
        return batch


@pytest.mark.parametrize(("asked", "threads"), [({}, 1), ({"num_cpus": 2}, 2), ({"num_cpus": 0.5}, 1)])
def test_actor_loads_once_and_takes_its_cpus(asked, threads, tasks):
    dataset = ray.data.read_parquet(str(tasks)).repartition(6).materialize()
    actors = 1 if asked.get("num_cpus") == 2 else 2
    found = table(vectors(dataset, fn=Counted, concurrency=actors, **asked))
    assert len(set(found["pid"].to_pylist())) == actors
    assert os.getpid() not in found["pid"].to_pylist()
    assert set(found["loads"].to_pylist()) == {1}
    assert set(found["threads"].to_pylist()) == {threads}


class Dying(reembed.ray.Embed):
    """Kills its own process with the second batch, in one actor and once."""

    def __init__(self, marker, **arguments):
        super().__init__(**arguments)
        self.marker, self.batches = Path(marker), 0

    def __call__(self, batch):
        self.batches += 1
        if self.batches == 2:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def test_killed_actor_loses_and_changes_nothing(tasks, expected, tmp_path):
    marker = tmp_path / "killed"
    dataset = ray.data.read_parquet(str(tasks)).repartition(12)
    arguments = {"marker": str(marker), **F32}
    found = table(vectors(dataset, fn=Dying, fn_constructor_kwargs=arguments))
    assert marker.exists()
    assert pairs(found) == expected()


def test_wrong_batch_format_is_named(tasks):
    dataset = ray.data.read_parquet(str(tasks))
    with pytest.raises(Exception, match='batch_format="pyarrow"'):
        vectors(dataset, batch_format="numpy").materialize()


def test_driver_has_no_grant():
    from reembed.threads import engine_grant

    assert engine_grant() is None
