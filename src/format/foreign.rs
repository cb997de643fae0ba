//! Files and directories that are not Parquet: which format they have, and how to convert them.
//!
//! Pure: the caller reads the bytes and the names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A format that is not Parquet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The format with its article, to stand after "this is": `a CSV file`.
    pub name: &'static str,
    /// What to do, in one line; most often a command that can be pasted into a shell.
    pub conversion: String,
}

/// Recognises the format of a file by its first bytes, its last bytes and its name.
///
/// `head` and `tail` have up to 4 KiB each. None means that the format is unknown.
pub fn recognise(path: &Path, head: &[u8], tail: &[u8]) -> Option<Foreign> {
    if head.starts_with(b"PAR1") && tail.ends_with(b"PAR1") {
        return None;
    }
    binary(path, head, tail).or_else(|| text(path, head))
}

/// Recognises a table format by the path of a directory and the names of its entries.
pub fn recognise_directory(path: &Path, entries: &[&OsStr]) -> Option<Foreign> {
    let has = |name: &str| entries.iter().any(|entry| *entry == OsStr::new(name));
    let paths = Paths::of_directory(path);
    if has("_delta_log") {
        return paths.python(
            "a Delta table",
            "import deltalake, pyarrow.parquet as pq; \
             pq.write_table(deltalake.DeltaTable({input}).to_pyarrow_table(), {output})",
            "deltalake, pyarrow",
        );
    }
    if has(".hoodie") {
        return paths.advice(
            "a Hudi table",
            "name one of its Parquet files, or write the table as one Parquet file with Spark: \
             spark.read.format('hudi').load({input}).coalesce(1).write.parquet({output})",
        );
    }
    if has("_versions") || has_extension(path, &["lance"]) {
        return lance(&paths);
    }
    if let Some(table) = entries.iter().find(|entry| has_extension(Path::new(entry), &["lance"])) {
        return lance(&Paths::of_directory(&path.join(table)));
    }
    if has("metadata") && has("data") {
        return paths.python(
            "an Iceberg table",
            "import glob, os, polars; \
             polars.scan_iceberg(max(glob.glob({input} + '/metadata/*.metadata.json'), \
             key=os.path.getmtime)).collect().write_parquet({output})",
            "polars, pyiceberg",
        );
    }
    None
}

fn lance(paths: &Paths) -> Option<Foreign> {
    paths.python(
        "a Lance table",
        "import lance, pyarrow.parquet as pq; \
         pq.write_table(lance.dataset({input}).to_table(), {output})",
        "pylance, pyarrow",
    )
}

fn binary(path: &Path, head: &[u8], tail: &[u8]) -> Option<Foreign> {
    let paths = Paths::of_file(path);
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"PARE") || tail.ends_with(b"PARE") {
        return Some(Foreign {
            name: "an encrypted Parquet file",
            conversion: "the footer is encrypted; decrypt it with the tool that wrote it"
                .to_owned(),
        });
    }
    if starts(b"PAR1") {
        return Some(Foreign {
            name: "only the beginning of a Parquet file",
            conversion: "it was not written or copied completely; write or copy it again"
                .to_owned(),
        });
    }
    if starts(b"ARROW1") || starts(b"FEA1") {
        let name = if starts(b"FEA1") {
            "a Feather file, version 1"
        } else {
            "an Arrow IPC file (Feather)"
        };
        return paths.python(
            name,
            "import pyarrow.feather as f, pyarrow.parquet as pq; \
             pq.write_table(f.read_table({input}), {output})",
            "pyarrow",
        );
    }
    if starts(&[0xFF; 4]) {
        return paths.python(
            "an Arrow IPC stream",
            "import pyarrow as pa, pyarrow.parquet as pq; \
             pq.write_table(pa.ipc.open_stream(pa.OSFile({input})).read_all(), {output})",
            "pyarrow",
        );
    }
    if starts(b"ORC") {
        return paths.python(
            "an ORC file",
            "import pyarrow.orc as orc, pyarrow.parquet as pq; \
             pq.write_table(orc.read_table({input}), {output})",
            "pyarrow",
        );
    }
    if starts(b"Obj\x01") {
        return paths.polars("an Avro file", "read_avro({input})");
    }
    if starts(b"SQLite format 3\0") {
        return paths.python(
            "an SQLite database",
            "import sqlite3, pandas; pandas.read_sql('SELECT * FROM my_table', \
             sqlite3.connect({input})).to_parquet({output})",
            "pandas, pyarrow",
        );
    }
    if head.get(8..12) == Some(b"DUCK") {
        return paths.command(
            "a DuckDB database",
            "duckdb -readonly \"{path}\" -c \"COPY my_table TO {output}\"",
        );
    }
    if starts(b"\x89HDF\r\n\x1a\n") {
        return paths.pandas("an HDF5 file", "read_hdf({input})", ", tables");
    }
    if starts(&[0xD0, 0xCF, 0x11, 0xE0]) {
        return paths.pandas(
            "an old Microsoft Office file (.xls)",
            "read_excel({input})",
            ", xlrd",
        );
    }
    if starts(b"PK\x03\x04") || starts(b"PK\x05\x06") {
        return zip(path, head, tail, &paths);
    }
    if starts(&[0x1F, 0x8B]) {
        return compressed(path, &paths, &GZIP);
    }
    if starts(&[0x28, 0xB5, 0x2F, 0xFD]) {
        return compressed(path, &paths, &ZSTD);
    }
    // Protocols 2 to 5 begin with their number; every pickle ends with the opcode STOP, a point.
    if matches!(head, [0x80, 2..=5, ..]) && tail.ends_with(b".") {
        let found = paths.pandas("a Python pickle", "read_pickle({input})", "");
        return found.map(|found| Foreign {
            conversion: format!("a pickle can run code; if you trust it, {}", found.conversion),
            ..found
        });
    }
    None
}

fn zip(path: &Path, head: &[u8], tail: &[u8], paths: &Paths) -> Option<Foreign> {
    let names = |part: &[u8]| contains(head, part) || contains(tail, part);
    let is_office = names(b"[Content_Types].xml");
    if has_extension(path, &["xlsx", "xlsm"]) || (is_office && names(b"xl/")) {
        return paths.pandas("an Excel file", "read_excel({input})", ", openpyxl");
    }
    paths.advice("a ZIP archive", "unpack it: unzip \"{path}\"")
}

/// A compression format of whole files.
struct Compression {
    /// Names: anything, CSV, JSON, Parquet, tar.
    names: [&'static str; 5],
    /// DuckDB's name for it.
    duckdb: &'static str,
    /// A command that writes the content to its standard output.
    unpack: &'static str,
    /// What follows the name of the content.
    extensions: &'static [&'static str],
}

const GZIP: Compression = Compression {
    names: [
        "a gzip file",
        "a gzip-compressed CSV file",
        "a gzip-compressed JSON file",
        "a gzip-compressed Parquet file",
        "a gzip-compressed tar archive",
    ],
    duckdb: "gzip",
    unpack: "gunzip --stdout",
    extensions: &["gz", "gzip"],
};

const ZSTD: Compression = Compression {
    names: [
        "a Zstandard file",
        "a Zstandard-compressed CSV file",
        "a Zstandard-compressed JSON file",
        "a Zstandard-compressed Parquet file",
        "a Zstandard-compressed tar archive",
    ],
    duckdb: "zstd",
    unpack: "zstd --decompress --stdout",
    extensions: &["zst", "zstd"],
};

/// Names the content by the inner extension: `x.csv.gz` holds a CSV file.
fn compressed(path: &Path, paths: &Paths, compression: &Compression) -> Option<Foreign> {
    let [any, csv, json, parquet, tar] = compression.names;
    let inner = match path.file_stem() {
        Some(stem) if has_extension(path, compression.extensions) => Path::new(stem),
        _ => path,
    };
    let duckdb = |name, function: &str| {
        let call = format!("{function}({{input}}, compression = '{}')", compression.duckdb);
        paths.duckdb(name, &call)
    };
    if has_extension(inner, CSV) {
        return duckdb(csv, "read_csv");
    }
    if has_extension(inner, JSON) || has_extension(inner, JSON_LINES) {
        return duckdb(json, "read_json");
    }
    // An inner name without `.parquet` tells nothing about what comes out.
    let is_parquet = inner != path && has_extension(inner, &["parquet", "pq"]);
    if has_extension(path, &["tgz"]) || has_extension(inner, &["tar"]) {
        return paths.advice(tar, "unpack it: tar -xf \"{path}\"");
    }
    let (name, output) = if is_parquet { (parquet, "{output_path}") } else { (any, "{plain}") };
    let unpack = compression.unpack;
    paths.advice(name, &format!("unpack it: {unpack} \"{{path}}\" > \"{output}\""))
}

const CSV: &[&str] = &["csv", "tsv", "tab", "psv"];
const JSON: &[&str] = &["json"];
const JSON_LINES: &[&str] = &["jsonl", "ndjson", "jsonlines"];

fn text(path: &Path, head: &[u8]) -> Option<Foreign> {
    let paths = Paths::of_file(path);
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        return paths.advice(
            "a text file in UTF-16",
            "write it in UTF-8: iconv -f UTF-16 -t UTF-8 \"{path}\" > \"{plain}\"",
        );
    }
    let bytes = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let is_control = |byte: &u8| *byte < b' ' && !b"\t\n\r\x0C".contains(byte);
    if bytes.is_empty() || bytes.iter().any(is_control) || !is_encoded_text(bytes) {
        return None;
    }
    let start = bytes.trim_ascii_start();
    if start.starts_with(b"version https://git-lfs") {
        return paths.advice(
            "a Git LFS pointer",
            "fetch the file that it stands for: git -C \"{directory}\" lfs pull",
        );
    }
    let begins =
        |tag: &[u8]| start.get(..tag.len()).is_some_and(|found| found.eq_ignore_ascii_case(tag));
    if begins(b"<!doctype html") || begins(b"<html") {
        return Some(Foreign {
            name: "an HTML page",
            conversion: "a server may have sent an error page in place of the file: open it in \
                         a browser, then download the file again"
                .to_owned(),
        });
    }
    if begins(b"<?xml") {
        return paths.pandas("an XML file", "read_xml({input})", ", lxml");
    }
    if let Some(name) = json(path, start) {
        return paths.duckdb(name, "read_json({input})");
    }
    let is_whole = head.len() < HEAD;
    match delimiter(path, bytes, is_whole) {
        Some(b'\t') => paths.duckdb("a TSV file", "read_csv({input})"),
        Some(_) => paths.duckdb("a CSV file", "read_csv({input})"),
        None => Some(Foreign {
            name: "a text file",
            conversion: "check where the file comes from; a table has to be written as Parquet"
                .to_owned(),
        }),
    }
}

/// The bytes that a caller reads of each end of a file.
const HEAD: usize = 4096;

/// UTF-8, whose last character may be cut, or an older encoding with few bytes beyond ASCII.
fn is_encoded_text(bytes: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let beyond_ascii = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    is_utf8 || beyond_ascii * 5 < bytes.len()
}

fn json(path: &Path, start: &[u8]) -> Option<&'static str> {
    let inner = || start.get(1..).unwrap_or_default().trim_ascii_start().first().copied();
    match start.first()? {
        b'[' if matches!(inner(), Some(b'{' | b'[' | b']')) => Some("a JSON file"),
        b'{' if matches!(inner(), Some(b'"' | b'}')) => {
            let mut lines = start.split(|byte| *byte == b'\n');
            let is_object = |line: &[u8]| line.trim_ascii_end().ends_with(b"}");
            let has_one_each = lines.next().is_some_and(is_object)
                && lines.next().is_some_and(|line| line.starts_with(b"{"));
            let is_lines = has_one_each || has_extension(path, JSON_LINES);
            Some(if is_lines { "a JSON lines file" } else { "a JSON file" })
        }
        _ => None,
    }
}

/// The delimiter that every record has the same number of times.
fn delimiter(path: &Path, bytes: &[u8], is_whole: bool) -> Option<u8> {
    let is_named = has_extension(path, CSV);
    let fits = |delimiter: &u8| {
        let counts = delimiters_per_record(bytes, *delimiter, is_whole);
        let first = counts.first().copied().unwrap_or_default();
        // Prose has commas too, with a blank after each.
        let is_prose = *delimiter == b',' && contains(first_line(bytes), b", ");
        let is_table = is_named || (counts.len() >= 2 && !is_prose);
        first > 0 && is_table && counts.iter().all(|count| *count == first)
    };
    let by_name = has_extension(path, &["tsv", "tab"]).then_some(b'\t');
    let found = by_name.into_iter().chain(*b",\t;|").find(fits);
    // A record may be longer than the head, a table may have one column: the name decides.
    found.or(by_name).or(is_named.then_some(b','))
}

fn delimiters_per_record(bytes: &[u8], delimiter: u8, is_whole: bool) -> Vec<usize> {
    let (mut counts, mut count, mut is_quoted, mut is_blank) = (Vec::new(), 0, false, true);
    for byte in bytes {
        match *byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => {
                if !is_blank {
                    counts.push(count);
                }
                (count, is_blank) = (0, true);
                continue;
            }
            byte if byte == delimiter && !is_quoted => count += 1,
            _ => {}
        }
        is_blank &= *byte == b'\r';
    }
    if is_whole && !is_blank {
        counts.push(count);
    }
    counts
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|found| extensions.iter().any(|known| found.eq_ignore_ascii_case(known)))
}

/// The paths in a command: the real ones, or INPUT and OUTPUT if those need quoting.
struct Paths {
    input: String,
    output: String,
    plain: String,
    directory: String,
}

impl Paths {
    fn of_file(path: &Path) -> Self {
        let mut stem = path.to_owned();
        let is_compressed =
            has_extension(path, GZIP.extensions) || has_extension(path, ZSTD.extensions);
        if is_compressed {
            stem.set_extension("");
        }
        let plain = if is_compressed { stem.clone() } else { plain_copy(path) };
        let mut output = stem.with_extension("parquet");
        if output == path {
            output = path.with_extension("converted.parquet");
        }
        Self::new(path, &output, &plain)
    }

    fn of_directory(path: &Path) -> Self {
        let output = match path.file_name() {
            Some(_) => path.with_extension("parquet"),
            None => Path::new("table.parquet").to_owned(),
        };
        let is_input = output.as_os_str() == path.as_os_str();
        let output = if is_input { path.with_extension("converted.parquet") } else { output };
        Self::new(path, &output, &output)
    }

    fn new(input: &Path, output: &Path, plain: &Path) -> Self {
        let directory = match input.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let all = [input, output, plain, directory].map(unquoted);
        let [Some(input), Some(output), Some(plain), Some(directory)] = all else {
            let [input, output, directory] =
                ["INPUT", "OUTPUT.parquet", "DIRECTORY"].map(str::to_owned);
            return Self { input, plain: "OUTPUT".to_owned(), output, directory };
        };
        Self { input, output, plain, directory }
    }

    fn duckdb(&self, name: &'static str, call: &str) -> Option<Foreign> {
        self.command(name, &format!("duckdb -c \"COPY (FROM {call}) TO {{output}}\""))
    }

    fn polars(&self, name: &'static str, call: &str) -> Option<Foreign> {
        let script = format!("import polars; polars.{call}.write_parquet({{output}})");
        self.python(name, &script, "polars")
    }

    fn pandas(&self, name: &'static str, call: &str, packages: &str) -> Option<Foreign> {
        let script = format!("import pandas; pandas.{call}.to_parquet({{output}})");
        self.python(name, &script, &format!("pandas, pyarrow{packages}"))
    }

    fn python(&self, name: &'static str, script: &str, packages: &str) -> Option<Foreign> {
        self.advice(name, &format!("convert it with {packages}: python3 -c \"{script}\""))
    }

    fn command(&self, name: &'static str, command: &str) -> Option<Foreign> {
        self.advice(name, &format!("convert it: {command}"))
    }

    fn advice(&self, name: &'static str, template: &str) -> Option<Foreign> {
        // One pass over the template: a path may contain `{output}`.
        let mut conversion = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (key, after) = after.split_once('}').unwrap_or((after, ""));
            conversion.push_str(before);
            match key {
                "input" => conversion.push_str(&format!("'{}'", self.input)),
                "output" => conversion.push_str(&format!("'{}'", self.output)),
                "path" => conversion.push_str(&self.input),
                "output_path" => conversion.push_str(&self.output),
                "plain" => conversion.push_str(&self.plain),
                _ => conversion.push_str(&self.directory),
            }
            rest = after;
        }
        conversion.push_str(rest);
        Some(Foreign { name, conversion })
    }
}

/// The path, if it means itself inside `"'…'"` for a shell, SQL, Python and DuckDB's glob patterns.
fn unquoted(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let is_special = |c: char| c.is_control() || "\"'$`\\!*?[]{}~".contains(c);
    // A command would take a leading dash for an option.
    let is_fine = !text.contains(is_special) && !text.starts_with('-');
    is_fine.then(|| text.to_owned())
}

/// `x.plain.csv` beside `x.csv`.
fn plain_copy(path: &Path) -> PathBuf {
    let mut extension = OsStr::new("plain").to_owned();
    if let Some(old) = path.extension() {
        extension.push(".");
        extension.push(old);
    }
    path.with_extension(extension)
}

#[cfg(test)]
mod tests;
