//! How far an embedding is. A pure policy: the position moves with each part of a batch, and never
//! back.

/// Rows and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of rows.
    pub rows: u64,
    /// Number of tokens, without padding.
    pub tokens: u64,
}

/// What is done, and the finished parts of the batch in flight.
#[derive(Debug, Clone, Default)]
pub struct Position {
    done: Amount,
    in_flight: Amount,
    /// The furthest position so far.
    furthest: Amount,
}

impl Position {
    /// The position to show: the rows and tokens that are done, those of the batch in flight
    /// included. It stands still while a batch that did not fit in memory is repeated in halves.
    pub fn shown(&self) -> Amount {
        self.furthest
    }

    /// A batch starts. The parts of one that is not done count no more: its texts start again.
    pub fn start_batch(&mut self) {
        self.in_flight = Amount::default();
    }

    /// A part of the batch in flight is done.
    pub fn add_part(&mut self, rows: usize, tokens: usize) {
        self.in_flight = self.in_flight.plus(rows, tokens);
        self.advance();
    }

    /// The batch in flight is done. These rows and tokens are all of its own, so that they replace
    /// those of its parts.
    pub fn finish_batch(&mut self, rows: usize, tokens: usize) {
        self.in_flight = Amount::default();
        self.done = self.done.plus(rows, tokens);
        self.advance();
    }

    /// Rows are done that need no batch.
    pub fn add_rows(&mut self, rows: usize) {
        self.done = self.done.plus(rows, 0);
        self.advance();
    }

    fn advance(&mut self) {
        let rows = self.done.rows + self.in_flight.rows;
        let tokens = self.done.tokens + self.in_flight.tokens;
        self.furthest.rows = self.furthest.rows.max(rows);
        self.furthest.tokens = self.furthest.tokens.max(tokens);
    }
}

impl Amount {
    fn plus(self, rows: usize, tokens: usize) -> Amount {
        Amount { rows: self.rows + rows as u64, tokens: self.tokens + tokens as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Start,
        Part(usize, usize),
        Finish(usize, usize),
        Rows(usize),
    }

    #[test]
    fn position_moves_with_each_part_and_never_back() {
        use Step::{Finish, Part, Rows, Start};
        for (name, steps) in [
            ("no batch", &[(Rows(4), (4, 0)), (Rows(2), (6, 0))][..]),
            (
                "a batch without parts",
                &[(Start, (0, 0)), (Finish(8, 80), (8, 80)), (Start, (8, 80))],
            ),
            (
                "a batch replaces its parts",
                &[
                    (Start, (0, 0)),
                    (Part(3, 30), (3, 30)),
                    (Part(5, 40), (8, 70)),
                    (Finish(8, 70), (8, 70)),
                    (Start, (8, 70)),
                    (Part(1, 9), (9, 79)),
                    (Finish(2, 18), (10, 88)),
                ],
            ),
            (
                "a batch that is repeated in halves",
                &[
                    (Start, (0, 0)),
                    (Part(6, 60), (6, 60)),
                    (Start, (6, 60)),
                    (Part(4, 40), (6, 60)),
                    (Finish(4, 40), (6, 60)),
                    (Start, (6, 60)),
                    (Part(3, 30), (7, 70)),
                    (Finish(4, 40), (8, 80)),
                ],
            ),
            (
                "rows without a batch while one is repeated",
                &[(Start, (0, 0)), (Part(6, 60), (6, 60)), (Start, (6, 60)), (Rows(7), (7, 60))],
            ),
            ("chunks of a long text", &[(Start, (0, 0)), (Part(0, 90), (0, 90))]),
        ] {
            let mut position = Position::default();
            for (number, (step, (rows, tokens))) in steps.iter().enumerate() {
                match *step {
                    Start => position.start_batch(),
                    Part(rows, tokens) => position.add_part(rows, tokens),
                    Finish(rows, tokens) => position.finish_batch(rows, tokens),
                    Rows(rows) => position.add_rows(rows),
                }
                let expected = Amount { rows: *rows, tokens: *tokens };
                assert_eq!(position.shown(), expected, "{name}, step {number}");
            }
        }
    }
}
