//! `reembed bench`: measures every engine of this machine, and other tools with `--peers`.

mod peers;
mod table;

use std::time::Duration;

use anyhow::{Context, Result};
use reembed::config::{Device, Engine, RawConfig, ReportConfig};
use reembed::reader::{Decoded, Reader};
use reembed::{Embedder, Event, ModelConfig, TaskRow};
use reembed_encoder::batch::strings;
use reembed_encoder::limit::BatchShape;
use reembed_encoder::model::{self, description, source};
use reembed_kernels::{Bf16Unit, Isa, Precision};

use super::config::{environment, load};
use crate::bench::{self as measuring, BenchRecord, MemoryLine, Mode, Plan, Subject};
use crate::cli::BenchArgs;
use crate::exit::Exit;
use crate::own_program::OwnProgram;
use crate::progress::Progress;
use crate::session::Session;
use crate::{json, peak, print, report_file, sample};

/// `reembed bench`.
pub fn bench(args: &BenchArgs, session: &Session) -> Result<Exit> {
    let raw = load(&args.config)?;
    let model_config = raw.check_model(&environment())?;
    if let [rows, longest] = args.memory_of[..] {
        return print_memory(&model_config, measuring::uniform_shape(rows, longest));
    }
    let progress = Progress::new(&session.logging);
    let rows = bench_rows(args, &raw)?;
    let files =
        source::resolve(&model_config.source, &|event| progress.event(Event::Model(event)))?;
    let description = description::read(&files, &model_config.text)?;
    if args.peers.is_some() {
        peers::check_model(&description)?;
    }
    let mut subjects = Vec::new();
    for config in engines(&raw, &model_config)? {
        progress.step("loading the model");
        subjects.push(subject(&config)?);
    }
    progress.step("measuring the f32 peak");
    let threads = model_config.threads();
    let peak = peak::measure(Isa::detect(), threads)?;
    let modes = if args.modes.is_empty() { Mode::standard() } else { args.modes.clone() };
    let plan = Plan {
        subjects: &subjects,
        modes: &modes,
        repeats: args.repeats,
        time: (args.time > 0).then(|| Duration::from_secs(args.time)),
        encoder: &description.encoder,
        peak: Some(peak),
    };
    let mut record = measuring::run(&plan, &rows, &|step, left| match left {
        Some(left) => progress.step(&format!("{step}; about {} s left", left.as_secs())),
        None => progress.step(step),
    })?;
    progress.step("TF-IDF of the same texts");
    let texts: Vec<String> = rows.iter().map(reembed::build_input_text).collect();
    record.set_tfidf(measuring::tfidf_tasks_per_second(&texts));
    if !args.no_memory {
        let max_length = usize::try_from(record.model.max_seq_length).unwrap_or(usize::MAX);
        for shape in measuring::shapes(max_length) {
            let BatchShape { rows, longest, .. } = shape;
            progress.step(&format!("memory of {rows} texts of {longest} tokens"));
            let line = memory_line(args, &session.own, &subjects[0], shape)?;
            record.memory.push(line);
        }
    }
    if let Some(scripts) = &args.peers {
        progress.step("measuring other tools, which takes minutes");
        // The same rows as the first engine.
        let mut rows = measuring::shuffled(&rows);
        rows.truncate(usize::try_from(record.corpus.rows).unwrap_or(usize::MAX));
        for peer in peers::measure(scripts, &session.own, &files.directory, threads, rows)? {
            measuring::add_peer(&mut record, &peer.name, peer.tasks_per_second, peer.is_baseline);
        }
    }
    progress.finish();
    session.answer.record(|answer| answer.bench = serde_json::to_value(&record).ok());
    if session.answer.is_text() {
        print::result(&table::text(&record))?;
    }
    write_results(args, &raw.check_report()?, &record)?;
    Ok(Exit::Done)
}

/// The rows of a bench. Rows without text are left out, since a run does not embed them.
fn bench_rows(args: &BenchArgs, raw: &RawConfig) -> Result<Vec<TaskRow>> {
    let max = args.tasks.get();
    let Some(input) = &args.input else {
        return Ok(sample::task_rows(u64::MAX, sample::DEFAULT_SEED)
            .filter(|row| !reembed::build_input_text(row).is_empty())
            .take(max)
            .collect());
    };
    let reader = Reader::open(&raw.check_input(input)?, &raw.check_text()?, Decoded::Text)?;
    let mut rows = Vec::new();
    for chunk in reader.chunks() {
        let chunk = chunk?;
        let with_text =
            strings(chunk.first_texts()).enumerate().filter(|(_, text)| !text.is_empty());
        rows.extend(with_text.map(|(row, text)| TaskRow {
            id: chunk.rows.label(row),
            title: Some(text.to_owned()),
            ..TaskRow::default()
        }));
        if rows.len() >= max {
            break;
        }
    }
    rows.truncate(max);
    if rows.is_empty() {
        anyhow::bail!("{}: no row has a text to embed", input.display());
    }
    Ok(rows)
}

/// The engines to measure: the packed engine in f32 first, then in every fast precision, then candle. An engine, device
/// or precision that the user set is measured alone.
fn engines(raw: &RawConfig, model: &ModelConfig) -> Result<Vec<ModelConfig>> {
    let keys = ["compute.engine", "compute.device", "compute.precision"];
    if model.engine != Engine::Packed || keys.iter().any(|key| raw.is_set(key)) {
        return Ok(vec![model.clone()]);
    }
    let isa = model.isa()?;
    // An emulated precision is slow. One without a unit of its own is fast everywhere.
    let is_fast = |precision: &Precision| match precision.unit_name() {
        Some(_) => matches!(Bf16Unit::detect(isa, *precision), Some(Ok(_))),
        None => *precision != Precision::F32,
    };
    let with = |precision| ModelConfig { precision: Some(precision), ..model.clone() };
    let mut engines = vec![with(Precision::F32)];
    engines.extend(Precision::ALL.into_iter().filter(is_fast).map(with));
    engines.push(ModelConfig { engine: Engine::Candle(Device::Cpu), ..model.clone() });
    Ok(engines)
}

fn subject(config: &ModelConfig) -> Result<Subject> {
    let embedder = Embedder::new(model::load(config, &|_| ())?);
    let engine = match config.engine {
        Engine::Packed => "packed",
        Engine::Candle(_) => "candle",
    };
    let name = format!("{engine} {}", embedder.identity().precision);
    let is_on_cpu = matches!(config.engine, Engine::Packed | Engine::Candle(Device::Cpu));
    let threads = is_on_cpu.then(|| config.threads());
    Ok(Subject { name, engine, threads, embedder })
}

/// `--memory-of`: the process that [`memory_line`] starts.
fn print_memory(model_config: &ModelConfig, shape: BatchShape) -> Result<Exit> {
    let model = model::load(model_config, &|_| ())?;
    let (measured, predicted) = measuring::measure_growth(&model, shape)?;
    print::result(&format!("{measured} {predicted}\n"))?;
    Ok(Exit::Done)
}

/// Measures the memory of a batch in another process of this program.
fn memory_line(
    args: &BenchArgs,
    own: &OwnProgram,
    subject: &Subject,
    shape: BatchShape,
) -> Result<MemoryLine> {
    let mut command = own.command().context("cannot find this program")?;
    let output = command
        .args(["bench", "--quiet", "--memory-of", &format!("{},{}", shape.rows, shape.longest)])
        .args(args.config.to_arguments())
        // Otherwise the process would choose its own default precision.
        .env("REEMBED_COMPUTE_PRECISION", &subject.embedder.identity().precision)
        .output()
        .context("cannot start this program again")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut numbers = stdout.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(measured)), Some(Ok(predicted))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    };
    Ok(MemoryLine {
        engine: subject.name.clone(),
        rows: shape.rows as u64,
        length: shape.longest as u64,
        predicted,
        measured,
        measured_per_row: measured as f64 / shape.rows as f64,
        ratio: measured as f64 / predicted.max(1) as f64,
    })
}

fn write_results(args: &BenchArgs, report: &ReportConfig, record: &BenchRecord) -> Result<()> {
    let json = json::to_document(record, "the bench")?;
    let page = measuring::page(record, &json)?;
    for (file, name, text) in [(&args.json, "bench.json", json), (&args.html, "bench.html", page)] {
        let path = file.clone().unwrap_or_else(|| report.dir.join(name));
        report_file::write_with_directories(&path, &text)?;
    }
    Ok(())
}
