use std::num::NonZeroUsize;

use reembed_encoder::limit::RequestedLimits;

use super::super::Config;
use super::super::settings::Kind;
use super::*;

fn environment() -> Environment {
    Environment::new([("HOME".to_owned(), "/home/someone".to_owned())])
}

fn parse(text: &str) -> Result<RawConfig> {
    RawConfig::parse(text, Path::new("conf/pipeline.toml"))
}

fn check(text: &str) -> Result<Config> {
    parse(text)?.check(&environment())
}

const PATHS: &str = "[input]\npath = \"in.parquet\"\n[output]\npath = \"/out.parquet\"\n";

#[test]
fn the_least_configuration_has_two_paths() {
    let config = check(PATHS).expect("it is valid");
    assert_eq!(config.input.path, Path::new("conf/in.parquet"));
    assert_eq!(config.output.path, Path::new("/out.parquet"));
    assert_eq!(config.batch.asked, RequestedLimits::default());
    assert_eq!(config.model.source.cache, Path::new("/home/someone/.cache/reembed"));
    assert_eq!(config.model.prompt, None);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, expected) in [
        ("[input\n", "conf/pipeline.toml: line 1: not TOML: "),
        (
            "\n[batch]\nstrat = 8\n",
            "conf/pipeline.toml: line 3: unknown key `batch.strat`; did you mean `batch.start`?",
        ),
        ("[bacth]\n", "conf/pipeline.toml: line 1: unknown table [bacth]; did you mean `batch`?"),
        (
            "[batch]\nstart = 0\n",
            "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is 0",
        ),
        (
            "[batch]\nstart = \"32\"\n",
            "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is \"32\"",
        ),
        (
            "[output]\non_empty = \"skip\"\n",
            "conf/pipeline.toml: line 2: `output.on_empty` must be one of \"null\", \"embed\", \"error\", is \"skip\"",
        ),
        (
            "[batch]\nxyzzy = 8\n",
            "conf/pipeline.toml: line 2: unknown key `batch.xyzzy`; known are batch.start, batch.max,",
        ),
        (
            "[batch]\nstart = 99999999999999999999\n",
            "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is an integer of more than 64 bits",
        ),
        ("batch = 3\n", "conf/pipeline.toml: line 1: \"batch\" is not a table of settings"),
        (
            "start = 3\n",
            "conf/pipeline.toml: line 1: \"start\" is not a table of settings; did you mean `batch.start`?",
        ),
        (
            "[model]\nsha256 = { \"config.json\" = \"12\" }\n",
            "conf/pipeline.toml: line 2: `model.sha256` must give 64 hexadecimal digits for \"config.json\", gives \"12\"",
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (text, expected) in [
        ("", "`input.path` is not set"),
        (
            "[batch]\nstart = 8\nmax = 4\n",
            "conf/pipeline.toml:8: `batch.max` is 4, less than batch.start = 8",
        ),
        (
            "[output]\ncolumn = \"title\"\n",
            "`output.column` is \"title\", a column that the text is built from",
        ),
        ("[input]\ntitle = \"\"\n", "`input.title` is empty; the column is needed"),
    ] {
        let text = match text {
            "" => String::new(),
            // One table may be written once.
            _ if text.starts_with("[output]") => PATHS.to_owned() + &text["[output]\n".len()..],
            _ if text.starts_with("[input]") => PATHS.replace("[input]\n", text),
            _ => PATHS.to_owned() + "\n" + text,
        };
        let error = check(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_the_file() {
    let variables = [
        ("HOME".to_owned(), "/h".to_owned()),
        ("REEMBED_BATCH_START".to_owned(), "7".to_owned()),
        ("REEMBED_OUTPUT_COLUMN".to_owned(), "v".to_owned()),
    ];
    let environment = Environment::new(variables);
    let mut raw = parse(&format!("{PATHS}[batch]\nstart = 3\n")).expect("valid");
    raw.lay_environment(&environment).expect("valid");
    raw.set("output.column", "w", Origin::Flag("--column")).expect("valid");
    let config = raw.check(&environment).expect("valid");
    assert_eq!(config.batch.asked.start.map(NonZeroUsize::get), Some(7));
    assert_eq!(config.output.column, "w");
    let origin = |key: &str| {
        config.effective.iter().find(|line| line.key == key).map(|line| line.origin.to_string())
    };
    assert_eq!(origin("batch.start").as_deref(), Some("REEMBED_BATCH_START"));
    assert_eq!(origin("output.column").as_deref(), Some("--column"));
    assert_eq!(origin("input.path").as_deref(), Some("conf/pipeline.toml:2"));
    assert_eq!(origin("input.id").as_deref(), Some("default"));
}

#[test]
fn the_annotated_file_has_every_key_with_its_default_and_a_word_on_it() {
    let mut table = "";
    let mut keys = Vec::new();
    for line in include_str!("../../../pipeline.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
        }
        let Some((key, rest)) = line.trim_start_matches("# ").split_once(" = ") else {
            continue;
        };
        let Some(setting) = Setting::find(&format!("{table}.{key}")) else { continue };
        let (value, word) = rest.split_once(" #").unwrap_or((rest, ""));
        assert!(!word.trim().is_empty(), "{}: no word on it", setting.key);
        if let Some(default) = setting.default {
            assert_eq!(value.trim(), default, "{}", setting.key);
        }
        keys.push(setting.key);
    }
    for setting in SETTINGS {
        assert!(keys.contains(&setting.key), "{} is not in pipeline.toml", setting.key);
    }
}

#[test]
fn every_default_fits_its_own_kind() {
    RawConfig::default().lay_defaults().expect("defaults are valid");
    assert!(
        SETTINGS.iter().all(|setting| setting.kind != Kind::Hashes || setting.default.is_none())
    );
}
