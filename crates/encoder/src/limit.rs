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
    /// What the time of a batch allows.
    pub pace: Pace,
}

/// What keeps the batches of a slow encoder short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Maximum number of tokens of a batch of more than `texts` texts.
    pub tokens: NonZeroUsize,
    /// Texts that the encoder computes at the same time: a batch of fewer leaves threads idle, however long it takes.
    pub texts: NonZeroUsize,
}

impl Pace {
    /// Batches may take any time.
    pub const NONE: Pace = Pace { tokens: NonZeroUsize::MAX, texts: NonZeroUsize::MIN };
}

impl BatchLimit {
    /// Whether a batch of this shape may run. A single text always may.
    pub fn allows(self, shape: BatchShape) -> bool {
        let tokens = self.counting.tokens(shape);
        let fits = shape.rows <= self.rows.get() && tokens <= self.tokens.get();
        let in_time = shape.rows <= self.pace.texts.get() || tokens <= self.pace.tokens.get();
        shape.rows <= 1 || (fits && in_time)
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

/// What the encoder computes, and what memory allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderLimits {
    /// Which tokens count.
    pub counting: TokenCount,
    /// Tokens of a batch that fit in the memory budget.
    pub affordable: NonZeroUsize,
    /// Texts that the encoder computes at the same time.
    pub texts_at_once: NonZeroUsize,
    /// Tokens of the longest text that there may be.
    pub longest: NonZeroUsize,
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
    /// Texts that the encoder computes at the same time.
    pub texts_at_once: NonZeroUsize,
}

impl LimitBounds {
    /// Completes the requested bounds with defaults. The default limits rows if the encoder pads, else tokens: as
    /// many at least as give each thread of the encoder a text of any length.
    pub fn new(requested: RequestedLimits, encoder: EncoderLimits) -> Self {
        let EncoderLimits { counting, affordable, texts_at_once, longest } = encoder;
        let (tokens, rows) = match counting {
            TokenCount::Padded => {
                (requested.tokens.unwrap_or(affordable), DEFAULT_PADDED_BATCH_ROWS)
            }
            TokenCount::Actual => {
                let default = DEFAULT_BATCH_TOKENS.max(texts_at_once.saturating_mul(longest));
                let tokens = requested.tokens.unwrap_or(default.min(affordable));
                (tokens, tokens)
            }
        };
        let start = requested.start.or(requested.max).unwrap_or(rows);
        LimitBounds { start, max: requested.max.unwrap_or(start), tokens, counting, texts_at_once }
    }
}

/// A batch limit that shrinks on out-of-memory and grows after batches that fit. A slow encoder gets
/// batches that take four seconds, or as many texts as it computes at the same time.
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
        let LimitBounds { start, tokens, counting, .. } = bounds;
        let current = BatchLimit { rows: start, tokens, counting, pace: Pace::NONE };
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
            texts_at_once: one,
        })
    }

    /// The current limit.
    pub fn current(&self) -> BatchLimit {
        let pace = Pace { tokens: self.pace, texts: self.bounds.texts_at_once };
        BatchLimit { pace, ..self.current }
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
            let bounds = LimitBounds::new(RequestedLimits::default(), encoder(usize::MAX));
            let mut limit = AdaptiveLimit::new(bounds);
            assert_eq!(limit.current().pace.tokens, UNTIMED_TOKENS);
            limit.record_success(shape(tokens), seconds(took));
            let BatchLimit { tokens: most, pace, .. } = limit.current();
            assert_eq!(most.min(pace.tokens).get(), expected, "{tokens} in {took} s");
            assert_eq!(limit.of_memory().tokens, DEFAULT_BATCH_TOKENS);
        }
    }

    #[test]
    fn slow_encoder_gets_a_long_text_for_each_thread() {
        for (texts_at_once, texts, tokens, allowed) in [
            (1, 2, 4_096, false),
            (2, 2, 4_096, true),
            (2, 3, 4_096, false),
            (2, 3, 300, true),
            (16, 16, 8_192, true),
            (16, 17, 8_192, false),
        ] {
            let encoder = EncoderLimits {
                texts_at_once: size(texts_at_once),
                longest: size(8_192),
                ..encoder(1 << 20)
            };
            let mut limit =
                AdaptiveLimit::new(LimitBounds::new(RequestedLimits::default(), encoder));
            limit.record_success(even(1, 8_192), Duration::from_secs(32));
            let shape = even(texts, tokens);
            assert_eq!(
                limit.current().allows(shape),
                allowed,
                "{shape:?}, {texts_at_once} threads"
            );
            // What does not fit in memory does not get another chance.
            if texts > 1 && allowed {
                limit.record_out_of_memory(shape);
                assert!(!limit.current().allows(shape), "{shape:?}");
            }
        }
    }

    fn size(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("not zero")
    }

    /// An encoder that does not pad, with one thread and texts of at most 256 tokens.
    fn encoder(affordable: usize) -> EncoderLimits {
        EncoderLimits {
            counting: TokenCount::Actual,
            affordable: size(affordable),
            texts_at_once: NonZeroUsize::MIN,
            longest: size(256),
        }
    }

    fn limit(start: usize, max: usize, tokens: usize) -> AdaptiveLimit {
        AdaptiveLimit::new(LimitBounds {
            start: size(start),
            max: size(max),
            tokens: size(tokens),
            counting: TokenCount::Padded,
            texts_at_once: NonZeroUsize::MIN,
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
            let bounds = LimitBounds {
                start: size(64),
                max: size(64),
                tokens: size(tokens),
                counting,
                texts_at_once: NonZeroUsize::MIN,
            };
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
            let encoder = EncoderLimits { counting, ..encoder(affordable) };
            let bounds = LimitBounds::new(requested, encoder);
            let found = (bounds.start.get(), bounds.max.get(), bounds.tokens.get());
            assert_eq!(found, expected, "{requested:?}, {affordable}, {counting:?}");
        }
    }

    #[test]
    fn token_limit_alone_halves_and_grows_back() {
        let requested = RequestedLimits { tokens: Some(size(8000)), ..RequestedLimits::default() };
        let mut limit = AdaptiveLimit::new(LimitBounds::new(requested, encoder(1)));
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
        let limit = BatchLimit {
            rows: size(1),
            tokens: size(1),
            counting: TokenCount::Actual,
            pace: Pace::NONE,
        };
        assert!(limit.allows(even(1, 512)));
        assert!(!limit.allows(even(2, 1)));
    }
}
