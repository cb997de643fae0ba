//! `report.prom`: the latest run as Prometheus metrics, for the textfile collector of node_exporter.
//!
//! Every metric is a gauge with the label `output`, so that several outputs of one directory stay apart.

use std::fmt::Write as _;

use super::record::{Outcome, RunRecord};

/// The content of the file. `ended_unix` is the end of the run in seconds since 1970.
pub fn metrics(record: &RunRecord, ended_unix: f64) -> String {
    let mut text = Metrics { text: String::new(), output: escape(&record.output.label) };
    let done = record.outcome == Outcome::Done;
    text.gauge("reembed_run_success", "1 if the last run succeeded, 0 if it failed.", done.into());
    text.gauge("reembed_run_end_timestamp_seconds", "When the last run ended.", ended_unix);
    let last_success = match done {
        true => Some(ended_unix),
        false => record
            .earlier
            .iter()
            .rev()
            .find(|run| run.outcome == Outcome::Done)
            .map(|run| run.ended_unix),
    };
    text.optional(
        "reembed_run_last_success_timestamp_seconds",
        "When the last successful run ended, among those whose reports are kept.",
        last_success,
    );
    text.gauge("reembed_run_duration_seconds", "Duration of the last run.", record.seconds);
    text.optional(
        "reembed_model_load_seconds",
        "Time to find, check and load the model.",
        record.model_load_seconds,
    );
    let rows = &record.rows;
    let kinds = [
        ("input", rows.input.unwrap_or(0)),
        ("encoded", rows.encoded),
        ("reused", rows.reused),
        ("duplicate", rows.duplicate),
        ("null", rows.null),
        ("dropped", rows.dropped),
        ("truncated", rows.truncated),
        ("repeated_id", rows.repeated_ids),
    ];
    text.gauges(
        "reembed_rows",
        "Rows of the last run by where their vectors come from.",
        "kind",
        &kinds.map(|(kind, rows)| (kind.to_owned(), rows as f64)),
    );
    text.gauge("reembed_tokens", "Tokens that went through the model.", record.tokens.real as f64);
    text.optional(
        "reembed_padding_efficiency_ratio",
        "Real tokens divided by computed tokens.",
        record.tokens.padding_efficiency,
    );
    text.optional(
        "reembed_rows_per_second",
        "Rows per second, from the first row to the output in place.",
        record.speed.tasks_per_second,
    );
    text.optional(
        "reembed_tokens_per_second",
        "Tokens per second, from the first row to the output in place.",
        record.speed.tokens_per_second,
    );
    text.head("reembed_stage_seconds", "Time of each stage by its state.");
    for stage in &record.stages {
        let name = format!("{:?}", stage.stage).to_lowercase();
        for (state, seconds) in [
            ("busy", stage.busy),
            ("waiting_for_input", stage.waiting_for_input),
            ("waiting_for_output", stage.waiting_for_output),
        ] {
            let labels = format!("stage=\"{name}\",state=\"{state}\",");
            text.sample("reembed_stage_seconds", &labels, seconds);
        }
    }
    text.optional(
        "reembed_batch_limit_rows",
        "Maximum texts in a batch, at the end of the run.",
        record.batches.limit_at_end.map(|limit| limit.rows as f64),
    );
    text.optional(
        "reembed_batch_limit_tokens",
        "Maximum tokens in a batch, at the end of the run.",
        record.batches.limit_at_end.map(|limit| limit.tokens as f64),
    );
    text.gauge(
        "reembed_batch_limit_moves",
        "How often the batch limit changed.",
        record.batches.limit_moves as f64,
    );
    text.optional(
        "reembed_peak_resident_bytes",
        "Peak RSS of the process.",
        record.memory.peak_resident.map(|bytes| bytes as f64),
    );
    text.optional(
        "reembed_batch_budget_bytes",
        "Memory budget of a batch.",
        record.memory.batch_budget.map(|bytes| bytes as f64),
    );
    text.gauge("reembed_restarts", "Restarts of the worker.", record.restarts.len() as f64);
    text.gauge("reembed_warnings", "Warnings of the last run.", record.warnings.len() as f64);
    if let Some(lineage) = &record.lineage {
        text.head("reembed_model_info", "The model that made the vectors; the value is always 1.");
        let labels = format!(
            "tool=\"{}\",model=\"{}\",numerics=\"{}\",fingerprint=\"{}\",",
            escape(&record.tool),
            escape(&lineage.model.id),
            escape(&lineage.model.numerics),
            escape(&lineage.fingerprint),
        );
        text.sample("reembed_model_info", &labels, 1.0);
    }
    text.text
}

struct Metrics {
    text: String,
    output: String,
}

impl Metrics {
    fn head(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    /// `labels` is empty or ends with a comma.
    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{{{labels}output=\"{}\"}} {value}", self.output);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help);
        self.sample(name, "", value);
    }

    /// An unknown figure has no sample, since a zero would be wrong.
    fn optional(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(String, f64)]) {
        self.head(name, help);
        for (kind, value) in values {
            self.sample(name, &format!("{label}=\"{}\",", escape(kind)), *value);
        }
    }
}

/// Escapes the value of a label.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn each_metric_has_help_type_and_output_label() {
        let text = metrics(&example::done(), 1_800_000_000.0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('{').next().expect("a name");
            assert!(text.contains(&format!("# HELP {name} ")), "{line}");
            assert!(text.contains(&format!("# TYPE {name} gauge")), "{line}");
            assert!(line.contains("output=\"tasks.parquet\"}"), "{line}");
        }
        assert!(text.contains("reembed_rows{kind=\"encoded\",output=\"tasks.parquet\"} 1199\n"));
        assert!(text.contains("reembed_run_success{output=\"tasks.parquet\"} 1\n"));
    }

    #[test]
    fn failed_run_keeps_the_time_of_the_last_success() {
        let text = metrics(&example::failed(), 1_800_000_000.0);
        assert!(text.contains("reembed_run_success{output=\"tasks.parquet\"} 0\n"), "{text}");
        let line =
            "reembed_run_last_success_timestamp_seconds{output=\"tasks.parquet\"} 1799990000\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut record = example::done();
        record.output.label = "a\"} 1\nevil{x=\"\\".to_owned();
        let text = metrics(&record, 0.0);
        assert!(text.contains(r#"output="a\"} 1\nevil{x=\"\\"} "#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    }
}
