//! Every setting there is: its key, what it holds, its default and what it means.

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its full key: table, dot, name.
    pub key: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its value when nobody sets it, as TOML; `None` where absence has a meaning of its own.
    pub default: Option<&'static str>,
    /// What it means, with its unit.
    pub help: &'static str,
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
    /// Bytes: a whole number, or a string such as `"512 MiB"`; at least so many.
    Bytes(u64),
    /// The same, or `"auto"`.
    BytesOrAuto(u64),
    /// A length of time: whole seconds, or a string such as `"2h"`; at least one second.
    Seconds,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `"cpu"` or `"cuda:N"`.
    Device,
    /// A table of file names and SHA-256 in hexadecimal.
    Hashes,
}

impl Setting {
    /// The variable that sets it: `REEMBED_BATCH_START` for `batch.start`.
    pub fn variable(&self) -> String {
        format!("REEMBED_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The setting with that key.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// All settings, in the order in which they are printed.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "input.path",
        kind: Kind::Path,
        default: None,
        help: "the Parquet file of task rows",
    },
    Setting {
        key: "input.id",
        kind: Kind::Text,
        default: Some("\"id\""),
        help: "column that names a row; any flat type, no nulls",
    },
    Setting {
        key: "input.title",
        kind: Kind::Text,
        default: Some("\"title\""),
        help: "column of titles; strings",
    },
    Setting {
        key: "input.description",
        kind: Kind::Text,
        default: Some("\"description\""),
        help: "column of descriptions; strings; \"\" where the table has none",
    },
    Setting {
        key: "input.files",
        kind: Kind::Text,
        default: Some("\"files\""),
        help: "column of file lists; lists of strings; may be absent unless named here",
    },
    Setting {
        key: "input.chunk_rows",
        kind: Kind::Count(1, 1_000_000),
        default: Some("1024"),
        help: "rows that are sorted by length together; memory in flight grows with it",
    },
    Setting {
        key: "input.chunk_bytes",
        kind: Kind::Bytes(1),
        default: Some("\"32 MiB\""),
        help: "a chunk is cut earlier where its rows are larger than this together",
    },
    Setting {
        key: "input.decode_limit",
        kind: Kind::BytesOrAuto(1),
        default: Some("\"auto\""),
        help: "bytes that the file may decode to; auto: 1 GiB and 1000 times its size",
    },
    Setting {
        key: "text.files_prefix",
        kind: Kind::Text,
        default: Some("\"Files: \""),
        help: "what stands before the list of files in a row's text",
    },
    Setting {
        key: "model.id",
        kind: Kind::Text,
        default: Some("\"sentence-transformers/all-MiniLM-L6-v2\""),
        help: "the model's name on the Hugging Face hub",
    },
    Setting {
        key: "model.revision",
        kind: Kind::Text,
        default: Some("\"main\""),
        help: "branch, tag or commit on the hub",
    },
    Setting {
        key: "model.path",
        kind: Kind::Path,
        default: None,
        help: "a directory with the model; nothing is fetched then",
    },
    Setting {
        key: "model.cache",
        kind: Kind::Path,
        default: None,
        help: "directory that fetched models are kept in; ~/.cache/reembed unless set",
    },
    Setting {
        key: "model.offline",
        kind: Kind::Switch,
        default: Some("false"),
        help: "never use the network",
    },
    Setting {
        key: "model.prompt",
        kind: Kind::Text,
        default: None,
        help: "what is put before every text; the model's own default prompt unless set",
    },
    Setting {
        key: "model.sha256",
        kind: Kind::Hashes,
        default: None,
        help: "expected SHA-256 of the model's files; the default model's are built in",
    },
    Setting {
        key: "compute.device",
        kind: Kind::Device,
        default: Some("\"cpu\""),
        help: "\"cpu\", or \"cuda:0\" in a build with `--features cuda`",
    },
    Setting {
        key: "compute.engine",
        kind: Kind::Word(&["auto", "packed", "candle"]),
        default: Some("\"auto\""),
        help: "packed: our own CPU kernels, batch-invariant; candle: the reference, and the GPU",
    },
    Setting {
        key: "compute.isa",
        kind: Kind::Word(&["auto", "amx", "avx512", "avx2", "portable"]),
        default: Some("\"auto\""),
        help: "the most that the packed engine may use; a precision has the same bits on each",
    },
    Setting {
        key: "compute.precision",
        kind: Kind::Word(&["auto", "f32", "bf16x3", "bf16", "bf16-avx512"]),
        default: Some("\"auto\""),
        help: "auto: for all-MiniLM-L6-v2 bf16 on AMX, bf16-avx512 on AVX512-BF16; else f32; pin it for equal vectors everywhere",
    },
    Setting {
        key: "compute.threads",
        kind: Kind::CountOrAuto(1, 1024),
        default: Some("\"auto\""),
        help: "threads of the CPU encoder; auto: what affinity and cgroup quota allow",
    },
    Setting {
        key: "batch.start",
        kind: Kind::CountOrAuto(1, 65_536),
        default: Some("\"auto\""),
        help: "texts in a batch at the start; auto: as many as batch.tokens holds, 32 where the encoder pads",
    },
    Setting {
        key: "batch.max",
        kind: Kind::Count(1, 65_536),
        default: None,
        help: "texts in a batch at most; batch.start unless set",
    },
    Setting {
        key: "batch.tokens",
        kind: Kind::CountOrAuto(1, 1 << 40),
        default: Some("\"auto\""),
        help: "tokens in a batch at most; auto: 32,768 or what batch.memory_limit pays for, that alone with padding",
    },
    Setting {
        key: "batch.memory_limit",
        kind: Kind::BytesOrAuto(1),
        default: Some("\"auto\""),
        help: "bytes that a batch may take; auto: half of what cgroup, kernel and ulimit leave",
    },
    Setting {
        key: "output.path",
        kind: Kind::Path,
        default: None,
        help: "the Parquet file to write; replaced only when the new one is complete",
    },
    Setting {
        key: "output.column",
        kind: Kind::Text,
        default: Some("\"embedding\""),
        help: "column of the vectors; one of that name in the input is replaced",
    },
    Setting {
        key: "output.vector_type",
        kind: Kind::Word(&["fixed_size_list", "list"]),
        default: Some("\"fixed_size_list\""),
        help: "Arrow type of the vectors",
    },
    Setting {
        key: "output.on_empty",
        kind: Kind::Word(&["null", "embed", "error"]),
        default: Some("\"null\""),
        help: "a row without any text gets a null, the vector of the empty text, or fails the run",
    },
    Setting {
        key: "output.row_group_rows",
        kind: Kind::Count(1, 10_000_000),
        default: Some("25000"),
        help: "rows of a row group",
    },
    Setting {
        key: "report.dir",
        kind: Kind::Path,
        default: None,
        help: "directory for the reports of runs; `report` beside the output unless set",
    },
    Setting {
        key: "report.keep",
        kind: Kind::Count(0, 1000),
        default: Some("20"),
        help: "how many runs keep their report; 0: none is written",
    },
    Setting {
        key: "cache.path",
        kind: Kind::Path,
        default: None,
        help: "the file that keeps vectors from run to run; hidden beside the output unless set",
    },
    Setting {
        key: "cache.mode",
        kind: Kind::Word(&["read-write", "read-only", "off"]),
        default: Some("\"read-write\""),
        help: "whether vectors of earlier runs are reused, and new ones kept",
    },
    Setting {
        key: "cache.max_size",
        kind: Kind::Bytes(1),
        default: Some("\"8 GiB\""),
        help: "about how many bytes the cache may take; what was not used for longest makes place",
    },
    Setting {
        key: "cache.commit_rows",
        kind: Kind::Count(1, 1_000_000),
        default: Some("512"),
        help: "new vectors that are brought to the disk together; at most so many are lost to a crash",
    },
    Setting {
        key: "cache.verify_sample",
        kind: Kind::Count(0, 1_000_000),
        default: Some("32"),
        help: "reused vectors of a run that are compared with what the model gives now",
    },
    Setting {
        key: "publish.max_shrink",
        kind: Kind::Count(0, 100),
        default: Some("50"),
        help: "percent of its rows that the file at the output path may lose to the new one",
    },
    Setting {
        key: "publish.check_space",
        kind: Kind::Switch,
        default: Some("true"),
        help: "refuse to start where the disk has no room for the estimate of output and cache",
    },
    Setting {
        key: "run.rebuild",
        kind: Kind::Switch,
        default: Some("false"),
        help: "embed every row again, replace output and cache; goes on with a rebuild that was interrupted",
    },
    Setting {
        key: "run.replace",
        kind: Kind::Switch,
        default: Some("false"),
        help: "replace a file at the output path that reembed did not write",
    },
    Setting {
        key: "run.deadline",
        kind: Kind::Seconds,
        default: None,
        help: "the run stops after this time, as if interrupted, and exits with 124; no deadline unless set",
    },
];
