//! all-MiniLM-L6-v2 itself: the golden rows, batches against single rows, and texts of any length.
//!
//! The weights are loaded once for all tests here.

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use proptest::prelude::*;
use reembed::config::{Device, Engine};
use reembed::{BatchOptions, Embedder, ModelConfig, Progress, Stop, TaskRow, build_input_text};
use reembed_encoder::model::config::TextOptions;
use reembed_encoder::model::description::{self, ModelDescription};
use reembed_encoder::model::source::{self, ModelFiles};
use reembed_encoder::model::tokenizer::TextTokenizer;
use reembed_encoder::model::{self, Encoder, Model, ModelFacts};
use tokenizers::{Tokenizer, TruncationParams};

use crate::common::{
    Before, Job, Table, bits, distance, length, prepare, read_parquet, real_model, run_opened, task,
};

/// Maximum deviation of a component from sentence-transformers in double precision.
const GOLDEN_TOLERANCE: f32 = 1e-6;

#[test]
fn every_golden_row_has_its_text_its_tokens_and_its_vector() {
    let golden = &*GOLDEN;
    assert_eq!(golden.rows.len(), 66);
    let mut worst = (0.0, "");
    for (row, alone) in golden.rows.iter().zip(ALONE.iter()) {
        let id = row.task.id.as_str();
        assert_eq!(build_input_text(&row.task), row.text, "{id}");
        let tokens = REAL.tokenizer(256).tokenize(&row.text).expect("ids");
        assert_eq!(tokens.ids.len(), row.tokens, "{id}");
        let difference = distance(alone, &row.vector);
        assert!(difference <= GOLDEN_TOLERANCE, "{id}: off by {difference:e}");
        assert!((length(alone) - 1.0).abs() < 1e-6, "{id}: length {}", length(alone));
        if difference > worst.0 {
            worst = (difference, id);
        }
    }
    println!("the worst golden row is {} with {:e}", worst.1, worst.0);
}

#[test]
fn batches_give_the_vectors_of_single_texts_in_row_order() {
    // Unusual, long and ordinary rows, without the longest: every batch size embeds all of them again.
    let picked: Vec<usize> =
        (0..GOLDEN.rows.len()).filter(|row| GOLDEN.rows[*row].tokens <= 100).take(40).collect();
    let rows: Vec<TaskRow> = picked.iter().map(|row| GOLDEN.rows[*row].task.clone()).collect();
    assert_eq!(rows.len(), 40);
    let embedder = Embedder::new(REAL.model());
    assert!(embedder.is_batch_invariant());
    for size in [1, 8, 16, 32, 64] {
        let seen = Mutex::new(Vec::new());
        let note = |progress: Progress| seen.lock().expect("no panic").push(progress);
        let options = BatchOptions {
            batch_size: NonZeroUsize::new(size),
            progress: Some(&note),
            ..BatchOptions::default()
        };
        let together = embedder.compute_embeddings_batch(&rows, &options).expect("vectors");
        for (vector, row) in together.rows().zip(&picked) {
            let id = &GOLDEN.rows[*row].task.id;
            assert!(bits(vector) == bits(&ALONE[*row]), "batch size {size}, {id}");
        }
        let tokens: usize = picked.iter().map(|row| GOLDEN.rows[*row].tokens).sum();
        assert_eq!(together.work().tokens, tokens as u64);
        assert!(together.work().batch_sizes.keys().all(|rows| *rows <= size));
        let seen = seen.into_inner().expect("no panic");
        assert!(seen.iter().all(|progress| progress.total == 40));
        assert!(seen.is_sorted_by(|a, b| a.done < b.done), "{seen:?}");
        assert_eq!(seen.last().map(|progress| progress.done), Some(40));
    }
}

#[test]
fn vectors_convert_to_the_column_that_a_run_writes() {
    let embedder = Embedder::new(REAL.model());
    let rows = [GOLDEN.rows[0].task.clone(), GOLDEN.rows[10].task.clone()];
    let vectors =
        embedder.compute_embeddings_batch(&rows, &BatchOptions::default()).expect("vectors");
    assert_eq!((vectors.len(), vectors.dim(), vectors.as_slice().len()), (2, 384, 768));
    let values = vectors.as_slice().to_vec();
    let array = vectors.into_array().expect("an array");
    assert_eq!(array.value_length(), 384);
    assert_eq!(array.values().as_primitive::<arrow::datatypes::Float32Type>().values()[..], values);
}

#[test]
fn run_over_golden_file_gives_its_vectors_again() {
    let job = Job::new();
    std::fs::copy(golden_file(), job.input()).expect("a copy");
    let config = job.config(&["input.chunk_rows = 40", "batch.start = 16"]);
    let (reader, lock) = prepare(&config).expect("a job");
    let never = Stop::new();
    let report =
        run_opened(&config, (&reader, &lock), &REAL.model(), &never, &|_| ()).expect("a report");
    let golden = &GOLDEN.rows;
    assert_eq!((report.rows, report.null_rows(), report.first().replaced_column), (66, 0, true));
    let tokens = golden.iter().map(|row| row.tokens as u64).sum::<u64>();
    // Duplicate texts, each embedded once.
    assert_eq!(report.work().tokens + report.origins().tokens_saved, tokens);
    let cut = golden.iter().filter(|row| row.is_cut).count() as u64;
    assert!(cut > 5);
    assert_eq!(report.truncated_rows(), cut);
    let written = read_parquet(&job.output());
    for (vector, row) in written.vectors("embedding").iter().zip(golden) {
        let vector = vector.as_ref().expect("a vector");
        assert!(distance(vector, &row.vector) <= GOLDEN_TOLERANCE, "{}", row.task.id);
    }
    for column in ["id", "title", "description", "files", "text", "tokens"] {
        let same = written.rows.column_by_name(column) == GOLDEN.table.rows.column_by_name(column);
        assert!(same, "column `{column}` changed");
    }
}

#[test]
fn a_long_text_gives_the_ids_of_its_whole_on_every_golden_row() {
    // With a short maximum almost every row is a long text.
    for max_length in LENGTHS {
        for row in &GOLDEN.rows {
            same_ids(max_length, &row.text).unwrap_or_else(|why| panic!("{}: {why}", row.task.id));
        }
    }
    let all: String = GOLDEN.rows.iter().map(|row| row.text.as_str()).collect();
    same_ids(256, &all).expect("the golden texts");
}

#[test]
fn endless_word_is_read_past_its_last_cut() {
    let word = "x".repeat(50_000);
    for text in [
        format!("hi {word}"),
        format!("{word} hi"),
        format!(" {word}"),
        format!("a b {word}, c {word}"),
    ] {
        for max_length in LENGTHS {
            same_ids(max_length, &text).unwrap_or_else(|why| panic!("{text:.8}: {why}"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_long_text_gives_the_ids_of_its_whole_wherever_it_is_cut(
        pieces in prop::collection::vec(piece(), 1..120),
        length in prop::sample::select(&LENGTHS[..4]),
    ) {
        prop_assert_eq!(same_ids(length, &pieces.concat()), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn long_text_gives_the_ids_of_the_whole_text(
        pieces in prop::collection::vec(piece(), 500..3000),
    ) {
        prop_assert_eq!(same_ids(256, &pieces.concat()), Ok(()));
    }
}

#[test]
fn a_run_of_one_thing_gives_the_ids_of_its_whole() {
    let marks: String = ('\u{300}'..='\u{36f}').collect();
    for pattern in RUNS.into_iter().chain([marks.as_str()]) {
        let run = pattern.repeat(40_000 / pattern.len());
        for text in
            [run.clone(), format!("fix{run}the {run} loop{run}"), format!("[SEP{run}] {run}")]
        {
            for max_length in [16, 256] {
                same_ids(max_length, &text).unwrap_or_else(|why| panic!("{pattern:?}: {why}"));
            }
        }
    }
}

/// A full tokenization of 2 MB of blanks, or of a word of 2 MB, takes 4 to 7 seconds.
#[test]
fn ten_megabytes_of_anything_take_milliseconds() {
    let tokenizer = REAL.tokenizer(256);
    for pattern in RUNS {
        let text = pattern.repeat(10_000_000 / pattern.len());
        let started = Instant::now();
        let ids = tokenizer.tokenize(&text).expect("ids").ids.len();
        let took = started.elapsed();
        println!("{pattern:>10?}  {ids:>3} ids  {:>6.1} ms", took.as_secs_f64() * 1000.0);
        assert!(took.as_secs_f64() < 1.0, "{pattern:?}: {took:?}");
    }
}

#[test]
fn ten_megabytes_give_the_ids_of_the_whole_text() {
    let text = "Investigate the slow nightly job; it re-embeds 1,000 tasks. ".repeat(170_000);
    assert!(text.len() > 10_000_000);
    let (ids, truncated) = whole_ids(256, &text);
    let cut = REAL.tokenizer(256).tokenize(&text).expect("ids");
    assert_eq!((cut.ids, cut.truncated), (ids, truncated));
}

#[test]
fn the_reference_engine_agrees_on_some_golden_rows() {
    let config = ModelConfig { engine: Engine::Candle(Device::Cpu), ..real_model() };
    let reference = Embedder::open(&config).expect("the model");
    for row in GOLDEN.rows.iter().filter(|row| row.tokens <= 130).step_by(6) {
        let vector = reference.compute_embedding(&row.task).expect("a vector");
        let difference = distance(&vector, &row.vector);
        assert!(difference <= GOLDEN_TOLERANCE, "{}: off by {difference:e}", row.task.id);
    }
}

#[test]
fn many_equal_rows_in_many_sizes_of_batch_have_one_vector() {
    let embedder = Embedder::new(REAL.model());
    let rows: Vec<TaskRow> =
        (0..6).map(|n| task(format!("T-{n}"), "Rotate the database credentials")).collect();
    let alone = bits(&embedder.compute_embedding(&rows[0]).expect("a vector"));
    for size in [1, 2, 4, 5, 6] {
        let options =
            BatchOptions { batch_size: NonZeroUsize::new(size), ..BatchOptions::default() };
        let vectors = embedder.compute_embeddings_batch(&rows, &options).expect("vectors");
        assert!(vectors.rows().all(|vector| bits(vector) == alone), "batch size {size}");
    }
}

/// A row of the golden file.
struct GoldenRow {
    task: TaskRow,
    text: String,
    tokens: usize,
    is_cut: bool,
    vector: Vec<f32>,
}

struct Golden {
    table: Table,
    rows: Vec<GoldenRow>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let table = read_parquet(&golden_file());
    let tokens = table.rows.column_by_name("tokens").expect("tokens").as_primitive::<Int32Type>();
    let rows = table
        .tasks()
        .into_iter()
        .zip(table.strings("text"))
        .zip(table.vectors("embedding"))
        .zip(tokens.values())
        .map(|(((task, text), vector), tokens)| {
            let text = text.expect("a text");
            let is_cut = whole_ids(256, &text).1;
            let vector = vector.expect("a vector");
            GoldenRow { task, text, tokens: *tokens as usize, is_cut, vector }
        })
        .collect();
    Golden { table, rows }
});

fn golden_file() -> std::path::PathBuf {
    reembed_testing::repository().join("tests/golden/golden.parquet")
}

/// The vector of every golden row, embedded alone.
static ALONE: LazyLock<Vec<Vec<f32>>> = LazyLock::new(|| {
    let embedder = Embedder::new(REAL.model());
    let embed = |row: &GoldenRow| embedder.compute_embedding(&row.task).expect("a vector");
    GOLDEN.rows.iter().map(embed).collect()
});

/// Maximum lengths at which long texts are cut; a shorter one gives more cuts per test.
const LENGTHS: [usize; 5] = [3, 5, 16, 64, 256];

/// The real model, loaded once.
struct Real {
    /// The model files except the weights.
    files: ModelFiles,
    description: ModelDescription,
    encoder: Arc<dyn Encoder>,
    facts: ModelFacts,
    tokenizers: Vec<(usize, TextTokenizer)>,
    /// The reference tokenizer of the tokenizers crate, one per length.
    direct: Vec<(usize, Tokenizer)>,
}

static REAL: LazyLock<Real> = LazyLock::new(|| {
    let config = real_model();
    let Model { encoder, facts, .. } = model::load(&config, &|_| ()).expect("the model");
    let mut files = source::resolve(&config.source, &|_| ()).expect("its files");
    files.files.remove("model.safetensors");
    let description = description::read(&files, &TextOptions::default()).expect("a description");
    let tokenizer = |max: usize| {
        let max_seq_length = NonZeroUsize::new(max).expect("not zero");
        let description = ModelDescription { max_seq_length, ..description.clone() };
        TextTokenizer::new(&files, &description).expect("a tokenizer")
    };
    let tokenizers = LENGTHS.map(|length| (length, tokenizer(length))).into();
    let bytes = files.bytes("tokenizer.json").expect("a tokenizer");
    let direct = LENGTHS.map(|max_length| {
        let mut direct = Tokenizer::from_bytes(bytes).expect("a tokenizer");
        let truncation = TruncationParams { max_length, ..TruncationParams::default() };
        direct.with_padding(None).with_truncation(Some(truncation)).expect("a truncation");
        (max_length, direct)
    });
    let direct = direct.into();
    Real { files, description, encoder, facts, tokenizers, direct }
});

impl Real {
    /// A model that uses the one shared encoder.
    fn model(&'static self) -> Model {
        Model {
            tokenizer: TextTokenizer::new(&self.files, &self.description).expect("a tokenizer"),
            encoder: Arc::new(Before::new(self.encoder.as_ref(), |_, _| Ok(()))),
            facts: self.facts.clone(),
        }
    }

    fn tokenizer(&self, max_length: usize) -> &TextTokenizer {
        let found = self.tokenizers.iter().find(|(length, _)| *length == max_length);
        &found.expect("one of LENGTHS").1
    }
}

/// The IDs of a text from the reference tokenizer, and whether the text is truncated.
fn whole_ids(max_length: usize, text: &str) -> (Vec<u32>, bool) {
    let direct = REAL.direct.iter().find(|(length, _)| *length == max_length);
    let (_, direct) = direct.expect("one of LENGTHS");
    let encoding = direct.encode(text, true).expect("an encoding");
    (encoding.get_ids().to_vec(), !encoding.get_overflowing().is_empty())
}

fn same_ids(max_length: usize, text: &str) -> Result<(), String> {
    let cut = REAL.tokenizer(max_length).tokenize(text).map_err(|error| error.to_string())?;
    let whole = whole_ids(max_length, text);
    if (&cut.ids, cut.truncated) == (&whole.0, whole.1) {
        return Ok(());
    }
    Err(format!("{:?} of the prefix, {whole:?} of the whole, at {max_length}", cut.ids))
}

/// Units of texts of megabytes: each gives no token, one token in total, or one token per repeat.
const RUNS: [&str; 24] = [
    " ",
    "\u{a0}",
    "\0",
    "\u{200b}",
    "\u{301}",
    "\u{fe0f}",
    "\u{e000}",
    " \u{301}",
    "x",
    "X",
    "é",
    "İ",
    "한",
    "ж",
    "x\u{301}",
    "x\0",
    "🚀",
    "x ",
    "!",
    "[",
    "[SEP]",
    "[SEP",
    "文",
    "\u{20000}",
];

/// Units of texts, chosen for places where BERT's tokenizer may or may not be cut.
fn piece() -> impl Strategy<Value = String> {
    const SPACES: [&str; 12] = [
        " ", "  ", "\t", "\n", "\r\n", "\u{a0}", "\u{3000}", "\u{2028}", "\u{2003}", "\u{85}",
        "\u{b}", "\u{1680}",
    ];
    const SPECIAL: [&str; 14] = [
        "[SEP]",
        "[CLS]",
        "[MASK]",
        "[UNK]",
        "[PAD]",
        "[sep]",
        "[",
        "]",
        "[S",
        "EP]",
        "[[SEP]]",
        "[ SEP ]",
        "[SEP",
        "[SE\u{1}P]",
    ];
    const ODD: [&str; 24] = [
        "e\u{301}",
        "\u{301}",
        "\u{308}\u{323}",
        "İ",
        "ß",
        "ﬁ",
        "\u{200d}",
        "\u{200b}",
        "\u{feff}",
        "\u{ad}",
        "\u{0}",
        "\u{7f}",
        "\u{fffd}",
        "🚀",
        "👩\u{200d}👧",
        "❤\u{fe0f}",
        "한",
        "\u{1112}\u{1161}",
        "ทดสอบ",
        "नमस्ते",
        "\u{1b}",
        "１",
        "［ＳＥＰ］",
        "Ⅷ",
    ];
    const IDEOGRAPHS: [&str; 8] =
        ["中", "文字", "修复登录", "日本語", "\u{3400}", "\u{20000}", "\u{f900}", "\u{9fff}"];
    prop_oneof![
        6 => "[a-zA-Z]{1,12}",
        1 => "[a-z]{90,210}",
        1 => "[0-9]{1,20}",
        4 => Just(" ".to_owned()),
        2 => prop::sample::select(&SPACES[..]).prop_map(str::to_owned),
        2 => "[!-/:-@\\[-`{-~]{1,3}",
        1 => prop::sample::select(&["…", "—", "“", "。", "，", "¿"][..]).prop_map(str::to_owned),
        2 => prop::sample::select(&SPECIAL[..]).prop_map(str::to_owned),
        2 => prop::sample::select(&ODD[..]).prop_map(str::to_owned),
        2 => prop::sample::select(&IDEOGRAPHS[..]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => (prop::sample::select(&RUNS[..]), 2usize..150).prop_map(|(text, times)| text.repeat(times)),
    ]
}
