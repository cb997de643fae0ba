//! `reembed sample`: writes a sample table.

use anyhow::Result;

use crate::cli::SampleArgs;
use crate::exit::Exit;
use crate::text::printable_path;
use crate::{print, sample as corpus};

/// `reembed sample`.
pub fn sample(args: &SampleArgs) -> Result<Exit> {
    let rows = corpus::task_rows(args.rows.get() as u64, args.seed);
    let rows = corpus::write_tasks(&args.file, rows)?;
    let path = printable_path(&args.file);
    print::result_or_warn(&format!("wrote {rows} rows, seed {}, to {path}\n", args.seed));
    Ok(Exit::Done)
}
