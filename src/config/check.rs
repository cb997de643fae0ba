//! Turns a [`RawConfig`] into a [`Config`]: fills in defaults and checks that settings fit
//! together.
//!
//! It opens no file and queries no hardware.
//!
//! ```text
//!   text   the recipe of a text, the ids     model     the model and what runs it
//!   read   values by their keys              columns   the settings of each vector column
//! ```

mod columns;
mod dataset;
mod model;
mod read;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reembed_encoder::environment::Environment;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::limit::RequestedLimits;
use reembed_encoder::model::config::ModelConfig;
use reembed_encoder::model::source;

use super::layers::RawConfig;
use super::origin::Origin;
use super::settings::{SETTINGS, Setting};
use super::values::Value;
use super::words::{CacheMode, Carry, InvalidUtf8, OnEmpty, VectorLayout, VectorType};
use super::{
    BatchConfig, CacheConfig, CalibrationConfig, ColumnChoice, Config, Effective, EmbeddingConfig,
    Embeddings, IdColumn, InputConfig, Inputs, OutputConfig, Percent, PublishConfig, ReportConfig,
    RunConfig, VectorConfig, VectorValues,
};
use crate::hidden_names::{self, OutputPlace};
use crate::text::TextRecipe;
use model::{PROMPT, PROMPT_NAME};
use read::to_size;
use text::RecipeForm;

/// The keys that choose the columns. One of them is in force.
const KEEP: &str = "output.keep";
const DROP: &str = "output.drop";

/// Collects what is wrong, so that one refusal tells all of it.
struct Checked {
    faults: Vec<Error>,
}

impl Checked {
    fn of<T>(&mut self, checked: Result<T>) -> Option<T> {
        checked.map_err(|fault| self.faults.push(fault)).ok()
    }
}

impl RawConfig {
    /// Checks all settings.
    ///
    /// # Errors
    /// `Config`, naming every key that is wrong and where it was set.
    pub fn check(&self, environment: &Environment) -> Result<Config> {
        let merged = self.with_defaults()?;
        let mut faults = Vec::new();
        faults.extend(merged.check_blocks().err());
        faults.extend(self.check_paths(None).err());
        let mut checked = Checked { faults };
        let path = |key| merged.path(key).ok_or_else(|| merged.missing(key));
        let inputs = checked.of(merged.inputs());
        let dataset = inputs.and_then(|inputs| checked.of(merged.dataset(inputs)));
        let input = dataset.as_ref().map(|dataset| match &dataset.inputs {
            Inputs::Path(path) => path.clone(),
            // Each of its tables has its own.
            Inputs::Paths(_) | Inputs::FilesFrom(_) => PathBuf::new(),
        });
        let output = checked.of(path("output.path"));
        let report = checked.of(merged.report(output.as_deref().unwrap_or(Path::new(""))));
        let batch = checked.of(merged.batch());
        let input = checked.of(merged.input(input.unwrap_or_default()));
        let embeddings = self.embeddings(environment, &mut checked)?;
        let output = checked.of(merged.output(output.unwrap_or_default()));
        let cache = checked.of(merged.cache());
        let max_shrink = checked.of(merged.max_shrink());
        if let Some(fault) = Error::all(checked.faults) {
            return Err(fault);
        }
        let whole = || {
            Some(Config {
                batch: batch?,
                input: input?,
                embeddings: embeddings?,
                report: report?,
                output: output?,
                cache: cache?,
                publish: PublishConfig {
                    max_shrink: max_shrink?,
                    check_space: merged.is_on("publish.check_space"),
                },
                run: RunConfig {
                    rebuild: merged.is_on("run.rebuild"),
                    switch_model: merged.is_on("run.switch_model"),
                    replace: merged.is_on("run.replace"),
                    deadline: merged.number("run.deadline").map(Duration::from_secs),
                    limit: merged.number("run.limit"),
                },
                dataset: dataset?,
                effective: self.effective(&merged),
            })
        };
        whole().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a setting is wrong without an error (bug)")
        })
    }

    /// Checks the settings of each vector column.
    fn embeddings(
        &self,
        environment: &Environment,
        checked: &mut Checked,
    ) -> Result<Option<Embeddings>> {
        let mut embeddings = Vec::new();
        let mut is_whole = true;
        for raw in self.by_column() {
            let merged = raw.with_defaults()?;
            let column = checked.of(merged.column());
            let text = checked.of(merged.text_recipe());
            let model = checked.of(merged.model(environment));
            let vector = checked.of(merged.vector());
            let embedding = || {
                Some(EmbeddingConfig {
                    column: column?,
                    text: text?,
                    model: model?,
                    vector: vector?,
                })
            };
            match embedding() {
                Some(embedding) => embeddings.push(embedding),
                None => is_whole = false,
            }
        }
        Ok(Embeddings::new(embeddings).filter(|_| is_whole))
    }

    /// Checks the tables `[model]` and `[compute]` alone: those of the first vector column.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_model(&self, environment: &Environment) -> Result<ModelConfig> {
        self.check_paths(Some(&["model", "vector"]))?;
        self.first_column().with_defaults()?.model(environment)
    }

    /// Checks the table `[input]` alone, for the file at `path` in the place of `input.path`.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_input(&self, path: &Path) -> Result<InputConfig> {
        self.with_defaults()?.input(path.to_owned())
    }

    /// Checks the settings of the text alone: that of the first vector column.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_text(&self) -> Result<TextRecipe> {
        self.first_column().with_defaults()?.text_recipe()
    }

    /// Checks the settings of a calibration: those of the vector column that `output.column` names, if
    /// there are several. The file with the ranges need not be set, nor exist.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_calibration(&self, environment: &Environment) -> Result<CalibrationConfig> {
        let merged = self.calibrated()?.with_defaults()?;
        merged.check_paths(None)?;
        let input = merged.path("input.path").ok_or_else(|| merged.missing("input.path"))?;
        Ok(CalibrationConfig {
            input: merged.input(input)?,
            column: merged.text("output.column")?,
            text: merged.text_recipe()?,
            on_empty: merged.word("output.on_empty", OnEmpty::parse)?,
            model: merged.model(environment)?,
            batch: merged.batch()?,
            values: merged.vector_values(),
            ranges: merged.path("vector.ranges"),
            output: merged.path("output.path"),
            cache: merged.cache()?,
        })
    }

    /// The settings of the vector column to calibrate.
    fn calibrated(&self) -> Result<RawConfig> {
        let columns = self.block_columns();
        let named = self.text("output.column").ok();
        match (&columns[..], &named) {
            ([], _) | ([_], None) => Ok(self.first_column()),
            (columns, Some(name)) if columns.contains(&name.as_str()) => {
                let mut raw = self.clone();
                raw.unset("output.column");
                raw.check_blocks()?;
                Ok(raw.of_column(name))
            }
            (columns, named) => {
                let message = match named {
                    Some(name) => format!("no [[embedding]] block has the column `{name}`"),
                    None => "several columns have ranges of their own".to_owned(),
                };
                Err(Error::new(ErrorKind::Config, message)
                    .advice(format!("name one with --column: {}", columns.join(", "))))
            }
        }
    }

    /// The file with the ranges of components; `None` if it is not set.
    pub fn ranges_path(&self) -> Option<PathBuf> {
        self.path("vector.ranges")
    }

    /// Whether the settings so far already name this model: the directory at `name` if there is one, else
    /// the model on the hub with this id.
    pub fn names_model(&self, name: &Path) -> bool {
        match self.path("model.path") {
            Some(path) => {
                let same = |one: PathBuf| name.canonicalize().is_ok_and(|other| one == other);
                path.canonicalize().is_ok_and(same)
            }
            None if name.is_dir() => false,
            None => {
                let id = self.text("model.id").unwrap_or_else(|_| source::DEFAULT_ID.to_owned());
                name.as_os_str() == id.as_str()
            }
        }
    }

    /// Checks the table `[report]` alone. Without `report.dir` and `output.path` the directory is
    /// `out/_reembed/reports/bench`.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_report(&self) -> Result<ReportConfig> {
        self.check_paths(Some(&["report", "output"]))?;
        let merged = self.with_defaults()?;
        let output = merged.path("output.path").unwrap_or_else(|| "out/bench".into());
        merged.report(&output)
    }

    /// Checks `publish.max_shrink` alone.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_max_shrink(&self) -> Result<Percent> {
        self.with_defaults()?.max_shrink()
    }

    fn max_shrink(&self) -> Result<Percent> {
        let key = "publish.max_shrink";
        self.number(key).and_then(Percent::new).ok_or_else(|| self.missing(key))
    }

    /// Checks the table `[cache]` alone.
    ///
    /// # Errors
    /// As [`RawConfig::check`].
    pub fn check_cache(&self) -> Result<CacheConfig> {
        self.check_paths(Some(&["cache", "output"]))?;
        self.with_defaults()?.cache()
    }

    /// The value of `output.path`.
    ///
    /// # Errors
    /// `Config` when it is not set.
    pub fn output_path(&self) -> Result<PathBuf> {
        self.path("output.path").ok_or_else(|| self.missing("output.path"))
    }

    /// Whether the file, the environment or a flag sets a key.
    pub fn is_set(&self, key: &str) -> bool {
        self.origin(key).is_some_and(|origin| origin.layer() > 0)
    }

    /// Whether a flag sets a key.
    pub fn is_set_by_flag(&self, key: &str) -> bool {
        matches!(self.origin(key), Some(Origin::Flag(_)))
    }

    fn batch(&self) -> Result<BatchConfig> {
        let requested = RequestedLimits {
            start: self.number("batch.start").and_then(to_size),
            max: self.number("batch.max").and_then(to_size),
            tokens: self.number("batch.tokens").and_then(to_size),
        };
        match (requested.start, requested.max) {
            (Some(start), Some(max)) if max < start => {
                let message = format!("is {max}, less than batch.start = {start}");
                Err(self.value_error("batch.max", &message))
            }
            _ => Ok(BatchConfig { requested, memory_limit: self.number("batch.memory_limit") }),
        }
    }

    fn input(&self, path: PathBuf) -> Result<InputConfig> {
        Ok(InputConfig {
            path,
            id: self.id_column()?,
            chunk_rows: self.size("input.chunk_rows")?,
            chunk_bytes: self.size("input.chunk_bytes")?,
            decode_limit: self.number("input.decode_limit"),
            page_limit: self.page_limit()?,
            on_invalid_utf8: self.word("input.on_invalid_utf8", InvalidUtf8::parse)?,
            check_carried: self.is_on("input.check_carried"),
        })
    }

    fn page_limit(&self) -> Result<u64> {
        let key = "input.page_limit";
        let limit = self.number(key).ok_or_else(|| self.missing(key))?;
        match limit > InputConfig::MAX_PAGE_LIMIT {
            true => Err(self.value_error(
                key,
                &format!("is {limit}, more than the largest page, 2147483647 bytes (2 GiB - 1)"),
            )),
            false => Ok(limit),
        }
    }

    fn output(&self, path: PathBuf) -> Result<OutputConfig> {
        let on_empty = self.word("output.on_empty", OnEmpty::parse)?;
        if self.blocks.len() > 1 && self.splits_texts() {
            let message = "`text.chunk` makes a row of each chunk, which rows of several vector \
                           columns cannot be at once";
            return Err(Error::new(ErrorKind::Config, message).advice(
                "set `text.pool` to \"mean\" in that block, or write the columns in several runs",
            ));
        }
        if on_empty == OnEmpty::Drop && self.blocks.len() > 1 {
            let message = "is \"drop\", but a row may have a text for one vector column alone";
            return Err(self
                .value_error("output.on_empty", message)
                .advice("set it to another word, or write the columns in several runs"));
        }
        Ok(OutputConfig {
            place: OutputPlace::alone(path),
            on_empty,
            columns: self.column_choice()?,
            carry: self.carry()?,
            preset: self.preset(),
            row_group_rows: self.size("output.row_group_rows")?,
        })
    }

    /// The name of the vector column.
    fn column(&self) -> Result<String> {
        let column = self.text("output.column")?;
        if column.is_empty() {
            return Err(self.value_error("output.column", "is empty"));
        }
        let recipe = self.text_recipe()?;
        let of_text = recipe.fields().iter().any(|field| field.required && field.name == column);
        let of_ids = matches!(self.id_column()?, IdColumn::Required(name) if name == column);
        if of_text || of_ids {
            let use_of_it =
                if of_text { "the text is built from" } else { "the ids are read from" };
            let message = format!("is {column:?}, a column that {use_of_it}");
            return Err(self.value_error("output.column", &message));
        }
        Ok(column)
    }

    fn vector(&self) -> Result<VectorConfig> {
        let vector_type = self.word("vector.type", VectorType::parse)?;
        let (word, ranges) = (vector_type.as_str(), self.path("vector.ranges"));
        match (vector_type.needs_ranges(), &ranges) {
            (true, None) => Err(self
                .value_error("vector.type", &format!("is {word:?}, but `vector.ranges` is not set"))
                .advice(
                    "write the ranges with `reembed calibrate --output ranges.json`, and set \
                     `vector.ranges` to that file",
                )),
            (false, Some(_)) => Err(self
                .value_error(
                    "vector.ranges",
                    &format!("is set, but vector.type = {word:?} has no ranges"),
                )
                .advice("remove it, or set vector.type to \"int8\" or \"uint8\"")),
            _ => {
                let layout = self.word("vector.layout", VectorLayout::parse)?;
                Ok(VectorConfig { vector_type, values: self.vector_values(), ranges, layout })
            }
        }
    }

    fn vector_values(&self) -> VectorValues {
        VectorValues {
            dims: self.number("vector.dims").and_then(to_size),
            force_dims: self.is_on("vector.force_dims"),
            normalize: self.is_on("vector.normalize"),
        }
    }

    fn column_choice(&self) -> Result<ColumnChoice> {
        let names = |key| self.names(key).unwrap_or_default();
        Ok(match self.key_in_force(&[KEEP, DROP])? {
            Some(KEEP) => ColumnChoice::Keep(names(KEEP)),
            Some(_) => ColumnChoice::Drop(names(DROP)),
            None => ColumnChoice::All,
        })
    }

    /// The value of `output.carry`; `None` if it is the default. Refuses the settings that do not
    /// fit it.
    fn carry(&self) -> Result<Option<Carry>> {
        let carry = self.word("output.carry", Carry::parse)?;
        let on_empty = self.word("output.on_empty", OnEmpty::parse)?;
        let is_default = self.origin("output.carry") == Some(&Origin::Default);
        let invalid = self.word("input.on_invalid_utf8", InvalidUtf8::parse)?;
        match (carry, invalid) {
            (Carry::Copy, _) if self.splits_texts() => Err(self
                .value_error(
                    "output.carry",
                    "is \"copy\", which keeps every row once, but `text.chunk` makes a row of each \
                     chunk of a text",
                )
                .advice("remove it, or set `text.pool` to \"mean\": then each text stays one row")),
            (Carry::Copy, _) if on_empty == OnEmpty::Drop => Err(self
                .value_error(
                    "output.carry",
                    "is \"copy\", which keeps every row, but output.on_empty = \"drop\" leaves rows out",
                )
                .advice("remove it, or set output.on_empty to another word")),
            (Carry::Copy, _) if self.is_set("output.row_group_rows") => Err(self
                .value_error(
                    "output.row_group_rows",
                    "is set, but row groups are those of the input with output.carry = \"copy\"",
                )
                .advice("remove it, or set output.carry to \"reencode\"")),
            // Re-encoding would write the replacement in the place of the text.
            (Carry::Reencode, InvalidUtf8::Replace) => Err(self
                .value_error(
                    "input.on_invalid_utf8",
                    "is \"replace\", which would change the carried texts with output.carry = \"reencode\"",
                )
                .advice("set it to \"error\", or output.carry to \"copy\"")),
            _ => Ok((!is_default).then_some(carry)),
        }
    }

    /// Whether the texts of a vector column are split into rows.
    fn splits_texts(&self) -> bool {
        let of_column =
            |raw: &RawConfig| raw.text_recipe().is_ok_and(|text| text.chunk().is_some());
        self.by_column()
            .iter()
            .filter_map(|raw| raw.with_defaults().ok())
            .any(|raw| of_column(&raw))
    }

    /// Reports of an output are written below `_reembed` beside it unless `report.dir` is set.
    fn report(&self, output: &Path) -> Result<ReportConfig> {
        let set = self.path("report.dir");
        let is_beside_output = set.is_none();
        let (dir, topmost) = match set {
            Some(dir) => {
                let topmost = hidden_names::directory_of(&dir).to_owned();
                (dir, topmost)
            }
            None => {
                let place = OutputPlace::alone(output.to_owned());
                (place.reports(), hidden_names::directory_of(output).to_owned())
            }
        };
        Ok(ReportConfig {
            dir,
            topmost,
            is_beside_output,
            keep: self
                .number("report.keep")
                .and_then(|keep| usize::try_from(keep).ok())
                .ok_or_else(|| self.missing("report.keep"))?,
        })
    }

    fn cache(&self) -> Result<CacheConfig> {
        let number = |key: &str| self.number(key).ok_or_else(|| self.missing(key));
        Ok(CacheConfig {
            path: self.path("cache.path"),
            base: None,
            mode: self.word("cache.mode", CacheMode::parse)?,
            wait: Duration::from_secs(number("cache.wait")?),
            max_size: number("cache.max_size")?,
            commit_rows: self.size("cache.commit_rows")?,
            verify_sample: number("cache.verify_sample")?,
        })
    }

    /// Every setting that has a value: those for all columns as `merged`, then those of each block.
    fn effective(&self, merged: &RawConfig) -> Vec<Effective> {
        type Values = BTreeMap<&'static str, (Value, Origin)>;
        let line = |values: &Values, setting: &Setting, block: Option<usize>| {
            let (value, origin) = values.get(setting.key)?;
            let (value, origin) = (value.to_string(), origin.clone());
            Some(Effective { key: setting.key, block, value, origin })
        };
        let in_force = SETTINGS.iter().filter(|setting| merged.is_in_force(setting.key));
        let for_all = in_force.filter_map(|setting| line(&merged.values, setting, None));
        let (columns, others): (Vec<&Setting>, Vec<&Setting>) =
            SETTINGS.iter().partition(|setting| setting.key == "output.column");
        let in_block: Vec<&Setting> = columns.into_iter().chain(others).collect();
        let blocks = self.blocks.iter().enumerate().flat_map(|(number, block)| {
            let of_block = in_block.iter();
            of_block.filter_map(move |setting| line(&block.values, setting, Some(number)))
        });
        for_all.chain(blocks).collect()
    }

    /// Whether the other settings let the setting have an effect. `run --print-config` prints no
    /// other, so that its output is a valid configuration.
    fn is_in_force(&self, key: &str) -> bool {
        let copies = || self.word("output.carry", Carry::parse).is_ok_and(|c| c == Carry::Copy);
        let is_local = || self.path("model.path").is_some();
        let is_default = |key: &str| self.origin(key) == Some(&Origin::Default);
        let is_the_one =
            |keys: &[&'static str]| self.key_in_force(keys).is_ok_and(|one| one == Some(key));
        let is_of_other_recipe = || {
            let in_force = self.recipe_form().unwrap_or(RecipeForm::TaskRow);
            let others = RecipeForm::ALL.into_iter().filter(|form| *form != in_force);
            others.flat_map(RecipeForm::keys).any(|other| *other == key)
        };
        match key {
            "output.row_group_rows" => !copies(),
            // The number of rows of the input decides it.
            "output.carry" => self.number("run.limit").is_none() || !is_default(key),
            // A directory has its own name, and no revision.
            "model.id" => !is_local() || self.is_set(key),
            "model.revision" => !is_local(),
            // Each block names its own.
            "output.column" => self.blocks.is_empty(),
            "text.split" => self.text_recipe().is_ok_and(|recipe| !recipe.split().is_empty()),
            PROMPT | PROMPT_NAME => is_the_one(&[PROMPT, PROMPT_NAME]),
            KEEP | DROP => is_the_one(&[KEEP, DROP]),
            _ => !is_of_other_recipe(),
        }
    }
}
