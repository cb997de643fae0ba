//! `reembed bench`: every engine and precision of this machine, and other tools beside them.

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use reembed::config::{Device, Engine, RawConfig, ReportConfig};
use reembed::reader::Reader;
use reembed::{Embedder, Event, ModelConfig, TaskRow};
use reembed_encoder::batch::strings;
use reembed_encoder::limit::BatchShape;
use reembed_encoder::model::description::{ModelDescription, Pooling};
use reembed_encoder::model::{self, description, source};
use reembed_kernels::{Bf16Unit, Isa, Precision};

use super::load_raw;
use crate::bench::{self as measuring, BenchRecord, MemoryLine, Mode, memory_guide, peak, tfidf};
use crate::cli::{BenchArgs, Logging};
use crate::exit::Exit;
use crate::print;
use crate::progress::Progress;
use crate::report::keep;
use crate::sample;

/// `reembed bench`.
pub fn bench(args: &BenchArgs, logging: &Logging) -> Result<Exit> {
    let raw = load_raw(&args.config)?;
    let model_config = raw.check_model(&super::environment())?;
    if let [rows, longest] = args.memory_of[..] {
        let model = model::load(&model_config, &|_| ())?;
        let (measured, predicted) = memory_guide::grown(&model, memory_guide::even(rows, longest))?;
        print::result(&format!("{measured} {predicted}\n"))
            .context("the result cannot be printed")?;
        return Ok(Exit::Done);
    }
    let progress = Progress::new(logging);
    let rows = bench_rows(args, &raw)?;
    let files =
        source::resolve(&model_config.source, &|event| progress.event(Event::Model(event)))?;
    let description = description::read(&files, model_config.prompt.as_deref())?;
    if args.peers.is_some() && !peers_run(&description) {
        anyhow::bail!(
            "--peers: other tools are set up for models like all-MiniLM-L6-v2 alone: 384 components, the mean of 256 \
             tokens, length 1, no prompt"
        );
    }
    let mut subjects = Vec::new();
    for model in engines(&raw, &model_config)? {
        progress.say("loading the model");
        subjects.push(subject(&model)?);
    }
    progress.say("measuring the peak of the cores");
    let threads = model_config.threads();
    let peak = peak::measure(Isa::detect(), threads)?;
    let modes = if args.modes.is_empty() { Mode::standard() } else { args.modes.clone() };
    let plan = measuring::Plan {
        subjects: &subjects,
        modes: &modes,
        repeats: args.repeats,
        time: (args.time > 0).then(|| Duration::from_secs(args.time)),
        bert: &description.bert,
        peak: Some(peak),
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
            peers(directory, &files.directory, threads, rows)?
        {
            record.add_peer(&name, tasks_per_second, is_baseline);
        }
    }
    progress.finish();
    print::result(&print::bench(&record)).context("the report cannot be printed")?;
    write_bench(args, &raw.check_report()?, &record)?;
    Ok(Exit::Done)
}

/// The corpus of a bench. A row without text is never embedded by a run, so it is not timed either.
fn bench_rows(args: &BenchArgs, raw: &RawConfig) -> Result<Vec<TaskRow>> {
    let most = args.tasks.get();
    let Some(input) = &args.input else {
        return Ok(sample::task_rows(u64::MAX, sample::DEFAULT_SEED)
            .filter(|row| !reembed::build_input_text(row).is_empty())
            .take(most)
            .collect());
    };
    let reader = Reader::open(&raw.check_input(input)?)?;
    let text = raw.check_text()?;
    let mut rows = Vec::new();
    for chunk in reader.chunks(&text) {
        let chunk = chunk?;
        let named = strings(&chunk.rows.ids).zip(strings(&chunk.texts));
        let named = named.filter(|(_, text)| !text.is_empty());
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
fn engines(raw: &RawConfig, model: &ModelConfig) -> Result<Vec<ModelConfig>> {
    let chosen = ["compute.engine", "compute.device", "compute.precision"];
    if model.engine != Engine::Packed || chosen.iter().any(|key| raw.is_set(key)) {
        return Ok(vec![model.clone()]);
    }
    let isa = model.isa()?;
    // Emulated, the other precisions are for checking and not for speed.
    let fast = |precision: &Precision| matches!(Bf16Unit::detect(isa, *precision), Some(Ok(_)));
    let with = |precision| ModelConfig { precision: Some(precision), ..model.clone() };
    let mut engines = vec![with(Precision::F32)];
    engines.extend(Precision::ALL.into_iter().filter(fast).map(with));
    engines.push(ModelConfig { engine: Engine::Candle(Device::Cpu), ..model.clone() });
    Ok(engines)
}

fn subject(config: &ModelConfig) -> Result<measuring::Subject> {
    let embedder = Embedder::new(model::load(config, &|_| ())?);
    let engine = match config.engine {
        Engine::Packed => "packed",
        Engine::Candle(_) => "candle",
    };
    let name = format!("{engine} {}", embedder.identity().precision);
    let on_cpu = matches!(config.engine, Engine::Packed | Engine::Candle(Device::Cpu));
    let threads = on_cpu.then(|| config.threads());
    Ok(measuring::Subject { name, engine, threads, embedder })
}

/// The memory of a batch, measured by this program in a process of its own.
fn memory_of(args: &BenchArgs, of: &measuring::Subject, shape: BatchShape) -> Result<MemoryLine> {
    let program = std::env::current_exe().context("this program cannot be started again")?;
    let done = Command::new(program)
        .args(["bench", "--quiet", "--memory-of", &format!("{},{}", shape.rows, shape.longest)])
        .args(args.config.typed())
        // What was not chosen is this one's default, and not the subject's.
        .env("REEMBED_COMPUTE_PRECISION", &of.embedder.identity().precision)
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
    sample::write_tasks(&corpus, rows)?;
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

fn write_bench(args: &BenchArgs, report: &ReportConfig, record: &BenchRecord) -> Result<()> {
    let json = measuring::json::json(record)?;
    let page = measuring::html::page(record, &json)?;
    for (file, name, text) in [(&args.json, "bench.json", json), (&args.html, "bench.html", page)] {
        let path = file.clone().unwrap_or_else(|| report.dir.join(name));
        keep::write(&path, &text)?;
    }
    Ok(())
}
