//! The answer of a command as one JSON object: `--output-format json`. docs/schemas.md describes each field.
//!
//! ```text
//!   commands ──record──► Answer ──end──► one object on standard output, also after a failure
//! ```

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use reembed::dataset::{MergeReport, Status};
use reembed::events::{RowsByOrigin, TableCounts};
use reembed::footer::TOOL;
use reembed::verify::{Check, Verdict};
use reembed::{Error, Report};
use serde::{Serialize, Serializer};

use crate::exit::Exit;
use crate::print;

/// Name and version of the schema. The version grows when a field is removed or changes its meaning.
pub const SCHEMA: &str = "reembed-result/1";

/// Everything that a command answers.
#[derive(Debug, Clone, Serialize)]
pub struct AnswerRecord {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The program and its version.
    pub tool: &'static str,
    /// `run`, `dry-run`, `verify` or `bench`.
    pub command: &'static str,
    /// The name of this run in logs and reports.
    pub run_id: String,
    /// `done` or `failed`.
    pub outcome: &'static str,
    /// The exit code of the program.
    pub exit_code: u8,
    /// Why it failed.
    pub error: Option<ErrorAnswer>,
    /// From start to end, in seconds.
    pub seconds: f64,
    /// The files that the command read or wrote.
    pub paths: Paths,
    /// The fingerprint of the model of the first vector column, once it is loaded.
    pub fingerprint: Option<String>,
    /// Rows; those that are done if the run failed.
    pub counts: Option<Counts>,
    /// The tables of a dataset.
    pub tables: Option<TableCounts>,
    /// Whether the output is as it was before, byte for byte.
    pub output_unchanged: Option<bool>,
    /// What a dry run expects.
    pub estimate: Option<EstimateAnswer>,
    /// What `verify` found.
    pub checks: Vec<CheckAnswer>,
    /// What `status` found.
    pub status: Option<StatusAnswer>,
    /// What `merge` did.
    pub merge: Option<MergeAnswer>,
    /// The record of `bench`, as in bench.json.
    pub bench: Option<serde_json::Value>,
    /// Warnings, one sentence each.
    pub warnings: Vec<String>,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorAnswer {
    /// A stable word for programs, such as `output-locked`.
    pub code: &'static str,
    /// The name of the class of failure, as in report.json.
    pub kind: String,
    /// One sentence, without the place.
    pub message: String,
    /// Where: the file.
    pub file: Option<String>,
    /// Where in the file, from the outside in: `row group 3`, `column …`, `row 7`.
    pub place: Vec<String>,
    /// What to do.
    pub advice: Option<String>,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// Whether the new output is in place although the run failed.
    pub output_in_place: bool,
}

/// The files of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// The input.
    #[serde(serialize_with = "as_text")]
    pub input: Option<PathBuf>,
    /// The output.
    #[serde(serialize_with = "as_text")]
    pub output: Option<PathBuf>,
    /// The page of the report.
    #[serde(serialize_with = "as_text")]
    pub report: Option<PathBuf>,
    /// The vector cache.
    #[serde(serialize_with = "as_text")]
    pub cache: Option<PathBuf>,
}

/// A path as text; bytes that are not UTF-8 become U+FFFD.
fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// Rows of the output, and where their vectors come from. With several vector columns, the counts beside `rows` and
/// `input_rows` are sums over the columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows of the output.
    pub rows: u64,
    /// Rows of the input that were read.
    pub input_rows: u64,
    /// Vectors that the model computed.
    pub embedded: u64,
    /// Vectors of earlier runs.
    pub reused: u64,
    /// Rows with the text of an earlier row.
    pub duplicates: u64,
    /// Rows without text.
    pub empty: u64,
    /// Rows whose text was truncated.
    pub truncated: u64,
}

/// What a dry run expects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimateAnswer {
    /// Tokens that the models would compute.
    pub tokens: u64,
    /// The time of the models, in seconds.
    pub seconds: f64,
    /// Bytes of the new vectors, before compression.
    pub vector_bytes: u64,
    /// Bytes of the output.
    pub output_bytes: u64,
    /// Bytes by which the vector cache may grow.
    pub cache_growth: u64,
}

/// A check of `verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckAnswer {
    /// What was checked.
    pub what: &'static str,
    /// The vector column, if there are several.
    pub column: Option<String>,
    /// `ok`, `wrong` or `skipped`.
    pub verdict: &'static str,
    /// What was found.
    pub found: String,
}

/// The state of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusAnswer {
    /// Tables that are in place.
    pub in_place: u64,
    /// Their rows.
    pub rows: u64,
    /// Tables that the next run would publish.
    pub to_publish: Vec<NamedTable>,
    /// Those that shards embed together.
    pub under_way: Vec<TableUnderWay>,
    /// Tables that failed in the last run.
    pub failed: Vec<NamedTable>,
    /// Published tables whose input is gone.
    pub gone: Vec<String>,
    /// Published tables that the run does not take, and whose output is not as it was published.
    pub elsewhere_wrong: Vec<String>,
    /// Whether a run has begun and not finished.
    pub unfinished: bool,
}

/// A table and why it is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedTable {
    /// Its path below the root.
    pub table: String,
    /// Why.
    pub reason: String,
}

/// A table that shards embed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableUnderWay {
    /// Its path below the root.
    pub table: String,
    /// Ranges that have a part.
    pub parts: u64,
    /// All of its ranges.
    pub ranges: u64,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergeAnswer {
    /// Shards that were joined.
    pub shards: u32,
    /// Tables in place.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Tables that could not be published.
    pub failed: Vec<NamedTable>,
    /// Vectors from the caches of the shards.
    pub cached: u64,
    /// Outputs without an input that were deleted.
    pub deleted: u64,
}

fn named(path: &Path, reason: &str) -> NamedTable {
    NamedTable { table: path.display().to_string(), reason: reason.to_owned() }
}

impl StatusAnswer {
    /// The answer of `status`.
    pub fn new(status: &Status) -> StatusAnswer {
        let paths = |paths: &[PathBuf]| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        StatusAnswer {
            in_place: status.in_place,
            rows: status.rows,
            to_publish: status.to_publish.iter().map(|(path, why)| named(path, why)).collect(),
            under_way: status
                .under_way
                .iter()
                .map(|(path, parts, ranges)| TableUnderWay {
                    table: path.display().to_string(),
                    parts: *parts,
                    ranges: *ranges,
                })
                .collect(),
            failed: status.failed.iter().map(|(path, why)| named(path, why)).collect(),
            gone: paths(&status.gone),
            elsewhere_wrong: paths(&status.elsewhere_wrong),
            unfinished: status.is_unfinished,
        }
    }
}

impl MergeAnswer {
    /// The answer of `merge`.
    pub fn new(report: &MergeReport) -> MergeAnswer {
        let failed = report.failed.iter().map(|failed| named(&failed.path, &failed.message));
        MergeAnswer {
            shards: report.shards,
            tables: report.tables,
            rows: report.rows,
            failed: failed.collect(),
            cached: report.cached,
            deleted: report.deleted,
        }
    }
}

impl From<&Check> for CheckAnswer {
    fn from(check: &Check) -> Self {
        CheckAnswer {
            what: check.what,
            column: check.column.clone(),
            verdict: match check.verdict {
                Verdict::Passed => "ok",
                Verdict::Failed => "wrong",
                Verdict::Skipped => "skipped",
            },
            found: check.found.clone(),
        }
    }
}

impl Counts {
    /// Those of a run that succeeded.
    pub fn of_report(report: &Report) -> Counts {
        let RowsByOrigin { encoded, reused, duplicate, .. } = report.origins();
        Counts {
            rows: report.rows,
            input_rows: report.input_rows.unwrap_or(report.rows + report.dropped_rows),
            embedded: encoded,
            reused,
            duplicates: duplicate,
            empty: report.null_rows() + report.dropped_rows,
            truncated: report.truncated_rows(),
        }
    }
}

impl ErrorAnswer {
    /// The answer of an error of any command.
    pub fn new(error: &anyhow::Error) -> ErrorAnswer {
        let Some(error) = error.downcast_ref::<Error>() else {
            let causes = error.chain().skip(1).map(ToString::to_string).collect();
            return ErrorAnswer {
                code: "failed",
                kind: "Other".to_owned(),
                message: error.to_string(),
                file: None,
                place: Vec::new(),
                advice: None,
                causes,
                output_in_place: false,
            };
        };
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            causes.push(inner.to_string());
            cause = inner.source();
        }
        ErrorAnswer {
            code: error.kind().code(),
            kind: print::kind_name(error.kind()),
            message: error.message().to_owned(),
            file: error.place().file().map(|file| file.display().to_string()),
            place: error.place().parts().to_vec(),
            advice: error.advice_text().map(str::to_owned),
            causes,
            output_in_place: error.is_after_publish(),
        }
    }

    /// The answer to arguments that cannot be understood.
    pub fn of_usage(usage: &clap::Error) -> ErrorAnswer {
        let text = usage.to_string();
        let message = text.lines().next().unwrap_or("").trim_start_matches("error: ");
        ErrorAnswer {
            code: "usage",
            kind: "Usage".to_owned(),
            message: message.to_owned(),
            file: None,
            place: Vec::new(),
            advice: Some("see `reembed --help`".to_owned()),
            causes: Vec::new(),
            output_in_place: false,
        }
    }
}

/// Collects the answer of a command and prints it at its end.
pub struct Answer {
    started: Instant,
    /// `None` if the command prints text, or another process answers.
    record: Mutex<Option<AnswerRecord>>,
}

impl Answer {
    /// An answer in JSON by `command`, which has this name in logs and reports.
    pub fn in_json(command: &'static str, run_id: String) -> Answer {
        let record = AnswerRecord {
            schema: SCHEMA,
            tool: TOOL,
            command,
            run_id,
            outcome: "done",
            exit_code: 0,
            error: None,
            seconds: 0.0,
            paths: Paths::default(),
            fingerprint: None,
            counts: None,
            tables: None,
            output_unchanged: None,
            estimate: None,
            checks: Vec::new(),
            status: None,
            merge: None,
            bench: None,
            warnings: Vec::new(),
        };
        Answer { started: Instant::now(), record: Mutex::new(Some(record)) }
    }

    /// No answer: the command prints text.
    pub fn in_text() -> Answer {
        Answer { started: Instant::now(), record: Mutex::new(None) }
    }

    /// Whether text is to be printed in its place.
    pub fn is_text(&self) -> bool {
        self.lock().is_none()
    }

    /// Records a part of the answer.
    pub fn record(&self, change: impl FnOnce(&mut AnswerRecord)) {
        if let Some(record) = &mut *self.lock() {
            change(record);
        }
    }

    /// Leaves the answer to another process, which has given it.
    pub fn leave(&self) {
        *self.lock() = None;
    }

    /// Prints the answer.
    pub fn end(&self, exit: Exit, error: Option<ErrorAnswer>) {
        let Some(mut record) = self.lock().take() else { return };
        record.exit_code = exit.code();
        record.outcome = if exit == Exit::Done { "done" } else { "failed" };
        record.error = error;
        record.seconds = self.started.elapsed().as_secs_f64();
        match serde_json::to_string(&record) {
            Ok(text) => print::result_or_warn(&(text + "\n")),
            Err(cause) => tracing::error!("the result cannot be serialized: {cause}"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<AnswerRecord>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reembed::ErrorKind;

    use super::*;

    #[test]
    fn error_is_told_in_parts() {
        let error = Error::new(ErrorKind::Data, "the page is damaged")
            .in_file("a.parquet")
            .at("row group 3")
            .at("column `title`")
            .advice("write it again")
            .caused_by(std::io::Error::other("bad checksum"));
        let answer = ErrorAnswer::new(&error.into());
        assert_eq!((answer.code, answer.kind.as_str()), ("input-data", "Data"));
        assert_eq!(answer.message, "the page is damaged");
        assert_eq!(answer.file.as_deref(), Some("a.parquet"));
        assert_eq!(answer.place, ["row group 3", "column `title`"]);
        assert_eq!(answer.advice.as_deref(), Some("write it again"));
        assert_eq!(answer.causes, ["bad checksum"]);
        let other = ErrorAnswer::new(&anyhow::anyhow!("inner").context("outer"));
        assert_eq!((other.code, other.message.as_str()), ("failed", "outer"));
        assert_eq!(other.causes, ["inner"]);
    }

    #[test]
    fn every_field_is_documented() {
        let answer = Answer::in_json("run", "id".to_owned());
        answer.record(|record| {
            record.counts = Some(Counts::default());
            record.tables = Some(TableCounts::default());
            let table = vec![named(Path::new("a"), "why")];
            record.status = Some(StatusAnswer {
                in_place: 1,
                rows: 1,
                to_publish: table.clone(),
                under_way: vec![TableUnderWay { table: "a".to_owned(), parts: 1, ranges: 2 }],
                failed: table.clone(),
                gone: vec!["b".to_owned()],
                elsewhere_wrong: vec!["c".to_owned()],
                unfinished: true,
            });
            record.merge = Some(MergeAnswer {
                shards: 1,
                tables: 1,
                rows: 1,
                failed: table,
                cached: 1,
                deleted: 1,
            });
            record.estimate = Some(EstimateAnswer {
                tokens: 1,
                seconds: 1.0,
                vector_bytes: 1,
                output_bytes: 1,
                cache_growth: 1,
            });
            record.error = Some(ErrorAnswer::new(&anyhow::anyhow!("wrong")));
            record.checks = vec![CheckAnswer {
                what: "rows",
                column: None,
                verdict: "ok",
                found: "3".to_owned(),
            }];
        });
        let record = answer.lock().clone().expect("a record");
        let document = serde_json::to_string(&record).expect("JSON");
        assert_eq!(crate::json::undocumented_fields(&document), [""; 0]);
        assert!(include_str!("../../../docs/schemas.md").contains(SCHEMA));
    }

    #[test]
    fn every_code_is_documented() {
        for kind in ErrorKind::ALL {
            let code = kind.code();
            assert!(
                include_str!("../../../docs/schemas.md").contains(&format!("`{code}`")),
                "{code}"
            );
        }
    }
}
