"""A Dagster asset that embeds a table of another asset, within the step. See docs/python-engines.md.

examples/schedule/dagster_job.py runs the program instead: that computes the rows that changed alone, in a process of
its own.
"""

import dagster as dg
import pyarrow as pa

from reembed import Embedder


class Model(dg.ConfigurableResource):
    """A model that is loaded when a step first asks for it."""

    name: str = "sentence-transformers/all-MiniLM-L6-v2"
    precision: str = "f32"

    def load(self) -> Embedder:
        return Embedder(self.name, self.precision)


@dg.asset
def task_vectors(context: dg.AssetExecutionContext, model: Model, tasks: pa.Table) -> pa.Table:
    embedder = model.load()
    table = embedder.embed_table(tasks)
    rows_without_text = table["embedding"].null_count
    context.add_output_metadata(
        {"rows": len(table), "rows_without_text": rows_without_text, "fingerprint": embedder.fingerprint}
    )
    return table
