//! GeoParquet's description of the columns of geometries.

use std::collections::HashMap;

use super::change::{ColumnChange, Followed};
use super::json::Object;

/// Follows `geo`. The vectors are no geometry and get no entry.
pub fn follow(value: &str, change: &ColumnChange<'_>) -> Followed {
    let unparsable = Followed::Dropped("it cannot be parsed");
    let Some(mut geo) = Object::parse(value) else { return unparsable };
    let Some(primary) = geo.string("primary_column") else { return unparsable };
    let Some(columns) = geo.get("columns").map(str::to_owned) else { return unparsable };
    let Some(mut columns) = Object::parse(&columns) else { return unparsable };
    if change.removes(&primary) {
        return Followed::Dropped("its primary column is not in the output");
    }
    let before = columns.members.len();
    columns.members.retain(|(name, _)| !change.removes(name));
    let mut changed = columns.members.len() < before;
    for (_, column) in &mut columns.members {
        if let Some(uncovered) = without_lost_covering(column, change) {
            *column = uncovered.into();
            changed = true;
        }
    }
    if !changed {
        return Followed::Unchanged;
    }
    geo.replace("columns", columns.to_string());
    Followed::Replaced(geo.to_string())
}

/// The entry of a column without its `covering`, if that names a column of bounding boxes that is
/// not in the output.
fn without_lost_covering(column: &str, change: &ColumnChange<'_>) -> Option<String> {
    /// The paths of the bounds of each kind of box: `{"bbox":{"xmin":["column","xmin"]}}`.
    type Covering = HashMap<String, HashMap<String, Vec<String>>>;
    let mut column = Object::parse(column)?;
    let covering: Covering = serde_json::from_str(column.get("covering")?).ok()?;
    let mut paths = covering.values().flat_map(HashMap::values);
    paths.any(|path| path.first().is_some_and(|root| change.removes(root))).then_some(())?;
    column.members.retain(|(name, _)| name != "covering");
    Some(column.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::change::tests::vectors;
    use super::*;

    #[test]
    fn geometries_leave_with_their_columns() {
        let geo = |columns: &[&str]| {
            let columns = columns.join(",");
            format!(r#"{{"version":"1.1.0","primary_column":"g","columns":{{{columns}}}}}"#)
        };
        let covering = r#","covering":{"bbox":{"xmin":["box","xmin"],"ymin":["box","ymin"]}}"#;
        let g = format!(r#""g":{{"encoding":"WKB"{covering},"crs":{{"id": 1.0}}}}"#);
        let bare = g.replace(covering, "");
        let h = r#""h":{"encoding":"WKB"}"#;
        let all = geo(&[&g, h]);
        let without = |removed: &[&str]| {
            let columns = ["id", "g", "h", "box"];
            let carried = columns.map(|column| !removed.contains(&column));
            let field = vectors("v", None, true);
            follow(&all, &ColumnChange::new(&columns, &carried, &field, 4))
        };
        for (removed, expected) in [
            (&[][..], Followed::Unchanged),
            (&["id"], Followed::Unchanged),
            (&["h"], Followed::Replaced(geo(&[&g]))),
            (&["box"], Followed::Replaced(geo(&[&bare, h]))),
            (&["box", "h"], Followed::Replaced(geo(&[&bare]))),
            (&["g"], Followed::Dropped("its primary column is not in the output")),
        ] {
            assert_eq!(without(removed), expected, "{removed:?}");
        }
    }
}
