//! The order in which the tables of a run use the model: one after the other, as they were begun.
//!
//! Others read ahead or publish meanwhile. A table that ends early, with or without an error, ends its
//! turn.

use std::sync::{Condvar, Mutex, PoisonError};

/// The turns of tables that are numbered from 0.
#[derive(Default)]
pub struct Turns {
    /// The first table whose turn has not ended, and those after it whose turn has.
    state: Mutex<(usize, std::collections::BTreeSet<usize>)>,
    ended: Condvar,
}

/// The turn of one table. Dropping it ends the turn.
pub struct Turn<'a> {
    turns: &'a Turns,
    number: usize,
}

impl Turns {
    /// The turn of a table. Each has to be taken and dropped, or those after it wait for ever.
    pub fn of(&self, number: usize) -> Turn<'_> {
        Turn { turns: self, number }
    }
}

impl Turn<'_> {
    /// Waits until the turns of all tables before have ended.
    pub fn wait(&self) {
        let state = self.turns.state.lock().unwrap_or_else(PoisonError::into_inner);
        let not_yet = |state: &mut (usize, _)| state.0 < self.number;
        drop(self.turns.ended.wait_while(state, not_yet));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.insert(self.number);
        let (first, ended) = &mut *state;
        while ended.remove(first) {
            *first += 1;
        }
        self.turns.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn turns_come_in_order_also_after_one_that_ended_early() {
        let (turns, order) = (Turns::default(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for number in [3, 1, 4, 0, 2] {
                let turn = turns.of(number);
                let order = &order;
                scope.spawn(move || {
                    if number == 2 {
                        return;
                    }
                    turn.wait();
                    order.lock().expect("no panic").push(number);
                });
            }
        });
        assert_eq!(order.into_inner().expect("no panic"), [0, 1, 3, 4]);
    }
}
