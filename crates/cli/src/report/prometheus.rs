//! `report.prom`: a run for Prometheus, in the format that node_exporter's textfile collector reads.
//!
//! All are gauges of the last run, each with the label `output`, so that several jobs of one machine do not
//! collide. Names follow the conventions of Prometheus: base units, no abbreviations.

use std::fmt::Write as _;

use super::record::{Outcome, RunRecord};

/// The file's content. `ended_unix` is when the run ended, in seconds since 1970.
pub fn metrics(record: &RunRecord, ended_unix: f64) -> String {
    let mut text = Text { text: String::new(), output: escaped(&record.output.path) };
    let done = record.outcome == Outcome::Done;
    text.gauge("reembed_run_success", "1 if the last run is done, 0 if it failed.", done.into());
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
        "When the last run that is done ended, among those whose reports are kept.",
        last_success,
    );
    text.gauge("reembed_run_duration_seconds", "How long the last run took.", record.seconds);
    text.optional(
        "reembed_model_load_seconds",
        "What it took to find, check and load the model.",
        record.model_load_seconds,
    );
    let rows = &record.rows;
    let kinds = [
        ("input", rows.input.unwrap_or(0)),
        ("encoded", rows.encoded),
        ("reused", rows.reused),
        ("duplicate", rows.duplicate),
        ("null", rows.null),
        ("truncated", rows.truncated),
    ];
    text.gauges(
        "reembed_rows",
        "Rows of the last run by what became of them.",
        "kind",
        &kinds.map(|(kind, rows)| (kind.to_owned(), rows as f64)),
    );
    text.gauge("reembed_tokens", "Tokens that went through the model.", record.tokens.real as f64);
    text.optional(
        "reembed_padding_efficiency_ratio",
        "Real tokens as a part of the computed ones.",
        record.tokens.padding_efficiency,
    );
    text.optional(
        "reembed_rows_per_second",
        "Rows per second while rows flowed.",
        record.speed.tasks_per_second,
    );
    text.optional(
        "reembed_tokens_per_second",
        "Tokens per second while rows flowed.",
        record.speed.tokens_per_second,
    );
    text.head("reembed_stage_seconds", "What each stage did with its time.");
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
        "Texts that a batch may have, at the end of the run.",
        record.batches.limit_at_end.map(|limit| limit.rows as f64),
    );
    text.optional(
        "reembed_batch_limit_tokens",
        "Tokens that a batch may have, at the end of the run.",
        record.batches.limit_at_end.map(|limit| limit.tokens as f64),
    );
    text.gauge(
        "reembed_batch_limit_moves",
        "How often the batch limit moved.",
        record.batches.limit_moves as f64,
    );
    text.optional(
        "reembed_peak_resident_bytes",
        "The largest resident size of the process.",
        record.memory.peak_resident.map(|bytes| bytes as f64),
    );
    text.optional(
        "reembed_batch_budget_bytes",
        "What a batch was allowed to take.",
        record.memory.batch_budget.map(|bytes| bytes as f64),
    );
    text.gauge("reembed_restarts", "Restarts of the worker.", record.restarts.len() as f64);
    text.gauge("reembed_warnings", "Warnings of the last run.", record.warnings.len() as f64);
    if let Some(lineage) = &record.lineage {
        text.head("reembed_model_info", "Which model made the vectors; the value is always 1.");
        let labels = format!(
            "tool=\"{}\",model=\"{}\",numerics=\"{}\",fingerprint=\"{}\",",
            escaped(&record.tool),
            escaped(&lineage.model.id),
            escaped(&lineage.model.numerics),
            escaped(&lineage.fingerprint),
        );
        text.sample("reembed_model_info", &labels, 1.0);
    }
    text.text
}

struct Text {
    text: String,
    output: String,
}

impl Text {
    fn head(&mut self, name: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    /// `labels` end with a comma, or are empty.
    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = writeln!(self.text, "{name}{{{labels}output=\"{}\"}} {value}", self.output);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help);
        self.sample(name, "", value);
    }

    /// A figure that is not known has no sample: a zero would be a lie.
    fn optional(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    fn gauges(&mut self, name: &str, help: &str, label: &str, values: &[(String, f64)]) {
        self.head(name, help);
        for (kind, value) in values {
            self.sample(name, &format!("{label}=\"{}\",", escaped(kind)), *value);
        }
    }
}

/// A label's value, as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn each_metric_has_help_type_and_the_label_of_its_output() {
        let text = metrics(&example::done(), 1_800_000_000.0);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split('{').next().expect("a name");
            assert!(text.contains(&format!("# HELP {name} ")), "{line}");
            assert!(text.contains(&format!("# TYPE {name} gauge")), "{line}");
            assert!(line.contains("output=\"out/tasks.parquet\"}"), "{line}");
        }
        assert!(
            text.contains("reembed_rows{kind=\"encoded\",output=\"out/tasks.parquet\"} 1199\n")
        );
        assert!(text.contains("reembed_run_success{output=\"out/tasks.parquet\"} 1\n"));
    }

    #[test]
    fn a_failed_run_remembers_the_last_that_was_done() {
        let text = metrics(&example::failed(), 1_800_000_000.0);
        assert!(text.contains("reembed_run_success{output=\"out/tasks.parquet\"} 0\n"), "{text}");
        let line =
            "reembed_run_last_success_timestamp_seconds{output=\"out/tasks.parquet\"} 1799990000\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_path_cannot_break_out_of_its_label() {
        let mut record = example::done();
        record.output.path = "a\"} 1\nevil{x=\"\\".to_owned();
        let text = metrics(&record, 0.0);
        assert!(text.contains(r#"output="a\"} 1\nevil{x=\"\\"} "#), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    }
}
