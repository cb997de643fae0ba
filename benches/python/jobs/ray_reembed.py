"""Ray Data with `reembed.ray.Embed`."""

import sys

source, target, model, workers, precision = sys.argv[1:]


def job():
    import ray
    import reembed.ray

    options = {"text": "text", "model": model, "precision": precision}
    rows = ray.data.read_parquet(source)
    rows = rows.map_batches(reembed.ray.Embed, batch_format="pyarrow", concurrency=int(workers), fn_constructor_kwargs=options)
    rows.write_parquet(target)


def start():
    from engines import start_ray

    start_ray(int(workers))
