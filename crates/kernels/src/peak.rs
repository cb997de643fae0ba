//! The ceiling: what the fused multiply-add units of one core can do when nothing else is in their way.

use std::hint::black_box;

use super::Isa;
use super::simd::{Kernel, LANES, Simd};

/// Runs `rounds` rounds of independent chains that never leave the registers, and returns how many floating
/// point operations that were. Time it to learn the peak that a matrix product is measured against.
pub fn run_fma_chains(isa: Isa, rounds: usize) -> f64 {
    let (chains, sum) = isa.run(Chains { rounds });
    black_box(sum);
    (rounds * chains * LANES * 2) as f64
}

struct Chains {
    rounds: usize,
}

impl Kernel for Chains {
    /// How many chains, and something that depends on them all.
    type Output = (usize, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (usize, f32) {
        // Enough to hide the latency, few enough to stay in the registers: as many as a tile has.
        if S::TILE_PANELS > 1 {
            (16, chains::<S, 16>(simd, self.rounds))
        } else {
            (6, chains::<S, 6>(simd, self.rounds))
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(simd: S, rounds: usize) -> f32 {
    let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
    // Of equal beginnings the compiler makes chains that pass from register to register, some by way of memory.
    let mut chains: [_; N] = std::array::from_fn(|n| simd.splat(black_box(1.0 + n as f32)));
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = simd.mul_add(*chain, a, b);
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        sum += simd.sum(chain);
    }
    sum
}
