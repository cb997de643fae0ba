//! The keys of an output that has none, made from its own texts: one of an earlier version, or without `_reembed`.

use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::stop::Stop;
use reembed_encoder::task::ContentKeys;

use super::keys::StagedKeys;
use crate::carried;
use crate::config::{Carry, Config, IdColumn, InputConfig, TextUse};
use crate::footer::{Footer, FooterForm};
use crate::footer_recipe::recipe_of;
use crate::hidden_names::OutputPlace;
use crate::publish::{self, ExistingFile, ExistingTarget};
use crate::published::{KeyFile, KeyFileWriter, KeyedColumn, RowKey, ShortKey, footer_digest};
use crate::reader::{Decoded, Reader, TableFile};
use crate::text::TextRecipe;
use crate::vectors::VectorForm;

/// Writes the keys of an existing output that has none, if its columns were copied and it carries its texts.
///
/// # Errors
/// `Stopped` when a stop is requested. Whatever else stands against it, the output has no keys then, and its changed row
/// groups are computed.
pub fn make(
    config: &Config,
    place: &OutputPlace,
    existing: &ExistingTarget,
    stop: &Stop,
) -> Result<()> {
    let ExistingFile::Output(footer) = existing.file() else { return Ok(()) };
    if footer.carry != Carry::Copy {
        return Ok(());
    }
    match write(config, place, footer, existing, stop) {
        Err(error) if matches!(error.kind(), ErrorKind::Stopped(_)) => Err(error),
        _ => Ok(()),
    }
}

fn write(
    config: &Config,
    place: &OutputPlace,
    footer: &Footer,
    existing: &ExistingTarget,
    stop: &Stop,
) -> Result<()> {
    let table = TableFile::open(place.path())?;
    let digest = footer_digest(&table);
    if KeyFile::open(&place.keys(), &digest).is_some() {
        return Ok(());
    }
    let entry = table.footer_entry()?;
    let is_own =
        entry.is_some_and(|entry| Footer::parse(&entry).is_ok_and(|found| found == *footer));
    if !is_own || table.rows() != footer.rows || !has_its_columns(&table, footer, stop)? {
        return Err(refused());
    }
    let embeddings = footer.embeddings();
    let recipes = embeddings.iter().map(|embedding| recipe_of(embedding.text, &table));
    let recipes = recipes.collect::<Result<Vec<TextRecipe>>>()?;
    let recipes: Vec<&TextRecipe> = recipes.iter().collect();
    let keys: Vec<ContentKeys> =
        embeddings.iter().map(|one| ContentKeys::new(&one.lineage.fingerprint)).collect();
    let on_empty = footer.on_empty.unwrap_or(config.output.on_empty);
    let columns = embeddings.iter().map(|embedding| {
        let dim = embedding.lineage.model.dimension;
        let is_lossless = |form: &FooterForm| {
            VectorForm::from_footer(form, dim, None).is_some_and(|form| form.is_lossless())
        };
        let is_lossless = embedding.form.is_some_and(is_lossless);
        KeyedColumn { column: embedding.column.to_owned(), is_lossless }
    });
    let input =
        InputConfig { path: place.path().to_owned(), id: IdColumn::None, ..config.input.clone() };
    let reader = Reader::with_table(table, &input, &recipes, Decoded::Text)?;
    let file = publish::create_temporary(place, existing.ownership())?;
    let failed = |cause: std::io::Error| {
        Error::new(ErrorKind::Output, "the keys of its rows cannot be written").caused_by(cause)
    };
    let mut writer = KeyFileWriter::new(file, columns.collect()).map_err(failed)?;
    for chunk in reader.chunks() {
        stop.check()?;
        let chunk = chunk?;
        let mut texts: Vec<_> = chunk.texts.iter().map(strings).collect();
        for _ in 0..chunk.len() {
            let of_columns = texts.iter_mut().zip(&keys).map(|(texts, keys)| {
                let text = texts.next().filter(|text| on_empty.use_of(text) == TextUse::Embed);
                let key = text.map(|text| ShortKey::from(&keys.key(text)));
                RowKey { key, measure: None }
            });
            writer.add(of_columns).map_err(failed)?;
        }
    }
    let file = writer.finish(&digest).map_err(failed)?;
    let keys = file.reopen().ok().and_then(KeyFile::in_file).ok_or_else(refused)?;
    StagedKeys::new(file, keys).put(place).map(drop)
}

/// Whether the carried columns have the bytes that were written: texts that somebody has changed are not those of the
/// vectors.
fn has_its_columns(table: &TableFile, footer: &Footer, stop: &Stop) -> Result<bool> {
    let Some(digests) = &footer.digests else { return Ok(false) };
    let metadata = table.metadata()?;
    let roots = metadata.schema.roots.iter();
    let is_carried: Vec<bool> = roots.map(|root| !footer.is_vectors(&root.name)).collect();
    let found = carried::digests(table, &metadata, &is_carried, || stop.check())?;
    Ok(found == digests.carried)
}

fn refused() -> Error {
    Error::new(ErrorKind::Output, "its keys cannot be made from its texts")
}
