//! What is checked before a row is read: columns, types, the existing output, the model.

use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;

use super::models::Models;
use crate::cache;
use crate::carried;
use crate::config::{Carry, Config, Engine, OnEmpty, Preset};
use crate::digest::TableHasher;
use crate::footer::Lineage;
use crate::format::metadata::Metadata;
use crate::format::output::Columns;
use crate::format::projection::Types;
use crate::format::schema::{Annotation, Text};
use crate::publish::{self, ExistingFile, ExistingTarget};
use crate::reader::{self, Decoder, Reader, RecipeColumns, TableFile};
use crate::row_parts;
use crate::vectors::{Ranges, VectorForm};
use crate::writer;

/// Carried columns that are decoded together to check them: each scan parses the footer again.
const COLUMNS_PER_SCAN: usize = 64;

/// Checks everything that does not need the model: the input and its columns, the output path and
/// the existing file. Nothing is created.
///
/// # Errors
/// `Input`, `Target` or `Config`.
pub fn prepare(config: &Config) -> Result<(Reader, ExistingTarget)> {
    for embedding in config.embeddings.iter() {
        if embedding.model.engine == Engine::Packed {
            embedding.model.isa()?;
        }
        // Whether they are those of the model shows only when it is loaded.
        embedding.vector.ranges.as_deref().map(Ranges::read).transpose()?;
    }
    let table = TableFile::open(&config.input.path)?;
    let columns = check_columns(config, &table)?;
    let (limit, carry) = (config.limit_of(table.rows()), config.carry(table.rows())?);
    let recipes = config.embeddings.recipes();
    let reader = Reader::with_table(table, &config.input, &recipes, carry.into())?;
    let reader = reader.with_limit(limit);
    check_vector_columns(config, &reader)?;
    if carry == Carry::Reencode {
        let metadata = reader.table().metadata()?;
        let needed_by = match config.output.on_empty {
            _ if columns.has_parts => Some("`text.chunk`"),
            OnEmpty::Drop => Some("`output.on_empty`"),
            _ => limit.map(|_| "`run.limit`"),
        };
        writer::check_types(&metadata, reader.schema().fields(), &columns).map_err(|error| {
            let error = error.in_file(&config.input.path);
            match needed_by {
                Some(setting) => error.advice(format!(
                    "leave the columns out with `output.drop`, or run without {setting}: then they \
                     are copied"
                )),
                None => error,
            }
        })?;
    }
    carried_hasher(config, &reader)?;
    let existing = publish::check_output(config, &reader)?;
    check_existing(config, &reader, existing.file())?;
    Ok((reader, existing))
}

/// Checks that the existing output has no other vector columns, and none of other texts.
fn check_existing(config: &Config, reader: &Reader, existing: &ExistingFile) -> Result<()> {
    let switches = config.run.replaces_other_vectors();
    let columns: Vec<&str> = config.embeddings.iter().map(|one| one.column.as_str()).collect();
    let texts = || {
        config.embeddings.iter().zip(reader.columns().texts()).try_for_each(|(embedding, text)| {
            existing.check_text(&embedding.column, text.recipe(), &text.names(), switches)
        })
    };
    existing
        .check_columns(&columns, switches)
        .and_then(|()| texts())
        .map_err(|error| error.in_file(config.output.path()))
}

/// Checks all columns that the configuration names, and tells everything that is wrong at once.
pub(super) fn check_columns(config: &Config, table: &TableFile) -> Result<Columns> {
    let metadata = table.metadata()?;
    let recipes = config.embeddings.recipes();
    let text = reader::check_text_columns(&metadata, &config.input.id, &recipes);
    let columns = carried::select(&metadata, &config.output, &config.embeddings);
    let columns = match (text, columns) {
        (Ok(()), columns) => columns,
        (Err(one), Ok(_)) => Err(one),
        (Err(one), Err(other)) => Err(reader::all_of(vec![one, other])),
    };
    let columns = columns.and_then(|columns| {
        config.output.preset.map_or(Ok(()), |preset| check_preset(preset, &metadata, &columns))?;
        Ok(columns)
    });
    columns.map_err(|error| error.in_file(&config.input.path))
}

/// Checks that the output has the columns that a preset requires.
///
/// # Errors
/// `Input`, without the file, naming the preset and the column.
pub(super) fn check_preset(
    preset: Preset,
    metadata: &Metadata<'_>,
    columns: &Columns,
) -> Result<()> {
    let word = preset.as_str();
    let refuse = |name: &str, lack: &str, advice: &str| {
        Err(Error::new(
            ErrorKind::Input,
            format!("the output would have no column `{name}`{lack}, which output.for = {word:?} requires"),
        )
        .advice(advice))
    };
    let schema = &metadata.schema;
    for (name, is_text) in preset.required_columns() {
        let mut carried =
            schema.roots.iter().zip(&columns.carried).filter(|(_, carried)| **carried);
        let found = carried.find(|(root, _)| root.name == *name);
        match found {
            _ if columns.vectors.iter().any(|vectors| vectors.name == *name) && !*is_text => {}
            None if *is_text => {
                let advice = "add the column to the input, or give a column this name; \
                              `output.keep` and `output.drop` must not leave it out";
                return refuse(name, "", advice);
            }
            None => return refuse(name, "", "remove `output.column`"),
            Some((root, _)) if *is_text => {
                let kind = Annotation::read(&schema.element(root.elements.start));
                if root.elements.len() != 1 || kind != Annotation::Text(Text::String) {
                    return refuse(name, " of strings", "write the column as strings");
                }
            }
            Some(_) => return refuse(name, " of vectors", "remove `output.column`"),
        }
    }
    Ok(())
}

/// The columns of the input that the output carries.
pub(super) fn carried_columns(config: &Config, reader: &Reader) -> Result<Columns> {
    carried::select(&reader.table().metadata()?, &config.output, &config.embeddings)
        .map_err(|error| error.in_file(&config.input.path))
}

/// Checks that no vector column replaces a column of a text or of the ids.
pub(super) fn check_vector_columns(config: &Config, reader: &Reader) -> Result<()> {
    let mut faults = Vec::new();
    for embedding in config.embeddings.iter() {
        let column = &embedding.column;
        let is_id = reader.columns().has_ids() && config.input.id.name() == Some(column);
        let is_text = |text: &RecipeColumns| text.roots().contains(column);
        if is_id || reader.columns().texts().iter().any(is_text) {
            let part = if is_id { "has the ids" } else { "is part of the text" };
            let message = format!("the vectors would replace column `{column}`, which {part}");
            faults.push(
                Error::new(ErrorKind::Input, message).advice("set `output.column` to another name"),
            );
        }
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(reader::all_of(faults).in_file(&config.input.path)),
    }
}

/// Checks everything that needs the models: whether their vectors can have the forms of the
/// configuration and may replace the existing ones, and whether the disk has space for them. Nothing is
/// created. Returns the form of each vector column.
///
/// # Errors
/// `Config`, `OtherModel` or `Target`.
pub fn check_models(
    config: &Config,
    reader: &Reader,
    existing: &ExistingTarget,
    models: &Models<'_>,
    stop: &Stop,
) -> Result<Vec<VectorForm>> {
    let (place, path) = (&config.output.place, config.output.path());
    let switches = config.run.replaces_other_vectors();
    let mut forms = Vec::with_capacity(config.embeddings.len());
    let (mut bytes_per_row, mut growth) = (0, 0);
    for (embedding, model) in config.embeddings.iter().zip(models.by_column()) {
        let facts = model.facts();
        let lineage = Lineage::new(&facts.identity);
        if let Some(size) = embedding.text.chunk() {
            model.get(stop)?.tokenizer.check_chunk_size(size)?;
        }
        let form = VectorForm::new(&embedding.vector, facts)?;
        config.output.preset.map_or(Ok(()), |preset| preset.check_width(form.width()))?;
        existing
            .file()
            .check_lineage(&embedding.column, &lineage, switches)
            .map_err(|error| error.in_file(path))?;
        bytes_per_row += form.bytes_per_row();
        growth += cache::max_growth(&config.cache, place, reader.rows(), lineage.model.dimension);
        forms.push(form);
    }
    check_existing(config, reader, existing.file())?;
    if config.publish.check_space {
        let output = publish::estimate_output_bytes(reader.rows(), bytes_per_row, reader.bytes());
        let cache = cache::path_for(&config.cache, place);
        publish::check_space(path, output, &cache, growth)?;
    }
    Ok(forms)
}

/// A hasher of the carried columns if they are encoded anew; `None` if they are copied.
pub(super) fn carried_hasher(config: &Config, reader: &Reader) -> Result<Option<TableHasher>> {
    match reader.carry() {
        Carry::Copy => Ok(None),
        Carry::Reencode => {
            let columns = carried_columns(config, reader)?;
            let is_made = |position: usize| position >= columns.carried.len();
            let is_hashed = |position: usize| is_made(position) || columns.carried[position];
            let with_parts = || row_parts::schema_with_parts(reader.schema());
            match columns.has_parts {
                true => TableHasher::new(&with_parts(), is_hashed),
                false => TableHasher::new(reader.schema(), is_hashed),
            }
            .map(Some)
            .map_err(|error| error.in_file(&config.input.path))
        }
    }
}

/// Decodes every carried column and drops its values.
pub(super) fn check_carried(config: &Config, reader: &Reader, stop: &Stop) -> Result<()> {
    let columns = carried_columns(config, reader)?;
    let limits = reader.decoder().limits();
    let carried: Vec<usize> =
        (0..columns.carried.len()).filter(|root| columns.carried[*root]).collect();
    let scan = |roots: &[usize]| {
        Decoder::new(reader.table(), roots, Types::Annotated, limits)?.scan(|_| stop.check())
    };
    for roots in carried.chunks(COLUMNS_PER_SCAN) {
        match scan(roots) {
            Err(error) if roots.len() > 1 && error.kind() == ErrorKind::Input => {
                // One has a type that cannot be decoded: each alone tells which.
                let names = &reader.table().metadata()?.schema.roots;
                for root in roots {
                    scan(&[*root])
                        .map_err(|error| error.at(format!("column `{}`", names[*root].name)))?;
                }
            }
            scanned => scanned?,
        }
    }
    Ok(())
}
