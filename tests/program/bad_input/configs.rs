//! Invalid configurations.

use std::fs;

use super::case::{Case, Job, Site, refused, site, succeeds};
use super::table::Table;

/// A good input with `text` as the configuration.
fn under(
    text: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&Site) -> Job + Send + Sync {
    move |site| {
        let job = site.job();
        fs::write(&job.input, Table::tasks(3).bytes()).expect("the input");
        fs::write(&job.config, text()).expect("the configuration");
        job
    }
}

pub fn cases() -> Vec<Case> {
    let bad = |name, text: &'static str, says| {
        let made = text.trim();
        site(name, made, refused(says), under(move || text.as_bytes().to_vec()))
            .names("pipeline.toml")
    };
    let odd = |name, made, says, text: fn() -> Vec<u8>| {
        site(name, made, refused(says), under(text)).names("pipeline.toml")
    };
    vec![
        site("empty configuration", "0 bytes; the flags say enough", succeeds(3), under(Vec::new)),
        site("comments alone", "# nothing", succeeds(3), under(|| b"# nothing\n".to_vec())),
        site(
            "byte order mark",
            "a UTF-8 byte order mark",
            succeeds(3),
            under(|| b"\xef\xbb\xbf[batch]\nstart = 4\n".to_vec()),
        ),
        site(
            "CRLF",
            "lines that end in CR LF",
            succeeds(3),
            under(|| b"[batch]\r\nstart = 4\r\n".to_vec()),
        ),
        site(
            "no configuration",
            "no file of that name",
            refused(&["cannot be read", "--config"]),
            |site| {
                let job = site.job();
                fs::remove_file(&job.config).expect("a file");
                fs::write(&job.input, Table::tasks(3).bytes()).expect("the input");
                job
            },
        )
        .names("pipeline.toml"),
        site(
            "directory for a configuration",
            "a directory",
            refused(&["cannot be read"]),
            |site| {
                let job = site.job();
                fs::remove_file(&job.config).expect("a file");
                fs::create_dir(&job.config).expect("a directory");
                job
            },
        )
        .names("pipeline.toml"),
        site("device for a configuration", "/dev/zero", refused(&["1048576 bytes"]), |site| Job {
            config: "/dev/zero".into(),
            ..site.job()
        })
        .names("/dev/zero"),
        bad(
            "unknown key",
            "[batch]\nstrat = 8\n",
            &["line 2", "`batch.strat`", "did you mean `batch.start`?"],
        ),
        bad("far-off key", "[batch]\nxyzzy = 8\n", &["line 2", "`batch.xyzzy`"]),
        bad("unknown table", "[bacth]\nstart = 8\n", &["line 1", "[bacth]", "`batch`"]),
        bad("key without a table", "start = 8\n", &["line 1", "start"]),
        bad("key in the wrong table", "[input]\nstart = 8\n", &["line 2", "`input.start`"]),
        bad(
            "table of tables",
            "[batch.start]\nrows = 8\n",
            &["line 1", "`batch.start`", "whole number"],
        ),
        bad("list of tables", "[[batch]]\nstart = 8\n", &["line 1", "batch"]),
        bad("text for a number", "[batch]\nstart = \"8\"\n", &["line 2", "`batch.start`", "\"8\""]),
        bad("number for a text", "[input]\ntitle = 8\n", &["line 2", "`input.title`", "string"]),
        bad(
            "fraction for a number",
            "[batch]\nstart = 8.5\n",
            &["line 2", "`batch.start`", "a number with a fraction"],
        ),
        bad("list for a number", "[batch]\nstart = [8]\n", &["line 2", "`batch.start`", "a list"]),
        bad("date for a path", "[input]\npath = 2024-01-01\n", &["line 2", "`input.path`"]),
        bad("zero rows", "[batch]\nstart = 0\n", &["line 2", "`batch.start`", "0"]),
        bad("negative rows", "[batch]\nstart = -1\n", &["line 2", "`batch.start`", "-1"]),
        bad("too many rows", "[batch]\nstart = 65537\n", &["line 2", "`batch.start`", "65537"]),
        bad(
            "number beyond 64 bits",
            "[batch]\nstart = 99999999999999999999\n",
            &["line 2", "batch.start"],
        ),
        bad(
            "zero bytes",
            "[batch]\nmemory_limit = \"0 MiB\"\n",
            &["line 2", "`batch.memory_limit`"],
        ),
        bad(
            "unknown unit",
            "[batch]\nmemory_limit = \"2 GiBi\"\n",
            &["line 2", "`batch.memory_limit`", "GiBi"],
        ),
        bad(
            "bytes beyond 64 bits",
            "[input]\nchunk_bytes = \"99999999 TiB\"\n",
            &["line 2", "`input.chunk_bytes`"],
        ),
        bad("maximum below start", "[batch]\nstart = 8\nmax = 4\n", &["batch.max", "4", "8"]),
        bad(
            "unknown word",
            "[output]\non_empty = \"skip\"\n",
            &["line 2", "`output.on_empty`", "\"error\""],
        ),
        bad(
            "unknown device",
            "[compute]\ndevice = \"gpu\"\n",
            &["line 2", "`compute.device`", "cuda:0"],
        ),
        bad("empty column", "[input]\ntitle = \"\"\n", &["input.title", "empty"]),
        bad("empty output column", "[output]\ncolumn = \"\"\n", &["output.column", "empty"]),
        bad(
            "short hash",
            "[model]\nsha256 = { \"config.json\" = \"12\" }\n",
            &["line 2", "`model.sha256`", "64"],
        ),
        bad("twice the same key", "[batch]\nstart = 8\nstart = 9\n", &["line 3", "TOML"]),
        bad("twice the same table", "[batch]\nstart = 8\n[batch]\nmax = 9\n", &["line 3", "TOML"]),
        bad("open bracket", "[batch\nstart = 8\n", &["line 1", "TOML"]),
        bad("open string", "[input]\npath = \"tasks\n", &["line 2", "TOML"]),
        bad("YAML", "batch:\n  start: 8\n", &["line 1", "TOML"]),
        bad("JSON", "{\"batch\": {\"start\": 8}}\n", &["line 1", "TOML"]),
        odd("binary", "a Parquet file", &["cannot be read"], || Table::tasks(3).bytes()),
        odd("NUL", "1,000 times NUL", &["line 1", "TOML"], || vec![0; 1000]),
        odd("UTF-16", "UTF-16 with a byte order mark", &["cannot be read"], || {
            b"\xff\xfe[\0b\0]\0".to_vec()
        }),
        odd(
            "control characters in a key",
            "a quoted key of escape and newline",
            &["line 2"],
            || b"[batch]\n\"\\u001b[2J\\n\" = 8\n".to_vec(),
        ),
        odd("endless key", "a key of 100 KB", &["line 2"], || {
            format!("[batch]\n{} = 8\n", "k".repeat(100_000)).into_bytes()
        }),
        odd("10 MB", "10 MB of comments", &["1048576 bytes"], || b"# comment\n".repeat(1_000_000)),
        odd("deep", "a list in a list, 100,000 deep", &["TOML"], || {
            format!("x = {}\n", "[".repeat(100_000)).into_bytes()
        }),
        odd("deep tables", "a table in a table, 20,000 deep", &[], || {
            format!("[{}x]\n", "a.".repeat(20_000)).into_bytes()
        }),
        site(
            "variable",
            "REEMBED_BATCH_START=many",
            refused(&["many", "whole number"]),
            under(Vec::new),
        )
        .set("REEMBED_BATCH_START", "many")
        .names("REEMBED_BATCH_START"),
        site("flag", "--batch-size 0", refused(&["whole number"]), |site| {
            let mut job = under(Vec::new)(site);
            job.arguments.push("--batch-size=0".into());
            job
        })
        .names("--batch-size"),
        site("flag with a unit", "--memory-limit 2XB", refused(&["2XB"]), |site| {
            let mut job = under(Vec::new)(site);
            job.arguments.push("--memory-limit=2XB".into());
            job
        })
        .names("--memory-limit"),
        site("device that is not built in", "--device cuda:0", refused(&["cuda"]), |site| {
            let mut job = under(Vec::new)(site);
            job.arguments.push("--device=cuda:0".into());
            job
        })
        .names("cuda:0"),
    ]
}
