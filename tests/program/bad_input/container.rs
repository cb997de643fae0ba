//! Files that are not Parquet, or are damaged as a whole.

use std::io::Write;

use super::case::{Case, fails, input, refused, site, succeeds};
use super::forge::Forged;
use super::table::Table;

fn good() -> Vec<u8> {
    Table::tasks(20).bytes()
}

/// The length of the footer, as stored at the end of the file.
fn tail(file: &[u8]) -> usize {
    file.len() - 8
}

pub fn cases() -> Vec<Case> {
    vec![
        input("good", "20 tasks as Arrow writes them", succeeds(20), good),
        input("good by hand", "3 tasks, forged", succeeds(3), || Forged::tasks().bytes()),
        site("missing", "no file of that name", refused(&["cannot be opened"]), |site| site.job()),
        input("empty", "0 bytes", refused(&["0 bytes"]), Vec::new),
        input("one byte", "1 byte", refused(&["not a Parquet file"]), || b"P".to_vec()),
        input("magic alone", "the 4 bytes `PAR1`", refused(&["not a Parquet file"]), || {
            b"PAR1".to_vec()
        }),
        input(
            "magic twice",
            "`PAR1PAR1`",
            refused(&["check that it was written and copied completely"]),
            || b"PAR1PAR1".to_vec(),
        ),
        input("text", "a CSV file", refused(&["this is a CSV file, not a Parquet file"]), || {
            b"id,title\nT-1,Fix login\nT-2,Add export\n".to_vec()
        }),
        input("JSON lines", "newline-delimited JSON", refused(&["JSON lines"]), || {
            b"{\"id\":\"T-1\",\"title\":\"Fix login\"}\n".repeat(10)
        }),
        input(
            "Arrow IPC",
            "an Arrow file's magic",
            refused(&["this is an Arrow IPC file"]),
            || [b"ARROW1\0\0".as_slice(), &[0; 200], b"ARROW1"].concat(),
        ),
        input("compressed whole", "a gzip header", refused(&["gzip"]), || {
            [&[0x1f, 0x8b, 8, 0][..], &good()[..300]].concat()
        }),
        input(
            "cut in half",
            "the first half",
            refused(&["the beginning of a Parquet file"]),
            || {
                let file = good();
                file[..file.len() / 2].to_vec()
            },
        ),
        input(
            "cut by one byte",
            "without the last byte",
            refused(&["the beginning of a Parquet file"]),
            || {
                let file = good();
                file[..file.len() - 1].to_vec()
            },
        ),
        input(
            "head cut off",
            "the last half",
            refused(&["row group 0", "not inside of the"]),
            || {
                let file = good();
                file[file.len() / 2..].to_vec()
            },
        ),
        input(
            "line end added",
            "a newline after the end",
            refused(&["the beginning of a Parquet file"]),
            || [good(), b"\n".to_vec()].concat(),
        ),
        input("zeros", "1 MB of zeros", refused(&["this is not a Parquet file"]), || {
            vec![0; 1_000_000]
        }),
        input("noise", "64 KB of noise", refused(&["this is not a Parquet file"]), || {
            noise(65_536)
        }),
        input(
            "noise in a frame",
            "`PAR1`, noise, a footer length that fits, `PAR1`",
            refused(&["its footer is malformed"]),
            || {
                let mut file = [b"PAR1".to_vec(), noise(5_000)].concat();
                file.extend(4_000u32.to_le_bytes());
                file.extend(b"PAR1");
                file
            },
        ),
        input(
            "footer of 0 bytes",
            "footer length 0",
            refused(&["its footer is malformed"]),
            || footer_length(0),
        ),
        input(
            "footer of 4 GB",
            "footer length 2³²-1",
            refused(&["its footer should have 4294967295 bytes"]),
            || footer_length(u32::MAX),
        ),
        input(
            "footer of 2 GB",
            "footer length 2³¹-1",
            refused(&["its footer should have 2147483647 bytes"]),
            || footer_length(i32::MAX as u32),
        ),
        input(
            "footer too short",
            "footer length 10",
            refused(&["its footer has no schema"]),
            || footer_length(10),
        ),
        input(
            "footer is the file",
            "footer from byte 0",
            refused(&["its footer should have"]),
            || {
                let length = tail(&good()) as u32;
                footer_length(length)
            },
        ),
        input("encrypted footer", "ends in `PARE`", refused(&["its footer is encrypted"]), || {
            let mut file = good();
            let at = file.len() - 4;
            file[at..].copy_from_slice(b"PARE");
            file
        }),
        input(
            "two in a row",
            "zeros, then a file whose footer counts from its own start",
            fails(&["row group 0", "column `id`"]),
            || [vec![0; 1 << 20], Forged::tasks().bytes()].concat(),
        ),
        site(
            "sparse",
            "a hole of 1 GB and a footer length",
            refused(&["footer has 524288000 bytes"]),
            |site| {
                let job = site.job();
                let mut file = std::fs::File::create(&job.input).expect("the input");
                file.write_all(b"PAR1").expect("written");
                file.set_len(1 << 30).expect("a hole");
                use std::os::unix::fs::FileExt;
                let tail = [&(500u32 << 20).to_le_bytes()[..], b"PAR1"].concat();
                file.write_all_at(&tail, (1 << 30) - 8).expect("written");
                job
            },
        ),
    ]
}

fn footer_length(length: u32) -> Vec<u8> {
    let mut file = good();
    let at = tail(&file);
    file[at..at + 4].copy_from_slice(&length.to_le_bytes());
    file
}

/// Random bytes, the same in every run (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(byte).collect()
}
