//! The warnings of many tables: each kind once, with the table, and how many others have it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::events::{Event, Warning};

/// The warnings so far.
#[derive(Default)]
pub struct TableWarnings {
    /// How many tables had each kind of warning.
    tables: Mutex<BTreeMap<&'static str, u64>>,
}

impl TableWarnings {
    /// Passes an event of a table on, unless it is a warning of a kind that another table had.
    pub fn pass(&self, table: &Path, event: Event, on_event: &(dyn Fn(Event) + Sync)) {
        let Event::Warning(warning) = event else { return on_event(event) };
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tables.entry(warning.kind()).or_default();
        *count += 1;
        if *count == 1 {
            let table = table.display().to_string();
            on_event(Event::Warning(Warning::InTable { table, warning: Box::new(warning) }));
        }
    }

    /// Tells how many more tables had each kind of warning.
    pub fn tell_counts(&self, on_event: &(dyn Fn(Event) + Sync)) {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, count) in tables.iter().filter(|(_, count)| **count > 1) {
            let (kind, tables) = (*kind, count - 1);
            on_event(Event::Warning(Warning::OtherTables { kind, tables }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_many_tables_is_told_once_and_counted() {
        let (warnings, told) = (TableWarnings::default(), Mutex::new(Vec::new()));
        let tell = |event: Event| {
            if let Event::Warning(warning) = event {
                told.lock().expect("no panic").push(warning.to_string());
            }
        };
        for table in ["a.parquet", "b.parquet", "c.parquet"] {
            warnings.pass(Path::new(table), Event::Warning(Warning::NoFilesColumn), &tell);
        }
        warnings.tell_counts(&tell);
        let told = told.into_inner().expect("no panic");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("a.parquet: "), "{}", told[0]);
        assert!(told[1].contains("2 other tables"), "{}", told[1]);
    }
}
