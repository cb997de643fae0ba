//! Any bytes are read to the end as a Parquet file, texts by value and carried columns as bytes, or give an error
//! that names the file; it never panics.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use reembed::Environment;
use reembed::carried;
use reembed::config::{Config, RawConfig};
use reembed::reader::{Decoded, Reader};

fuzz_target!(|bytes: &[u8]| {
    // Uses a file system in memory if there is one: millions of small files wear out a disk.
    let directory = if fs::exists("/dev/shm").unwrap_or(false) { "/dev/shm" } else { "/tmp" };
    let input = PathBuf::from(format!("{directory}/reembed-fuzz-{}.parquet", std::process::id()));
    fs::write(&input, bytes).expect("a file");
    let config = config(&input);
    let read = Reader::open(&config.input, &config.text, Decoded::Text).and_then(|reader| {
        reader.chunks().try_for_each(|chunk| chunk.map(drop))?;
        let metadata = reader.table().metadata()?;
        let columns = carried::select(&metadata, &config.output)
            .map_err(|error| error.in_file(reader.table().path()))?;
        carried::digests(reader.table(), &metadata, &columns.carried, || Ok(())).map(drop)
    });
    if let Err(error) = read {
        assert_eq!(error.place().file(), Some(input.as_path()), "{error}");
    }
});

fn config(input: &std::path::Path) -> Config {
    let text = format!("[input]\npath = {input:?}\n[output]\npath = \"out.parquet\"\n");
    let environment = Environment::new([("HOME".to_owned(), "/home/nobody".to_owned())]);
    RawConfig::parse(&text, std::path::Path::new("pipeline.toml"))
        .and_then(|raw| raw.check(&environment))
        .expect("a valid configuration")
}
