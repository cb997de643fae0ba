//! What follows the death of a worker: a pure function. docs/decisions/0013 has the reasons.

/// Deaths in a row without a newly finished row that end the run.
pub const MAX_DEATHS: u32 = 3;

/// A worker that was killed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Death {
    /// Rows whose vectors it committed to the cache.
    pub committed: u64,
    /// The memory budget of its batches; `None` if it died before it reported one.
    pub budget: Option<u64>,
    /// The size in bytes of the batch in flight.
    pub in_flight: Option<u64>,
    /// The size in bytes of one text of maximum length: the smallest useful budget.
    pub min_budget: Option<u64>,
}

/// What the supervisor does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It starts another worker.
    Restart {
        /// The memory budget of batches in bytes; `None`: the worker decides.
        budget: Option<u64>,
    },
    /// It ends the run.
    GiveUp,
}

/// Decides after `deaths` deaths without progress. Returns that number with this death included, and the decision.
///
/// The next budget is half of the old one, or half of the batch in flight if that is less.
pub fn decide(deaths: u32, death: Death) -> (u32, Decision) {
    let deaths = if death.committed > 0 { 1 } else { deaths + 1 };
    if deaths >= MAX_DEATHS {
        return (deaths, Decision::GiveUp);
    }
    let budget = death.budget.map(|budget| {
        let tried = death.in_flight.map_or(budget, |tried| tried.min(budget));
        (tried / 2).max(death.min_budget.unwrap_or(1)).min(budget)
    });
    (deaths, Decision::Restart { budget })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_after_a_death() {
        let restart = |budget| Decision::Restart { budget };
        for (name, deaths, (committed, budget, in_flight, min_budget), expected) in [
            ("first death", 0, (0, Some(800), None, Some(10)), (1, restart(Some(400)))),
            ("small batch", 0, (0, Some(800), Some(200), Some(10)), (1, restart(Some(100)))),
            ("batch over budget", 0, (0, Some(800), Some(900), Some(10)), (1, restart(Some(400)))),
            ("one text must fit", 0, (0, Some(15), Some(12), Some(10)), (1, restart(Some(10)))),
            ("budget below one text", 0, (0, Some(8), None, Some(10)), (1, restart(Some(8)))),
            ("nothing is known", 0, (0, None, None, None), (1, restart(None))),
            ("size of a text unknown", 1, (0, Some(800), None, None), (2, restart(Some(400)))),
            ("second death", 1, (0, Some(400), None, Some(10)), (2, restart(Some(200)))),
            ("third death", 2, (0, Some(200), None, Some(10)), (3, Decision::GiveUp)),
            ("third death, nothing known", 2, (0, None, None, None), (3, Decision::GiveUp)),
            ("progress before it", 2, (1, Some(200), None, Some(10)), (1, restart(Some(100)))),
        ] {
            let death = Death { committed, budget, in_flight, min_budget };
            assert_eq!(decide(deaths, death), expected, "{name}");
        }
    }

    #[test]
    fn gives_up_only_without_progress() {
        let (mut deaths, mut budget, mut workers) = (0, Some(1 << 40), 0);
        loop {
            let death = Death { budget, min_budget: Some(1000), ..Death::default() };
            workers += 1;
            let decision;
            (deaths, decision) = decide(deaths, death);
            let Decision::Restart { budget: next } = decision else { break };
            budget = next;
        }
        assert_eq!(workers, MAX_DEATHS);
        for _ in 0..100 {
            let death = Death { committed: 1, budget, min_budget: Some(1000), ..Death::default() };
            let decision;
            (deaths, decision) = decide(deaths, death);
            let Decision::Restart { budget: next } = decision else { panic!("there was progress") };
            budget = next;
            assert!(budget >= Some(1000));
        }
    }
}
