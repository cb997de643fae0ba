//! Text lengths in tokens: median, maximum and histogram.

use serde::{Deserialize, Serialize};

/// Maximum number of bins of the histogram.
const MAX_BINS: usize = 32;

/// The number of texts of each length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Texts of each length, from 0 up.
    counts: Vec<u64>,
}

/// A bin of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LengthBin {
    /// Its minimum length in tokens.
    pub from: u64,
    /// Its maximum length in tokens.
    pub to: u64,
    /// Texts of these lengths.
    pub texts: u64,
}

impl Lengths {
    /// Adds texts of these lengths.
    pub fn add(&mut self, lengths: &[u32]) {
        for &length in lengths {
            let length = length as usize;
            if self.counts.len() <= length {
                self.counts.resize(length + 1, 0);
            }
            self.counts[length] += 1;
        }
    }

    /// The median length; `None` without texts.
    pub fn median(&self) -> Option<u64> {
        let total: u64 = self.counts.iter().sum();
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen > 0 && 2 * seen >= total
        })?;
        Some(at as u64)
    }

    /// The maximum length; `None` without texts.
    pub fn longest(&self) -> Option<u64> {
        self.counts.iter().rposition(|count| *count > 0).map(|length| length as u64)
    }

    /// Bins of equal width, a power of two of tokens, from 1 to the longest text.
    pub fn bins(&self) -> Vec<LengthBin> {
        let longest = self.longest().unwrap_or(0) as usize;
        let mut width = 1;
        while longest.div_ceil(width) > MAX_BINS {
            width *= 2;
        }
        (0..longest.div_ceil(width))
            .map(|bin| {
                let (from, to) = (bin * width + 1, ((bin + 1) * width).min(longest));
                let texts = self.counts[from..=to].iter().sum();
                LengthBin { from: from as u64, to: to as u64, texts }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_every_length_once() {
        let mut lengths = Lengths::default();
        assert_eq!((lengths.median(), lengths.longest(), lengths.bins()), (None, None, vec![]));
        lengths.add(&[1, 8, 9, 256, 256, 41]);
        assert_eq!((lengths.median(), lengths.longest()), (Some(9), Some(256)));
        let bins = lengths.bins();
        assert_eq!(bins.len(), 32);
        assert_eq!(bins[0], LengthBin { from: 1, to: 8, texts: 2 });
        assert_eq!(bins[31], LengthBin { from: 249, to: 256, texts: 2 });
        assert_eq!(bins.iter().map(|bin| bin.texts).sum::<u64>(), 6);
        assert!(bins.windows(2).all(|pair| pair[1].from == pair[0].to + 1));
    }

    #[test]
    fn short_texts_have_a_bin_for_each_length() {
        let mut lengths = Lengths::default();
        lengths.add(&[3, 5, 3]);
        let bins = lengths.bins();
        assert_eq!(bins.iter().map(|bin| bin.texts).collect::<Vec<_>>(), [0, 0, 2, 0, 1]);
    }
}
