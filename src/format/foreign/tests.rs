use super::*;

const RECORDS: &[u8] = b"id,title\n1,one\n2,\"two, too\"\n";

/// The file's name, its content and the name of its format.
#[test]
fn formats_are_recognised_by_their_bytes() {
    let database = [b"\x01\x02\x03\x04\x05\x06\x07\x08".as_slice(), b"DUCK\x40\0\0"].concat();
    let cases: &[(&str, &[u8], Option<&str>)] = &[
        ("x.csv", RECORDS, Some("a CSV file")),
        ("x", RECORDS, Some("a CSV file")),
        ("x", b"\xEF\xBB\xBFid;title\r\n1;one\r\n", Some("a CSV file")),
        ("x", b"id|title\n1|one", Some("a CSV file")),
        ("x", b"id,caf\xE9\n1,\xE9t\xE9 et la suite\n", Some("a CSV file")),
        ("x.csv", b"title\none\n", Some("a CSV file")),
        ("x.tsv", b"id\ttitle, long\n1\tone\n", Some("a TSV file")),
        ("x", b"id\ttitle\n1\tone\n", Some("a TSV file")),
        ("x.jsonl", b"{\"id\": 1}\n", Some("a JSON lines file")),
        ("x", b"{\"id\": 1}\n{\"id\": 2}\n", Some("a JSON lines file")),
        ("x", b"{\"id\": 1}\r\n{\"id\": 2}\r\n", Some("a JSON lines file")),
        ("x", b"{\n  \"id\": 1\n}\n", Some("a JSON file")),
        ("x", b" [\n  {\"id\": 1},", Some("a JSON file")),
        ("x", b"ARROW1\0\0", Some("an Arrow IPC file (Feather)")),
        ("x", b"\xFF\xFF\xFF\xFF\x10\0\0\0", Some("an Arrow IPC stream")),
        ("x", b"FEA1\0\0", Some("a Feather file, version 1")),
        ("x", b"ORC\x03\0", Some("an ORC file")),
        ("x", b"Obj\x01\x04", Some("an Avro file")),
        ("x", b"SQLite format 3\0\x10", Some("an SQLite database")),
        ("x", &database, Some("a DuckDB database")),
        ("x", b"\x89HDF\r\n\x1a\n\0", Some("an HDF5 file")),
        ("x", b"\xD0\xCF\x11\xE0\xA1\xB1", Some("an old Microsoft Office file (.xls)")),
        ("x", b"PK\x03\x04 [Content_Types].xml xl/", Some("an Excel file")),
        ("x.xlsx", b"PK\x03\x04", Some("an Excel file")),
        ("x.docx", b"PK\x03\x04 [Content_Types].xml word/", Some("a ZIP archive")),
        ("x", b"PK\x03\x04", Some("a ZIP archive")),
        ("x.gz", b"\x1F\x8B\x08", Some("a gzip file")),
        ("x.CSV.gz", b"\x1F\x8B\x08", Some("a gzip-compressed CSV file")),
        ("x.csv", b"\x1F\x8B\x08", Some("a gzip-compressed CSV file")),
        ("x.jsonl.gz", b"\x1F\x8B\x08", Some("a gzip-compressed JSON file")),
        ("x.parquet.gz", b"\x1F\x8B\x08", Some("a gzip-compressed Parquet file")),
        ("x.parquet", b"\x1F\x8B\x08", Some("a gzip file")),
        ("x.tgz", b"\x1F\x8B\x08", Some("a gzip-compressed tar archive")),
        ("x.tar.gz", b"\x1F\x8B\x08", Some("a gzip-compressed tar archive")),
        ("x.csv.zst", b"\x28\xB5\x2F\xFD", Some("a Zstandard-compressed CSV file")),
        ("x", b"\x80\x05\x95 stuff.", Some("a Python pickle")),
        ("x", b"\x80\x05\x95 stuff", None),
        ("x", b"\r\n<!DOCTYPE HTML><p>403", Some("an HTML page")),
        ("x", b"<html>", Some("an HTML page")),
        ("x", b"<?xml version=\"1.0\"?>", Some("an XML file")),
        ("x", b"version https://git-lfs.github.com/spec/v1\noid", Some("a Git LFS pointer")),
        ("x", b"\xFF\xFEi\0d\0", Some("a text file in UTF-16")),
        ("x", b"PAR1\x15\x04 stuff", Some("only the beginning of a Parquet file")),
        ("x", b"PARE stuff PARE", Some("an encrypted Parquet file")),
        ("x", b"PAR1 stuff PARE", Some("an encrypted Parquet file")),
        ("x", b"PAR1 stuff PAR1", None),
        ("x", b"Dear all, we meet today.\nNot tomorrow, that is.\n", Some("a text file")),
        ("x", b"a table of one column\nhas no delimiter\n", Some("a text file")),
        ("x", b"id,title\n1,2,3\n4\n", Some("a text file")),
        ("x", b"", None),
        ("x", b"\0\x01\x02\x03", None),
        ("x", b"\xF0\xF1\xF2\xF3\xF4\xF5", None),
    ];
    for (name, bytes, expected) in cases {
        let found = recognise(Path::new(name), bytes, bytes);
        let found = found.as_ref().map(|found| found.name);
        assert_eq!(found, *expected, "{name}: {}", bytes.escape_ascii());
    }
}

#[test]
fn a_head_may_end_inside_a_record_and_a_character() {
    let mut head = RECORDS.repeat(400);
    head.truncate(HEAD - 8);
    head.extend(b"\n3,\xC3\xA9\xC3\xA9\xC3");
    assert_eq!(head.len(), HEAD);
    let found = recognise(Path::new("x"), &head, b"").expect("recognised");
    assert_eq!(found.name, "a CSV file");
}

/// Each command was run with DuckDB 1.5, pyarrow 26.0, polars 2.1 and pandas 3.1.
#[test]
fn conversions_can_be_pasted() {
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "a dir/x.csv",
            RECORDS,
            "convert it: duckdb -c \"COPY (FROM read_csv('a dir/x.csv')) TO 'a dir/x.parquet'\"",
        ),
        (
            "x.parquet",
            b"{\"id\": 1}\n{\"id\": 2}\n",
            "convert it: duckdb -c \"COPY (FROM read_json('x.parquet')) TO \
             'x.converted.parquet'\"",
        ),
        (
            "x.csv.gz",
            b"\x1F\x8B\x08",
            "convert it: duckdb -c \"COPY (FROM read_csv('x.csv.gz', compression = 'gzip')) TO \
             'x.parquet'\"",
        ),
        (
            "/data/x.avro",
            b"Obj\x01",
            "convert it with polars: python3 -c \"import polars; \
             polars.read_avro('/data/x.avro').write_parquet('/data/x.parquet')\"",
        ),
        (
            "x.xlsx",
            b"PK\x03\x04",
            "convert it with pandas, pyarrow, openpyxl: python3 -c \"import pandas; \
             pandas.read_excel('x.xlsx').to_parquet('x.parquet')\"",
        ),
        (
            "x.parquet.gz",
            b"\x1F\x8B\x08",
            "unpack it: gunzip --stdout \"x.parquet.gz\" > \"x.parquet\"",
        ),
        (
            "x.parquet",
            b"\x1F\x8B\x08",
            "unpack it: gunzip --stdout \"x.parquet\" > \"x.plain.parquet\"",
        ),
        (
            "repository/x.parquet",
            b"version https://git-lfs.github.com/spec/v1",
            "fetch the file that it stands for: git -C \"repository\" lfs pull",
        ),
    ];
    for (path, bytes, expected) in cases {
        let found = recognise(Path::new(path), bytes, bytes).expect("recognised");
        assert_eq!(found.conversion, *expected);
    }
}

#[test]
fn a_path_that_needs_quoting_is_left_out() {
    let expected = "convert it: duckdb -c \"COPY (FROM read_csv('INPUT')) TO 'OUTPUT.parquet'\"";
    for path in ["it's.csv", "a\"b.csv", "$HOME.csv", "`id`.csv", "a\\b.csv", "*.csv", "-x.csv"] {
        let found = recognise(Path::new(path), RECORDS, RECORDS).expect("recognised");
        assert_eq!(found.conversion, expected, "{path}");
    }
    let found = recognise(Path::new("{output}.csv"), RECORDS, RECORDS).expect("recognised");
    assert_eq!(found.conversion, expected);
}

/// The directory's name, its entries and the name of its format.
#[test]
fn table_formats_are_recognised_by_names() {
    let cases: &[(&str, &[&str], Option<&str>)] = &[
        ("t", &["part-0.parquet", "_delta_log"], Some("a Delta table")),
        ("t", &["data", "metadata"], Some("an Iceberg table")),
        ("t", &["metadata"], None),
        ("t.lance", &["data", "_transactions"], Some("a Lance table")),
        ("t", &["data", "_versions"], Some("a Lance table")),
        ("t", &["tasks.lance"], Some("a Lance table")),
        ("t", &[".hoodie", "2026"], Some("a Hudi table")),
        ("t", &["part-0.parquet", "_SUCCESS"], None),
        ("t", &[], None),
    ];
    for (path, entries, expected) in cases {
        let entries: Vec<&OsStr> = entries.iter().map(OsStr::new).collect();
        let found = recognise_directory(Path::new(path), &entries);
        assert_eq!(found.as_ref().map(|found| found.name), *expected, "{path} {entries:?}");
        if let Some(found) = found {
            assert!(found.conversion.contains(".parquet"), "{}", found.conversion);
        }
    }
}

#[test]
fn arbitrary_bytes_do_not_panic() {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let names = ["", ".", "/", "..", "x", "x.gz", ".gz", "x.tar.gz", "x.csv", "x.tsv", "x.zst"];
    let signs = b"\"{}[],;|\t\n\r .<PAR1K\x1F\x8B\x80\x05\xC3\xFF\0";
    for round in 0..20_000 {
        let length = next() % 40;
        let byte = |next: &mut dyn FnMut() -> usize| match round % 2 {
            0 => next() as u8,
            _ => signs[next() % signs.len()],
        };
        let bytes: Vec<u8> = (0..length).map(|_| byte(&mut next)).collect();
        let path = Path::new(names[next() % names.len()]);
        recognise(path, &bytes, &bytes);
        recognise(path, &bytes, b"");
        recognise_directory(path, &[OsStr::new(".hoodie"), path.as_os_str()]);
    }
}
