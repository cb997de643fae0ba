//! Good rows at unusual paths.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::case::{Case, Job, Site, refused, site, succeeds};
use super::table::Table;

fn good() -> Vec<u8> {
    Table::tasks(3).bytes()
}

/// A good input with this file name.
fn named(name: &'static [u8]) -> impl Fn(&Site) -> Job + Send + Sync {
    move |site| {
        let input = site.root.join(OsStr::from_bytes(name));
        fs::write(&input, good()).expect("the input");
        Job { input, ..site.job() }
    }
}

/// A good input with this output path.
fn output(make: fn(&Site) -> PathBuf) -> impl Fn(&Site) -> Job + Send + Sync {
    move |site| {
        let job = site.job();
        fs::write(&job.input, good()).expect("the input");
        Job { output: make(site), ..job }
    }
}

fn fifo(path: &PathBuf) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

const LONG: [u8; 255] = [b'n'; 255];

pub fn cases() -> Vec<Case> {
    let all = succeeds(3);
    vec![
        site("spaces", "an input called ` a  b .parquet`", all, named(b" a  b .parquet")),
        site("newline", "an input called newline, tab, escape", all, named(b"\n\t\x1b[2J")),
        site("not UTF-8", "an input called ff fe", all, named(b"\xff\xfe.parquet")),
        site("dash", "an input called `--help`", all, |site| {
            let job = named(b"--help")(site);
            Job { input: "--help".into(), ..job }
        }),
        site(
            "Unicode",
            "an input called `задачи 📄.parquet`",
            all,
            named("задачи 📄.parquet".as_bytes()),
        ),
        site("long name", "an input with a name of 255 bytes", all, named(&LONG)),
        site(
            "too long a name",
            "an input with a name of 256 bytes",
            refused(&["cannot be opened"]),
            |site| {
                let job = site.job();
                Job { input: site.root.join("n".repeat(256)), ..job }
            },
        )
        .names("nnnn"),
        site(
            "newline in a refusal",
            "a missing input called newline, escape",
            refused(&["cannot be opened"]),
            |site| {
                let job = site.job();
                Job { input: site.root.join("\n\u{1b}[2Jx.parquet"), ..job }
            },
        )
        .names("x.parquet"),
        site("link", "an input that is a symbolic link to a good one", all, |site| {
            let job = site.job();
            fs::write(site.root.join("real.parquet"), good()).expect("the input");
            symlink("real.parquet", &job.input).expect("a link");
            job
        }),
        site(
            "dangling link",
            "an input that is a symbolic link to nothing",
            refused(&["cannot be opened"]),
            |site| {
                let job = site.job();
                symlink("nothing.parquet", &job.input).expect("a link");
                job
            },
        ),
        site(
            "circular link",
            "an input that is a symbolic link to itself",
            refused(&["cannot be opened"]),
            |site| {
                let job = site.job();
                symlink("tasks.parquet", &job.input).expect("a link");
                job
            },
        ),
        site(
            "FIFO",
            "an input that is a FIFO without a writer",
            refused(&["not a regular file"]),
            |site| {
                let job = site.job();
                fifo(&job.input);
                job
            },
        ),
        site("directory", "an input that is a directory", refused(&["directory"]), |site| {
            let job = site.job();
            fs::create_dir(&job.input).expect("a directory");
            job
        }),
        site("device", "the input is /dev/zero", refused(&["not a regular file"]), |site| Job {
            input: "/dev/zero".into(),
            ..site.job()
        })
        .names("/dev/zero"),
        site(
            "file for a directory",
            "an input below a file",
            refused(&["cannot be opened"]),
            |site| {
                let job = site.job();
                fs::write(site.root.join("file"), "x").expect("a file");
                Job { input: site.root.join("file/tasks.parquet"), ..job }
            },
        ),
        site(
            "output: new directory",
            "the last directory of the output is not there",
            all,
            output(|site| site.root.join("new/result.parquet")),
        ),
        site(
            "output: missing directories",
            "two directories of the output are not there",
            refused(&["directory"]),
            output(|site| site.root.join("no/such/result.parquet")),
        )
        .names("result.parquet"),
        site(
            "output: directory",
            "the output is a directory, in which the name of the input is a directory too",
            refused(&["is a directory"]),
            output(|site| {
                fs::create_dir_all(site.root.join("out/tasks.parquet")).expect("directories");
                site.root.join("out")
            }),
        )
        .names("tasks.parquet"),
        site(
            "output: link",
            "the output is a symbolic link to a file",
            refused(&["symbolic link"]),
            output(|site| {
                let link = site.root.join("link.parquet");
                symlink("out/result.parquet", &link).expect("a link");
                link
            }),
        )
        .names("link.parquet"),
        site(
            "output: dangling link",
            "the output is a symbolic link to nothing",
            refused(&["symbolic link"]),
            output(|site| {
                let link = site.root.join("link.parquet");
                symlink("nothing.parquet", &link).expect("a link");
                link
            }),
        )
        .names("link.parquet"),
        site(
            "output: FIFO",
            "the output is a FIFO",
            refused(&["not a regular file"]),
            output(|site| {
                let path = site.root.join("fifo.parquet");
                fifo(&path);
                path
            }),
        )
        .names("fifo.parquet"),
        site(
            "output: device",
            "the output is /dev/null",
            refused(&["not a regular file"]),
            output(|_| PathBuf::from("/dev/null")),
        )
        .names("/dev/null"),
        site(
            "output: input",
            "the output is the input",
            refused(&["the output and the input are the same file"]),
            output(|site| site.root.join("tasks.parquet")),
        ),
        site(
            "output: hard link",
            "the output is another name of the input",
            refused(&["the output and the input are the same file"]),
            output(|site| {
                let other = site.root.join("other.parquet");
                fs::hard_link(site.root.join("tasks.parquet"), &other).expect("a link");
                other
            }),
        )
        .names("other.parquet"),
        site(
            "output: no Parquet file",
            "the output is a file of text, without --replace",
            refused(&["is not a Parquet file", "--replace"]),
            output(|site| site.root.join("out/result.parquet")),
        )
        .names("result.parquet")
        .set("REEMBED_RUN_REPLACE", "false"),
        site(
            "output: another program's",
            "the output is a Parquet file of another program, without --replace",
            refused(&["its footer has no `reembed` entry", "--replace"]),
            output(|site| {
                let path = site.root.join("other.parquet");
                fs::write(&path, good()).expect("a file");
                path
            }),
        )
        .names("other.parquet")
        .set("REEMBED_RUN_REPLACE", "false"),
        site(
            "output: empty file",
            "the output is a file of 0 bytes, without --replace",
            refused(&["is not a Parquet file", "--replace"]),
            output(|site| {
                let path = site.root.join("empty.parquet");
                fs::write(&path, "").expect("a file");
                path
            }),
        )
        .names("empty.parquet")
        .set("REEMBED_RUN_REPLACE", "false"),
        site(
            "output: newline",
            "an output called newline, tab, escape",
            all,
            output(|site| site.root.join("out/\n\t\u{1b}[2J")),
        ),
        site(
            "output: not UTF-8",
            "an output called ff fe",
            all,
            output(|site| site.root.join("out").join(OsStr::from_bytes(b"\xff\xfe.parquet"))),
        ),
        site(
            "output: long name",
            "an output with a name of 255 bytes",
            all,
            output(|site| site.root.join("out").join("n".repeat(255))),
        ),
        site(
            "output: long name of letters of four bytes",
            "an output with a name of 63 emoji",
            all,
            output(|site| site.root.join("out").join("📄".repeat(63))),
        ),
        site(
            "output: too long a name",
            "an output with a name of 256 bytes",
            refused(&[]),
            output(|site| site.root.join("out").join("n".repeat(256))),
        )
        .names("nnnn"),
        site("output: bare name", "an output without a directory", all, |site| {
            let job = output(|_| PathBuf::from("bare.parquet"))(site);
            Job { input: "tasks.parquet".into(), ..job }
        }),
    ]
}
