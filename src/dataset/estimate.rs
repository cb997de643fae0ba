//! What a run over a dataset would do and cost.

use reembed_encoder::error::Result;
use reembed_encoder::stop::Stop;

use super::checks::{check_columns, first_existing};
use super::comparison::Plan;
use super::inputs::Dataset;
use super::known::Known;
use super::published;
use super::settings::settings_digest;
use super::split::split_tables;
use crate::dry_run::{Estimate, estimate_tables};
use crate::events::{Event, TableCounts};
use crate::pipeline::{Models, check_models, prepare};
use crate::publish::ExistingTarget;
use crate::vectors::VectorForm;

/// Reads the tables that a run would publish, and estimates its cost. Tables that are in place are not opened.
/// `on_models` hears of the models before.
///
/// # Errors
/// Those of a run up to the inference stage; the first table that is refused ends the estimate.
pub fn estimate(
    dataset: &Dataset,
    on_models: &dyn Fn(&Models<'_>),
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<(Estimate, TableCounts)> {
    let config = &dataset.config;
    let mut known = Known::read(dataset)?;
    let (path, existing) = first_existing(dataset)?;
    let stop = Stop::new();
    let models = Models::find(config, &existing, false, &stop, on_event)?;
    let columns =
        check_columns(config, &existing, &models).map_err(|error| error.in_file(&path))?;
    let settings = settings_digest(config, &columns);
    let split = split_tables(dataset, &mut known, &settings);
    let plan = Plan::new(dataset, &known, &settings).without(&split);
    on_models(&models);
    let forms: Vec<VectorForm> = columns.into_iter().map(|(_, form)| form).collect();
    let published = published::look(dataset, &known, &stop);
    let estimate = estimate_tables(config, &models, &forms, published.as_ref(), |tables| {
        for record in &plan.unchanged {
            let columns = record.columns.iter();
            let columns = columns.map(|counts| (counts.null_rows, counts.truncated_rows));
            tables.add_unchanged(record.rows, columns);
        }
        for (table, _) in &plan.publish {
            let config = &dataset.config_of(table);
            let (reader, existing): (_, ExistingTarget) = prepare(config)?;
            check_models(config, &reader, &existing, &models, &stop)?;
            tables.add(config, &reader, &existing)?;
        }
        for one in &split {
            let config = &dataset.config_of(one.table);
            for range in one.to_embed() {
                let (reader, existing) = prepare(config)?;
                let reader = reader.with_groups(one.groups(range)?);
                check_models(config, &reader, &existing, &models, &stop)?;
                tables.add(config, &reader, &existing)?;
            }
        }
        Ok(())
    })?;
    let counts = TableCounts {
        listed: dataset.listing.tables.len() as u64,
        taken: (dataset.taken.len() + split.iter().filter(|one| !one.is_taken).count()) as u64,
        published: plan.publish.len() as u64,
        unchanged: plan.unchanged.len() as u64,
        gone: plan.gone.len() as u64,
        under_way: split.len() as u64,
        ..TableCounts::default()
    };
    Ok((estimate, counts))
}
