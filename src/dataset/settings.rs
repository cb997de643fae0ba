//! What an output depends on beside its input, as a digest: an output of other settings is made again.

use reembed_encoder::hash::{FramedHasher, hex};

use crate::config::Config;
use crate::footer::{Lineage, TOOL};
use crate::vectors::VectorForm;

/// The digest of the settings, the models and the forms of the vector columns.
pub fn settings_digest(config: &Config, columns: &[(Lineage, VectorForm)]) -> String {
    let mut hasher = FramedHasher::default();
    hasher.update(TOOL);
    for line in config.effective.iter().filter(|line| changes_output(line.key)) {
        hasher.update(line.key);
        hasher.update(&line.block.map_or(String::new(), |block| block.to_string()));
        hasher.update(&line.value);
    }
    for (lineage, form) in columns {
        hasher.update(&lineage.fingerprint);
        hasher.update(&lineage.version.to_string());
        // Its digest of the ranges tells what their path does not.
        hasher.update(&format!("{:?}", form.to_footer()));
    }
    format!("{:.32}", hex(&hasher.finish()))
}

/// Whether another value of a setting may give other bytes. The fingerprint stands for the model.
fn changes_output(key: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["input.id", "input.on_invalid_utf8", "input.check_carried", "run.limit"];
    const TASK_COLUMNS: [&str; 3] = ["input.title", "input.description", "input.files"];
    let of_table = |table: &str| key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
    match key {
        "output.path" | "vector.ranges" => false,
        _ if OTHERS.contains(&key) || TASK_COLUMNS.contains(&key) => true,
        _ => ["text", "vector", "output"].into_iter().any(of_table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn settings_that_change_the_output_are_told_from_the_others() {
        for (key, expected) in [
            ("text.template", true),
            ("vector.type", true),
            ("output.on_empty", true),
            ("output.drop", true),
            ("input.title", true),
            ("input.id", true),
            ("run.limit", true),
            ("output.path", false),
            ("input.path", false),
            ("input.chunk_rows", false),
            ("model.path", false),
            ("compute.threads", false),
            ("batch.tokens", false),
            ("cache.path", false),
            ("dataset.only", false),
            ("run.deadline", false),
            ("vector.ranges", false),
        ] {
            assert_eq!(changes_output(key), expected, "{key}");
            assert!(SETTINGS.iter().any(|setting| setting.key == key), "{key}");
        }
    }
}
