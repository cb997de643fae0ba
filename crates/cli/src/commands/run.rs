//! `reembed run`: embed every row of a table, in this process or under a supervisor.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reembed::footer::Lineage;
use reembed::pipeline::{self, RunOptions};
use reembed::{Config, Error, ErrorKind, Event, Report, Stop, dry_run};
use reembed_encoder::{memory, model};

use super::{lay_environment, read_config, warn};
use crate::cli::{Logging, RunArgs};
use crate::exit::Exit;
use crate::flags;
use crate::print;
use crate::progress::Progress;
use crate::report::{Ending, Recorder, keep};
use crate::supervisor::worker;
use crate::{signals, supervisor};

/// `reembed run`.
pub fn run(args: &RunArgs, logging: &Logging) -> Result<Exit> {
    let config = load(args)?;
    if args.print_config {
        print::result(&print::config(&config)).context("the configuration cannot be printed")?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return estimate(&config, logging);
    }
    let recorder = Recorder::new(&config, SystemTime::now());
    if args.worker {
        let link = worker::attach()?;
        // The run began with the first of the workers, the ones that died before this one.
        let before = link.deaths.last().map_or(Duration::ZERO, |death| death.at);
        let recorder = recorder.began_before(before);
        link.deaths.iter().for_each(|death| recorder.restarted(death.at, death.cause()));
        let tell = |event: &Event| link.tell(event);
        let ended = embed(&config, link.options(), &link.stop, logging, (recorder, before), &tell);
        link.over();
        return ended;
    }
    if args.no_supervise {
        let stop = Stop::new();
        let told = logging.clone();
        let say = move |reason| print::error(&signals::forced(reason).into(), &told);
        signals::listen(&stop, signals::GRACE, |_| (), say.clone())
            .context("signals cannot be listened to")?;
        let deadline = config.run.deadline.and_then(|time| Instant::now().checked_add(time));
        signals::enforce(deadline, signals::GRACE, say).context("the deadline cannot be kept")?;
        let options = RunOptions::default();
        return embed(&config, options, &stop, logging, (recorder, Duration::ZERO), &|_| ());
    }
    let started = Instant::now();
    // A worker that ends by itself has left its report; where none could, its parent does.
    supervisor::run(&config, &recorder).map_err(|error| match error.downcast::<Error>() {
        Ok(error) => {
            let outcome = Err(error);
            keep_report(&config, recorder, started.elapsed(), &outcome);
            outcome.err().map_or_else(|| anyhow::anyhow!("no error"), Into::into)
        }
        Err(other) => other,
    })
}

/// The configuration of a run: the file, the environment, the flags, IN and OUT.
fn load(args: &RunArgs) -> Result<Config> {
    let (mut raw, is_missing) = read_config(&args.file)?;
    lay_environment(&mut raw)?;
    args.flags.lay_over(&mut raw)?;
    for (key, path, name) in [("input.path", &args.from, "IN"), ("output.path", &args.to, "OUT")] {
        if let Some(path) = path {
            flags::set_path(&mut raw, key, path, name)?;
        }
    }
    if is_missing && !(raw.is_set("input.path") && raw.is_set("output.path")) {
        let message = "there is no pipeline.toml here, and no input and output are named";
        return Err(Error::new(ErrorKind::Config, message)
            .advice(
                "name them: `reembed run IN.parquet OUT.parquet`; or write a configuration with \
                 `reembed init IN.parquet`; or name one with --config",
            )
            .into());
    }
    Ok(raw.check(&super::environment())?)
}

/// The work itself, which `recorder` takes down; it began that long `before`. `told` hears of every event before the user
/// does.
fn embed(
    config: &Config,
    options: RunOptions,
    stop: &Stop,
    logging: &Logging,
    (recorder, before): (Recorder, Duration),
    told: &(dyn Fn(&Event) + Sync),
) -> Result<Exit> {
    let progress = Progress::new(logging);
    let started = Instant::now();
    let outcome = pipeline::run(config, options, stop, &|event| {
        told(&event);
        recorder.event(before + started.elapsed(), &event);
        progress.event(event);
    });
    progress.finish();
    let page = keep_report(config, recorder, before + started.elapsed(), &outcome);
    let report = outcome?;
    // The output is in place; that nobody can be told is no failure of the run.
    if let Err(cause) = print::result(&print::summary(&report, page.as_deref())) {
        tracing::warn!("the summary cannot be printed: {cause}");
    }
    Ok(Exit::Done)
}

/// Writes the report of a run that ended in whatever way. That it cannot be written is no failure of the run.
fn keep_report(
    config: &Config,
    recorder: Recorder,
    at: Duration,
    outcome: &reembed::Result<Report>,
) -> Option<PathBuf> {
    // Another run is writing this output, and its report is the one to come.
    if matches!(outcome, Err(error) if error.kind() == ErrorKind::Locked) {
        return None;
    }
    let peak_resident = memory::peak_resident();
    let record = recorder.finish(Ending { at, outcome, peak_resident });
    keep::keep(&config.report, record).unwrap_or_else(|error| {
        tracing::warn!("{}", print::one_line(&error.into()));
        None
    })
}

fn estimate(config: &Config, logging: &Logging) -> Result<Exit> {
    let (reader, existing) = pipeline::prepare(config)?;
    let progress = Progress::new(logging);
    let model = model::load(&config.model, &|event| progress.event(Event::Model(event)))?;
    pipeline::check_before_work(config, &reader, &existing, &Lineage::new(&model.identity))?;
    warn(&model, &progress);
    progress.say("reading and tokenizing every row");
    let estimate = dry_run::estimate(config, &reader, &model);
    progress.finish();
    print::result(&print::estimate(&estimate?)).context("the estimate cannot be printed")?;
    Ok(Exit::Done)
}
