//! Every setting there is, once: its key, what it holds, its default, its flag and what it means. Help, environment
//! names, flags, the commented template and the JSON Schema are made from this table.

use reembed_kernels::{IsaName, Precision};

use super::words::{CacheMode, EngineChoice, OnEmpty, VectorType};

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its full key: table, dot, name.
    pub key: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its value when nobody sets it.
    pub default: DefaultValue,
    /// The flag that sets it, where there is one.
    pub flag: Option<Flag>,
    /// What it means, with its unit: one or two sentences.
    pub help: &'static str,
}

/// The value of a setting that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This one, as TOML.
    Value(&'static str),
    /// None: absence has a meaning of its own, which the help says.
    None {
        /// A value as it might be set, as TOML.
        example: &'static str,
    },
}

/// A flag of the command line that sets a key. A flag may set several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// `--name`.
    pub name: &'static str,
    /// What it sets; `None`: the value that follows it.
    pub value: Option<&'static str>,
    /// How help calls the value that follows.
    pub value_name: &'static str,
    /// What it does, where that is not the setting's own help.
    pub help: Option<&'static str>,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any string.
    Text,
    /// A path; a relative one in the file is relative to the file.
    Path,
    /// `true` or `false`.
    Switch,
    /// A whole number in this range.
    Count(u64, u64),
    /// A whole number in this range, or `"auto"`.
    CountOrAuto(u64, u64),
    /// Bytes: a whole number, or a string such as `"512 MiB"`; at least this many.
    Bytes(u64),
    /// The same, or `"auto"`.
    BytesOrAuto(u64),
    /// A length of time: whole seconds, or a string such as `"2h"`; at least one second.
    Seconds,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or `"auto"`.
    WordOrAuto(&'static [&'static str]),
    /// `"cpu"` or `"cuda:N"`.
    Device,
    /// A table of file names and SHA-256 in hexadecimal.
    Hashes,
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
    /// The table that it is in.
    pub fn table(&self) -> &'static str {
        self.key.split('.').next().unwrap_or(self.key)
    }

    /// Its key inside its table.
    pub fn name(&self) -> &'static str {
        self.key.split('.').next_back().unwrap_or(self.key)
    }

    /// The variable that sets it: `REEMBED_BATCH_START` for `batch.start`.
    pub fn variable(&self) -> String {
        variable_of(self.key)
    }

    /// The setting with that key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// The variable that sets a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("REEMBED_{}", key.replace('.', "_").to_ascii_uppercase())
}

/// Keys of earlier versions, and what they are called now.
pub const RENAMED: &[(&str, &str)] = &[
    ("store.path", "cache.path"),
    ("store.mode", "cache.mode"),
    ("store.max_size", "cache.max_size"),
    ("store.commit_rows", "cache.commit_rows"),
    ("store.verify_sample", "cache.verify_sample"),
];

/// All settings, in the order in which they are printed.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "input.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"tasks.parquet\"" },
        flag: Some(Flag {
            name: "--input",
            value: None,
            value_name: "FILE",
            help: Some("The Parquet file to read"),
        }),
        help: "The Parquet file to read. A relative path starts at this file.",
    },
    Setting {
        key: "input.id",
        kind: Kind::Text,
        default: DefaultValue::Value("\"id\""),
        flag: None,
        help: "Column that names a row; any flat type, without nulls.",
    },
    Setting {
        key: "input.title",
        kind: Kind::Text,
        default: DefaultValue::Value("\"title\""),
        flag: None,
        help: "Column of titles; strings.",
    },
    Setting {
        key: "input.description",
        kind: Kind::Text,
        default: DefaultValue::Value("\"description\""),
        flag: None,
        help: "Column of descriptions; strings. Use \"\" where the table has none.",
    },
    Setting {
        key: "input.files",
        kind: Kind::Text,
        default: DefaultValue::Value("\"files\""),
        flag: None,
        help: "Column of file lists; lists of strings. It may be absent unless it is named here.",
    },
    Setting {
        key: "input.chunk_rows",
        kind: Kind::Count(1, 1_000_000),
        default: DefaultValue::Value("1024"),
        flag: None,
        help: "Rows that are sorted by length together. Fewer rows take less memory and pad more.",
    },
    Setting {
        key: "input.chunk_bytes",
        kind: Kind::Bytes(1),
        default: DefaultValue::Value("\"32 MiB\""),
        flag: None,
        help: "A chunk ends earlier where its rows are larger than this together.",
    },
    Setting {
        key: "input.decode_limit",
        kind: Kind::BytesOrAuto(1),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "Bytes that the file may decode to; auto: 1 GiB and 1000 times its size. Raise it for a sound file that is refused; memory stays bounded.",
    },
    Setting {
        key: "text.files_prefix",
        kind: Kind::Text,
        default: DefaultValue::Value("\"Files: \""),
        flag: None,
        help: "Text before the list of files in a row's text.",
    },
    Setting {
        key: "model.id",
        kind: Kind::Text,
        default: DefaultValue::Value("\"sentence-transformers/all-MiniLM-L6-v2\""),
        flag: None,
        help: "The model's name on the Hugging Face hub.",
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
        help: "Directory with the model. Nothing is fetched then.",
    },
    Setting {
        key: "model.cache",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"/var/cache/reembed\"" },
        flag: None,
        help: "Directory of fetched models; unless set, REEMBED_CACHE or ~/.cache/reembed. Write the path out: ~ is not expanded.",
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
        help: "Text before every text; unless set, the model's own default prompt.",
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
        help: "\"cpu\", or \"cuda:0\" in a build with `--features cuda`.",
    },
    Setting {
        key: "compute.engine",
        kind: Kind::Word(EngineChoice::WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "packed: our own CPU kernels, batch-invariant; candle: the reference, and the GPU.",
    },
    Setting {
        key: "compute.isa",
        kind: Kind::WordOrAuto(&ISA_WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "The most that the packed engine may use of the CPU. A precision has the same bits on each.",
    },
    Setting {
        key: "compute.precision",
        kind: Kind::WordOrAuto(&PRECISION_WORDS),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--precision", value: None, value_name: "PRECISION", help: None }),
        help: "Precision of matrix products. auto, for all-MiniLM-L6-v2: bf16 on AMX, bf16-avx512 on AVX512-BF16, else f32; for any other model: f32. Pin it in nightly jobs: then every machine gives the same bits.",
    },
    Setting {
        key: "compute.threads",
        kind: Kind::CountOrAuto(1, 1024),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--threads", value: None, value_name: "N", help: None }),
        help: "Threads of the CPU encoder; auto: what affinity and cgroup quota allow.",
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
        help: "Texts in a batch at the start; auto: as many as batch.tokens holds, or 32 where the encoder pads.",
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
        help: "Texts in a batch at most; unless set, batch.start. Raise it on a GPU.",
    },
    Setting {
        key: "batch.tokens",
        kind: Kind::CountOrAuto(1, 1 << 40),
        default: DefaultValue::Value("\"auto\""),
        flag: None,
        help: "Tokens in a batch at most; auto: 32,768, or what batch.memory_limit pays for. Padding counts.",
    },
    Setting {
        key: "batch.memory_limit",
        kind: Kind::BytesOrAuto(1),
        default: DefaultValue::Value("\"auto\""),
        flag: Some(Flag { name: "--memory-limit", value: None, value_name: "SIZE", help: None }),
        help: "Bytes that a batch may take; auto: half of what cgroup, kernel and ulimit leave.",
    },
    Setting {
        key: "output.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"out/tasks.parquet\"" },
        flag: Some(Flag { name: "--output", value: None, value_name: "FILE", help: None }),
        help: "The Parquet file to write. It is replaced only when the new file is complete and durable.",
    },
    Setting {
        key: "output.column",
        kind: Kind::Text,
        default: DefaultValue::Value("\"embedding\""),
        flag: None,
        help: "Column of the vectors. A column of that name in the input is replaced.",
    },
    Setting {
        key: "output.vector_type",
        kind: Kind::Word(VectorType::WORDS),
        default: DefaultValue::Value("\"fixed_size_list\""),
        flag: None,
        help: "Arrow type of the vectors; list is for readers that know no fixed-size lists.",
    },
    Setting {
        key: "output.on_empty",
        kind: Kind::Word(OnEmpty::WORDS),
        default: DefaultValue::Value("\"null\""),
        flag: None,
        help: "A row without any text gets a null, gets the vector of the empty text, or fails the run.",
    },
    Setting {
        key: "output.row_group_rows",
        kind: Kind::Count(1, 10_000_000),
        default: DefaultValue::Value("25000"),
        flag: None,
        help: "Rows of a row group. Fewer rows suit readers that fetch single rows.",
    },
    Setting {
        key: "report.dir",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"out/report\"" },
        flag: None,
        help: "Directory for the reports of runs; unless set, `report` beside the output.",
    },
    Setting {
        key: "report.keep",
        kind: Kind::Count(0, 1000),
        default: DefaultValue::Value("20"),
        flag: None,
        help: "Runs whose report is kept; 0: no report is written.",
    },
    Setting {
        key: "cache.path",
        kind: Kind::Path,
        default: DefaultValue::None { example: "\"out/.tasks.parquet.reembed-store\"" },
        flag: None,
        help: "File of the vector cache; unless set, a hidden file beside the output.",
    },
    Setting {
        key: "cache.mode",
        kind: Kind::Word(CacheMode::WORDS),
        default: DefaultValue::Value("\"read-write\""),
        flag: Some(Flag { name: "--cache-mode", value: None, value_name: "MODE", help: None }),
        help: "Whether vectors of earlier runs are reused, and new ones kept.",
    },
    Setting {
        key: "cache.max_size",
        kind: Kind::Bytes(1),
        default: DefaultValue::Value("\"8 GiB\""),
        flag: None,
        help: "Bytes that the cache may take, about; the least recently used entries are evicted. 384 components take 2.1 KB.",
    },
    Setting {
        key: "cache.commit_rows",
        kind: Kind::Count(1, 1_000_000),
        default: DefaultValue::Value("512"),
        flag: None,
        help: "New vectors in one commit: at most this many are lost in a crash.",
    },
    Setting {
        key: "cache.verify_sample",
        kind: Kind::Count(0, 1_000_000),
        default: DefaultValue::Value("32"),
        flag: None,
        help: "Reused vectors of a run that are compared with what the model computes now.",
    },
    Setting {
        key: "publish.max_shrink",
        kind: Kind::Count(0, 100),
        default: DefaultValue::Value("50"),
        flag: Some(Flag {
            name: "--allow-shrink",
            value: Some("100"),
            value_name: "",
            help: Some("Accept an output with any number of rows fewer than the one it replaces"),
        }),
        help: "Percent of its rows that the file at the output path may lose to the new one.",
    },
    Setting {
        key: "publish.check_space",
        kind: Kind::Switch,
        default: DefaultValue::Value("true"),
        flag: None,
        help: "Refuse to start where the disk has no space for the estimate of output and cache.",
    },
    Setting {
        key: "run.rebuild",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag { name: "--rebuild", value: Some("true"), value_name: "", help: None }),
        help: "Embed every row again and replace output and cache; continues a rebuild that was interrupted.",
    },
    Setting {
        key: "run.replace",
        kind: Kind::Switch,
        default: DefaultValue::Value("false"),
        flag: Some(Flag { name: "--replace", value: Some("true"), value_name: "", help: None }),
        help: "Replace a file at the output path that reembed did not write.",
    },
    Setting {
        key: "run.deadline",
        kind: Kind::Seconds,
        default: DefaultValue::None { example: "\"2h\"" },
        flag: None,
        help: "The run stops after this time as if interrupted and exits with 124; unless set, there is no deadline.",
    },
];
