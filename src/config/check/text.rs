//! The recipe of a text and the column of the ids.

use std::collections::BTreeMap;

use reembed_encoder::error::Result;
use reembed_encoder::model::chunk_size::ChunkSize;
use reembed_encoder::task::TextTemplate;

use crate::config::IdColumn;
use crate::config::layers::RawConfig;
use crate::config::origin::Origin;
use crate::config::values::Value;
use crate::config::words::Pool;
use crate::text::{TaskColumns, TextRecipe};

/// The ways to write the recipe of a text. One of them is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecipeForm {
    TaskRow,
    Columns,
    Template,
}

impl RecipeForm {
    pub(super) const ALL: [RecipeForm; 3] =
        [RecipeForm::TaskRow, RecipeForm::Columns, RecipeForm::Template];

    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            RecipeForm::TaskRow => {
                &["input.title", "input.description", "input.files", "text.files_prefix"]
            }
            RecipeForm::Columns => &["text.columns"],
            RecipeForm::Template => &["text.template"],
        }
    }
}

impl RawConfig {
    pub(super) fn id_column(&self) -> Result<IdColumn> {
        let name = self.text("input.id")?;
        Ok(match self.is_set("input.id") {
            _ if name.is_empty() => IdColumn::None,
            false => IdColumn::IfPresent(name),
            true => IdColumn::Required(name),
        })
    }

    /// The recipe of the highest layer that has one.
    ///
    /// # Errors
    /// `Config` when a layer has two.
    pub(super) fn text_recipe(&self) -> Result<TextRecipe> {
        let recipe = match self.recipe_form()? {
            RecipeForm::Columns => {
                TextRecipe::columns(self.names("text.columns").unwrap_or_default())
            }
            RecipeForm::Template => {
                let template = self.text("text.template")?;
                TextRecipe::template(&template)
                    .map_err(|wrong| self.value_error("text.template", &wrong.to_string()))?
            }
            RecipeForm::TaskRow => {
                let files_prefix = self.text("text.files_prefix")?;
                TextRecipe::task(self.task_columns()?, &TextTemplate { files_prefix })
            }
        };
        let recipe = match self.split_in_force(&recipe) {
            Some(split) => {
                recipe.with_split(&split).map_err(|wrong| self.value_error("text.split", &wrong))?
            }
            None => recipe,
        };
        Ok(match self.pool()? {
            Some(Pool::Mean) => recipe,
            None => recipe.with_chunk(self.chunk_size()),
        })
    }

    /// The value of `text.chunk`.
    pub(super) fn chunk_size(&self) -> Option<ChunkSize> {
        match self.values.get("text.chunk") {
            Some((Value::Chunk(size), _)) => Some(*size),
            _ => None,
        }
    }

    /// The value of `text.pool`; `None` if each chunk is a row.
    ///
    /// # Errors
    /// `Config` when there are no chunks.
    pub(super) fn pool(&self) -> Result<Option<Pool>> {
        const KEY: &str = "text.pool";
        let pool = match self.values.contains_key(KEY) {
            true => Some(self.word(KEY, Pool::parse)?),
            false => None,
        };
        match (pool, self.chunk_size()) {
            (Some(_), None) => Err(self
                .value_error(KEY, "is set, but `text.chunk` is not")
                .advice("set `text.chunk = { tokens = 256, overlap = 32 }`, or remove it")),
            (pool, _) => Ok(pool),
        }
    }

    /// The separators for a recipe. A recipe of a higher layer takes from those of a lower one what
    /// concerns its columns.
    pub(super) fn split_in_force(&self, recipe: &TextRecipe) -> Option<BTreeMap<String, String>> {
        let (Value::Separators(split), origin) = self.values.get("text.split")? else {
            return None;
        };
        let layers = RecipeForm::ALL.iter().flat_map(|form| form.keys());
        let highest = layers.filter_map(|key| self.origin(key)).map(Origin::layer).max();
        let mut split = split.clone();
        if highest > Some(origin.layer()) {
            split.retain(|name, _| recipe.fields().iter().any(|field| field.name == *name));
        }
        Some(split)
    }

    /// The form of the recipe in force: the one that the highest layer writes.
    pub(super) fn recipe_form(&self) -> Result<RecipeForm> {
        let layer = |form: &RecipeForm| {
            let layers = form.keys().iter().filter_map(|key| self.origin(key)).map(Origin::layer);
            layers.max().unwrap_or(0)
        };
        let highest = RecipeForm::ALL.iter().map(layer).max().unwrap_or(0);
        if highest == 0 {
            return Ok(RecipeForm::TaskRow);
        }
        let set: Vec<(RecipeForm, &str)> = RecipeForm::ALL
            .iter()
            .filter_map(|form| {
                let is_set = |key: &&&str| self.origin(key).is_some_and(|o| o.layer() == highest);
                Some((*form, *form.keys().iter().find(is_set)?))
            })
            .collect();
        match set[..] {
            [(_, one), (_, other), ..] => {
                let origin = self.origin(one).map_or(String::new(), Origin::to_string);
                let message =
                    format!("is set, and so is `{one}` ({origin}), which makes another text");
                Err(self.value_error(other, &message).advice("remove one of the two"))
            }
            [(form, _)] => Ok(form),
            [] => Ok(RecipeForm::TaskRow),
        }
    }

    pub(super) fn task_columns(&self) -> Result<TaskColumns> {
        let column = |key: &str| {
            let name = self.text(key)?;
            Ok(Some(name).filter(|name| !name.is_empty()))
        };
        Ok(TaskColumns {
            title: column("input.title")?.ok_or_else(|| {
                self.value_error("input.title", "is empty; this column is required")
            })?,
            description: column("input.description")?,
            files: column("input.files")?,
            files_required: self.is_set("input.files"),
        })
    }
}
