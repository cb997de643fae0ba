//! The settings of each vector column: those of its `[[embedding]]` block over the rest.

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::config::blocks::{Block, COLUMN, OF_ONE_MODEL, key_in_block};
use crate::config::layers::RawConfig;
use crate::config::origin::Origin;
use crate::config::settings::Setting;

impl RawConfig {
    /// The settings of each vector column, without defaults: one for each block, or these if there is no
    /// block.
    pub(in crate::config) fn by_column(&self) -> Vec<RawConfig> {
        match self.blocks.is_empty() {
            true => vec![self.clone()],
            false => self.blocks.iter().map(|block| self.with_block(block)).collect(),
        }
    }

    /// The settings of the first vector column.
    pub(in crate::config) fn first_column(&self) -> RawConfig {
        self.blocks.first().map_or_else(|| self.clone(), |block| self.with_block(block))
    }

    /// The settings of a vector column: those of the block that names it, or these if no block does.
    #[must_use]
    pub fn of_column(&self, column: &str) -> RawConfig {
        let block = self.blocks.iter().find(|block| block.column() == Some(column));
        block.map_or_else(|| self.clone(), |block| self.with_block(block))
    }

    /// The columns that blocks name.
    pub(in crate::config) fn block_columns(&self) -> Vec<&str> {
        self.blocks.iter().filter_map(Block::column).collect()
    }

    fn with_block(&self, block: &Block) -> RawConfig {
        let mut raw = RawConfig { blocks: Vec::new(), ..self.clone() };
        let sets = |key: &str| block.values.contains_key(key);
        if sets("model.id") || sets("model.path") {
            OF_ONE_MODEL.iter().for_each(|key| raw.unset(key));
        }
        // Ranges belong to a type, and to the vectors of a model.
        if sets("vector.type") || sets("model.id") || sets("model.path") {
            raw.unset("vector.ranges");
        }
        raw.values.extend(block.values.iter().map(|(key, set)| (*key, set.clone())));
        raw
    }

    /// Checks that blocks name different columns, and that nothing sets for all columns what a block
    /// sets.
    ///
    /// # Errors
    /// `Config`, naming every block and every setting that is wrong.
    pub(in crate::config) fn check_blocks(&self) -> Result<()> {
        let mut faults = Vec::new();
        for (number, block) in self.blocks.iter().enumerate() {
            let Some(column) = block.column() else {
                let message = "an [[embedding]] block has no `column`".to_owned();
                faults.push(block.error(message).advice("name its vector column"));
                continue;
            };
            let mut earlier = self.blocks[..number].iter();
            if let Some(other) = earlier.find(|other| other.column() == Some(column)) {
                let place = other.shown_place();
                let message =
                    format!("two [[embedding]] blocks have the column `{column}` ({place})");
                faults.push(block.error(message).advice("give each block its own column"));
            }
        }
        for (key, (_, origin)) in self.values.iter().filter(|_| !self.blocks.is_empty()) {
            if *key == COLUMN && origin.layer() > 0 {
                let message = "is set, but each [[embedding]] block names its own column";
                faults.push(self.value_error(key, message).advice("remove it"));
                continue;
            }
            let is_for_all = matches!(origin, Origin::Variable(_) | Origin::Flag(_));
            let sets_part = |block: &&Block| {
                block.values.keys().any(|other| *other != COLUMN && part_of(other) == part_of(key))
            };
            let is_of_columns = part_of(key) == "text"
                || Setting::find(key).is_some_and(|setting| key_in_block(setting).is_some());
            if is_for_all
                && is_of_columns
                && let Some(block) = self.blocks.iter().find(sets_part)
            {
                let message = format!(
                    "sets `{key}` for all vector columns, but an [[embedding]] block ({}) sets \
                     its own",
                    block.shown_place()
                );
                faults.push(
                    Error::new(ErrorKind::Config, format!("{origin} {message}"))
                        .advice("set it in the blocks"),
                );
            }
        }
        Error::all(faults).map_or(Ok(()), Err)
    }
}

/// The part of a block that a setting belongs to: a flag for all columns and a block may not both set a
/// part.
fn part_of(key: &str) -> &str {
    match key {
        "input.title" | "input.description" | "input.files" => "text",
        "compute.precision" | COLUMN => key,
        _ => key.split('.').next().unwrap_or(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use reembed_encoder::environment::Environment;

    use crate::config::Config;

    fn parse(text: &str) -> Result<RawConfig> {
        RawConfig::parse(text, Path::new("dir/pipeline.toml"))
    }

    fn check(text: &str) -> Result<Config> {
        let paths = "[input]\npath = \"in\"\n[output]\npath = \"out\"\n";
        let environment = Environment::new([("HOME".to_owned(), "/home/a".to_owned())]);
        parse(&text.replace("PATHS", paths))?.check(&environment)
    }

    #[test]
    fn block_overrides_the_file_and_takes_the_rest_from_it() {
        let config = check(
            "PATHS\n[model]\nid = \"a/b\"\nprompt = \"p: \"\n[vector]\ndims = 7\nnormalize = true\n\
             [[embedding]]\ncolumn = \"one\"\ntext.columns = [\"title\"]\n\
             [[embedding]]\ncolumn = \"two\"\ntext.template = \"{body}\"\nmodel.path = \"m\"\n\
             vector = { type = \"binary\", dims = 16 }\n",
        )
        .expect("two columns");
        let columns: Vec<&str> = config.embeddings.iter().map(|one| one.column.as_str()).collect();
        assert_eq!(columns, ["one", "two"]);
        let (one, two) = (&config.embeddings.first, &config.embeddings.more[0]);
        let texts = [one.text.to_string(), two.text.to_string()];
        assert_eq!(texts, ["{title}", "{body}"]);
        assert_eq!(one.model.source.id.as_deref(), Some("a/b"));
        // The model of a block has its own name and prompt.
        assert_eq!(
            (two.model.source.id.as_deref(), &two.model.source.path),
            (None, &Some("dir/m".into()))
        );
        assert_ne!(one.model.text.prompt, two.model.text.prompt);
        let dims = [one, two].map(|one| one.vector.values.dims.map(std::num::NonZeroUsize::get));
        assert_eq!(dims, [Some(7), Some(16)]);
        assert!(one.vector.values.normalize && two.vector.values.normalize);
    }

    #[test]
    fn wrong_blocks_are_refused_with_their_line() {
        for (text, message) in [
            (
                "PATHS[[embedding]]\ntext.columns = [\"a\"]\n",
                "line 5: an [[embedding]] block has no `column`",
            ),
            (
                "PATHS[[embedding]]\ncolumn = \"a\"\n[[embedding]]\ncolumn = \"a\"\n",
                "line 7: two [[embedding]] blocks have the column `a` (dir/pipeline.toml:5)",
            ),
            (
                "PATHS[[embedding]]\ncolumn = \"a\"\ntype = \"int8\"\n",
                "unknown key `type` of an [[embedding]] block; did you mean `vector.type`?",
            ),
            (
                "PATHS[[embedding]]\ncolumn = \"a\"\nbatch.start = 3\n",
                "it holds for all columns: set it outside of the block",
            ),
            ("PATHS[[embedding]]\ncolum = \"a\"\n", "did you mean `column`?"),
            ("PATHS[[embedding]]\ncolumn = 3\n", "`column` must be a string"),
            (
                "PATHScolumn = \"x\"\n[[embedding]]\ncolumn = \"a\"\n",
                "each [[embedding]] block names its own column",
            ),
            ("PATHS[embedding]\ncolumn = \"a\"\n", "written [[embedding]]"),
            ("embedding = 3\nPATHS", "written [[embedding]]"),
            (
                "PATHSon_empty = \"drop\"\n[[embedding]]\ncolumn = \"a\"\n[[embedding]]\ncolumn = \"b\"\n",
                "output.on_empty",
            ),
            (
                "PATHS[[embedding]]\ncolumn = \"a\"\ntext = { columns = [\"a\"] }\n",
                "`column` is \"a\", a column that the text is built from",
            ),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.to_string().contains(message), "{text}\n{error}");
        }
    }

    #[test]
    fn flag_may_not_set_for_all_what_a_block_sets() {
        let text = "[input]\npath = \"in\"\n[output]\npath = \"out\"\n[[embedding]]\n\
                    column = \"a\"\ntext.columns = [\"t\"]\nvector.type = \"f16\"\n";
        for (key, value, is_refused) in [
            ("text.columns", "b", true),
            ("text.template", "{b}", true),
            ("input.title", "b", true),
            ("vector.dims", "8", true),
            ("model.path", "m", false),
            ("compute.precision", "f32", false),
            ("batch.start", "3", false),
            ("output.column", "c", true),
        ] {
            let mut raw = parse(text).expect("a file");
            raw.set(key, value, Origin::Flag("--flag")).expect("a value");
            let environment = Environment::new([("HOME".to_owned(), "/home/a".to_owned())]);
            let checked = raw.check(&environment);
            assert_eq!(checked.is_err(), is_refused, "{key}: {:?}", checked.err());
        }
    }
}
