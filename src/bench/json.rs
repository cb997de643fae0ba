//! The throughput report for programs: `reembed bench --json FILE`.
//!
//! A reader looks at `schema` first. A number in it grows when a field goes or changes its meaning; fields may
//! be added under the same number.

use serde_json::{Value, json};

use super::{BenchLine, BenchReport, Way};

/// What [`BenchReport::to_json`] gives.
const SCHEMA: &str = "reembed-bench/1";

impl BenchReport {
    /// The report as JSON. Times are seconds of a whole pass over the corpus, one for each repeat, ascending; sizes
    /// are bytes; what is not known is null.
    pub fn to_json(&self) -> Value {
        let model = &self.lineage.model;
        json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "machine": {
                "cpu": self.machine.cpu,
                "cores": self.machine.cores,
                "instruction_sets": self.machine.instruction_sets,
                "memory_bytes": self.machine.memory,
            },
            "model": {
                "id": model.id,
                "numerics": model.numerics,
                "fingerprint": self.lineage.fingerprint,
                "runs_on": self.runs_on,
                "batch_invariant": self.batch_invariant,
            },
            "corpus": { "rows": self.rows, "tokens": self.tokens },
            "peak_resident_bytes": self.peak_resident,
            "ways": self.lines.iter().map(way).collect::<Vec<_>>(),
        })
    }
}

fn way(line: &BenchLine) -> Value {
    json!({
        "name": line.way.to_string(),
        "batch_rows": match line.way {
            Way::OneAtATime => Some(1),
            Way::Rows(rows) => Some(rows.get()),
            // The plan's batches are of many sizes.
            Way::Planned => None,
        },
        "seconds": line.seconds,
        "padding_efficiency": line.padding_efficiency,
        "largest_difference": line.largest_difference,
    })
}
