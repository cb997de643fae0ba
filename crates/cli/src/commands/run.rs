//! `reembed run`: embeds every row of a table, under a supervisor unless `--no-supervise` is set.

mod summary;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reembed::config::{Origin, RawConfig};
use reembed::dataset::{self, DatasetLock, DatasetReport, Job};
use reembed::dry_run::Estimate;
use reembed::pipeline::{self, Models, RunOptions};
use reembed::publish::{LockHolder, SupervisorLock};
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
    if args.print_config {
        print::result(&summary::config(&config))?;
        return Ok(Exit::Done);
    }
    let record_paths = |config: &Config| {
        session.answer.record(|record| {
            // A list has none before its root is known.
            let input = Some(config.input.path.clone());
            record.paths.input = input.filter(|input| !input.as_os_str().is_empty());
            record.paths.output = Some(config.output.path().to_owned());
        });
    };
    record_paths(&config);
    let job = Job::open(&config)?;
    let config = config_of(&job);
    record_paths(config);
    if args.dry_run {
        return estimate(&job, session);
    }
    let recorder = Recorder::new(config, &session.run_id, SystemTime::now());
    if args.worker {
        return run_as_worker(&job, recorder, session);
    }
    if args.no_supervise {
        return run_alone(&job, recorder, args.stop_at_eof, session);
    }
    match session.own.command() {
        Ok(_) => run_supervised(&job, recorder, args.stop_at_eof, session),
        Err(cause) => {
            tracing::warn!(
                "running in one process, as with --no-supervise, without a restart after the memory ran out: this \
                 program's own file is not known: {cause}"
            );
            run_alone(&job, recorder, args.stop_at_eof, session)
        }
    }
}

/// The configuration of a job.
fn config_of(job: &Job) -> &Config {
    match job {
        Job::Table(config) => config,
        Job::Dataset(dataset) => &dataset.config,
    }
}

/// The configuration: the file, then the environment, the flags, and IN and OUT.
fn load(args: &RunArgs) -> Result<Config> {
    let flags = |raw: &mut RawConfig| {
        let mut faults: Vec<Error> = args.flags.apply_to(raw).err().into_iter().collect();
        faults.extend(set_paths(raw, &args.paths).err());
        Error::all(faults).map_or(Ok(()), Err)
    };
    let FileAndEnvironment { raw, has_file } = load_file(&args.file, flags)?;
    let is_set = |keys: &[&str]| keys.iter().any(|key| raw.is_set(key));
    let mut missing = Vec::new();
    if !is_set(&["input.path", "input.paths", "input.files_from"]) {
        missing.push("input.path");
    }
    if !is_set(&["output.path"]) {
        missing.push("output.path");
    }
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

/// Sets what is read and written from the paths that are given as IN… OUT, or as IN beside `--output`.
fn set_paths(raw: &mut RawConfig, paths: &[PathBuf]) -> reembed::Result<()> {
    let by_flag = raw.is_set_by_flag("output.path");
    let refuse = |message: &str| {
        Err(Error::new(ErrorKind::Config, message.to_owned())
            .advice("use `reembed run IN OUT`; the last of several paths is the output"))
    };
    let (inputs, output) = match (paths, by_flag) {
        ([], _) => return Ok(()),
        ([input], true) => (std::slice::from_ref(input), None),
        ([_], false) => return refuse("<OUT> is missing: there is one path, and no --output"),
        (_, true) => return refuse("there are several paths and --output as well"),
        ([inputs @ .., output], false) => (inputs, Some(output)),
    };
    match inputs {
        [input] => raw.set_path("input.path", input, Origin::Flag("IN")),
        inputs => raw.set_paths("input.paths", inputs, Origin::Flag("IN")),
    }?;
    output.map_or(Ok(()), |output| raw.set_path("output.path", output, Origin::Flag("OUT")))
}

/// `--dry-run`.
fn estimate(job: &Job, session: &Session) -> Result<Exit> {
    let progress = Progress::new(&session.logging);
    let on_event = |event| progress.event(event);
    let on_models = |models: &Models<'_>| {
        models.distinct().iter().for_each(|model| progress.model_notes(&model.facts().notes));
        progress.step("reading and tokenizing every row");
    };
    let estimate = match job {
        Job::Dataset(dataset) => dataset::estimate(dataset, &on_models, &on_event)
            .map(|(estimate, tables)| (estimate, Some(tables))),
        Job::Table(config) => {
            estimate_table(config, &on_models, &on_event).map(|estimate| (estimate, None))
        }
    };
    progress.finish();
    let (estimate, tables) = estimate?;
    session.answer.record(|record| {
        record.tables = tables;
        record.fingerprint = estimate.columns.first().map(|one| one.lineage.fingerprint.clone());
        record.counts = Some(summary::expected_counts(&estimate));
        record.estimate = Some(summary::expected_cost(&estimate));
    });
    if session.answer.is_text() {
        print::result(&summary::estimate(&estimate, tables.as_ref()))?;
    }
    Ok(Exit::Done)
}

fn estimate_table(
    config: &Config,
    on_models: &dyn Fn(&Models<'_>),
    on_event: &(dyn Fn(Event) + Sync),
) -> reembed::Result<Estimate> {
    let (reader, existing) = pipeline::prepare(config)?;
    let stop = Stop::new();
    let models = Models::find(config, &existing, false, &stop, on_event)?;
    let forms = pipeline::check_models(config, &reader, &existing, &models, &stop)?;
    on_models(&models);
    dry_run::estimate(config, &reader, &existing, &models, &forms)
}

fn run_supervised(
    job: &Job,
    recorder: Recorder,
    stop_at_eof: bool,
    session: &Session,
) -> Result<Exit> {
    let started = Instant::now();
    let config = config_of(job);
    let outcome = match job {
        Job::Table(config) => {
            let lock = || SupervisorLock::acquire(config);
            supervisor::run(config, lock, stop_at_eof, session, &recorder)
        }
        Job::Dataset(dataset) => {
            let lock = || DatasetLock::acquire(&dataset.places, LockHolder::ThisProcess);
            supervisor::run(config, lock, stop_at_eof, session, &recorder)
        }
    };
    match outcome {
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

fn run_as_worker(job: &Job, recorder: Recorder, session: &Session) -> Result<Exit> {
    let link = SupervisorLink::connect()?;
    // The run started with the first worker.
    let offset = link.deaths.last().map_or(Duration::ZERO, |death| death.at);
    let recorder = recorder.started_earlier(offset);
    link.deaths.iter().for_each(|death| recorder.restarted(death.at, death.cause()));
    let run = Run { job, options: link.run_options(), stop: &link.stop, recorder, offset };
    let exit = run.embed(session, &|event| link.report(event));
    link.finish();
    exit
}

fn run_alone(job: &Job, recorder: Recorder, stop_at_eof: bool, session: &Session) -> Result<Exit> {
    let config = config_of(job);
    let stop = Stop::new();
    let error_log = session.logging.clone();
    let print_error = move |reason| print::error(&signals::forced_error(reason).into(), &error_log);
    signals::handle(&stop, signals::GRACE, |_| (), print_error.clone())
        .context("cannot handle signals")?;
    if stop_at_eof {
        signals::terminate_at_eof().context("cannot watch standard input")?;
    }
    let deadline = config.run.deadline.and_then(|time| Instant::now().checked_add(time));
    signals::enforce_deadline(deadline, signals::GRACE, print_error)
        .context("cannot enforce the deadline")?;
    let options = RunOptions::default();
    let run = Run { job, options, stop: &stop, recorder, offset: Duration::ZERO };
    run.embed(session, &|_| ())
}

/// A run in this process.
struct Run<'a> {
    job: &'a Job,
    options: RunOptions,
    stop: &'a Stop,
    recorder: Recorder,
    /// The time since the start of the run, before this process started.
    offset: Duration,
}

impl Run<'_> {
    /// Embeds, writes the report and prints the summary. `observe` receives every event first.
    fn embed(self, session: &Session, observe: &(dyn Fn(&Event) + Sync)) -> Result<Exit> {
        let Run { job, options, stop, recorder, offset } = self;
        let config = config_of(job);
        let progress = Progress::new(&session.logging);
        let started = Instant::now();
        let on_event = |event: Event| {
            observe(&event);
            recorder.event(offset + started.elapsed(), &event);
            progress.event(event);
        };
        let outcome = match job {
            Job::Table(config) => {
                let report = pipeline::run(config, options, stop, &on_event);
                report.map(|report| (report, None))
            }
            Job::Dataset(dataset) => {
                let run = dataset::run(dataset, &session.run_id, options, stop, &on_event);
                run.map(|run| {
                    let failure = failure(&run, dataset.places.root());
                    (run.report, failure)
                })
            }
        };
        progress.finish();
        let at = offset + started.elapsed();
        let shown = match &outcome {
            Ok((report, None)) => Ok(report),
            Ok((_, Some(error))) | Err(error) => Err(error),
        };
        let page = write_report(config, recorder, at, shown, &session.answer);
        let (report, failure) = outcome?;
        session.answer.record(|record| {
            record.counts = Some(Counts::of_report(&report));
            record.tables = report.tables;
            record.output_unchanged = Some(report.output_unchanged);
            record.paths.cache = report.cache.as_ref().map(|cache| cache.path.clone());
        });
        if session.answer.is_text() {
            print::result_or_warn(&summary::run(&report, page.as_deref()));
        }
        failure.map_or(Ok(Exit::Done), |error| Err(error.into()))
    }
}

/// The error of a run over a dataset in which tables failed.
fn failure(run: &DatasetReport, root: &Path) -> Option<Error> {
    let first = run.failed.first()?;
    let counts = run.report.tables.unwrap_or_default();
    let kinds: Vec<ErrorKind> = run.failed.iter().map(|failed| failed.error.kind()).collect();
    let kind = dataset::kind_of_run(&kinds, counts.published + counts.unchanged > 0);
    let table = &first.table;
    let message = match (counts.failed, counts.taken, counts.not_tried) {
        (1, 1, _) => format!("the only table, {table:?}, could not be published"),
        (failed, taken, 0) if failed == taken => {
            format!("none of {taken} tables could be published, first {table:?}")
        }
        (failed, taken, 0) => format!(
            "{failed} of {taken} tables could not be published, first {table:?}; the others are in place"
        ),
        (failed, taken, others) => format!(
            "{failed} of {taken} tables could not be published, first {table:?}; {others} were not tried"
        ),
    };
    let error = Error::new(kind, message)
        .in_file(root)
        .advice("the log, the report and the manifest name each with its reason; run again when they are mended");
    Some(error)
}

/// Whether the run failed because the output directory of a dataset cannot be created.
fn lacks_directory(config: &Config, outcome: Result<&Report, &Error>) -> bool {
    let directory = &config.report.topmost;
    config.report.is_beside_output
        && directory == config.output.path()
        && !directory.is_dir()
        && matches!(outcome, Err(error) if error.kind() == ErrorKind::Target)
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
    if !publish::may_write_report(config) || lacks_directory(config, outcome) {
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
    fn the_last_of_several_paths_is_the_output() {
        use reembed::config::Inputs;
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (arguments, inputs, output) in [
            (&["in", "out"][..], Inputs::Path("in".into()), "out"),
            (&["in", "--output", "out"], Inputs::Path("in".into()), "out"),
            (&["a", "b", "out"], Inputs::Paths(paths(&["a", "b"])), "out"),
        ] {
            let config = load(arguments).expect("a configuration");
            assert_eq!(config.dataset.inputs, inputs, "{arguments:?}");
            assert_eq!(config.output.path(), Path::new(output), "{arguments:?}");
        }
        for (arguments, message) in [
            (&["in"][..], "<OUT>"),
            (&["a", "b", "--output", "x"], "--output"),
            (&["in", "out", "--input", "x"], "--input"),
            (&["in", "out", "--files-from", "x"], "--files-from"),
        ] {
            let error = load(arguments).expect_err("refused").to_string();
            assert!(error.contains(message), "{arguments:?}: {error}");
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
