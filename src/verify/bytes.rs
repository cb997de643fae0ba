//! Compares carried columns that were copied: as bytes, chunk by chunk.

use reembed_encoder::error::Result;

use super::carried_state::CarriedState;
use crate::carried::{CarriedHasher, ChunkBytes};
use crate::footer::{Footer, first_changed};
use crate::format::schema::Schema;
use crate::reader::TableFile;

/// Compares the carried columns of an output with its footer, and with the input if it is given.
///
/// # Errors
/// When a file cannot be read, or a chunk does not fit its footer.
pub fn check(
    output: &TableFile,
    footer: &Footer,
    original: Option<&TableFile>,
) -> Result<CarriedState> {
    let mut state = CarriedState { compared: "equal, byte for byte".into(), ..Default::default() };
    let found = output.metadata()?;
    let roots = &found.schema.roots;
    let carried: Vec<bool> = roots.iter().map(|root| !footer.is_vectors(&root.name)).collect();
    let input = original.map(TableFile::metadata).transpose()?;
    let pairs = match &input {
        None => None,
        Some(input) => {
            let groups = (found.group_count(), input.group_count());
            if output.rows() != input.rows().unsigned_abs() {
                let rows = input.rows();
                state.wrong_rows = Some(format!("{}, the input has {rows}", output.rows()));
            } else if groups.0 != groups.1 {
                let (has, had) = groups;
                state.wrong_carried =
                    Some(format!("the output has {has} row groups, the input {had}"));
            }
            match match_columns(&found.schema, &carried, &input.schema) {
                Ok(pairs) => Some(pairs),
                Err(difference) => {
                    state.wrong_carried.get_or_insert(difference);
                    None
                }
            }
        }
    };
    let mut hasher = CarriedHasher::new(&found.schema, &carried);
    let mut chunks = ChunkBytes::new(output);
    let mut originals = original.map(ChunkBytes::new);
    let is_comparable = state.wrong_rows.is_none() && state.wrong_carried.is_none();
    for number in 0..found.group_count() {
        let group = found.group(number)?;
        let input_group = match (&input, is_comparable) {
            (Some(input), true) => Some((input, input.group(number)?)),
            _ => None,
        };
        for (at, root) in roots.iter().enumerate().filter(|(at, _)| carried[*at]) {
            for (nth, leaf) in root.leaves.clone().enumerate() {
                let (pages, _) = chunks.pages(&found, (&group, leaf), |_| Ok(()))?;
                let indexes = chunks.indexes(&found, (&group, leaf))?;
                let digests = chunks.index_digests(&indexes)?;
                hasher.add(at, pages, digests);
                if let (Some((input, group)), Some(pairs), Some(originals)) =
                    (&input_group, &pairs, &mut originals)
                {
                    let leaf = input.schema.roots[pairs[at]].leaves.start + nth;
                    let (old, _) = originals.pages(input, (group, leaf), |_| Ok(()))?;
                    let indexes = originals.indexes(input, (group, leaf))?;
                    let old_digests = originals.index_digests(&indexes)?;
                    if (old, old_digests) != (pages, digests) {
                        let path = &input.schema.leaves[leaf].path;
                        state.wrong_carried.get_or_insert_with(|| {
                            format!("row group {number}, column `{path}`: its bytes differ")
                        });
                    }
                }
            }
        }
    }
    if let Some(digests) = &footer.digests {
        let found = hasher.finish();
        state.wrong_digest = first_changed(&found, &digests.carried)
            .map(|column| format!("column `{column}` was changed"));
    }
    Ok(state)
}

/// For each root column of the output, the one of the input that it comes from; any number for the
/// vectors. Columns keep their order, so that two of one name are told apart.
fn match_columns(
    output: &Schema<'_>,
    carried: &[bool],
    input: &Schema<'_>,
) -> std::result::Result<Vec<usize>, String> {
    let mut next = 0;
    let mut pairs = Vec::with_capacity(output.roots.len());
    for (at, root) in output.roots.iter().enumerate() {
        if !carried[at] {
            pairs.push(0);
            continue;
        }
        let name = &root.name;
        let found = (next..input.roots.len()).find(|old| input.roots[*old].name == *name);
        let old = found.ok_or_else(|| format!("column `{name}` is not in the input"))?;
        let elements = |schema: &Schema<'_>, range: std::ops::Range<usize>| {
            schema.elements.items[range].iter().map(|item| item.to_vec()).collect::<Vec<_>>()
        };
        let (new, was) = (root.elements.clone(), input.roots[old].elements.clone());
        if elements(output, new) != elements(input, was) {
            return Err(format!("column `{name}` has another type in the input"));
        }
        pairs.push(old);
        next = old + 1;
    }
    Ok(pairs)
}
