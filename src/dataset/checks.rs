//! What is checked before the first table: models, texts, and how much would be deleted.

use std::path::PathBuf;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::comparison::Plan;
use super::inputs::Dataset;
use super::known::Known;
use super::manifest::TableRecord;
use super::plan::excess_loss;
use crate::config::{Config, OnMissing};
use crate::footer::Lineage;
use crate::pipeline::{Models, prepare};
use crate::publish::ExistingTarget;
use crate::vectors::VectorForm;

/// The first output that exists, which tells the model of the dataset.
///
/// # Errors
/// `Target`, when it cannot be read.
pub fn first_existing(dataset: &Dataset) -> Result<(PathBuf, ExistingTarget)> {
    let outputs = dataset.taken.iter().map(|table| dataset.places.root().join(&table.below));
    let first = outputs.into_iter().find(|output| output.symlink_metadata().is_ok());
    let path = first.unwrap_or_else(|| dataset.places.root().join("none"));
    let existing = ExistingTarget::read(&path)?;
    Ok((path, existing))
}

/// Checks that the vectors of the models may replace those of the existing output, and returns the form of each
/// column.
///
/// # Errors
/// `OtherModel`, without the file; `Config`, when the model cannot have the form.
pub fn check_columns(
    config: &Config,
    existing: &ExistingTarget,
    models: &Models<'_>,
) -> Result<Vec<(Lineage, VectorForm)>> {
    let switches = config.run.replaces_other_vectors();
    let of_columns = config.embeddings.iter().zip(models.by_column());
    let column = of_columns.map(|(embedding, model)| {
        let lineage = Lineage::new(&model.facts().identity);
        existing.file().check_lineage(&embedding.column, &lineage, switches)?;
        Ok((lineage, VectorForm::new(&embedding.vector, model.facts())?))
    });
    column.collect()
}

/// Checks before any work that the settings make the texts of the existing outputs: the first one tells.
///
/// # Errors
/// `OtherModel`, naming the output.
pub fn check_texts(dataset: &Dataset, plan: &Plan<'_>) -> Result<()> {
    let root = dataset.places.root();
    let mut exists = plan.publish.iter().filter(|(table, _)| root.join(&table.below).exists());
    match exists.next().map(|(table, _)| prepare(&dataset.config_of(table))) {
        Some(Err(error)) if error.kind() == ErrorKind::OtherModel => Err(error),
        // Whatever else is wrong concerns this table alone.
        _ => Ok(()),
    }
}

/// The shrink guard of tables and rows whose outputs would be deleted.
///
/// # Errors
/// `Target`, naming the output directory.
pub fn check_gone(config: &Config, known: &Known, gone: &[&TableRecord]) -> Result<()> {
    if config.dataset.on_missing != OnMissing::Delete {
        return Ok(());
    }
    let rows = |tables: &mut dyn Iterator<Item = &TableRecord>| {
        tables.fold((0, 0), |(tables, rows), table| (tables + 1, rows + table.rows))
    };
    let lost = rows(&mut gone.iter().copied());
    let all = rows(&mut known.tables.values());
    match excess_loss(lost, all, config.publish.max_shrink) {
        None => Ok(()),
        Some(percent) => {
            let message = format!(
                "the inputs of {} of {} tables are gone, {percent} % of the tables or rows; at most {} % are deleted",
                lost.0,
                all.0,
                config.publish.max_shrink.get()
            );
            Err(Error::new(ErrorKind::Target, message).in_file(config.output.path()).advice(
                "check the input; if it is right, run once with --allow-shrink, or raise `publish.max_shrink`",
            ))
        }
    }
}
