//! `reembed init`: writes a commented `pipeline.toml`, with the columns of a table if one is named.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{self, Path, PathBuf};

use anyhow::Result;
use arrow::datatypes::Schema;
use reembed::config::{TomlValue, json_schema, template};
use reembed::reader::{self, ColumnGuess};
use reembed::{Error, ErrorKind};

use crate::cli::InitArgs;
use crate::exit::Exit;
use crate::text::{printable, printable_path};
use crate::{atomic_file, print};

/// `reembed init`.
pub fn init(args: &InitArgs) -> Result<Exit> {
    if args.schema {
        let schema = serde_json::to_string_pretty(&json_schema())?;
        print::result(&format!("{schema}\n"))?;
        return Ok(Exit::Done);
    }
    let text = match &args.input {
        Some(input) => template_for(input, &args.config)?,
        None => template(&[], &[]),
    };
    if args.config == Path::new("-") {
        print::result(&text)?;
        return Ok(Exit::Done);
    }
    write(&args.config, &text, args.force)?;
    print::result_or_warn(&next_steps(args));
    Ok(Exit::Done)
}

fn next_steps(args: &InitArgs) -> String {
    let config = printable_path(&args.config);
    let command = match config == "pipeline.toml" {
        true => "reembed run".to_owned(),
        false => format!("reembed run --config {config}"),
    };
    let review = match args.input {
        Some(_) => "review its columns",
        None => "set input.path and output.path",
    };
    format!("wrote {config}; {review}, then start `{command}`\n")
}

/// The template with the paths and columns of a table, for a file at `config`.
fn template_for(input: &Path, config: &Path) -> Result<String> {
    let schema = reader::read_schema(input)?;
    let guess = ColumnGuess::from_schema(&schema);
    let Some(text) = &guess.title else {
        let message =
            format!("it has no column of strings; the columns are {}", column_list(&schema));
        return Err(Error::new(ErrorKind::Input, message)
            .in_file(input)
            .advice("name a table with a column of strings")
            .into());
    };
    let path = path_from(config, input)?;
    let path = path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::Input, "the path is not UTF-8, so pipeline.toml cannot name it")
            .in_file(input)
            .advice("rename the file, or leave INPUT out and run with --input")
    })?;
    let output = output_for(input, config);
    let mut set = vec![("input.path", TomlValue::from(path)), ("output.path", output.into())];
    set.extend(guess.id.as_deref().map(|id| ("input.id", id.into())));
    // A column of the default name that holds no lists of strings would be refused.
    let has_other_files = guess.files.is_none() && schema.column_with_name("files").is_some();
    if guess.is_task_row() {
        let description = guess.description.as_deref().unwrap_or("");
        set.extend([
            ("input.title", text.as_str().into()),
            ("input.description", description.into()),
        ]);
        let files = guess.files.as_deref().or(has_other_files.then_some(""));
        set.extend(files.map(|files| ("input.files", files.into())));
    } else {
        let texts = [Some(text), guess.description.as_ref(), guess.files.as_ref()];
        let texts: Vec<TomlValue> =
            texts.into_iter().flatten().map(|name| TomlValue::from(name.as_str())).collect();
        set.push(("text.columns", TomlValue::Array(texts)));
    }
    let columns = format!("Columns of {}: {}.", printable_path(input), column_list(&schema));
    Ok(template(&set, &[&columns]))
}

/// The path that leads to `input` from a configuration at `config`. Relative paths in a configuration start at its
/// directory, so the path becomes absolute if that is not the current one.
fn path_from(config: &Path, input: &Path) -> Result<PathBuf> {
    let directory = config.parent().unwrap_or(Path::new(""));
    let is_current = directory.components().all(|part| part == path::Component::CurDir);
    if is_current || input.is_absolute() {
        return Ok(input.to_owned());
    }
    path::absolute(input).map_err(|cause| {
        let message = "cannot make the path absolute";
        Error::new(ErrorKind::Input, message).in_file(input).caused_by(cause).into()
    })
}

/// `out/NAME` from a configuration at `config`, or another name if that is the input.
fn output_for(input: &Path, config: &Path) -> String {
    let name = input.file_name().and_then(|name| name.to_str()).unwrap_or("table.parquet");
    let output = format!("out/{name}");
    let absolute = |path: &Path| path::absolute(path).ok();
    match absolute(&config.with_file_name(&output)) == absolute(input) {
        true => format!("out/embedded-{name}"),
        false => output,
    }
}

/// `id (Int64), title (Utf8)`; the first columns of a wide table.
fn column_list(schema: &Schema) -> String {
    const MAX_COLUMNS: usize = 100;
    const MAX_TYPE_CHARS: usize = 60;
    let column = |field: &arrow::datatypes::FieldRef| {
        let mut data_type = field.data_type().to_string();
        if let Some((end, _)) = data_type.char_indices().nth(MAX_TYPE_CHARS) {
            data_type.truncate(end);
            data_type.push('…');
        }
        printable(&format!("{} ({data_type})", field.name()))
    };
    let fields = schema.fields();
    let mut columns: Vec<String> = fields.iter().take(MAX_COLUMNS).map(column).collect();
    if fields.len() > MAX_COLUMNS {
        columns.push(format!("and {} more", fields.len() - MAX_COLUMNS));
    }
    columns.join(", ")
}

/// Writes the file. An existing one is replaced with `force` only.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Error> {
    let written = match force {
        true => atomic_file::write(path, text),
        false => write_new(path, text),
    };
    written.map_err(|cause| {
        let error = |message: &str| Error::new(ErrorKind::Target, message).in_file(path);
        match cause.kind() {
            // The message says all that the cause does.
            io::ErrorKind::AlreadyExists => error("the file exists already")
                .advice("replace it with --force, or name another file with --config"),
            _ => error("the file cannot be written")
                .advice("name another file with --config")
                .caused_by(cause),
        }
    })
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use reembed::Environment;
    use reembed::config::RawConfig;

    use super::*;
    use crate::sample;

    #[test]
    fn template_for_a_table_names_it_and_its_columns() {
        let directory = tempfile::tempdir().expect("a directory");
        let input = directory.path().join("tasks.parquet");
        sample::write_tasks(&input, sample::task_rows(3, 42)).expect("a table");
        let config = directory.path().join("pipeline.toml");
        let text = template_for(&input, &config).expect("a template");
        let head = text.split("\n[").next().expect("a head").replace("\n# ", " ");
        assert!(
            head.contains("tasks.parquet: id (Utf8), title (Utf8), description (Utf8)"),
            "{head}"
        );
        let raw = RawConfig::parse(&text, &config).expect("TOML");
        let environment = Environment::new([("HOME".to_owned(), "/nowhere".to_owned())]);
        let checked = raw.check(&environment).expect("a configuration");
        assert_eq!(checked.input.path, input);
        assert_eq!(checked.output.path(), directory.path().join("out/tasks.parquet"));
        assert_eq!(
            checked.embeddings.first.text.to_string(),
            "{title}\n{description}\nFiles: {files}"
        );
    }

    #[test]
    fn input_path_starts_at_the_configuration() {
        let absolute = path::absolute("data/tasks.parquet").expect("a current directory");
        for (config, input, expected) in [
            ("pipeline.toml", "data/tasks.parquet", Path::new("data/tasks.parquet")),
            ("./pipeline.toml", "data/tasks.parquet", Path::new("data/tasks.parquet")),
            ("-", "data/tasks.parquet", Path::new("data/tasks.parquet")),
            ("conf/pipeline.toml", "data/tasks.parquet", &absolute),
            ("../pipeline.toml", "data/tasks.parquet", &absolute),
            ("conf/pipeline.toml", "/data/tasks.parquet", Path::new("/data/tasks.parquet")),
        ] {
            let found = path_from(Path::new(config), Path::new(input)).expect("a path");
            assert_eq!(found, expected, "{config}");
        }
    }

    #[test]
    fn output_is_never_the_input() {
        for (input, config, output) in [
            ("data/tasks.parquet", "pipeline.toml", "out/tasks.parquet"),
            ("out/tasks.parquet", "pipeline.toml", "out/embedded-tasks.parquet"),
            ("./out/tasks.parquet", "pipeline.toml", "out/embedded-tasks.parquet"),
            ("out/tasks.parquet", "conf/pipeline.toml", "out/tasks.parquet"),
            ("conf/out/tasks.parquet", "conf/pipeline.toml", "out/embedded-tasks.parquet"),
        ] {
            assert_eq!(output_for(Path::new(input), Path::new(config)), output, "{input}");
        }
    }

    #[test]
    fn column_list_is_bounded_and_printable() {
        let field = |name: &str| Field::new(name, DataType::Utf8, true);
        let schema = Schema::new(vec![field("id"), field("a\nb")]);
        assert_eq!(column_list(&schema), "id (Utf8), a b (Utf8)");
        let wide: Vec<Field> = (0..102).map(|number| field(&format!("c{number}"))).collect();
        assert!(column_list(&Schema::new(wide)).ends_with("c99 (Utf8), and 2 more"));
    }

    #[test]
    fn existing_file_is_replaced_with_force_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipeline.toml");
        write(&path, "first", false).expect("a new file");
        let error = write(&path, "second", false).expect_err("the file exists");
        assert_eq!(error.kind(), ErrorKind::Target);
        assert_eq!(fs::read_to_string(&path).expect("text"), "first");
        write(&path, "second", true).expect("--force");
        assert_eq!(fs::read_to_string(&path).expect("text"), "second");
        write(&directory.path().join("no/pipeline.toml"), "", false).expect_err("no directory");
    }
}
