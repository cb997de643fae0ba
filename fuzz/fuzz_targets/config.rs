//! Any text parses as a configuration or gives a one-line error; it never panics.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use reembed::Environment;
use reembed::config::RawConfig;

fuzz_target!(|text: &str| {
    let environment = Environment::new([("HOME".to_owned(), "/home/nobody".to_owned())]);
    let checked = RawConfig::parse(text, Path::new("pipeline.toml"))
        .and_then(|raw| raw.check(&environment));
    if let Err(error) = checked {
        assert!(error.to_string().starts_with("pipeline.toml") || error.to_string().contains('`'));
    }
});
