//! The micro-kernel of every f32 product.

use crate::simd::{LANES, Simd};

/// `sums[r][p] += rows[r][k] · panels[p][k]` for each k in order. Rows and panels have the same number of k.
#[inline(always)]
pub(crate) fn multiply_accumulate<S: Simd, const R: usize, const P: usize>(
    simd: S,
    rows: [&[f32]; R],
    panels: [&[[f32; LANES]]; P],
    mut sums: [[S::Lanes; P]; R],
) -> [[S::Lanes; P]; R] {
    let depth = panels[0].len();
    let whole = depth - depth % STEPS;
    for first in (0..whole).step_by(STEPS) {
        // Arrays of a fixed length: bounds are checked here once, and not at each step.
        let mut values = [&[0.0; STEPS]; R];
        for r in 0..R {
            values[r] = steps(rows[r], first);
        }
        let mut weights = [&[[0.0; LANES]; STEPS]; P];
        for p in 0..P {
            weights[p] = steps(panels[p], first);
        }
        for step in 0..STEPS {
            let mut weights_of_step = [simd.splat(0.0); P];
            for p in 0..P {
                weights_of_step[p] = simd.load(&weights[p][step]);
            }
            for r in 0..R {
                let value = simd.splat(values[r][step]);
                for p in 0..P {
                    sums[r][p] = simd.mul_add(value, weights_of_step[p], sums[r][p]);
                }
            }
        }
    }
    for k in whole..depth {
        for r in 0..R {
            let value = simd.splat(rows[r][k]);
            for p in 0..P {
                sums[r][p] = simd.mul_add(value, simd.load(&panels[p][k]), sums[r][p]);
            }
        }
    }
    sums
}

/// k between two bounds checks.
const STEPS: usize = 4;

#[inline(always)]
fn steps<T>(values: &[T], first: usize) -> &[T; STEPS] {
    match values[first..].first_chunk() {
        Some(steps) => steps,
        None => unreachable!("rows and panels have the depth of the first panel"),
    }
}
