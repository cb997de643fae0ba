//! Generates the JSON Schema of `pipeline.toml`, with which editors check and complete it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::blocks;
use super::settings::{DefaultValue, Kind, SETTINGS, Setting};

/// The schema (draft 2020-12): every table and key with its type, range, default and help.
pub fn json_schema() -> Value {
    let mut tables: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for setting in SETTINGS {
        let keys = tables.entry(setting.table()).or_default();
        keys.insert(setting.name().to_owned(), key_schema(setting));
    }
    let table = |keys: Map<String, Value>| json!({ "type": "object", "additionalProperties": false, "properties": keys });
    let mut properties: Map<String, Value> =
        tables.into_iter().map(|(name, keys)| (name.to_owned(), table(keys))).collect();
    properties.insert(blocks::TABLE.to_owned(), blocks_schema());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration of reembed run",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The schema of the `[[embedding]]` blocks.
fn blocks_schema() -> Value {
    let mut tables: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut keys = Map::new();
    for setting in SETTINGS {
        let Some(key) = blocks::key_in_block(setting) else { continue };
        // What is not set is as for all columns.
        let mut schema = key_schema(setting);
        schema.as_object_mut().map(|schema| schema.remove("default"));
        match key.split_once('.') {
            Some((table, name)) => {
                tables.entry(table).or_default().insert(name.to_owned(), schema);
            }
            None => {
                keys.insert(key.to_owned(), schema);
            }
        }
    }
    for (name, inner) in tables {
        let table = json!({ "type": "object", "additionalProperties": false, "properties": inner });
        keys.insert(name.to_owned(), table);
    }
    json!({
        "type": "array",
        "description": blocks::HELP,
        "items": {
            "type": "object",
            "additionalProperties": false,
            "properties": keys,
            "required": ["column"],
        },
    })
}

fn key_schema(setting: &Setting) -> Value {
    let auto = || json!({ "const": "auto" });
    let whole =
        |least: u64, most: u64| json!({ "type": "integer", "minimum": least, "maximum": most });
    let size = |least: u64| {
        let text =
            json!({ "type": "string", "pattern": "^[0-9]+ *([kKmMgGtT]?[bB]|[kKmMgGtT]i[bB])?$" });
        vec![json!({ "type": "integer", "minimum": least }), text]
    };
    let mut schema = match setting.kind {
        Kind::Text | Kind::Path => json!({ "type": "string" }),
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Count(least, most) => whole(least, most),
        Kind::CountOrAuto(least, most) => json!({ "anyOf": [auto(), whole(least, most)] }),
        Kind::Bytes(least) => json!({ "anyOf": size(least) }),
        Kind::BytesOrAuto(least) => json!({ "anyOf": ([&[auto()], &size(least)[..]].concat()) }),
        Kind::Seconds => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^[0-9]+ *(s|m|min|h|d)?$" },
        ] }),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::WordOrAuto(words) => json!({ "enum": ([&["auto"], words].concat()) }),
        Kind::Device => json!({ "type": "string", "pattern": "^(cpu|cuda:[0-9]+)$" }),
        Kind::Names => json!({
            "type": "array",
            "items": { "type": "string", "minLength": 1 },
            "minItems": 1,
            "uniqueItems": true,
        }),
        Kind::Chunk => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "tokens": { "type": "integer", "minimum": 1 },
                "overlap": { "type": "integer", "minimum": 0, "default": 0 },
            },
            "required": ["tokens"],
        }),
        Kind::Separators => json!({
            "type": "object",
            "additionalProperties": { "type": "string", "minLength": 1 },
            "minProperties": 1,
        }),
        Kind::Hashes => json!({
            "type": "object",
            "additionalProperties": { "type": "string", "pattern": "^[0-9a-fA-F]{64}$" },
        }),
    };
    schema["description"] = setting.help.into();
    if let DefaultValue::Value(default) = setting.default {
        // Defaults are TOML, whose simple values are JSON as well.
        schema["default"] = serde_json::from_str(default).unwrap_or(default.into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_has_every_setting_and_nothing_else() {
        let schema = json_schema();
        let mut keys = 0;
        let tables = schema["properties"].as_object().expect("tables").iter();
        for (table, content) in tables.filter(|(name, _)| *name != "embedding") {
            assert_eq!(content["additionalProperties"], false);
            for (name, key) in content["properties"].as_object().expect("keys") {
                let setting = Setting::find(&format!("{table}.{name}")).expect("a setting");
                assert_eq!(key["description"], setting.help);
                keys += 1;
            }
        }
        assert_eq!(keys, SETTINGS.len());
        assert_eq!(
            schema["properties"]["output"]["properties"]["on_empty"]["enum"],
            json!(["null", "embed", "error", "drop"])
        );
        assert_eq!(schema["properties"]["output"]["properties"]["keep"]["type"], "array");
        assert_eq!(schema["properties"]["batch"]["properties"]["start"]["default"], "auto");
        let block = &schema["properties"]["embedding"]["items"];
        assert_eq!(block["required"], json!(["column"]));
        assert_eq!(block["properties"]["vector"]["properties"]["dims"]["type"], "integer");
        assert_eq!(block["properties"].get("batch"), None);
        assert_eq!(schema["properties"]["publish"]["properties"]["check_space"]["default"], true);
    }

    #[test]
    fn file_in_docs_equals_the_schema() {
        let text = serde_json::to_string_pretty(&json_schema()).expect("JSON") + "\n";
        crate::config::assert_generated("docs/pipeline.schema.json", &text);
    }
}
