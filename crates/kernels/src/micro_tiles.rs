//! The rows that a micro-kernel computes together.

use std::ops::Range;

/// Divides rows into micro-tiles of at most `max` rows and nearly equal size. A micro-tile of one row has
/// too few chains to keep the multiply-add units busy.
#[inline(always)]
pub(crate) fn micro_tiles(rows: Range<usize>, max: usize) -> MicroTiles {
    MicroTiles { left: rows.len().div_ceil(max), rows }
}

pub(crate) struct MicroTiles {
    rows: Range<usize>,
    left: usize,
}

impl Iterator for MicroTiles {
    type Item = Range<usize>;

    #[inline(always)]
    fn next(&mut self) -> Option<Range<usize>> {
        if self.left == 0 {
            return None;
        }
        let start = self.rows.start;
        let end = start + self.rows.len().div_ceil(self.left);
        self.left -= 1;
        self.rows.start = end;
        Some(start..end)
    }
}
