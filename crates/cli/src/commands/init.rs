//! `reembed init`: a commented `pipeline.toml`, with the columns of a table where one is named.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use reembed::config::{json_schema, template};
use reembed::reader::{self, ColumnGuess};
use reembed::{Error, ErrorKind};

use crate::cli::InitArgs;
use crate::exit::Exit;
use crate::print;

/// `reembed init`.
pub fn init(args: &InitArgs) -> Result<Exit> {
    if args.schema {
        let schema = serde_json::to_string_pretty(&json_schema())?;
        print::result(&format!("{schema}\n")).context("the schema cannot be printed")?;
        return Ok(Exit::Done);
    }
    let text = match &args.input {
        Some(input) => for_input(input)?,
        None => template(&[]),
    };
    if args.config == Path::new("-") {
        print::result(&text).context("the configuration cannot be printed")?;
        return Ok(Exit::Done);
    }
    write(&args.config, &text, args.force)?;
    let path = print::safe(&args.config.display().to_string());
    let next = match args.input {
        Some(_) => "look it over, then start `reembed run`",
        None => "set input.path and output.path in it, then start `reembed run`",
    };
    print::result(&format!("{path} is written; {next}\n"))
        .context("the result cannot be printed")?;
    Ok(Exit::Done)
}

/// The template with the paths and columns of a table.
fn for_input(input: &Path) -> Result<String> {
    let refuse = |message: &str, advice: &str| {
        Error::new(ErrorKind::Input, message).in_file(input).advice(advice)
    };
    let schema = reader::schema(input)?;
    let guess = ColumnGuess::from_schema(&schema);
    let path = input.to_str().ok_or_else(|| {
        refuse("its path is not UTF-8", "move it, or name it by --input when you run")
    })?;
    let name = input.file_name().and_then(|name| name.to_str()).unwrap_or("table.parquet");
    let (Some(id), Some(title)) = (guess.id, guess.title) else {
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("`{}` ({})", print::safe(field.name()), field.data_type()))
            .collect();
        let message = format!(
            "it needs a column that names rows and a column of strings; there are {}",
            columns.join(", ")
        );
        return Err(refuse(&message, "name a table that has both").into());
    };
    let output = format!("out/{name}");
    let mut set = vec![
        ("input.path", path),
        ("input.id", &id),
        ("input.title", &title),
        ("input.description", guess.description.as_deref().unwrap_or("")),
        ("output.path", &output),
    ];
    if let Some(files) = &guess.files {
        set.push(("input.files", files));
    }
    Ok(template(&set))
}

/// Writes a new file, or another one's content where `force` says so.
fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    match force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let refuse = |message: &str, cause: std::io::Error, advice: &str| {
        Error::new(ErrorKind::Target, message).in_file(path).advice(advice).caused_by(cause)
    };
    let mut file = options.open(path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AlreadyExists => {
            refuse("the file exists", cause, "replace it with --force, or name another by --config")
        }
        _ => refuse("the file cannot be written", cause, "name another one by --config"),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|cause| {
        refuse("the file cannot be written", cause, "check that its disk has space")
    })?;
    Ok(())
}
