//! One function per command: load, do, print.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use reembed::config::RawConfig;
use reembed::error::ErrorKind;
use reembed::model::{self, description, source};
use reembed::report::{Ending, Recorder, keep};
use reembed::verify::Verdict;
use reembed::{Config, Embedder, Environment, Error, Event, Report, memory};
use reembed::{
    bench as measuring, dry_run, pipeline, sample as corpus, verify as checking, writer,
};

use crate::cli::{BenchArgs, ConfigArgs, Logging, ModelArgs, RunArgs, SampleArgs, VerifyArgs};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;

/// `reembed run`.
pub fn run(args: &RunArgs, logging: &Logging) -> Result<Exit> {
    let mut config = Config::load(&args.config.config, &args.settings(), &environment())?;
    paths_as_typed(&mut config, args);
    if args.print_config {
        print::result(&print::config(&config)).context("the configuration cannot be printed")?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return dry_run(&config, logging);
    }
    let progress = Progress::new(logging);
    let started = Instant::now();
    let recorder = Recorder::new(&config, SystemTime::now());
    let outcome = pipeline::run(&config, &|event| {
        recorder.event(started.elapsed(), &event);
        progress.event(event);
    });
    progress.finish();
    let page = keep_report(&config, recorder, started.elapsed(), &outcome);
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
    let peak_resident = memory::peak_resident();
    let record = recorder.finish(Ending { at, outcome, peak_resident });
    keep::keep(&config.report, record).unwrap_or_else(|error| {
        tracing::warn!("{}", print::one_line(&error.into()));
        None
    })
}

fn dry_run(config: &Config, logging: &Logging) -> Result<Exit> {
    let reader = pipeline::prepare(config)?;
    let progress = Progress::new(logging);
    let model = model::load(&config.model, &|event| progress.event(Event::Model(event)))?;
    progress.say("reading and tokenizing every row");
    let estimate = dry_run::estimate(config, &reader, &model);
    progress.finish();
    print::result(&print::estimate(&estimate?)).context("the estimate cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed bench`.
pub fn bench(args: &BenchArgs, logging: &Logging) -> Result<Exit> {
    let model = model_config(&args.config)?;
    let progress = Progress::new(logging);
    let model = model::load(&model, &|event| progress.event(Event::Model(event)))?;
    let embedder = Embedder::new(model);
    // A row without text is never embedded by a run, so it is not timed either.
    let rows: Vec<_> = corpus::task_rows(u64::MAX, corpus::DEFAULT_SEED)
        .filter(|row| !reembed::build_input_text(row).is_empty())
        .take(usize::try_from(args.tasks.get()).context("--tasks is too large")?)
        .collect();
    let report = measuring::run(&embedder, &rows, args.repeats, &|step| progress.say(step));
    progress.finish();
    print::result(&print::bench(&report?)).context("the report cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed verify`.
pub fn verify(args: &VerifyArgs, logging: &Logging) -> Result<Exit> {
    let config = load_config(&args.config)?;
    let (output, footer) = checking::open(&config, &args.output)?;
    let progress = Progress::new(logging);
    let model = match args.sample {
        0 => None,
        _ => Some(model::load(&config.model, &|event| progress.event(Event::Model(event)))?),
    };
    if let Some(model) = &model {
        let differences = model.lineage().differences(&footer.lineage);
        if !differences.is_empty() {
            progress.finish();
            return Err(Error::new(
                ErrorKind::OtherModel,
                format!("the file is of another model: {}", differences.join("; ")),
            )
            .in_file(&args.output)
            .advice("verify it with its own model, or with --sample 0")
            .into());
        }
    }
    progress.say("checking every row");
    let model = model.as_ref().map(|model| (model, args.sample));
    let checks = checking::verify(&config, &output, &footer, args.input.as_deref(), model);
    progress.finish();
    let checks = checks.map_err(|error| match error.place().file() {
        Some(_) => error,
        None => error.in_file(&args.output),
    })?;
    print::result(&print::checks(&checks)).context("the result cannot be printed")?;
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    Ok(if broken { Exit::Failed } else { Exit::Done })
}

/// `reembed model fetch`.
pub fn model_fetch(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let config = model_config(&args.config)?;
    let started = Instant::now();
    let progress = Progress::new(logging);
    let files = source::resolve(&config.source, &|event| progress.event(Event::Model(event)));
    progress.finish();
    let files = files?;
    let lines = [
        ("model", config.source.id.clone()),
        ("from", files.origin.to_string()),
        ("folder", files.folder.display().to_string()),
        ("seconds", format!("{:.1}", started.elapsed().as_secs_f64())),
    ];
    print::result(&print::table(&lines)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed model show`.
pub fn model_show(args: &ModelArgs, logging: &Logging) -> Result<Exit> {
    let config = model_config(&args.config)?;
    let progress = Progress::new(logging);
    let files = source::resolve(&config.source, &|event| progress.event(Event::Model(event)));
    progress.finish();
    let files = files?;
    let description = description::read(&files, config.prompt.as_deref())?;
    let text = print::model(&config.source.id, &files, &description);
    print::result(&text).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed sample`.
pub fn sample(args: &SampleArgs) -> Result<Exit> {
    let rows = writer::write_tasks(&args.file, corpus::task_rows(args.rows.get(), args.seed))?;
    let place = print::safe(&args.file.display().to_string());
    let said = print::result(&format!("{rows} rows, seed {}, in {place}\n", args.seed));
    // The file is in place; that nobody can be told is no failure.
    said.or_else(|cause| {
        tracing::warn!("the result cannot be printed: {cause}");
        Ok(())
    })
    .map(|()| Exit::Done)
}

/// The configuration of a command that embeds no file: without a `pipeline.toml` the defaults do.
fn load_config(args: &ConfigArgs) -> Result<Config> {
    let mut raw = read_if_there(&args.config)?;
    let environment = environment();
    raw.lay_environment(&environment)?;
    for (key, value, flag) in args.settings() {
        raw.set(key, &value, reembed::config::Origin::Flag(flag))?;
    }
    // Neither is opened: a configuration needs both to be whole.
    for key in ["input.path", "output.path"] {
        raw.set_default(key, "unused")?;
    }
    let mut config = raw.check(&environment)?;
    model_path_as_typed(&mut config, args);
    Ok(config)
}

/// A path may be of bytes that are no text, which no setting can hold.
fn paths_as_typed(config: &mut Config, args: &RunArgs) {
    for (path, typed) in
        [(&mut config.input.path, &args.input), (&mut config.output.path, &args.output)]
    {
        if let Some(typed) = typed {
            path.clone_from(typed);
        }
    }
    model_path_as_typed(config, &args.config);
}

fn model_path_as_typed(config: &mut Config, args: &ConfigArgs) {
    if let Some(typed) = &args.model_path {
        config.model.source.path = Some(typed.clone());
    }
}

fn model_config(args: &ConfigArgs) -> Result<reembed::ModelConfig> {
    Ok(load_config(args)?.model)
}

/// The file if it is there; the default name may be missing, another one may not.
fn read_if_there(path: &Path) -> Result<RawConfig> {
    if path == Path::new("pipeline.toml") && !path.exists() {
        return Ok(RawConfig::default());
    }
    Ok(RawConfig::read(path)?)
}

/// The one place where the environment is read; what is not text cannot be a setting.
fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}
