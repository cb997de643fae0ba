//! Pseudorandom choices, reproducible from a seed.

/// A SplitMix64 generator: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the
/// constants of Vigna's reference implementation (prng.di.unimi.it/splitmix64.c, public domain).
pub struct Dice(u64);

impl Dice {
    /// The generator of one row. The seed is mixed first, so that neighbouring seeds share no rows.
    pub fn from_row(seed: u64, row: u64) -> Self {
        let mut dice = Dice(seed);
        dice.0 = dice.next() ^ row.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Dice(dice.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. The bias is below 2⁻³² for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// `true` for `share` of [`PER`] rows.
    pub fn chance(&mut self, share: u64) -> bool {
        self.below(PER) < share
    }
}

/// The denominator of every share.
pub const PER: u64 = 10_000;
