use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;

use reembed_encoder::limit::RequestedLimits;
use reembed_encoder::model::config::TextOptions;
use reembed_encoder::model::prompt::PromptChoice;

use super::super::{ColumnChoice, Config, InvalidUtf8};
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
fn two_paths_are_a_complete_configuration() {
    let config = check(PATHS).expect("a valid configuration");
    assert_eq!(config.input.path, Path::new("conf/in.parquet"));
    assert_eq!(config.output.path(), Path::new("/out.parquet"));
    assert_eq!(config.batch.requested, RequestedLimits::default());
    assert_eq!(
        config.embeddings.first.model.source.cache,
        Path::new("/home/someone/.cache/reembed")
    );
    assert_eq!(config.embeddings.first.model.text, TextOptions::default());
    assert_eq!(config.input.page_limit, 1 << 30);
    assert_eq!(config.input.on_invalid_utf8, InvalidUtf8::Error);
    assert!(!config.input.check_carried);
    assert_eq!(config.output.carry, None);
    assert_eq!(config.output.columns, ColumnChoice::All);
    assert_eq!(config.output.row_group_rows.get(), 25_000);
}

#[test]
fn error_in_the_file_names_its_line() {
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
            "conf/pipeline.toml: line 2: `output.on_empty` must be one of \"null\", \"embed\", \"error\", \"drop\", is \"skip\"",
        ),
        (
            "[batch]\nxyzzy = 8\n",
            "conf/pipeline.toml: line 2: unknown key `batch.xyzzy`; the keys of this table are batch.start, batch.max,",
        ),
        (
            "[batch]\nstart = 99999999999999999999\n",
            "conf/pipeline.toml: line 2: `batch.start` must be a whole number from 1 to 65536, is an integer of more than 64 bits",
        ),
        (
            "[input]\n[store]\nmode = \"off\"\n",
            "conf/pipeline.toml: line 2: the table [store] is now called [cache]",
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
        (
            "[output]\nkeep = [\"id\", 3]\n",
            "conf/pipeline.toml: line 2: `output.keep` must hold strings only",
        ),
        (
            "[output]\nkeep = [\"id\", \"\"]\n",
            "conf/pipeline.toml: line 2: `output.keep` has an empty name",
        ),
        (
            "[output]\ndrop = [\"a\", \"a\"]\n",
            "conf/pipeline.toml: line 2: `output.drop` has the name \"a\" twice",
        ),
        (
            "[input]\npath = [\"a\"]\n",
            "conf/pipeline.toml: line 2: `input.path` must be a path, is a list",
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn contradicting_settings_are_refused() {
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
        ("[input]\ntitle = \"\"\n", "`input.title` is empty; this column is required"),
        (
            "[input]\npage_limit = \"2 GiB\"\n",
            "`input.page_limit` is 2147483648, more than the largest page, 2147483647 bytes",
        ),
        (
            "[output]\nkeep = [\"id\"]\ndrop = [\"files\"]\n",
            "`output.drop` is set, and so is `output.keep` (conf/pipeline.toml:5)",
        ),
        (
            "[output]\nrow_group_rows = 25000\n",
            "conf/pipeline.toml:5: `output.row_group_rows` is set, but row groups are those of the input with output.carry = \"copy\"",
        ),
        (
            "[input]\non_invalid_utf8 = \"replace\"\n[output]\ncarry = \"reencode\"\n",
            "`input.on_invalid_utf8` is \"replace\", which would change the carried texts with output.carry = \"reencode\"",
        ),
    ] {
        let text = match text {
            "" => String::new(),
            // TOML allows a table only once.
            _ if text.contains("\n[output]\n") => {
                let (input, output) = text.split_once("[output]\n").expect("two tables");
                PATHS.replace("[input]\n", input) + output
            }
            _ if text.starts_with("[output]") => PATHS.to_owned() + &text["[output]\n".len()..],
            _ if text.starts_with("[input]") => PATHS.replace("[input]\n", text),
            _ => PATHS.to_owned() + "\n" + text,
        };
        let error = check(&text).expect_err(&text).to_string();
        assert!(error.contains(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn column_choice_comes_from_keep_or_drop() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (text, expected) in [
        ("", ColumnChoice::All),
        ("keep = [\"id\", \"a,b\"]", ColumnChoice::Keep(names(&["id", "a,b"]))),
        ("drop = [\"files\"]", ColumnChoice::Drop(names(&["files"]))),
    ] {
        let config = check(&format!("{PATHS}{text}\n")).expect(text);
        assert_eq!(config.output.columns, expected, "{text}");
    }
    let mut raw = parse(PATHS).expect("valid");
    raw.set("output.keep", "id, title", Origin::Flag("--keep")).expect("valid");
    let config = raw.check(&environment()).expect("valid");
    assert_eq!(config.output.columns, ColumnChoice::Keep(names(&["id", "title"])));
    let repeated = raw.set("output.keep", "id,id", Origin::Flag("--keep")).expect_err("refused");
    assert_eq!(repeated.to_string(), "--keep has the name \"id\" twice");
}

#[test]
fn row_group_rows_are_in_force_with_reencode_only() {
    for (text, expected) in [
        ("", None),
        ("carry = \"reencode\"", Some("25000")),
        ("carry = \"reencode\"\nrow_group_rows = 7", Some("7")),
    ] {
        let config = check(&format!("{PATHS}{text}\n")).expect(text);
        let line = config.effective.iter().find(|line| line.key == "output.row_group_rows");
        assert_eq!(line.map(|line| line.value.as_str()), expected, "{text}");
    }
}

#[test]
fn flag_overrides_variable_and_variable_overrides_file() {
    let variables = [
        ("HOME".to_owned(), "/h".to_owned()),
        ("REEMBED_BATCH_START".to_owned(), "7".to_owned()),
        ("REEMBED_OUTPUT_COLUMN".to_owned(), "v".to_owned()),
    ];
    let environment = Environment::new(variables);
    let mut raw = parse(&format!("{PATHS}[batch]\nstart = 3\n")).expect("valid");
    raw.apply_environment(&environment).expect("valid");
    raw.set("output.column", "w", Origin::Flag("--column")).expect("valid");
    let config = raw.check(&environment).expect("valid");
    assert_eq!(config.batch.requested.start.map(NonZeroUsize::get), Some(7));
    assert_eq!(config.embeddings.first.column, "w");
    let origin = |key: &str| {
        config.effective.iter().find(|line| line.key == key).map(|line| line.origin.to_string())
    };
    assert_eq!(origin("batch.start").as_deref(), Some("REEMBED_BATCH_START"));
    assert_eq!(origin("output.column").as_deref(), Some("--column"));
    assert_eq!(origin("input.path").as_deref(), Some("conf/pipeline.toml:2"));
    assert_eq!(origin("input.id").as_deref(), Some("default"));
}

#[test]
fn prompt_of_the_highest_layer_is_the_one_in_force() {
    const KEYS: [&str; 2] = ["model.prompt", "model.prompt_name"];
    let file = |key: &str| format!("{PATHS}[model]\n{} = \"of the file\"\n", &key[6..]);
    let variable = || Origin::Variable("REEMBED_X".to_owned());
    let choice = |key: &str, value: &str| match key {
        "model.prompt" => PromptChoice::Text(value.to_owned()),
        _ => PromptChoice::Named(value.to_owned()),
    };
    for (low, high) in [(0, 1), (1, 0)].map(|(low, high)| (KEYS[low], KEYS[high])) {
        for origin in [variable(), Origin::Flag("--x")] {
            let mut raw = parse(&file(low)).expect("settings");
            raw.set(high, "higher", origin.clone()).expect("a value");
            let config = raw.check(&environment()).expect("a valid configuration");
            assert_eq!(
                config.embeddings.first.model.text.prompt,
                choice(high, "higher"),
                "{high}, {origin}"
            );
            let in_force = config.effective.iter().map(|effective| effective.key);
            let in_force: Vec<&str> = in_force.filter(|key| KEYS.contains(key)).collect();
            assert_eq!(in_force, [high], "{origin}");

            // Two of one layer say nothing about which one is meant.
            raw.set(low, "as high", origin).expect("a value");
            let refused = raw.check(&environment()).expect_err("two prompts").to_string();
            assert!(refused.contains("and so is `model.prompt`"), "{refused}");
        }
        let config = check(&file(low)).expect("a valid configuration");
        assert_eq!(config.embeddings.first.model.text.prompt, choice(low, "of the file"));
    }
}

#[test]
fn names_of_version_0_1_are_refused_with_the_new_name() {
    let refused = |outcome: Result<()>, old: &str, now: &str, action: &str| {
        let error = outcome.expect_err(old);
        assert_eq!(error.kind(), ErrorKind::Config, "{old}");
        let message = error.to_string();
        assert!(message.contains(old) && message.contains(now), "{old} gave {message:?}");
        let advice = error.advice_text().unwrap_or_default();
        assert!(advice.contains(action), "{old} gave {advice:?}");
    };
    let table = parse("[store]\nmode = \"off\"\n").map(drop);
    refused(table, "[store]", "[cache]", "rename it to [cache]");
    for (old, now) in RENAMED {
        let outcome = RawConfig::default().set(old, "off", Origin::Flag("--set"));
        refused(outcome, &format!("`{old}`"), &format!("`{now}`"), "pipeline.toml");
    }
    let variable = ("REEMBED_STORE_MODE".to_owned(), "off".to_owned());
    let outcome = RawConfig::default().apply_environment(&Environment::new([variable]));
    refused(outcome, "REEMBED_STORE_MODE", "REEMBED_CACHE_MODE", "rename it");
}

#[test]
fn every_variable_is_one_of_a_setting_or_of_the_list() {
    for (name, expected) in [
        ("REEMBED_BATCH_START", None),
        ("REEMBED_CACHE", None),
        ("REEMBED_PYTHON", None),
        ("REEMBED_MODEL_CACHE", None),
        ("REEMBED", None),
        ("reembed_batch_start", None),
        ("REEMBED_BATCH_STRAT", Some("did you mean `REEMBED_BATCH_START`?")),
        ("REEMBED_MODEL_CASHE", Some("did you mean `REEMBED_MODEL_CACHE`?")),
        ("REEMBED_", Some("unknown variable REEMBED_")),
    ] {
        let environment = Environment::new([(name.to_owned(), "1".to_owned())]);
        let unknown = super::unknown_variables(&environment);
        let said: Vec<String> = unknown.iter().map(Error::to_string).collect();
        match expected {
            None => assert_eq!(said, [""; 0], "{name}"),
            Some(part) => assert!(said.len() == 1 && said[0].contains(part), "{said:?}"),
        }
    }
}

#[test]
fn path_from_a_flag_may_hold_bytes_that_are_not_utf_8() {
    let path = Path::new(OsStr::from_bytes(b"in\xff.parquet"));
    let flag = || Origin::Flag("--input");
    let mut raw = parse(PATHS).expect("valid");
    raw.set_path("input.path", path, flag()).expect("a path");
    assert_eq!(raw.check(&environment()).expect("valid").input.path, path);
    for (key, path) in [("input.path", ""), ("input.pth", "in.parquet"), ("batch.start", "x")] {
        let error = raw.set_path(key, Path::new(path), flag()).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
}

#[test]
fn every_default_parses_as_its_kind() {
    let defaults = RawConfig::default().with_defaults().expect("valid defaults");
    for setting in SETTINGS {
        let has_default = matches!(setting.default, DefaultValue::Value(_));
        assert_eq!(defaults.values.contains_key(setting.key), has_default, "{}", setting.key);
        assert!(!defaults.is_set(setting.key), "{}", setting.key);
    }
}
