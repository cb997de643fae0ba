//! The rows and panels that a micro-kernel computes together.

use std::ops::Range;

/// Divides rows into micro-tiles of at most `max` rows and nearly equal size. A micro-tile of one row has
/// too few chains to keep the multiply-add units busy.
#[inline(always)]
pub(crate) fn micro_tiles(rows: Range<usize>, max: usize) -> MicroTiles {
    MicroTiles { left: rows.len().div_ceil(max), rows }
}

/// Runs code with a number of rows or panels, from 1 to 8, as a constant:
/// `with_constant!(rows, S::MICRO_TILE_ROWS, R => code)`.
///
/// The code is compiled only for the numbers up to the second, a constant of the instruction set: each is a micro-tile
/// with its own registers, and most of what this crate takes to compile.
macro_rules! with_constant {
    ($number:expr, $most:expr, $N:ident => $code:expr) => {
        {
            const { assert!($most <= 8, "a micro-tile has at most 8 rows and panels") };
            with_constant!(@ $number, $most, $N => $code, 8 7 6 5 4 3 2)
        }
    };
    (@ $number:expr, $most:expr, $N:ident => $code:expr, $($value:literal)*) => {
        match $number {
            $($value if const { $value <= $most } => {
                const $N: usize = $value;
                $code
            })*
            _ => {
                const $N: usize = 1;
                $code
            }
        }
    };
}

pub(crate) use with_constant;

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
