//! The worker has been killed: what now? A pure function of what is known.

/// After so many deaths in a row without a newly finished row, the next would be the same.
pub const MOST_DEATHS: u32 = 3;

/// A worker that was killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Death {
    /// Rows whose vectors it had brought to the cache.
    pub committed: u64,
    /// Bytes that its batches could take, where it had come to say so.
    pub budget: Option<u64>,
    /// Bytes of the batch that it was at.
    pub in_flight: Option<u64>,
    /// Bytes of a batch of one text of full length: with less, no text is sure to fit.
    pub least: Option<u64>,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Another worker, whose batches may take so many bytes; `None` leaves that to the worker.
    Again {
        /// Bytes.
        budget: Option<u64>,
    },
    /// Nothing.
    GiveUp,
}

/// Decides after `deaths` earlier deaths without progress; gives the number with this one, too.
///
/// The budget becomes half of itself, or half of what the batch took if that is less: it may have been far from the
/// budget.
pub fn decide(deaths: u32, death: Death) -> (u32, Decision) {
    let deaths = if death.committed > 0 { 1 } else { deaths + 1 };
    if deaths >= MOST_DEATHS {
        return (deaths, Decision::GiveUp);
    }
    let budget = death.budget.map(|budget| {
        let tried = death.in_flight.map_or(budget, |tried| tried.min(budget));
        (tried / 2).max(death.least.unwrap_or(1)).min(budget)
    });
    (deaths, Decision::Again { budget })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_death() {
        let again = |budget| Decision::Again { budget };
        for (name, deaths, (committed, budget, in_flight, least), expected) in [
            ("a first death", 0, (0, Some(800), None, Some(10)), (1, again(Some(400)))),
            ("the batch was small", 0, (0, Some(800), Some(200), Some(10)), (1, again(Some(100)))),
            ("a batch over budget", 0, (0, Some(800), Some(900), Some(10)), (1, again(Some(400)))),
            ("one text has to fit", 0, (0, Some(15), Some(12), Some(10)), (1, again(Some(10)))),
            ("a budget below that", 0, (0, Some(8), None, Some(10)), (1, again(Some(8)))),
            ("nothing is known", 0, (0, None, None, None), (1, again(None))),
            ("a device without prices", 1, (0, Some(800), None, None), (2, again(Some(400)))),
            ("a second death", 1, (0, Some(400), None, Some(10)), (2, again(Some(200)))),
            ("a third death", 2, (0, Some(200), None, Some(10)), (3, Decision::GiveUp)),
            ("a third, unknown", 2, (0, None, None, None), (3, Decision::GiveUp)),
            ("progress before it", 2, (1, Some(200), None, Some(10)), (1, again(Some(100)))),
        ] {
            let death = Death { committed, budget, in_flight, least };
            assert_eq!(decide(deaths, death), expected, "{name}");
        }
    }

    #[test]
    fn it_ends_without_progress_and_never_while_there_is_some() {
        let (mut deaths, mut budget, mut started) = (0, Some(1 << 40), 0);
        loop {
            let death = Death { budget, least: Some(1000), ..Death::default() };
            started += 1;
            let decision;
            (deaths, decision) = decide(deaths, death);
            let Decision::Again { budget: next } = decision else { break };
            budget = next;
        }
        assert_eq!(started, MOST_DEATHS);
        for _ in 0..100 {
            let death = Death { committed: 1, budget, least: Some(1000), ..Death::default() };
            let decision;
            (deaths, decision) = decide(deaths, death);
            let Decision::Again { budget: next } = decision else { panic!("there was progress") };
            budget = next;
            assert!(budget >= Some(1000));
        }
    }
}
