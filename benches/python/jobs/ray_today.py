"""Ray Data with sentence-transformers, as its users write it."""

import sys

source, target, model, workers, _ = sys.argv[1:]


def job():
    import ray
    from sentence_transformers import SentenceTransformer

    class Embed:
        def __init__(self, model):
            self.model = SentenceTransformer(model, device="cpu")

        def __call__(self, batch):
            batch["embedding"] = self.model.encode(list(batch["text"]), batch_size=32)
            return batch

    rows = ray.data.read_parquet(source)
    rows = rows.map_batches(Embed, concurrency=int(workers), batch_size=512, fn_constructor_kwargs={"model": model})
    rows.write_parquet(target)


def start():
    from engines import start_ray

    start_ray(int(workers))
