//! Log lines on standard error. A closed or full standard error never fails the program.

use std::io;

use serde::{Serialize, Serializer};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::{LogFormat, Logging};

/// Starts the log of a run and silences the panic hook: a panic in a stage becomes that stage's error, and its message may
/// quote the data.
pub fn init(logging: &Logging, run_id: &str) {
    let level = match (logging.quiet, logging.verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    };
    let subscriber = fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false)
        // Otherwise `eprintln!` reports a failed write, and panics on the same descriptor.
        .log_internal_errors(false);
    let started = match logging.log_format {
        LogFormat::Text => subscriber.with_ansi(false).finish().try_init(),
        LogFormat::Json => {
            let lines = JsonLines { run_id: run_id.to_owned() };
            subscriber.event_format(lines).finish().try_init()
        }
    };
    // A process that runs the program again keeps its first log.
    drop(started);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::debug!(place, "caught a panic");
    }));
}

/// Log lines as JSON objects: timestamp, level, the name of the run, then the fields of the event, flat.
struct JsonLines {
    run_id: String,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut line = JsonFields(Vec::new());
        line.push("timestamp", timestamp);
        line.push("level", event.metadata().level().as_str());
        line.push("run_id", self.run_id.as_str());
        event.record(&mut line);
        let text = serde_json::to_string(&line).map_err(|_| std::fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// The fields of an event as JSON, in their order.
struct JsonFields(Vec<(&'static str, Value)>);

impl JsonFields {
    fn push(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }
}

impl Serialize for JsonFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Visit for JsonFields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.push(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field.name(), value);
    }
}
