//! The acceptance: batches of 32 texts of each packed engine, compared with one call per text.

use super::mode::Mode;
use super::record::{Acceptance, BenchRecord, ModeRecord, Peer, SubjectRecord};

/// The engine of stock candle, a baseline.
const BASELINE_ENGINE: &str = "candle";

/// Compares each packed engine with itself and with stock candle, one text at a time. The names say the threads of both
/// sides: the packed engine shares a batch among its threads and gives a single text one thread.
pub fn compare(subjects: &[SubjectRecord]) -> Vec<Acceptance> {
    let single = |subject: &SubjectRecord| {
        let mode = subject.modes.iter().find(|mode| mode.name == Mode::Single.to_string())?;
        let threads = match subject.engine == BASELINE_ENGINE {
            true => subject.threads,
            false => subject.threads.map(|_| 1),
        };
        let name = format!("{}, one at a time{}", subject.name, on_threads(threads));
        Some((name, mode.tokens_per_second))
    };
    let stock = subjects.iter().filter(|subject| subject.engine == BASELINE_ENGINE);
    let stock = stock.filter_map(single).map(|(name, speed)| (format!("stock {name}"), speed));
    let stock: Vec<_> = stock.collect();
    let mut found = Vec::new();
    for (subject, batch) in packed_batches(subjects) {
        for (baseline, speed) in single(subject).iter().chain(&stock) {
            let times = batch.tokens_per_second / speed;
            found.push(Acceptance::new(batch_name(subject), baseline.clone(), times));
        }
    }
    found
}

/// Adds another tool, measured on the rows of the first engine and with as many threads. `is_baseline`: it embeds one
/// text at a time.
pub fn add_peer(record: &mut BenchRecord, name: &str, tasks_per_second: f64, is_baseline: bool) {
    record.peers.push(Peer { name: name.to_owned(), tasks_per_second });
    if !is_baseline {
        return;
    }
    // Compared by tokens, since a slower engine embedded fewer rows.
    let tokens_per_row = record.corpus.tokens as f64 / record.corpus.rows.max(1) as f64;
    let comparisons = packed_batches(&record.subjects).map(|(subject, batch)| {
        let times = batch.tokens_per_second / (tasks_per_second * tokens_per_row);
        let baseline = format!("{name}{}", on_threads(subject.threads));
        Acceptance::new(batch_name(subject), baseline, times)
    });
    let comparisons: Vec<_> = comparisons.collect();
    record.acceptance.extend(comparisons);
}

fn packed_batches(
    subjects: &[SubjectRecord],
) -> impl Iterator<Item = (&SubjectRecord, &ModeRecord)> {
    subjects.iter().filter(|subject| subject.engine != BASELINE_ENGINE).filter_map(|subject| {
        let batch = subject.modes.iter().find(|mode| mode.name == "batch 32")?;
        Some((subject, batch))
    })
}

fn batch_name(subject: &SubjectRecord) -> String {
    format!("{}, batch 32{},", subject.name, on_threads(subject.threads))
}

/// ` on 2 threads`; empty on a GPU.
fn on_threads(threads: Option<u64>) -> String {
    match threads {
        None => String::new(),
        Some(1) => " on 1 thread".to_owned(),
        Some(threads) => format!(" on {threads} threads"),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::super::example;
    use super::super::record::CorpusRecord;
    use super::*;

    /// An engine with 32 rows of 100 tokens in each batch.
    fn subject(engine: &str, threads: Option<u64>, modes: &[(Mode, f64)]) -> SubjectRecord {
        let mode = |&(mode, tasks): &(Mode, f64)| ModeRecord {
            tokens_per_second: 100.0 * tasks,
            ..example::mode(&mode.to_string(), mode.rows(), tasks)
        };
        let modes = modes.iter().map(mode).collect();
        SubjectRecord { threads, modes, ..example::subject(&format!("{engine} f32"), 1.0) }
    }

    fn subjects(candle_threads: Option<u64>) -> Vec<SubjectRecord> {
        let batch = Mode::Rows(NonZeroUsize::new(32).expect("not zero"));
        vec![
            subject("packed", Some(4), &[(Mode::Single, 10.0), (batch, 40.0)]),
            subject("candle", candle_threads, &[(Mode::Single, 5.0)]),
        ]
    }

    #[test]
    fn comparison_names_the_threads_of_both_sides() {
        let sentences = |threads| -> Vec<String> {
            compare(&subjects(threads)).iter().map(Acceptance::sentence).collect()
        };
        let batch = "packed f32, batch 32 on 4 threads, is";
        let missed = "(target 10: not reached on this machine).";
        let own =
            format!("{batch} 4.00 times as fast as packed f32, one at a time on 1 thread {missed}");
        let stock = |on: &str| {
            format!("{batch} 8.00 times as fast as stock candle f32, one at a time{on} {missed}")
        };
        assert_eq!(sentences(Some(4)), [own.clone(), stock(" on 4 threads")]);
        assert_eq!(sentences(None), [own, stock("")], "on a GPU");
    }

    #[test]
    fn peer_is_compared_by_tokens_of_its_own_rows() {
        let mut record = example::record();
        record.subjects = subjects(Some(4));
        record.acceptance.clear();
        // These texts are shorter than those of the second engine, which embedded fewer.
        record.corpus = CorpusRecord { rows: 200, tokens: 10_000, ..CorpusRecord::default() };
        add_peer(&mut record, "another, one call per text", 16.0, true);
        add_peer(&mut record, "another, batch 16", 30.0, false);
        let sentences: Vec<String> = record.acceptance.iter().map(Acceptance::sentence).collect();
        // 4,000 tokens per second divided by 800.
        let expected = "packed f32, batch 32 on 4 threads, is 5.00 times as fast as another, one call per text \
                        on 4 threads (target 10: not reached on this machine).";
        assert_eq!(sentences, [expected]);
    }
}
