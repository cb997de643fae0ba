//! The models that made the vectors of an output, to embed a sample of its rows again.

use reembed::config::RawConfig;
use reembed::footer::{EmbeddingFooter, Footer, Lineage};
use reembed::vectors::Ranges;
use reembed::{Error, ErrorKind, Event};
use reembed_encoder::model::{self, Model};

use crate::cli::VerifyArgs;
use crate::commands::config::environment;
use crate::progress::Progress;
use crate::text::printable;

/// Loads the model of each vector column, and the ranges of its components if it needs them.
pub fn load_models(
    raw: &RawConfig,
    footer: &Footer,
    args: &VerifyArgs,
    progress: &Progress,
) -> reembed::Result<Vec<(Model, Option<Ranges>)>> {
    let load = |embedding: EmbeddingFooter<'_>| {
        let raw = raw.of_column(embedding.column);
        let model = load_model(&raw, &embedding, args, progress)?;
        progress.model_notes(&model.facts.notes);
        check_model(&model, &embedding, args)?;
        // Other vectors have no ranges, and need no file of them.
        let needs_ranges = embedding.form.is_some_and(|form| form.ranges.is_some());
        let ranges = raw.ranges_path().filter(|_| needs_ranges);
        Ok((model, ranges.as_deref().map(Ranges::read).transpose()?))
    };
    footer.embeddings().into_iter().map(load).collect()
}

/// Loads the model of a vector column: as the footer says, unless the configuration says otherwise.
fn load_model(
    raw: &RawConfig,
    footer: &EmbeddingFooter<'_>,
    args: &VerifyArgs,
    progress: &Progress,
) -> reembed::Result<Model> {
    let by_footer = ["model.id", "model.path"].iter().all(|key| !raw.is_set(key));
    let on_progress = |event| progress.event(Event::Model(event));
    raw.check_model_of(&footer.lineage.model, &environment())
        .and_then(|config| model::load(&config, &on_progress))
        .map_err(|error| match error.kind() {
            ErrorKind::Model | ErrorKind::Fetch if by_footer => error.in_file(&args.output).advice(format!(
                "the footer calls the model \"{}\": name its directory with --model-path, or check \
                 the rest with --sample 0",
                printable(&footer.lineage.model.id)
            )),
            _ => error,
        })
}

/// Refuses a model that did not make the vectors of a column.
fn check_model(
    model: &Model,
    footer: &EmbeddingFooter<'_>,
    args: &VerifyArgs,
) -> reembed::Result<()> {
    let differences = Lineage::new(&model.facts.identity).differences(footer.lineage);
    if differences.is_empty() {
        return Ok(());
    }
    let column = footer.column;
    let message = format!("its vectors come from another model: {}", differences.join("; "));
    Err(Error::new(ErrorKind::OtherModel, message)
        .in_file(&args.output)
        .at(format!("column `{}`", printable(column)))
        .advice("verify it with its own model, or with --sample 0")
        .details(model.facts.identity.file_differences(&footer.lineage.model)))
}
