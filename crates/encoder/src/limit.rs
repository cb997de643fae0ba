//! How large a batch may be: additive increase, multiplicative decrease.
//!
//! Everything here is a pure function of what it is told: outcomes come from [`crate::inference`].

use std::fmt;
use std::num::NonZeroUsize;

/// After so many batches in a row that fitted, the limit grows by one step.
pub const SUCCESSES_BEFORE_GROWTH: u32 = 8;

/// One step of growth is this part of the largest limit: it takes `8 × 8` batches to get all the way back.
const GROWTH_STEPS: usize = 8;

/// Tokens of a batch for an encoder that does not pad: enough that the workers' wait for the last of its parts
/// is lost among them, few enough that progress is heard of every few seconds. See docs/engine.md.
pub const TOKENS_IN_A_BATCH: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

/// Texts of a batch for an encoder that pads.
pub const ROWS_IN_A_PADDED_BATCH: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// What a batch measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchShape {
    /// Number of texts.
    pub rows: usize,
    /// Tokens of the longest text.
    pub longest: usize,
    /// Tokens of all texts, without padding.
    pub tokens: usize,
}

impl BatchShape {
    /// Tokens of the rectangle that it becomes when it is padded to its longest text.
    pub fn padded_tokens(self) -> usize {
        self.rows.saturating_mul(self.longest)
    }
}

/// Which tokens an encoder computes, and a limit therefore counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCount {
    /// Those of the rectangle: the encoder pads.
    Padded,
    /// The texts' own.
    Actual,
}

impl TokenCount {
    /// How tokens count where the encoder pads, or does not.
    pub fn padded(pads: bool) -> Self {
        if pads { TokenCount::Padded } else { TokenCount::Actual }
    }

    /// The tokens that count of a batch.
    pub fn tokens(self, shape: BatchShape) -> usize {
        match self {
            TokenCount::Padded => shape.padded_tokens(),
            TokenCount::Actual => shape.tokens,
        }
    }
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// Most texts.
    pub rows: NonZeroUsize,
    /// Most tokens. One text is always allowed, however long.
    pub tokens: NonZeroUsize,
    /// Which tokens.
    pub counting: TokenCount,
}

impl BatchLimit {
    /// Whether a batch of that shape may run. A single text may always be tried.
    pub fn allows(self, shape: BatchShape) -> bool {
        shape.rows <= 1
            || (shape.rows <= self.rows.get() && self.counting.tokens(shape) <= self.tokens.get())
    }
}

impl fmt::Display for BatchLimit {
    /// The tighter of the two: as many texts as tokens are no limit on texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows < self.tokens {
            true => write!(f, "{} rows", self.rows),
            false => write!(f, "{} tokens", self.tokens),
        }
    }
}

/// What the user set of the bounds; where nothing is set, what suits the encoder holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedLimits {
    /// Texts in a batch at the start.
    pub start: Option<NonZeroUsize>,
    /// Texts in a batch at most.
    pub max: Option<NonZeroUsize>,
    /// Tokens in a batch at most.
    pub tokens: Option<NonZeroUsize>,
}

/// Where the limit starts and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitBounds {
    /// Texts in a batch at the start of the run.
    pub start: NonZeroUsize,
    /// Texts in a batch at most; never less than `start`.
    pub max: NonZeroUsize,
    /// Tokens in a batch at most.
    pub tokens: NonZeroUsize,
    /// Which tokens.
    pub counting: TokenCount,
}

impl LimitBounds {
    /// What is asked for, completed: `affordable` are the tokens that the memory budget pays for. An encoder that
    /// pads gets a few rows at a time; one that does not gets tokens, however many rows they are.
    pub fn new(asked: RequestedLimits, affordable: NonZeroUsize, counting: TokenCount) -> Self {
        let (tokens, rows) = match counting {
            TokenCount::Padded => (asked.tokens.unwrap_or(affordable), ROWS_IN_A_PADDED_BATCH),
            TokenCount::Actual => {
                let tokens = asked.tokens.unwrap_or(TOKENS_IN_A_BATCH.min(affordable));
                (tokens, tokens)
            }
        };
        let start = asked.start.or(asked.max).unwrap_or(rows);
        LimitBounds { start, max: asked.max.unwrap_or(start), tokens, counting }
    }
}

/// The limit in force, and what moves it.
#[derive(Debug, Clone)]
pub struct AdaptiveLimit {
    bounds: LimitBounds,
    current: BatchLimit,
    successes: u32,
}

/// The limit moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitChange {
    /// The limit before.
    pub from: BatchLimit,
    /// The limit from now on.
    pub to: BatchLimit,
    /// Why it moved.
    pub cause: LimitCause,
}

/// Why the limit moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitCause {
    /// A batch of this shape did not fit in memory.
    OutOfMemory(BatchShape),
    /// This many batches in a row did fit.
    Successes(u32),
}

impl AdaptiveLimit {
    /// A limit that starts at `bounds.start`.
    pub fn new(bounds: LimitBounds) -> Self {
        let bounds = LimitBounds { max: bounds.max.max(bounds.start), ..bounds };
        let current =
            BatchLimit { rows: bounds.start, tokens: bounds.tokens, counting: bounds.counting };
        AdaptiveLimit { bounds, current, successes: 0 }
    }

    /// A limit of one text at a time.
    pub fn single() -> Self {
        let one = NonZeroUsize::MIN;
        let tokens = NonZeroUsize::MAX;
        AdaptiveLimit::new(LimitBounds {
            start: one,
            max: one,
            tokens,
            counting: TokenCount::Actual,
        })
    }

    /// The limit in force.
    pub fn current(&self) -> BatchLimit {
        self.current
    }

    /// A batch fitted: after [`SUCCESSES_BEFORE_GROWTH`] of them the limit grows by a step.
    pub fn fitted(&mut self) -> Option<LimitChange> {
        self.successes += 1;
        if self.successes < SUCCESSES_BEFORE_GROWTH {
            return None;
        }
        let grown = BatchLimit {
            rows: grow(self.current.rows, self.bounds.max),
            tokens: grow(self.current.tokens, self.bounds.tokens),
            ..self.current
        };
        self.move_to(grown, LimitCause::Successes(self.successes))
    }

    /// A batch of that shape did not fit: the limit becomes half of what was tried, or half of itself if that
    /// is less.
    pub fn out_of_memory(&mut self, shape: BatchShape) -> Option<LimitChange> {
        let halved = BatchLimit {
            rows: half(self.current.rows.get().min(shape.rows)),
            tokens: half(self.current.tokens.get().min(self.current.counting.tokens(shape))),
            ..self.current
        };
        self.move_to(halved, LimitCause::OutOfMemory(shape))
    }

    fn move_to(&mut self, to: BatchLimit, cause: LimitCause) -> Option<LimitChange> {
        let from = self.current;
        self.successes = 0;
        self.current = to;
        (from != to).then_some(LimitChange { from, to, cause })
    }
}

fn half(size: usize) -> NonZeroUsize {
    NonZeroUsize::new(size / 2).unwrap_or(NonZeroUsize::MIN)
}

fn grow(size: NonZeroUsize, max: NonZeroUsize) -> NonZeroUsize {
    let step = (max.get() / GROWTH_STEPS).max(1);
    size.saturating_add(step).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("not zero")
    }

    fn limit(start: usize, max: usize, tokens: usize) -> AdaptiveLimit {
        AdaptiveLimit::new(LimitBounds {
            start: size(start),
            max: size(max),
            tokens: size(tokens),
            counting: TokenCount::Padded,
        })
    }

    /// A batch whose texts are all as long.
    fn even(rows: usize, longest: usize) -> BatchShape {
        BatchShape { rows, longest, tokens: rows * longest }
    }

    #[test]
    fn out_of_memory_halves_what_was_tried_and_never_reaches_zero() {
        for (start, tried, expected_rows, expected_tokens) in [
            (32, (32, 100), 16, 1600),
            (32, (8, 100), 4, 400),
            (32, (64, 100), 16, 3200),
            (2, (2, 256), 1, 256),
            (1, (1, 1), 1, 1),
        ] {
            let mut limit = limit(start, 64, 1_000_000);
            limit.out_of_memory(even(tried.0, tried.1));
            let now = limit.current();
            assert_eq!((now.rows.get(), now.tokens.get()), (expected_rows, expected_tokens));
        }
    }

    #[test]
    fn a_limit_counts_the_tokens_that_the_encoder_computes() {
        let shape = BatchShape { rows: 10, longest: 100, tokens: 300 };
        for (counting, tokens, allowed, after) in [
            (TokenCount::Padded, 1000, true, 500),
            (TokenCount::Padded, 999, false, 499),
            (TokenCount::Actual, 300, true, 150),
            (TokenCount::Actual, 299, false, 149),
            (TokenCount::Actual, 1000, true, 150),
        ] {
            let bounds =
                LimitBounds { start: size(64), max: size(64), tokens: size(tokens), counting };
            let mut limit = AdaptiveLimit::new(bounds);
            assert_eq!(limit.current().allows(shape), allowed, "{counting:?}, {tokens}");
            limit.out_of_memory(shape);
            assert_eq!(limit.current().tokens.get(), after, "{counting:?}, {tokens}");
        }
    }

    #[test]
    fn what_is_not_asked_for_suits_the_encoder() {
        let nothing = RequestedLimits::default();
        let start = |rows| RequestedLimits { start: Some(size(rows)), ..nothing };
        let max = |rows| RequestedLimits { max: Some(size(rows)), ..nothing };
        let tokens = |tokens| RequestedLimits { tokens: Some(size(tokens)), ..nothing };
        for (asked, affordable, counting, expected) in [
            (nothing, 1 << 20, TokenCount::Padded, (32, 32, 1 << 20)),
            (start(8), 1 << 20, TokenCount::Padded, (8, 8, 1 << 20)),
            (max(64), 1 << 20, TokenCount::Padded, (64, 64, 1 << 20)),
            (nothing, 1 << 20, TokenCount::Actual, (32_768, 32_768, 32_768)),
            (nothing, 512, TokenCount::Actual, (512, 512, 512)),
            (start(8), 1 << 20, TokenCount::Actual, (8, 8, 32_768)),
            (tokens(99), 1 << 20, TokenCount::Actual, (99, 99, 99)),
            (tokens(1 << 20), 512, TokenCount::Actual, (1 << 20, 1 << 20, 1 << 20)),
        ] {
            let bounds = LimitBounds::new(asked, size(affordable), counting);
            let found = (bounds.start.get(), bounds.max.get(), bounds.tokens.get());
            assert_eq!(found, expected, "{asked:?}, {affordable}, {counting:?}");
        }
    }

    #[test]
    fn without_a_limit_on_rows_only_tokens_hold_a_batch_back_and_they_grow_back() {
        let asked = RequestedLimits { tokens: Some(size(8000)), ..RequestedLimits::default() };
        let mut limit = AdaptiveLimit::new(LimitBounds::new(asked, size(1), TokenCount::Actual));
        assert_eq!(limit.current().to_string(), "8000 tokens");
        limit.out_of_memory(BatchShape { rows: 100, longest: 256, tokens: 8000 });
        let now = limit.current();
        assert_eq!((now.rows.get(), now.tokens.get()), (50, 4000));
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 8 {
            limit.fitted();
        }
        assert_eq!(limit.current().to_string(), "8000 tokens");
    }

    #[test]
    fn the_limit_grows_only_after_a_run_of_successes_and_never_past_its_bounds() {
        let mut limit = limit(32, 64, 8000);
        let mut seen = Vec::new();
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 6 {
            seen.extend(limit.fitted().map(|change| change.to.rows.get()));
        }
        assert_eq!(seen, [40, 48, 56, 64]);
        assert_eq!(limit.current().tokens.get(), 8000);
    }

    #[test]
    fn a_failure_restarts_the_count_of_successes() {
        let mut limit = limit(8, 16, 8000);
        for _ in 1..SUCCESSES_BEFORE_GROWTH {
            assert_eq!(limit.fitted(), None);
        }
        let shape = even(8, 10);
        let change = limit.out_of_memory(shape).expect("it halves");
        assert_eq!(change.cause, LimitCause::OutOfMemory(shape));
        assert_eq!(limit.fitted(), None);
    }

    #[test]
    fn a_limit_at_its_bounds_does_not_report_a_change() {
        let mut limit = limit(4, 4, 100);
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 2 {
            assert_eq!(limit.fitted(), None);
        }
    }

    #[test]
    fn a_single_text_is_always_allowed() {
        let limit = BatchLimit { rows: size(1), tokens: size(1), counting: TokenCount::Actual };
        assert!(limit.allows(even(1, 512)));
        assert!(!limit.allows(even(2, 1)));
    }
}
