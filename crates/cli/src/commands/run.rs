//! `reembed run`: embeds every row of a table, under a supervisor unless `--no-supervise` is set.

mod summary;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reembed::config::{Origin, RawConfig};
use reembed::pipeline::{self, Models, RunOptions};
use reembed::{Config, Error, ErrorKind, Event, Report, Stop, dry_run, publish};
use reembed_encoder::memory;

use super::config::{FileAndEnvironment, environment, load_file};
use crate::answer::{Answer, Counts};
use crate::cli::RunArgs;
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::report::{Ending, Recorder, directory};
use crate::session::Session;
use crate::supervisor::worker::SupervisorLink;
use crate::text::error_line;
use crate::{signals, supervisor};

/// `reembed run`.
pub fn run(args: &RunArgs, session: &Session) -> Result<Exit> {
    let config = load(args)?;
    session.answer.record(|record| {
        record.paths.input = Some(config.input.path.clone());
        record.paths.output = Some(config.output.path().to_owned());
    });
    if args.print_config {
        print::result(&summary::config(&config))?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return estimate(&config, session);
    }
    let recorder = Recorder::new(&config, &session.run_id, SystemTime::now());
    if args.worker {
        return run_as_worker(&config, recorder, session);
    }
    if args.no_supervise {
        return run_alone(&config, recorder, session);
    }
    match supervisor::own_program() {
        Ok(_) => run_supervised(&config, recorder, session),
        Err(cause) => {
            tracing::warn!(
                "running in one process, as with --no-supervise, without a restart after the memory ran out: this \
                 program's own file is not known: {cause}"
            );
            run_alone(&config, recorder, session)
        }
    }
}

/// The configuration: the file, then the environment, the flags, and IN and OUT.
fn load(args: &RunArgs) -> Result<Config> {
    let paths = [("input.path", &args.input_path, "IN"), ("output.path", &args.output_path, "OUT")];
    let flags = |raw: &mut RawConfig| {
        let mut faults: Vec<Error> = args.flags.apply_to(raw).err().into_iter().collect();
        for (key, path, name) in paths {
            if let Some(path) = path {
                faults.extend(raw.set_path(key, path, Origin::Flag(name)).err());
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    };
    let FileAndEnvironment { raw, has_file } = load_file(&args.file, flags)?;
    let missing: Vec<&str> =
        ["input.path", "output.path"].into_iter().filter(|key| !raw.is_set(key)).collect();
    if !has_file && !missing.is_empty() {
        let message = format!(
            "there is no pipeline.toml in the current directory, and `{}` {} not set",
            missing.join("` and `"),
            if missing.len() == 1 { "is" } else { "are" }
        );
        return Err(Error::new(ErrorKind::Config, message)
            .advice(
                "use `reembed run IN.parquet OUT.parquet`, or write a pipeline.toml with `reembed init IN.parquet`, or \
                 name a configuration with --config",
            )
            .into());
    }
    Ok(raw.check(&environment())?)
}

/// `--dry-run`.
fn estimate(config: &Config, session: &Session) -> Result<Exit> {
    let (reader, existing) = pipeline::prepare(config)?;
    let progress = Progress::new(&session.logging);
    let on_event = |event| progress.event(event);
    let stop = Stop::new();
    let models = Models::find(config, &existing, false, &stop, &on_event)?;
    let forms = pipeline::check_models(config, &reader, &existing, &models, &stop)?;
    models.distinct().iter().for_each(|model| progress.model_notes(&model.facts().notes));
    progress.step("reading and tokenizing every row");
    let estimate = dry_run::estimate(config, &reader, &existing, &models, &forms);
    progress.finish();
    let estimate = estimate?;
    session.answer.record(|record| {
        record.fingerprint = estimate.columns.first().map(|one| one.lineage.fingerprint.clone());
        record.counts = Some(summary::expected_counts(&estimate));
        record.estimate = Some(summary::expected_cost(&estimate));
    });
    if session.answer.is_text() {
        print::result(&summary::estimate(&estimate))?;
    }
    Ok(Exit::Done)
}

fn run_supervised(config: &Config, recorder: Recorder, session: &Session) -> Result<Exit> {
    let started = Instant::now();
    match supervisor::run(config, &session.run_id, &recorder) {
        // The worker has given its answer and written its report.
        Ok(exit) => {
            session.answer.leave();
            Ok(exit)
        }
        // This error means that no worker did.
        Err(error) => Err(match error.downcast::<Error>() {
            Ok(error) => {
                write_report(config, recorder, started.elapsed(), Err(&error), &session.answer);
                error.into()
            }
            Err(other) => other,
        }),
    }
}

fn run_as_worker(config: &Config, recorder: Recorder, session: &Session) -> Result<Exit> {
    let link = SupervisorLink::connect()?;
    // The run started with the first worker.
    let offset = link.deaths.last().map_or(Duration::ZERO, |death| death.at);
    let recorder = recorder.started_earlier(offset);
    link.deaths.iter().for_each(|death| recorder.restarted(death.at, death.cause()));
    let job = Job { config, options: link.run_options(), stop: &link.stop, recorder, offset };
    let exit = job.embed(session, &|event| link.report(event));
    link.finish();
    exit
}

fn run_alone(config: &Config, recorder: Recorder, session: &Session) -> Result<Exit> {
    let stop = Stop::new();
    let error_log = session.logging.clone();
    let print_error = move |reason| print::error(&signals::forced_error(reason).into(), &error_log);
    signals::handle(&stop, signals::GRACE, |_| (), print_error.clone())
        .context("cannot handle signals")?;
    let deadline = config.run.deadline.and_then(|time| Instant::now().checked_add(time));
    signals::enforce_deadline(deadline, signals::GRACE, print_error)
        .context("cannot enforce the deadline")?;
    let options = RunOptions::default();
    let job = Job { config, options, stop: &stop, recorder, offset: Duration::ZERO };
    job.embed(session, &|_| ())
}

/// A run in this process.
struct Job<'a> {
    config: &'a Config,
    options: RunOptions,
    stop: &'a Stop,
    recorder: Recorder,
    /// The time since the start of the run, before this process started.
    offset: Duration,
}

impl Job<'_> {
    /// Embeds, writes the report and prints the summary. `observe` receives every event first.
    fn embed(self, session: &Session, observe: &(dyn Fn(&Event) + Sync)) -> Result<Exit> {
        let Job { config, options, stop, recorder, offset } = self;
        let progress = Progress::new(&session.logging);
        let started = Instant::now();
        let outcome = pipeline::run(config, options, stop, &|event| {
            observe(&event);
            recorder.event(offset + started.elapsed(), &event);
            progress.event(event);
        });
        progress.finish();
        let at = offset + started.elapsed();
        let page = write_report(config, recorder, at, outcome.as_ref(), &session.answer);
        let report = outcome?;
        session.answer.record(|record| {
            record.counts = Some(Counts::of_report(&report));
            record.output_unchanged = Some(report.output_unchanged);
            record.paths.cache = report.cache.as_ref().map(|cache| cache.path.clone());
        });
        if session.answer.is_text() {
            print::result_or_warn(&summary::run(&report, page.as_deref()));
        }
        Ok(Exit::Done)
    }
}

/// Writes the report of a run and returns the path of its page. A failure is logged: it does not fail the run.
fn write_report(
    config: &Config,
    recorder: Recorder,
    at: Duration,
    outcome: Result<&Report, &Error>,
    answer: &Answer,
) -> Option<PathBuf> {
    // The run that holds the lock writes the report.
    if matches!(outcome, Err(error) if error.kind() == ErrorKind::Locked) {
        return None;
    }
    if !publish::may_write_report(config) {
        return None;
    }
    let record = recorder.finish(Ending { at, outcome, peak_rss: memory::peak_rss() });
    answer.record(|answer| {
        answer.fingerprint = record.lineage.as_ref().map(|lineage| lineage.fingerprint.clone());
        answer.warnings.clone_from(&record.warnings);
        answer.counts = record.rows.input.map(|input| Counts {
            // A run that failed has no output.
            rows: 0,
            input_rows: input,
            embedded: record.rows.encoded,
            reused: record.rows.reused,
            duplicates: record.rows.duplicate,
            empty: record.rows.null + record.rows.dropped,
            truncated: record.rows.truncated,
        });
    });
    let page = directory::write(&config.report, record).unwrap_or_else(|error| {
        tracing::warn!("{}", error_line(&error.into()));
        None
    });
    answer.record(|answer| answer.paths.report.clone_from(&page));
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn load(arguments: &[&str]) -> Result<Config> {
        let cli = Cli::try_parse_from(["reembed", "run"].iter().chain(arguments))?;
        let Command::Run(args) = cli.command else { unreachable!("it is `run`") };
        super::load(&args)
    }

    #[test]
    fn two_paths_need_no_file_and_override_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("pipeline.toml");
        let content = "[input]\npath = \"a\"\nchunk_rows = 7\n[output]\npath = \"b\"\n";
        std::fs::write(&file, content).expect("a file");
        let file = file.to_str().expect("text");
        for (arguments, chunk_rows) in
            [(&["in", "out"][..], 1024), (&["in", "out", "--config", file], 7)]
        {
            let config = load(arguments).expect("a configuration");
            let paths = (config.input.path.as_path(), config.output.path());
            assert_eq!(paths, (Path::new("in"), Path::new("out")), "{arguments:?}");
            assert_eq!(config.input.chunk_rows.get(), chunk_rows, "{arguments:?}");
        }
    }

    #[test]
    fn missing_paths_are_named() {
        for (arguments, missing) in [
            (&[][..], "`input.path` and `output.path` are not set"),
            (&["--input", "in"], "`output.path` is not set"),
        ] {
            let error = load(arguments).expect_err("nothing to run");
            assert!(error.to_string().contains(missing), "{error}");
            assert_eq!(Exit::from(&error), Exit::Refused);
        }
    }
}
