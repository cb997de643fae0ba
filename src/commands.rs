//! One function per command: load, do, print.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::CommandFactory;
use reembed::batch::RowChunk;
use reembed::bench::{BenchRecord, MemoryLine, Way, memory_guide, tfidf};
use reembed::config::{Device, Engine, InputConfig, Origin, RawConfig};
use reembed::error::ErrorKind;
use reembed::kernels::{Isa, Precision};
use reembed::limit::BatchShape;
use reembed::model::description::{ModelDescription, Pooling};
use reembed::model::{self, description, source};
use reembed::reader::Reader;
use reembed::report::{Ending, Recorder, keep};
use reembed::verify::Verdict;
use reembed::{
    Config, Embedder, Environment, Error, Event, ModelConfig, Report, Stop, TaskRow, memory,
};
use reembed::{
    bench as measuring, cache, dry_run, pipeline, sample as corpus, verify as checking, writer,
};

use crate::cli::{
    BenchArgs, CacheArgs, Cli, CompletionsArgs, ConfigArgs, Logging, ModelArgs, PruneArgs, RunArgs,
    SampleArgs, VerifyArgs,
};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::supervisor::worker;
use crate::{signals, supervisor};

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
    let recorder = Recorder::new(&config, SystemTime::now());
    if args.worker {
        let link = worker::attach()?;
        link.apply(&mut config);
        // The run began with the first of the workers, the ones that died before this one.
        let before = link.deaths.last().map_or(Duration::ZERO, |death| death.at);
        let recorder = recorder.began_before(before);
        link.deaths.iter().for_each(|death| recorder.restarted(death.at, death.cause()));
        let ended =
            embed(&config, &link.stop, logging, (recorder, before), &|event| link.tell(event));
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
        return embed(&config, &stop, logging, (recorder, Duration::ZERO), &|_| ());
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

/// The work itself, which `recorder` takes down; it began so long `before`. `told` hears of every event before the user
/// does.
fn embed(
    config: &Config,
    stop: &Stop,
    logging: &Logging,
    (recorder, before): (Recorder, Duration),
    told: &(dyn Fn(&Event) + Sync),
) -> Result<Exit> {
    let progress = Progress::new(logging);
    let started = Instant::now();
    let outcome = pipeline::run(config, stop, &|event| {
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

fn dry_run(config: &Config, logging: &Logging) -> Result<Exit> {
    let (reader, standing) = pipeline::prepare(config)?;
    let progress = Progress::new(logging);
    let model = model::load(&config.model, &|event| progress.event(Event::Model(event)))?;
    pipeline::check_before_work(config, &reader, &standing, &model.lineage())?;
    warn(&model, &progress);
    progress.say("reading and tokenizing every row");
    let estimate = dry_run::estimate(config, &reader, &model);
    progress.finish();
    print::result(&print::estimate(&estimate?)).context("the estimate cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed bench`.
pub fn bench(args: &BenchArgs, logging: &Logging) -> Result<Exit> {
    let config = load_config(&args.config)?;
    if let [rows, longest] = args.memory_of[..] {
        let model = model::load(&config.model, &|_| ())?;
        let (measured, predicted) = memory_guide::grown(&model, memory_guide::even(rows, longest))?;
        print::result(&format!("{measured} {predicted}\n"))
            .context("the result cannot be printed")?;
        return Ok(Exit::Done);
    }
    let progress = Progress::new(logging);
    let rows = bench_rows(args, &config)?;
    let files =
        source::resolve(&config.model.source, &|event| progress.event(Event::Model(event)))?;
    let description = description::read(&files, config.model.prompt.as_deref())?;
    if args.peers.is_some() && !peers_run(&description) {
        anyhow::bail!(
            "--peers: other tools are set up for models like all-MiniLM-L6-v2 alone: 384 components, the mean of 256 \
             tokens, length 1, no prompt"
        );
    }
    let mut subjects = Vec::new();
    for model in engines(&config) {
        progress.say("loading the model");
        subjects.push(subject(&model)?);
    }
    progress.say("measuring what the cores can do");
    let ceiling = model::ceiling::measure(Isa::detect(), config.model.threads)?;
    let ways = if args.ways.is_empty() { Way::standard() } else { args.ways.clone() };
    let plan = measuring::Plan {
        subjects: &subjects,
        ways: &ways,
        repeats: args.repeats,
        time: (args.time > 0).then(|| Duration::from_secs(args.time)),
        bert: &description.bert,
        ceiling: Some(ceiling),
    };
    let record = measuring::run(&plan, &rows, &|step, left| match left {
        Some(left) => progress.say(&format!("{step}; about {} s left", left.as_secs())),
        None => progress.say(step),
    });
    let mut record = record?;
    progress.say("TF-IDF of the same texts");
    let texts: Vec<String> = rows.iter().map(reembed::build_input_text).collect();
    record.set_tfidf(tfidf::tasks_per_second(&texts));
    if !args.no_memory {
        // The longest text of the model, or as long as is measured.
        let longest = usize::try_from(record.model.max_seq_length).unwrap_or(usize::MAX);
        for shape in memory_guide::shapes(longest) {
            progress.say(&format!("memory of {} texts of {} tokens", shape.rows, shape.longest));
            record.memory.push(memory_of(args, &subjects[0], shape)?);
        }
    }
    if let Some(directory) = &args.peers {
        progress.say("other tools, which takes minutes");
        // The very rows that the first engine had.
        let mut rows = measuring::shuffled(&rows);
        rows.truncate(usize::try_from(record.corpus.rows).unwrap_or(usize::MAX));
        for (name, tasks_per_second, is_baseline) in
            peers(directory, &files.directory, config.model.threads, rows)?
        {
            record.add_peer(&name, tasks_per_second, is_baseline);
        }
    }
    progress.finish();
    print::result(&print::bench(&record)).context("the report cannot be printed")?;
    write_bench(args, &config, &record)?;
    Ok(Exit::Done)
}

/// The corpus of a bench. A row without text is never embedded by a run, so it is not timed either.
fn bench_rows(args: &BenchArgs, config: &Config) -> Result<Vec<TaskRow>> {
    let most = args.tasks.get();
    let Some(input) = &args.input else {
        return Ok(corpus::task_rows(u64::MAX, corpus::DEFAULT_SEED)
            .filter(|row| !reembed::build_input_text(row).is_empty())
            .take(most)
            .collect());
    };
    let reader = Reader::open(&InputConfig { path: input.clone(), ..config.input.clone() })?;
    let mut rows = Vec::new();
    for chunk in reader.chunks(&config.text) {
        let RowChunk { rows: names, texts, .. } = chunk?;
        let named = names.ids.iter().zip(texts.iter()).filter(|(_, text)| !text.is_empty());
        rows.extend(named.map(|(id, text)| TaskRow {
            id: id.to_owned(),
            title: Some(text.to_owned()),
            ..TaskRow::default()
        }));
        if rows.len() >= most {
            break;
        }
    }
    rows.truncate(most);
    if rows.is_empty() {
        anyhow::bail!("{}: no row has a text to embed", input.display());
    }
    Ok(rows)
}

/// The engines and precisions of this machine, the packed one in f32 first: the others are compared with it. One that
/// was chosen, in the configuration or by a flag, is measured alone.
fn engines(config: &Config) -> Vec<ModelConfig> {
    let chosen = ["compute.engine", "compute.device", "compute.precision"].iter().any(|key| {
        let line = config.effective.iter().find(|line| line.key == *key);
        line.is_some_and(|line| line.origin != Origin::Default)
    });
    let isa = match config.model.engine {
        Engine::Packed(isa) if !chosen => isa,
        _ => return vec![config.model.clone()],
    };
    // Emulated, the other precisions are for checking and not for speed.
    let fast = |precision: &Precision| matches!(isa.unit(*precision), Some(Ok(_)));
    let of = |precision| ModelConfig { precision: Some(precision), ..config.model.clone() };
    let mut engines = vec![of(Precision::F32)];
    engines.extend(Precision::ALL.into_iter().filter(fast).map(of));
    engines.push(ModelConfig { engine: Engine::Candle(Device::Cpu), ..config.model.clone() });
    engines
}

fn subject(config: &ModelConfig) -> Result<measuring::Subject> {
    let embedder = Embedder::new(model::load(config, &|_| ())?);
    let engine = match config.engine {
        Engine::Packed(_) => "packed",
        Engine::Candle(_) => "candle",
    };
    let name = format!("{engine} {}", embedder.lineage().model.precision);
    let on_cpu = matches!(config.engine, Engine::Packed(_) | Engine::Candle(Device::Cpu));
    let threads = on_cpu.then_some(config.threads);
    Ok(measuring::Subject { name, engine, threads, embedder })
}

/// The memory of a batch, measured by this program in a process of its own.
fn memory_of(args: &BenchArgs, of: &measuring::Subject, shape: BatchShape) -> Result<MemoryLine> {
    let program = std::env::current_exe().context("this program cannot be started again")?;
    let done = Command::new(program)
        .args(["bench", "--quiet", "--memory-of", &format!("{},{}", shape.rows, shape.longest)])
        .args(args.config.typed())
        // What was not chosen is this one's default, and not the subject's.
        .env("REEMBED_COMPUTE_PRECISION", &of.embedder.lineage().model.precision)
        .output()
        .context("this program cannot be started again")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let mut numbers = said.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(measured)), Some(Ok(predicted))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("{}", String::from_utf8_lossy(&done.stderr).trim());
    };
    Ok(MemoryLine {
        engine: of.name.clone(),
        rows: shape.rows as u64,
        length: shape.longest as u64,
        predicted,
        measured,
        measured_per_row: measured as f64 / shape.rows as f64,
        ratio: measured as f64 / predicted.max(1) as f64,
    })
}

/// Whether what the scripts of other tools are written for is what the model's directory says.
fn peers_run(model: &ModelDescription) -> bool {
    model.bert.hidden == 384
        && model.pooling == Pooling::Mean
        && model.normalize
        && model.max_seq_length.get() == 256
        && !model.lower_case
        && model.prompt.is_empty()
}

/// Other tools with the same model, on the same rows and as many threads: name, rows a second, and whether it is one that
/// embeds one text at a time.
fn peers(
    directory: &Path,
    model: &Path,
    threads: NonZeroUsize,
    rows: Vec<TaskRow>,
) -> Result<Vec<(String, f64, bool)>> {
    let script = directory.join("run.py");
    let program = std::env::current_exe().context("this program cannot be named")?;
    let work =
        tempfile::tempdir().context("there is no directory for the figures of other tools")?;
    let corpus = work.path().join("rows.parquet");
    writer::write_tasks(&corpus, rows)?;
    let done = Command::new("python3")
        .arg(&script)
        .args(["--only", "^(st-|ort-|openvino-|tfidf)", "--rounds", "3"])
        .arg("--rows")
        .arg(&corpus)
        .args(["--threads", &threads.to_string()])
        .arg("--model")
        .arg(model)
        .arg("--reembed")
        .arg(program)
        .arg("--work")
        .arg(work.path())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("{}: it cannot be started", script.display()))?;
    if !done.success() {
        anyhow::bail!("{}: it ended with {done}", script.display());
    }
    let path = work.path().join("report.json");
    let report = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let report: serde_json::Value = serde_json::from_slice(&report).context("of other tools")?;
    let contenders = report["contenders"].as_array().context("of other tools: no contenders")?;
    let figure = |contender: &serde_json::Value| {
        let name = contender["label"].as_str()?.to_owned();
        let is_baseline = contender["name"].as_str()?.ends_with("-alone");
        Some((name, contender["tasks_per_second"].as_f64()?, is_baseline))
    };
    Ok(contenders.iter().filter_map(figure).collect())
}

fn write_bench(args: &BenchArgs, config: &Config, record: &BenchRecord) -> Result<()> {
    let json = measuring::json::json(record)?;
    let page = measuring::html::page(record, &json)?;
    for (file, name, text) in [(&args.json, "bench.json", json), (&args.html, "bench.html", page)] {
        let path = file.clone().unwrap_or_else(|| config.report.dir.join(name));
        keep::write(&path, &text)?;
    }
    Ok(())
}

/// `reembed completions`.
pub fn completions(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "reembed", &mut script);
    print::result(&String::from_utf8_lossy(&script)).context("the script cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed man`.
pub fn man() -> Result<Exit> {
    let mut page = Vec::new();
    let main = Cli::command();
    clap_mangen::Man::new(main.clone()).render(&mut page)?;
    for command in main.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("reembed {}", command.get_name());
        let command = command.clone().bin_name(name.clone()).display_name(name.clone());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        let man = clap_mangen::Man::new(command);
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    print::result(&String::from_utf8_lossy(&page)).context("the page cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed verify`.
pub fn verify(args: &VerifyArgs, logging: &Logging) -> Result<Exit> {
    let mut config = load_config(&args.config)?;
    let (output, footer) = checking::open(&config, &args.output)?;
    // A file can be checked in its own precision on any machine.
    config.model.precision =
        config.model.precision.or_else(|| Precision::named(&footer.lineage.model.precision));
    let progress = Progress::new(logging);
    let model = match args.sample {
        0 => None,
        _ => Some(model::load(&config.model, &|event| progress.event(Event::Model(event)))?),
    };
    if let Some(model) = &model {
        warn(model, &progress);
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

/// Says what a run says at its start.
fn warn(model: &model::Model, progress: &Progress) {
    if let Some(warning) = model.encoder.warning() {
        progress.event(Event::Warning(warning));
    }
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
        ("directory", files.directory.display().to_string()),
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

/// `reembed cache stats`.
pub fn cache_stats(args: &CacheArgs) -> Result<Exit> {
    let stats = cache::stats(&cache_path(args)?)?;
    print::result(&print::cache_stats(&stats)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed cache prune`.
pub fn cache_prune(args: &PruneArgs) -> Result<Exit> {
    let pruned = cache::prune(&cache_path(&args.cache)?, args.keep_runs.get())?;
    print::result(&print::pruned(&pruned)).context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// `reembed cache verify`.
pub fn cache_verify(args: &CacheArgs, logging: &Logging) -> Result<Exit> {
    let path = cache_path(args)?;
    let progress = Progress::new(logging);
    progress.say("reading every vector");
    let check = cache::verify(&path);
    progress.finish();
    let check = check?;
    print::result(&print::cache_check(&check)).context("the result cannot be printed")?;
    Ok(if check.holds() { Exit::Done } else { Exit::Failed })
}

/// The cache that the arguments mean: its own path, or that of the output which it belongs to.
fn cache_path(args: &CacheArgs) -> Result<PathBuf> {
    if let Some(path) = &args.cache {
        return Ok(path.clone());
    }
    let mut raw = read_if_there(&args.config)?;
    let environment = environment();
    raw.lay_environment(&environment)?;
    raw.set_default("input.path", "unused")?;
    if args.output.is_some() {
        raw.set_default("output.path", "unused")?;
    }
    let config = raw.check(&environment)?;
    // As typed: a path may be of bytes that are no text, which no setting can hold.
    let output = args.output.as_ref().unwrap_or(&config.output.path);
    Ok(cache::path_for(&config.cache, output))
}

/// `reembed sample`.
pub fn sample(args: &SampleArgs) -> Result<Exit> {
    let rows =
        writer::write_tasks(&args.file, corpus::task_rows(args.rows.get() as u64, args.seed))?;
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
        raw.set_default(key, "out/unused")?;
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

fn model_config(args: &ConfigArgs) -> Result<ModelConfig> {
    Ok(load_config(args)?.model)
}

/// The file if it is there; the default name may be missing, another one may not.
fn read_if_there(path: &Path) -> Result<RawConfig> {
    if path == Path::new("pipeline.toml") && !path.exists() {
        return Ok(RawConfig::default());
    }
    Ok(RawConfig::read(path)?)
}

/// Turns on the faults that `REEMBED_FAILPOINTS` names, with commas between them; gives the error of a name that no
/// fault has.
#[cfg(feature = "failpoints")]
pub fn turn_failpoints_on() -> Option<anyhow::Error> {
    let names = std::env::var("REEMBED_FAILPOINTS").unwrap_or_default();
    let unknown = names
        .split(',')
        .filter(|name| !name.is_empty())
        .find(|name| !reembed::failpoints::turn_on(name))?;
    Some(anyhow::anyhow!("REEMBED_FAILPOINTS: there is no fault {unknown:?}"))
}

/// The one place where the environment is read; what is not text cannot be a setting.
fn environment() -> Environment {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}
