//! The recipe of an output's texts, which its footer names, read from a table that has their columns.

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::footer::FooterText;
use crate::reader::TableFile;
use crate::text::TextRecipe;

/// The recipe, with the types that its columns have in a table.
///
/// # Errors
/// `Output` when the footer has none that can be read.
pub fn recipe_of(text: &FooterText, table: &TableFile) -> Result<TextRecipe> {
    let metadata = table.metadata()?;
    let is_list = |name: &str| {
        let root = metadata.schema.roots.iter().find(|root| root.name == name);
        root.is_some_and(|root| {
            metadata.schema.leaves[root.leaves.clone()].iter().any(|leaf| leaf.is_repeated)
        })
    };
    text.recipe(&is_list).map_err(|wrong| {
        let message = format!("the text recipe in its `reembed` footer entry {wrong}");
        Error::new(ErrorKind::Output, message)
            .in_file(table.path())
            .advice("write the file again with `reembed run`")
    })
}
