//! `reembed sample`: a reproducible corpus of task rows.

use anyhow::Result;

use crate::cli::SampleArgs;
use crate::exit::Exit;
use crate::{print, sample as corpus};

/// `reembed sample`.
pub fn sample(args: &SampleArgs) -> Result<Exit> {
    let rows =
        corpus::write_tasks(&args.file, corpus::task_rows(args.rows.get() as u64, args.seed))?;
    let place = print::safe(&args.file.display().to_string());
    let said = print::result(&format!("{rows} rows, seed {}, in {place}\n", args.seed));
    // The file is in place; that nobody can be told is no failure.
    said.or_else(|cause| {
        tracing::warn!("the result cannot be printed: {cause}");
        Ok(())
    })
    .map(|()| Exit::Done)
}
