//! The peak of one core: the throughput of its fused multiply-add units when nothing else limits them.

use std::hint::black_box;

use crate::isa::Isa;
use crate::simd::{Kernel, LANES, Simd};

/// Runs `rounds` rounds of independent chains of fused multiply-adds in registers, and returns the
/// number of floating-point operations. Divided by the time that the call takes, it is the peak of a core.
pub fn run_fma_chains(isa: Isa, rounds: usize) -> f64 {
    let (chains, sum) = isa.run(FmaChains { rounds });
    black_box(sum);
    (rounds * chains * LANES * 2) as f64
}

struct FmaChains {
    rounds: usize,
}

impl Kernel for FmaChains {
    /// The number of chains, and a value that depends on all of them.
    type Output = (usize, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (usize, f32) {
        // Enough chains to hide the latency, and few enough to stay in registers.
        if S::MICRO_TILE_PANELS > 1 {
            (16, run_chains::<S, 16>(simd, self.rounds))
        } else {
            (6, run_chains::<S, 6>(simd, self.rounds))
        }
    }
}

#[inline(always)]
fn run_chains<S: Simd, const N: usize>(simd: S, rounds: usize) -> f32 {
    let (a, b) = (simd.splat(black_box(0.999)), simd.splat(black_box(0.001)));
    // Chains with equal starts are merged by the compiler and moved between registers and memory.
    let mut chains: [_; N] = std::array::from_fn(|n| simd.splat(black_box(1.0 + n as f32)));
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = simd.mul_add(*chain, a, b);
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        sum += simd.reduce_sum(chain);
    }
    sum
}
