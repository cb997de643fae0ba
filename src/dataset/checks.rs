//! What is checked before the first table: models, texts, and how much would be deleted.

use std::path::PathBuf;

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::comparison::Plan;
use super::inputs::Dataset;
use super::manifest::TableRecord;
use super::plan::excess_loss;
use crate::config::{Config, Percent};
use crate::footer::Lineage;
use crate::pipeline::{Models, prepare};
use crate::publish::ExistingTarget;
use crate::vectors::VectorForm;

/// The first output that exists, which tells the model of the dataset.
///
/// # Errors
/// `Target`, when it cannot be read.
pub fn first_existing(dataset: &Dataset) -> Result<(PathBuf, ExistingTarget)> {
    // A shard may embed rows of any table.
    let others = dataset.others.iter().filter(|_| dataset.may_split());
    let tables = dataset.taken.iter().chain(others);
    let outputs = tables.map(|table| dataset.places.root().join(&table.below));
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

/// The shrink guard: whether so many of all published tables and rows may be deleted.
///
/// # Errors
/// `Target`, without the output directory.
pub fn check_gone<'r>(
    all: impl Iterator<Item = &'r TableRecord>,
    gone: &[&TableRecord],
    max_shrink: Percent,
) -> Result<()> {
    let add = |(tables, rows): (u64, u64), table: &TableRecord| (tables + 1, rows + table.rows);
    let lost = gone.iter().fold((0, 0), |sum, table| add(sum, table));
    let all = all.fold((0, 0), add);
    let Some(percent) = excess_loss(lost, all, max_shrink) else { return Ok(()) };
    let message = format!(
        "the inputs of {} of {} tables are gone, {percent} % of the tables or rows; at most {} % are deleted",
        lost.0,
        all.0,
        max_shrink.get()
    );
    Err(Error::new(ErrorKind::Target, message)
        .advice("check the input; if it is right, use --allow-shrink once"))
}
