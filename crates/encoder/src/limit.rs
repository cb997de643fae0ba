//! The batch limit: additive increase, multiplicative decrease. Pure functions: the outcomes come
//! from [`crate::inference`].

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

/// Batches in a row that must fit before the limit grows by one step.
pub const SUCCESSES_BEFORE_GROWTH: u32 = 8;

/// A step is the maximum divided by this: after 8 × 8 batches that fit, the limit is at its
/// maximum.
const GROWTH_STEPS: usize = 8;

/// Default tokens of a batch for an encoder that does not pad: workers wait for less than 1 % of
/// the time, and progress is reported every few seconds. Figures:
/// docs/decisions/0016-token-budget.md.
pub const DEFAULT_BATCH_TOKENS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

/// Default texts of a batch for an encoder that pads.
pub const DEFAULT_PADDED_BATCH_ROWS: NonZeroUsize = NonZeroUsize::new(32).unwrap();

/// The time that a batch may take: after it there is progress to tell, and work to keep if the run ends.
const BATCH_TIME: Duration = Duration::from_secs(4);

/// Maximum number of tokens of a batch until the speed is known.
const UNTIMED_TOKENS: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// Smaller batches cost throughput, whatever the speed.
const MIN_PACED_TOKENS: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// The size of a batch.
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
    /// Tokens of the batch when each text is padded to the longest.
    pub fn padded_tokens(self) -> usize {
        self.rows.saturating_mul(self.longest)
    }
}

/// Which tokens an encoder computes, and so which tokens a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenCount {
    /// Padding included: each text counts as the longest.
    Padded,
    /// Without padding.
    Actual,
}

impl TokenCount {
    /// [`TokenCount::Padded`] if the encoder pads, else [`TokenCount::Actual`].
    pub fn from_padding(pads: bool) -> Self {
        if pads { TokenCount::Padded } else { TokenCount::Actual }
    }

    /// The tokens of a batch of this shape.
    pub fn tokens(self, shape: BatchShape) -> usize {
        match self {
            TokenCount::Padded => shape.padded_tokens(),
            TokenCount::Actual => shape.tokens,
        }
    }
}

/// The largest batch that may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimit {
    /// Maximum number of texts.
    pub rows: NonZeroUsize,
    /// Maximum number of tokens. A single text of any length is always allowed.
    pub tokens: NonZeroUsize,
    /// Which tokens count.
    pub counting: TokenCount,
}

impl BatchLimit {
    /// Whether a batch of this shape may run. A single text always may.
    pub fn allows(self, shape: BatchShape) -> bool {
        shape.rows <= 1
            || (shape.rows <= self.rows.get() && self.counting.tokens(shape) <= self.tokens.get())
    }
}

impl fmt::Display for BatchLimit {
    /// The tighter of the two limits, as `32 rows` or `8000 tokens`. Each text has a token, so a
    /// row limit that reaches the token limit has no effect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows < self.tokens {
            true => write!(f, "{} rows", self.rows),
            false => write!(f, "{} tokens", self.tokens),
        }
    }
}

/// The bounds that the user requested. Each `None` becomes the default of the encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestedLimits {
    /// Texts in a batch at the start of the run.
    pub start: Option<NonZeroUsize>,
    /// Maximum texts in a batch.
    pub max: Option<NonZeroUsize>,
    /// Maximum tokens in a batch.
    pub tokens: Option<NonZeroUsize>,
}

/// The start and the maximum of an [`AdaptiveLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitBounds {
    /// Texts in a batch at the start of the run.
    pub start: NonZeroUsize,
    /// Maximum texts in a batch; at least `start`.
    pub max: NonZeroUsize,
    /// Maximum tokens in a batch.
    pub tokens: NonZeroUsize,
    /// Which tokens count.
    pub counting: TokenCount,
}

impl LimitBounds {
    /// Completes the requested bounds with defaults. `affordable` is the number of tokens that fits
    /// in the memory budget. The default limits rows if the encoder pads, else tokens.
    pub fn new(requested: RequestedLimits, affordable: NonZeroUsize, counting: TokenCount) -> Self {
        let (tokens, rows) = match counting {
            TokenCount::Padded => {
                (requested.tokens.unwrap_or(affordable), DEFAULT_PADDED_BATCH_ROWS)
            }
            TokenCount::Actual => {
                let tokens = requested.tokens.unwrap_or(DEFAULT_BATCH_TOKENS.min(affordable));
                (tokens, tokens)
            }
        };
        let start = requested.start.or(requested.max).unwrap_or(rows);
        LimitBounds { start, max: requested.max.unwrap_or(start), tokens, counting }
    }
}

/// A batch limit that shrinks on out-of-memory and grows after batches that fit. A slow encoder gets
/// batches that take four seconds.
#[derive(Debug, Clone)]
pub struct AdaptiveLimit {
    bounds: LimitBounds,
    current: BatchLimit,
    successes: u32,
    /// Tokens that the encoder computes in [`BATCH_TIME`].
    pace: NonZeroUsize,
}

/// A change of the batch limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitChange {
    /// The limit before.
    pub from: BatchLimit,
    /// The limit after.
    pub to: BatchLimit,
    /// Why it changed.
    pub cause: LimitCause,
}

/// Why the batch limit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitCause {
    /// A batch of this shape did not fit in memory.
    OutOfMemory(BatchShape),
    /// This many batches in a row fitted.
    Successes(u32),
}

impl AdaptiveLimit {
    /// A limit that starts at `bounds.start` rows and `bounds.tokens` tokens.
    pub fn new(bounds: LimitBounds) -> Self {
        let bounds = LimitBounds { max: bounds.max.max(bounds.start), ..bounds };
        let current =
            BatchLimit { rows: bounds.start, tokens: bounds.tokens, counting: bounds.counting };
        AdaptiveLimit { bounds, current, successes: 0, pace: UNTIMED_TOKENS }
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

    /// The current limit.
    pub fn current(&self) -> BatchLimit {
        BatchLimit { tokens: self.current.tokens.min(self.pace), ..self.current }
    }

    /// The current limit of memory, whatever the time of a batch.
    pub fn of_memory(&self) -> BatchLimit {
        self.current
    }

    /// Records a batch that fitted, and its time. After [`SUCCESSES_BEFORE_GROWTH`] of them the limit
    /// grows by a step.
    pub fn record_success(&mut self, shape: BatchShape, took: Duration) -> Option<LimitChange> {
        self.pace = pace(self.current.counting.tokens(shape), took).unwrap_or(self.pace);
        self.successes += 1;
        if self.successes < SUCCESSES_BEFORE_GROWTH {
            return None;
        }
        let grown = BatchLimit {
            rows: grow(self.current.rows, self.bounds.max),
            tokens: grow(self.current.tokens, self.bounds.tokens),
            ..self.current
        };
        self.change_to(grown, LimitCause::Successes(self.successes))
    }

    /// Records a batch that did not fit. The limit becomes half of the batch, or half of itself if
    /// that is less.
    pub fn record_out_of_memory(&mut self, shape: BatchShape) -> Option<LimitChange> {
        let halved = BatchLimit {
            rows: half(self.current.rows.get().min(shape.rows)),
            tokens: half(self.current.tokens.get().min(self.current.counting.tokens(shape))),
            ..self.current
        };
        self.change_to(halved, LimitCause::OutOfMemory(shape))
    }

    fn change_to(&mut self, to: BatchLimit, cause: LimitCause) -> Option<LimitChange> {
        let from = self.current;
        self.successes = 0;
        self.current = to;
        (from != to).then_some(LimitChange { from, to, cause })
    }
}

/// Tokens of [`BATCH_TIME`] at the speed of a batch; `None` if it was too short to tell.
fn pace(tokens: usize, took: Duration) -> Option<NonZeroUsize> {
    const SHORTEST: Duration = Duration::from_millis(1);
    if took < SHORTEST {
        // It may grow: a batch of this size takes no time.
        return (tokens >= MIN_PACED_TOKENS.get()).then_some(NonZeroUsize::MAX);
    }
    let tokens = tokens as f64 * (BATCH_TIME.as_secs_f64() / took.as_secs_f64());
    // A float that is too large becomes the largest number.
    NonZeroUsize::new(tokens as usize).map(|tokens| tokens.max(MIN_PACED_TOKENS))
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

    #[test]
    fn batches_of_a_slow_encoder_take_seconds() {
        let seconds = Duration::from_secs_f64;
        let shape = |tokens| BatchShape { rows: 1, longest: tokens, tokens };
        for (tokens, took, expected) in [
            // 115 µs a token: the limit of the encoder holds.
            (8_192, 0.94, 32_768),
            (8_192, 8.0, 4_096),
            (8_192, 4.0, 8_192),
            (4_096, 100.0, 1_024),
            (8_192, 0.0001, 32_768),
            // Too short to tell.
            (100, 0.0001, 8_192),
        ] {
            let bounds =
                LimitBounds::new(RequestedLimits::default(), NonZeroUsize::MAX, TokenCount::Actual);
            let mut limit = AdaptiveLimit::new(bounds);
            assert_eq!(limit.current().tokens, UNTIMED_TOKENS);
            limit.record_success(shape(tokens), seconds(took));
            assert_eq!(limit.current().tokens.get(), expected, "{tokens} in {took} s");
            assert_eq!(limit.of_memory().tokens, DEFAULT_BATCH_TOKENS);
        }
    }

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

    /// A batch whose texts all have `longest` tokens.
    fn even(rows: usize, longest: usize) -> BatchShape {
        BatchShape { rows, longest, tokens: rows * longest }
    }

    #[test]
    fn out_of_memory_halves_the_limit_and_never_reaches_zero() {
        for (start, tried, expected_rows, expected_tokens) in [
            (32, (32, 100), 16, 1600),
            (32, (8, 100), 4, 400),
            (32, (64, 100), 16, 3200),
            (2, (2, 256), 1, 256),
            (1, (1, 1), 1, 1),
        ] {
            let mut limit = limit(start, 64, 1_000_000);
            limit.record_out_of_memory(even(tried.0, tried.1));
            let now = limit.current();
            assert_eq!((now.rows.get(), now.tokens.get()), (expected_rows, expected_tokens));
        }
    }

    #[test]
    fn limit_counts_the_tokens_that_the_encoder_computes() {
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
            limit.record_out_of_memory(shape);
            assert_eq!(limit.current().tokens.get(), after, "{counting:?}, {tokens}");
        }
    }

    #[test]
    fn bounds_that_are_not_requested_get_defaults() {
        let nothing = RequestedLimits::default();
        let start = |rows| RequestedLimits { start: Some(size(rows)), ..nothing };
        let max = |rows| RequestedLimits { max: Some(size(rows)), ..nothing };
        let tokens = |tokens| RequestedLimits { tokens: Some(size(tokens)), ..nothing };
        for (requested, affordable, counting, expected) in [
            (nothing, 1 << 20, TokenCount::Padded, (32, 32, 1 << 20)),
            (start(8), 1 << 20, TokenCount::Padded, (8, 8, 1 << 20)),
            (max(64), 1 << 20, TokenCount::Padded, (64, 64, 1 << 20)),
            (nothing, 1 << 20, TokenCount::Actual, (32_768, 32_768, 32_768)),
            (nothing, 512, TokenCount::Actual, (512, 512, 512)),
            (start(8), 1 << 20, TokenCount::Actual, (8, 8, 32_768)),
            (tokens(99), 1 << 20, TokenCount::Actual, (99, 99, 99)),
            (tokens(1 << 20), 512, TokenCount::Actual, (1 << 20, 1 << 20, 1 << 20)),
        ] {
            let bounds = LimitBounds::new(requested, size(affordable), counting);
            let found = (bounds.start.get(), bounds.max.get(), bounds.tokens.get());
            assert_eq!(found, expected, "{requested:?}, {affordable}, {counting:?}");
        }
    }

    #[test]
    fn token_limit_alone_halves_and_grows_back() {
        let requested = RequestedLimits { tokens: Some(size(8000)), ..RequestedLimits::default() };
        let mut limit =
            AdaptiveLimit::new(LimitBounds::new(requested, size(1), TokenCount::Actual));
        assert_eq!(limit.current().to_string(), "8000 tokens");
        limit.record_out_of_memory(BatchShape { rows: 100, longest: 256, tokens: 8000 });
        let now = limit.current();
        assert_eq!((now.rows.get(), now.tokens.get()), (50, 4000));
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 8 {
            limit.record_success(BatchShape::default(), Duration::ZERO);
        }
        assert_eq!(limit.current().to_string(), "8000 tokens");
    }

    #[test]
    fn limit_grows_after_successes_up_to_its_maximum() {
        let mut limit = limit(32, 64, 8000);
        let mut seen = Vec::new();
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 6 {
            seen.extend(
                limit
                    .record_success(BatchShape::default(), Duration::ZERO)
                    .map(|change| change.to.rows.get()),
            );
        }
        assert_eq!(seen, [40, 48, 56, 64]);
        assert_eq!(limit.current().tokens.get(), 8000);
    }

    #[test]
    fn out_of_memory_resets_the_count_of_successes() {
        let mut limit = limit(8, 16, 8000);
        for _ in 1..SUCCESSES_BEFORE_GROWTH {
            assert_eq!(limit.record_success(BatchShape::default(), Duration::ZERO), None);
        }
        let shape = even(8, 10);
        let change = limit.record_out_of_memory(shape).expect("it halves");
        assert_eq!(change.cause, LimitCause::OutOfMemory(shape));
        assert_eq!(limit.record_success(BatchShape::default(), Duration::ZERO), None);
    }

    #[test]
    fn limit_at_its_maximum_reports_no_change() {
        let mut limit = limit(4, 4, 100);
        for _ in 0..SUCCESSES_BEFORE_GROWTH * 2 {
            assert_eq!(limit.record_success(BatchShape::default(), Duration::ZERO), None);
        }
    }

    #[test]
    fn single_text_is_always_allowed() {
        let limit = BatchLimit { rows: size(1), tokens: size(1), counting: TokenCount::Actual };
        assert!(limit.allows(even(1, 512)));
        assert!(!limit.allows(even(2, 1)));
    }
}
