//! The precisions beside f32: their distance from f32 and from sentence-transformers, independence of the batch,
//! and the precision recorded in the output. A CPU without a unit of bf16 emulates it with the same bits.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use reembed::events::Warning;
use reembed::footer::Lineage;
use reembed::{BatchOptions, Embedder, ErrorKind, Event, ModelConfig, TaskRow, verify};
use reembed_encoder::model::precision::PrecisionWarning;
use reembed_encoder::model::{self, EncodeError, Model};
use reembed_encoder::stop::Stop;
use reembed_kernels::{Bf16Unit, Isa, Precision};
use reembed_testing::model_directory::{ModelDirectory, Pooling};

use crate::common::{
    Before, Job, bits, distance, model_config, prepare, read_parquet, real_model, run_opened, task,
};

const NARROW: [Precision; 5] =
    [Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512, Precision::Int16, Precision::Int8];

#[test]
fn every_golden_row_is_as_near_as_its_precision_promises() {
    for precision in NARROW {
        let (mut far, mut least, mut sum) = ((0.0, ""), (1.0, ""), 0.0);
        let (floor, mean_floor) = match precision {
            Precision::Int16 => (0.9999, 0.99998),
            Precision::Int8 => (0.996, 0.999),
            _ => (0.9999, 0.99995),
        };
        for row in GOLDEN.iter() {
            let id = row.task.id.as_str();
            let vector = REAL.of(precision).compute_embedding(&row.task).expect("a vector");
            let difference = distance(&vector, &row.vector);
            let cosine = cosine(&vector, &row.vector);
            if precision == Precision::Bf16x3 {
                assert!(difference <= 1e-5, "{id}: {precision} is off by {difference:e}");
            }
            assert!(cosine >= floor, "{id}: the cosine in {precision} is {cosine}");
            sum += cosine;
            if difference > far.0 {
                far = (difference, id);
            }
            if cosine < least.0 {
                least = (cosine, id);
            }
        }
        println!("{precision}: off by {:.1e} at most, in {}", far.0, far.1);
        println!("{precision}: the least cosine is {:.6}, in {}", least.0, least.1);
        let mean = sum / GOLDEN.len() as f64;
        println!("{precision}: the mean cosine is {mean:.7}");
        assert!(mean >= mean_floor, "{precision}: {mean}");
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let rows: Vec<&GoldenRow> = GOLDEN.iter().filter(|row| row.tokens <= 60).take(30).collect();
    let tasks: Vec<TaskRow> = rows.iter().map(|row| row.task.clone()).collect();
    let reversed: Vec<TaskRow> = tasks.iter().rev().cloned().collect();
    for precision in NARROW {
        let embedder = REAL.of(precision);
        assert!(embedder.is_batch_invariant());
        let alone: Vec<Vec<u32>> = tasks
            .iter()
            .map(|row| bits(&embedder.compute_embedding(row).expect("a vector")))
            .collect();
        let in_batches = |embedder: &Embedder, tasks: &[TaskRow], size: usize| {
            let batch_size = Some(NonZeroUsize::new(size).expect("not zero"));
            let options = BatchOptions { batch_size, ..BatchOptions::default() };
            let vectors = embedder.compute_embeddings_batch(tasks, &options).expect("vectors");
            vectors.rows().map(bits).collect::<Vec<_>>()
        };
        for size in [1, 7, 32, 256] {
            assert!(in_batches(embedder, &tasks, size) == alone, "{precision}, {size} a batch");
        }
        let mut back = in_batches(embedder, &reversed, 32);
        back.reverse();
        assert!(back == alone, "{precision}, reversed");

        let threads = NonZeroUsize::new(3);
        let three = Embedder::open(&ModelConfig { threads, ..pinned(precision) });
        let three = three.expect("the model");
        assert!(in_batches(&three, &tasks, 32) == alone, "{precision}, three threads");
    }
}

#[test]
fn batch_split_after_out_of_memory_gives_the_same_bits() {
    let directory = ModelDirectory::like_bge().write();
    let rows: Vec<TaskRow> =
        (0..40).map(|n| task(format!("T-{n}"), "word ".repeat(1 + n * 7 % 50))).collect();
    for precision in Precision::ALL {
        let setting = format!("compute.precision = \"{precision}\"");
        let load =
            || model::load(&model_config(directory.path(), &[&setting]), &|_| ()).expect("a model");
        let options = BatchOptions::default();
        let whole = Embedder::new(load()).compute_embeddings_batch(&rows, &options);
        let Model { tokenizer, encoder, facts } = load();
        let scarce = Before::new(encoder, |call, batch| {
            if call % 3 == 1 || batch.len() < 2 {
                return Ok(());
            }
            Err(EncodeError::OutOfMemory { shape: batch.shape(), cause: "injected".into() })
        });
        let encoder = Arc::new(scarce);
        let scarce = Embedder::new(Model { tokenizer, encoder, facts });
        let split = scarce.compute_embeddings_batch(&rows, &options).expect("vectors");
        assert!(split.work().batch_sizes.len() > 1, "{:?}", split.work());
        assert!(bits(split.as_slice()) == bits(whole.expect("vectors").as_slice()), "{precision}");
    }
}

#[test]
fn models_of_every_shape_are_near_the_reference_engine() {
    let texts = ["fix the login loop", "a", "Café, naïve; ÜBER 42 files!"];
    let long = "the job takes minutes because texts are embedded one at a time; ".repeat(8);
    for (name, directory) in [
        ("heads of 32, mean", ModelDirectory::tiny().hidden(128).heads(4)),
        ("heads of 64, cls", ModelDirectory::tiny().hidden(128).heads(2).pooling(Pooling::Cls)),
        ("relu", ModelDirectory::tiny().activation("relu")),
        ("gelu_new", ModelDirectory::tiny().activation("gelu_new")),
        ("odd sizes", ModelDirectory::tiny().hidden(72).heads(3).intermediate(149)),
        ("12 layers", ModelDirectory::like_minilm_l12()),
        ("24 layers", ModelDirectory::tiny().hidden(64).heads(2).layers(24)),
        ("not normalised", ModelDirectory::tiny().normalize(false)),
    ] {
        let written = directory.write();
        let open = |settings: &[&str]| {
            Embedder::open(&model_config(written.path(), settings)).expect("a model")
        };
        let reference = open(&["compute.engine = \"candle\""]);
        for precision in NARROW {
            let (most, least) = match precision {
                Precision::Bf16x3 => (3e-5, 0.999_999),
                Precision::Int8 => (1e-1, 0.99),
                _ => (3e-2, 0.9995),
            };
            let embedder = open(&[&format!("compute.precision = \"{precision}\"")]);
            let mut worst: (f32, f64) = (0.0, 1.0);
            for text in texts.into_iter().chain([long.as_str()]) {
                let expected = reference.compute_embedding(&task("T", text)).expect("a vector");
                let found = embedder.compute_embedding(&task("T", text)).expect("a vector");
                worst.0 = worst.0.max(distance(&found, &expected));
                worst.1 = worst.1.min(cosine(&found, &expected));
            }
            println!("{name}, {precision}: off by {:.1e}, cosine {:.7}", worst.0, worst.1);
            assert!(worst.0 <= most && worst.1 >= least, "{name}, {precision}: {worst:?}");
        }
    }
}

#[test]
fn a_file_says_its_precision_and_is_verified_in_it() {
    let directory = ModelDirectory::tiny().write();
    let rows: Vec<TaskRow> =
        (0..20).map(|n| task(format!("T-{n}"), format!("fix the build {n}"))).collect();
    let mut fingerprints = BTreeSet::new();
    for precision in Precision::ALL {
        let job = Job::of(&rows);
        let mut config = job.config(&[]);
        let setting = format!("compute.precision = \"{precision}\"");
        config.embeddings.first.model = model_config(directory.path(), &[&setting]);
        let (reader, lock) = prepare(&config).expect("a job");
        let model = model::load(&config.embeddings.first.model, &|_| ()).expect("a model");
        let warned = std::sync::Mutex::new(Vec::new());
        let note = |event: Event| {
            if let Event::Warning(warning) = event {
                warned.lock().expect("no panic").push(warning);
            }
        };
        let stop = Stop::new();
        let report = run_opened(&config, (&reader, &lock), &model, &stop, &note);
        let report = report.expect("a report");
        drop(lock);

        let name = precision.as_str();
        assert_eq!(report.first().lineage.model.precision, name);
        assert_eq!(report.first().lineage.model.numerics, format!("packed-1-{name}"));
        let emulated = report.warnings.iter().any(|warning| {
            matches!(warning, Warning::Precision(PrecisionWarning::Emulated { precision: p, .. }) if *p == precision)
        });
        // A CPU may have AMX that its kernel does not enable.
        let native = Bf16Unit::detect(Isa::detect(), precision).is_some_and(|unit| unit.is_ok());
        assert_eq!(emulated, precision.unit_name().is_some() && !native, "{:?}", report.warnings);
        assert_eq!(
            report.first().runs_on.contains("emulated"),
            emulated,
            "{}",
            report.first().runs_on
        );
        assert_eq!(warned.into_inner().expect("no panic"), report.warnings);
        fingerprints.insert(report.first().lineage.fingerprint.clone());

        let (output, footer) = verify::open(&job.output()).expect("an output");
        assert_eq!(footer.lineage, Lineage::new(&model.facts.identity));
        let sample = verify::Sample { model: &model, rows: 20, ranges: None };
        let checks = verify::verify(&config.input, &output, &footer, None, &[sample]);
        let broken = |check: &&verify::Check| check.verdict == verify::Verdict::Failed;
        let checks = checks.expect("checks");
        assert_eq!(checks.iter().find(broken), None, "{precision}");
    }
    assert_eq!(fingerprints.len(), Precision::ALL.len(), "fingerprints must differ");
}

#[test]
fn candle_refuses_a_precision_that_it_lacks() {
    let directory = ModelDirectory::tiny().write();
    for precision in ["bf16", "bf16x3", "bf16-avx512", "int16", "int8"] {
        let text = format!(
            "model.path = {:?}\ncompute.engine = \"candle\"\ncompute.precision = {precision:?}",
            directory.path().to_str().expect("UTF-8")
        );
        let raw = reembed::config::RawConfig::parse(&text, Path::new("pipeline.toml"));
        let error = raw
            .and_then(|raw| raw.check_model(&crate::common::environment()))
            .expect_err("candle has f32 alone");
        assert_eq!(error.kind(), ErrorKind::Config);
        let said = error.to_string();
        let expected = format!("`compute.precision` is \"{precision}\", which only the packed");
        assert!(said.contains(&expected) && said.contains("pipeline.toml:3"), "{said}");
    }
}

#[test]
fn what_overflows_is_an_error_that_names_the_row() {
    for precision in Precision::ALL {
        let directory = ModelDirectory::tiny().write();
        let setting = format!("compute.precision = \"{precision}\"");
        directory.poke("encoder.layer.0.output.dense.weight", 3, 3e38);
        directory.poke("encoder.layer.0.output.dense.bias", 0, 3e38);
        let embedder =
            Embedder::open(&model_config(directory.path(), &[&setting])).expect("a finite model");
        let error = embedder.compute_embedding(&task("T-9", "fix it")).expect_err("an overflow");
        assert_eq!(error.kind(), ErrorKind::Encode);
        let said = error.to_string();
        assert!(said.contains("T-9") && said.contains("component"), "{precision}: {said}");
    }
}

#[test]
fn auto_is_f32_for_a_model_that_was_not_validated() {
    let directory = ModelDirectory::tiny().write();
    let model = model::load(&model_config(directory.path(), &[]), &|_| ()).expect("a model");
    assert_eq!((model.encoder.precision(), model.facts.notes.precision), (Precision::F32, None));
}

#[test]
fn auto_is_the_fastest_precision_for_the_validated_model() {
    let auto = model::load(&ModelConfig { precision: None, ..real_model() }, &|_| ());
    let fast = [Precision::Bf16, Precision::Bf16Avx512].into_iter().find(|precision| {
        Bf16Unit::detect(Isa::detect(), *precision).is_some_and(|unit| unit.is_ok())
    });
    let Model { encoder, facts, .. } = auto.expect("the model");
    let without_unit =
        if cfg!(target_arch = "aarch64") { Precision::F32 } else { Precision::Int16 };
    assert_eq!(encoder.precision(), fast.unwrap_or(without_unit));
    assert!(!facts.runs_on.contains("emulated"), "{}", facts.runs_on);
}

/// A row of the golden file.
struct GoldenRow {
    task: TaskRow,
    tokens: usize,
    vector: Vec<f32>,
}

static GOLDEN: LazyLock<Vec<GoldenRow>> = LazyLock::new(|| {
    let file = reembed_testing::repository().join("tests/golden/golden.parquet");
    let table = read_parquet(&file);
    let tokens = table.rows.column_by_name("tokens").expect("tokens").as_primitive::<Int32Type>();
    let rows = table.tasks().into_iter().zip(table.vectors("embedding")).zip(tokens.values());
    rows.map(|((task, vector), tokens)| {
        let vector = vector.expect("a vector");
        GoldenRow { task, tokens: *tokens as usize, vector }
    })
    .collect()
});

/// The real model in each precision.
struct Real([LazyLock<Embedder>; NARROW.len()]);

static REAL: Real = Real([
    LazyLock::new(|| Embedder::open(&pinned(NARROW[0])).expect("the model")),
    LazyLock::new(|| Embedder::open(&pinned(NARROW[1])).expect("the model")),
    LazyLock::new(|| Embedder::open(&pinned(NARROW[2])).expect("the model")),
    LazyLock::new(|| Embedder::open(&pinned(NARROW[3])).expect("the model")),
    LazyLock::new(|| Embedder::open(&pinned(NARROW[4])).expect("the model")),
]);

impl Real {
    fn of(&self, precision: Precision) -> &Embedder {
        let at = NARROW.iter().position(|narrow| *narrow == precision);
        self.0[at.expect("a precision")].deref()
    }
}

fn pinned(precision: Precision) -> ModelConfig {
    ModelConfig { precision: Some(precision), ..real_model() }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
