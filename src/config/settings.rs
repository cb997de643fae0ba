//! The table of settings: key, kind of value, default, flag and help of each.
//!
//! Command line flags and help, environment variables, the commented template and the JSON Schema
//! are generated from it. See docs/decisions/0007-settings-table.md.

use reembed_kernels::{IsaName, Precision};

use super::words::{
    CacheMode, Carry, EngineChoice, InvalidUtf8, OnEmpty, OnMissing, Pool, Preset, Truncate,
    VectorLayout, VectorType,
};

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its full key: table, dot, name.
    pub key: &'static str,
    /// The values that it accepts.
    pub kind: Kind,
    /// Its value if it is not set.
    pub default: DefaultValue,
    /// The command line flag that sets it, if there is one.
    pub flag: Option<Flag>,
    /// Its meaning and unit, in one to three sentences.
    pub help: &'static str,
}

/// The value of a setting that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, as TOML.
    Value(&'static str),
    /// No value. The help says what its absence means.
    None {
        /// An example of a value, as TOML.
        example: &'static str,
    },
}

/// A command line flag that sets a key. One flag may set several keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// The flag: `--name`.
    pub name: &'static str,
    /// The value that it sets; `None`: the argument after the flag.
    pub value: Option<&'static str>,
    /// The name of the argument in help.
    pub value_name: &'static str,
    /// Its help, if it differs from the setting's.
    pub help: Option<&'static str>,
}

/// The values that a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any string.
    Text,
    /// A path. A relative path in the file starts at the file's directory.
    Path,
    /// `true` or `false`.
    Switch,
    /// A whole number in this range.
    Count(u64, u64),
    /// A whole number in this range, or `"auto"`.
    CountOrAuto(u64, u64),
    /// A size: a whole number of bytes or a string such as `"512 MiB"`; at least this many bytes.
    Bytes(u64),
    /// The same, or `"auto"`.
    BytesOrAuto(u64),
    /// A duration: whole seconds or a string such as `"2h"`; at least one second.
    Seconds,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or `"auto"`.
    WordOrAuto(&'static [&'static str]),
    /// `"cpu"` or `"cuda:N"`.
    Device,
    /// A table of file names and SHA-256 in hexadecimal.
    Hashes,
    /// One or more different names: an array of strings. In a variable or a flag, names are separated
    /// by commas. A flag may be given several times.
    Names,
    /// A table with most tokens of a chunk and what neighbours share: `{ tokens = 256, overlap = 32 }`.
    Chunk,
    /// A table of names and what separates the items of each, such as `{ files = ";" }`.
    Separators,
}

static ISA_WORDS: [&str; IsaName::ALL.len()] = {
    let mut words = [""; IsaName::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = IsaName::ALL[at].as_str();
        at += 1;
    }
    words
};

static PRECISION_WORDS: [&str; Precision::ALL.len()] = {
    let mut words = [""; Precision::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Precision::ALL[at].as_str();
        at += 1;
    }
    words
};

impl Setting {
    /// The table of its key: `batch` for `batch.start`.
    pub fn table(&self) -> &'static str {
        self.key.split('.').next().unwrap_or(self.key)
    }

    /// Its key within the table: `start` for `batch.start`.
    pub fn name(&self) -> &'static str {
        self.key.split('.').next_back().unwrap_or(self.key)
    }

    /// The environment variable that sets it: `REEMBED_BATCH_START` for `batch.start`.
    pub fn variable(&self) -> String {
        variable_of(self.key)
    }

    /// The setting with this full key; `None` for an unknown key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// The prefix of every environment variable of this program.
pub(super) const PREFIX: &str = "REEMBED_";

/// The environment variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Keys of earlier versions and their new names.
pub const RENAMED: &[(&str, &str)] = &[
    ("store.path", "cache.path"),
    ("store.mode", "cache.mode"),
    ("store.max_size", "cache.max_size"),
    ("store.commit_rows", "cache.commit_rows"),
    ("store.verify_sample", "cache.verify_sample"),
    ("output.vector_type", "vector.layout"),
];

/// Settings that name a column which a table may lack, unless the user sets them.
pub const OPTIONAL_COLUMNS: [&str; 2] = ["input.id", "input.files"];

/// All settings, in the order of the template.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "input.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"tasks.parquet\"" },
        flag: Some(Flag { name: "--input", value: None, value_name: "PATH", help: None }),
        help: "What to read: a Parquet file, a directory of them, or a pattern such as \"in/**/*.parquet\" or \"in/dt=2026-11-*/\".",
    },
    Setting {
        key: "input.paths",
        kind: Kind::Names,
        default: DefaultValue::None { example: "[\"in/a.parquet\", \"in/2026\"]" },
        flag: None,
        help: "Several files, directories or patterns, in the place of input.path. Relative paths in this file start at its directory.",
    },
    Setting {
        key: "input.files_from",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"tables.txt\"" },
        flag: Some(Flag { name: "--files-from", value: None, value_name: "FILE", help: None }),
        help: "A file that lists the files, directories or patterns to read, one in each line, in the place of input.path. Relative paths start at its directory.",
    },
    Setting {
        key: "input.id",
        kind: Kind::Text,
        default: DefaultValue::Value("\"id\""),
        flag: Some(Flag { name: "--id", value: None, value_name: "COLUMN", help: None }),
        help: "Column of row ids, by which messages name a row: any flat type, without nulls. Without the default column, or with \"\", rows are named by their numbers, from 1; a column that is set here must exist.",
    },
    Setting {
        key: "input.title",
        kind: Kind::Text,
        default: DefaultValue::Value("\"title\""),
        flag: None,
        help: "Column of titles of task rows: strings. Title, description and files make the text unless text.columns or text.template does.",
    },
    Setting {
        key: "input.description",
        kind: Kind::Text,
        default: DefaultValue::Value("\"description\""),
        flag: None,
        help: "Column of descriptions: strings. Use \"\" if the table has none.",
    },
    Setting {
        key: "input.files",
        kind: Kind::Text,
        default: DefaultValue::Value("\"files\""),
        flag: None,
        help: "Column of file lists: lists of strings. The default column may be absent; a column that is set here must exist.",
    },
    Setting {
        key: "input.chunk_rows",
        kind: Kind::Count(1, 1_000_000),
        default: DefaultValue::Value("1024"),
        flag: None,
        help: "Rows that are read and sorted by length together: a chunk. Smaller chunks take less memory and cause more padding.",
    },
    Setting {
        key: "input.chunk_bytes",
        kind: Kind::Bytes(1),
        default: DefaultValue::Value("\"32 MiB\""),
        flag: None,
        help: "Size at which a chunk ends although it has fewer than input.chunk_rows rows.",
    },
    Setting {
        key: "input.decode_limit",
        kind: Kind::BytesOrAuto(1),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "Largest size that the file may decode to, a protection against decompression bombs; auto: 1 GiB plus 1000 times the file's size. Raise it for a valid file that is refused; memory stays bounded.",
    },
    Setting {
        key: "input.page_limit",
        kind: Kind::Bytes(1),
        default: DefaultValue::Value("\"1 GiB\""),
        flag: None,
        help: "Largest size of a page after decompression, at most 2 GiB - 1; a page is decoded as a whole, so memory depends on it.",
    },
    Setting {
        key: "input.on_invalid_utf8",
        kind: Kind::Word(InvalidUtf8::WORDS),
        default: DefaultValue::Value("\"error\""),
        flag: None,
        help: "What to do with a text that is not UTF-8. error: fail the run and name the row; replace: embed it with U+FFFD for each invalid sequence.",
    },
    Setting {
        key: "input.check_carried",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: None,
        help: "Decode the carried columns as well, and fail on damaged values.",
    },
    Setting {
        key: "text.columns",
        kind: Kind::Names,
        default: DefaultValue::None { example: "[\"title\", \"body\"]" },
        flag: Some(Flag { name: "--text", value: None, value_name: "COLUMNS", help: None }),
        help: "Columns that make the text, a line each: strings, numbers, booleans, dates, lists of them, or fields of structs (payload.title). Empty ones are left out; one column is taken unchanged. Default: the columns of a task row.",
    },
    Setting {
        key: "text.template",
        kind: Kind::Text,
        default: DefaultValue::None { example: "\"title: {title}\\nbody: {body}\"" },
        flag: Some(Flag {
            name: "--text-template",
            value: None,
            value_name: "TEMPLATE",
            help: None,
        }),
        help: "The text, with columns in braces ({{ is a brace); in a shell, a line break is written $'{title}\\n{body}'. A line whose columns are all empty is left out; a row whose columns are all empty has no text.",
    },
    Setting {
        key: "text.split",
        kind: Kind::Separators,
        default: DefaultValue::None { example: "{ files = \";\" }" },
        flag: None,
        help: "Columns of strings that hold lists, with what separates the items. White space around items is removed.",
    },
    Setting {
        key: "text.files_prefix",
        kind: Kind::Text,
        default: DefaultValue::Value("\"Files: \""),
        flag: None,
        help: "Text before the list of files in the text of a task row.",
    },
    Setting {
        key: "text.max_length",
        kind: Kind::Count(3, 1_000_000),
        default: DefaultValue::None { example: "128" },
        flag: None,
        help: "Most tokens of a text, special tokens included; at most the model's own maximum, which is the default.",
    },
    Setting {
        key: "text.truncate",
        kind: Kind::Word(Truncate::WORDS),
        default: DefaultValue::Value("\"end\""),
        flag: None,
        help: "What happens to a text with more tokens. end: it loses its last tokens, or its first ones if the model says truncation_side left; start: it loses its first tokens, those of a prompt included; error: fail the run and name the row.",
    },
    Setting {
        key: "text.chunk",
        kind: Kind::Chunk,
        default: DefaultValue::None { example: "{ tokens = 256, overlap = 32 }" },
        flag: None,
        help: "Splits long texts at words into chunks of at most so many tokens, special tokens and a prompt included, of which neighbours share at most overlap. Each chunk is a row of the output, with chunk_index, chunk_text_start and chunk_text_end (characters of the text); the other columns are encoded anew. Default: a text is one row, and too long a text is truncated.",
    },
    Setting {
        key: "text.pool",
        kind: Kind::Word(Pool::WORDS),
        default: DefaultValue::None { example: "\"mean\"" },
        flag: None,
        help: "With text.chunk: one row for a text, whose vector is the mean of its chunks' vectors, weighted by their tokens, then normalised if the model is. Default: a row for each chunk.",
    },
    Setting {
        key: "model.id",
        kind: Kind::Text,
        default: DefaultValue::Value("\"sentence-transformers/all-MiniLM-L6-v2\""),
        flag: Some(Flag {
            name: "--model",
            value: None,
            value_name: "DIR|ID",
            help: Some(
                "The directory of a local model if there is one of that name, else the name of a model on the hub",
            ),
        }),
        help: "Name of the model on the Hugging Face hub. With model.path, the name in outputs and reports; default: that of the directory.",
    },
    Setting {
        key: "model.revision",
        kind: Kind::Text,
        default: DefaultValue::Value("\"main\""),
        flag: None,
        help: "Branch, tag or commit on the hub. Pin a commit for reproducible jobs.",
    },
    Setting {
        key: "model.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"models/mine\"" },
        flag: Some(Flag { name: "--model-path", value: None, value_name: "DIR", help: None }),
        help: "Directory of a local model. Nothing is downloaded.",
    },
    Setting {
        key: "model.cache",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"/var/cache/reembed\"" },
        flag: None,
        help: "Directory for downloaded models; default: REEMBED_MODEL_CACHE, else ~/.cache/reembed. Write the path in full: ~ is not expanded.",
    },
    Setting {
        key: "model.offline",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: None,
        help: "Never use the network.",
    },
    Setting {
        key: "model.prompt",
        kind: Kind::Text,
        default: DefaultValue::None { example: "\"query: \"" },
        flag: None,
        help: "Text before every input text; default: the prompt that the model's own configuration sets.",
    },
    Setting {
        key: "model.prompt_name",
        kind: Kind::Text,
        default: DefaultValue::None { example: "\"query\"" },
        flag: Some(Flag { name: "--prompt-name", value: None, value_name: "NAME", help: None }),
        help: "Name of the prompt among those that the model declares; its text stands before every input text. Set model.prompt or model.prompt_name, not both.",
    },
    Setting {
        key: "model.sha256",
        kind: Kind::Hashes,
        default: DefaultValue::None {
            example: "{ \"model.safetensors\" = \"64 hexadecimal digits\" }",
        },
        flag: None,
        help: "Expected SHA-256 of the model's files. Those of the default model are built in.",
    },
    Setting {
        key: "compute.device",
        kind: Kind::Device,
        default: DefaultValue::Value("\"cpu\""),
        flag: Some(Flag { name: "--device", value: None, value_name: "DEVICE", help: None }),
        help: "\"cpu\", or a GPU such as \"cuda:0\" in a build with `--features cuda`.",
    },
    Setting {
        key: "compute.engine",
        kind: Kind::Word(EngineChoice::WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "packed: reembed's own CPU kernels, whose vectors do not depend on the batch; candle: the reference implementation, and the GPU; auto: packed on a CPU, candle on a GPU.",
    },
    Setting {
        key: "compute.isa",
        kind: Kind::WordOrAuto(&ISA_WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "Highest instruction set that the packed engine may use. Each precision gives the same bits with every instruction set.",
    },
    Setting {
        key: "compute.precision",
        kind: Kind::WordOrAuto(&PRECISION_WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--precision", value: None, value_name: "PRECISION", help: None }),
        help: "Precision of matrix products. auto: that of the existing output, else of the vector cache; without either, for all-MiniLM-L6-v2 bf16 on AMX, bf16-avx512 on AVX512-BF16, else int16 (f32 on ARM), and for any other model f32. int8 is faster where the CPU has dot products of bytes (VNNI on x86-64), at a cost in recall: docs/tuning.md. Pin it where several machines make new outputs.",
    },
    Setting {
        key: "compute.threads",
        kind: Kind::CountOrAuto(1, 1024),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--threads", value: None, value_name: "N", help: None }),
        help: "Threads of the CPU engine; auto: the CPUs that affinity and cgroup quota allow.",
    },
    Setting {
        key: "batch.start",
        kind: Kind::CountOrAuto(1, 65_536),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag {
            name: "--batch-size",
            value: None,
            value_name: "ROWS",
            help: Some(
                "Fixed batch size: it does not grow, but running out of memory can still halve it",
            ),
        }),
        help: "Texts in a batch at the start; auto: no limit beside batch.tokens, or 32 with an engine that pads (candle).",
    },
    Setting {
        key: "batch.max",
        kind: Kind::Count(1, 65_536),
        default: DefaultValue::None { example: "32" },
        flag: Some(Flag {
            name: "--batch-size",
            value: None,
            value_name: "ROWS",
            help: Some(
                "Fixed batch size: it does not grow, but running out of memory can still halve it",
            ),
        }),
        help: "Most texts in a batch; default: batch.start. Raise it on a GPU.",
    },
    Setting {
        key: "batch.tokens",
        kind: Kind::CountOrAuto(1, 1 << 40),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "Most tokens in a batch, padding included; auto: as many as batch.memory_limit allows, and at most 32,768 with an engine that does not pad (packed), or the model's longest text for each thread if that is more.",
    },
    Setting {
        key: "batch.memory_limit",
        kind: Kind::BytesOrAuto(1),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--memory-limit", value: None, value_name: "SIZE", help: None }),
        help: "Memory that a batch may take; auto: half of what cgroup, kernel and ulimit leave free.",
    },
    Setting {
        key: "output.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"out/tasks.parquet\"" },
        flag: Some(Flag { name: "--output", value: None, value_name: "PATH", help: None }),
        help: "The Parquet file to write, or the directory of the tables of a dataset. An existing file is replaced when the new one is complete and durable.",
    },
    Setting {
        key: "output.for",
        kind: Kind::Word(Preset::WORDS),
        default: DefaultValue::None { example: "\"lance\"" },
        flag: Some(Flag { name: "--for", value: None, value_name: "READER", help: None }),
        help: "What reads the output: other defaults for vector.layout, output.on_empty and output.column, as docs/presets.md lists; default: none of these.",
    },
    Setting {
        key: "output.column",
        kind: Kind::Text,
        default: DefaultValue::Value("\"embedding\""),
        flag: Some(Flag { name: "--column", value: None, value_name: "NAME", help: None }),
        help: "Name of the vector column. An input column of this name is replaced.",
    },
    Setting {
        key: "output.on_empty",
        kind: Kind::Word(OnEmpty::WORDS),
        default: DefaultValue::Value("\"null\""),
        flag: None,
        help: "What to do with a row without text. null: its vector is null; embed: embed the empty text; error: fail the run; drop: leave the row out, which encodes the carried columns anew.",
    },
    Setting {
        key: "output.keep",
        kind: Kind::Names,
        default: DefaultValue::None { example: "[\"id\", \"title\"]" },
        flag: Some(Flag {
            name: "--keep",
            value: None,
            value_name: "NAMES",
            help: Some(
                "Only these columns of the input get into the output; names are separated by commas; default: all columns",
            ),
        }),
        help: "Only these columns of the input get into the output; default: all columns.",
    },
    Setting {
        key: "output.drop",
        kind: Kind::Names,
        default: DefaultValue::None { example: "[\"description\"]" },
        flag: Some(Flag {
            name: "--drop",
            value: None,
            value_name: "NAMES",
            help: Some(
                "These columns of the input do not get into the output; names are separated by commas; default: none",
            ),
        }),
        help: "These columns of the input do not get into the output; default: none. Set output.keep or output.drop, not both.",
    },
    Setting {
        key: "output.carry",
        kind: Kind::Word(Carry::WORDS),
        default: DefaultValue::Value("\"copy\""),
        flag: None,
        help: "How the columns of the input get into the output. copy: their encoded bytes are copied, so every reader sees them as before; reencode: they are decoded and encoded again and their values compared, for other row groups or codecs.",
    },
    Setting {
        key: "output.row_group_rows",
        kind: Kind::Count(1, 10_000_000),
        default: DefaultValue::Value("25000"),
        flag: None,
        help: "Rows of a row group in the output, only with output.carry = \"reencode\"; copied columns keep the row groups of the input. Smaller row groups suit readers that fetch single rows.",
    },
    Setting {
        key: "vector.type",
        kind: Kind::Word(VectorType::WORDS),
        default: DefaultValue::Value("\"f32\""),
        flag: None,
        help: "Type of the components in the vector column. f16 rounds; int8 and uint8 count steps of vector.ranges; binary and ubinary keep the signs, eight to a byte. The vector cache holds f32, so a change computes nothing again.",
    },
    Setting {
        key: "vector.dims",
        kind: Kind::Count(1, 1 << 24),
        default: DefaultValue::None { example: "256" },
        flag: None,
        help: "Components that are kept, the first ones; default: truncate_dim of the model's configuration, else all. Refused for a model that was not trained for it.",
    },
    Setting {
        key: "vector.force_dims",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: None,
        help: "Keep vector.dims components of a model that is not known to be trained for it.",
    },
    Setting {
        key: "vector.normalize",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: None,
        help: "Scale the kept components to Euclidean length 1, before they are converted to vector.type.",
    },
    Setting {
        key: "vector.ranges",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"ranges.json\"" },
        flag: None,
        help: "File with the least and greatest value of each component, for int8 and uint8. `reembed calibrate` writes it.",
    },
    Setting {
        key: "vector.layout",
        kind: Kind::Word(VectorLayout::WORDS),
        default: DefaultValue::Value("\"fixed_size_list\""),
        flag: None,
        help: "Arrow type of the vector column. Use list for readers that do not support fixed-size lists.",
    },
    Setting {
        key: "report.dir",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"reports/tasks\"" },
        flag: None,
        help: "Directory for the reports of runs; default: _reembed/reports/NAME beside the output NAME.",
    },
    Setting {
        key: "report.keep",
        kind: Kind::Count(0, 1000),
        default: DefaultValue::Value("20"),
        flag: None,
        help: "Number of reports to keep. 0 writes no reports.",
    },
    Setting {
        key: "cache.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"cache/tasks\"" },
        flag: Some(Flag { name: "--cache", value: None, value_name: "FILE", help: None }),
        help: "File of the vector cache; default: _reembed/NAME.cache beside the output NAME.",
    },
    Setting {
        key: "cache.mode",
        kind: Kind::Word(CacheMode::WORDS),
        default: DefaultValue::Value("\"read-write\""),
        flag: Some(Flag { name: "--cache-mode", value: None, value_name: "MODE", help: None }),
        help: "read-write: reuse cached vectors and store new ones; read-only: only reuse them; output: reuse the vectors of published tables and keep no file beside them; off: use no cache.",
    },
    Setting {
        key: "cache.wait",
        kind: Kind::Seconds,
        default: DefaultValue::Value("\"10m\""),
        flag: None,
        help: "How long a run waits for a cache that another process writes, such as a run over another output; then it ends with exit code 75. Reading waits for no one.",
    },
    Setting {
        key: "cache.max_size",
        kind: Kind::Bytes(1),
        default: DefaultValue::Value("\"8 GiB\""),
        flag: None,
        help: "Approximate limit on the size of the cache; the least recently used entries are evicted. An entry of 384 components takes 2.1 KB.",
    },
    Setting {
        key: "cache.commit_rows",
        kind: Kind::Count(1, 1_000_000),
        default: DefaultValue::Value("512"),
        flag: None,
        help: "New vectors in one commit; there is one every five seconds in any case. A crash loses at most this many.",
    },
    Setting {
        key: "cache.verify_sample",
        kind: Kind::Count(0, 1_000_000),
        default: DefaultValue::Value("32"),
        flag: None,
        help: "Most reused vectors that a run computes again and compares: one of a hundred rows, at least one. 0: none.",
    },
    Setting {
        key: "publish.max_shrink",
        kind: Kind::Count(0, 100),
        default: DefaultValue::Value("50"),
        flag: Some(Flag {
            name: "--allow-shrink",
            value: Some("100"),
            value_name: "",
            help: Some("Accept an output with any number of rows fewer than the existing one"),
        }),
        help: "Largest percentage by which the new output may have fewer rows than the existing one.",
    },
    Setting {
        key: "publish.check_space",
        kind: Kind::Switch,
        default: DefaultValue::Value("true"),
        flag: None,
        help: "Refuse to start if the disk has too little free space for the estimated output and cache.",
    },
    Setting {
        key: "dataset.root",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"in\"" },
        flag: Some(Flag { name: "--root", value: None, value_name: "DIR", help: None }),
        help: "The directory below which the output of each table lies as its input does; default: the directory that is read, or the one before the first wildcard. Needed if listed files lie in several directories.",
    },
    Setting {
        key: "dataset.only",
        kind: Kind::Text,
        default: DefaultValue::None { example: "\"dt >= 2026-11-01\"" },
        flag: Some(Flag { name: "--only", value: None, value_name: "CONDITION", help: None }),
        help: "The partitions to take, by the values in directory names such as dt=2026-11-01: comparisons, joined by \"and\"; default: all.",
    },
    Setting {
        key: "dataset.shard",
        kind: Kind::Text,
        default: DefaultValue::None { example: "\"1/4\"" },
        flag: Some(Flag { name: "--shard", value: None, value_name: "I/N", help: None }),
        help: "The part of the tables that this run takes, for several workers: 1/4 is the first of four. `reembed merge` joins them; default: all.",
    },
    Setting {
        key: "dataset.split_rows",
        kind: Kind::Count(1, 1 << 40),
        default: DefaultValue::None { example: "1000000" },
        flag: Some(Flag { name: "--split-rows", value: None, value_name: "ROWS", help: None }),
        help: "With `dataset.shard`, let several shards embed a table of more rows than this, in ranges of whole row groups of about as many rows; the shard that finishes last puts them together. All shards need the same value; default: a table is never split.",
    },
    Setting {
        key: "dataset.on_missing",
        kind: Kind::Word(OnMissing::WORDS),
        default: DefaultValue::Value("\"keep\""),
        flag: Some(Flag { name: "--on-missing", value: None, value_name: "WHAT", help: None }),
        help: "What to do with the output of a table that is no longer there. keep: nothing; delete: delete it once every other table is in place.",
    },
    Setting {
        key: "dataset.success_file",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag {
            name: "--success-file",
            value: Some("true"),
            value_name: "",
            help: None,
        }),
        help: "Write an empty file _SUCCESS beside the tables when every table is in place. It is removed before the first one changes.",
    },
    Setting {
        key: "dataset.fail_fast",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag { name: "--fail-fast", value: Some("true"), value_name: "", help: None }),
        help: "End the run at the first table that fails. Otherwise it is named, and the others are published.",
    },
    Setting {
        key: "run.rebuild",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag { name: "--rebuild", value: Some("true"), value_name: "", help: None }),
        help: "Embed every row again and replace the output and the cached vectors. Continues an interrupted rebuild.",
    },
    Setting {
        key: "run.switch_model",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag {
            name: "--switch-model",
            value: Some("true"),
            value_name: "",
            help: None,
        }),
        help: "Replace an output of another model, and embed only the rows that the vector cache does not have of this one.",
    },
    Setting {
        key: "run.replace",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag { name: "--replace", value: Some("true"), value_name: "", help: None }),
        help: "Replace a file at the output path that reembed did not write.",
    },
    Setting {
        key: "run.limit",
        kind: Kind::Count(1, 1 << 40),
        default: DefaultValue::None { example: "100" },
        flag: Some(Flag { name: "--limit", value: None, value_name: "ROWS", help: None }),
        help: "Read and write only the first rows of the input, for a preview. The carried columns are then encoded anew; with --dry-run the first texts are shown; default: all rows.",
    },
    Setting {
        key: "run.deadline",
        kind: Kind::Seconds,
        default: DefaultValue::None { example: "\"2h\"" },
        flag: None,
        help: "Time limit of a run. It then stops as if interrupted and exits with 124; default: no limit.",
    },
];
