//! The results of `reembed bench` as text.

use std::fmt::Write as _;

use reembed::figures::{bytes, count, measure, percent};

use crate::bench::{BenchRecord, TOLERANCE};
use crate::text::printable;

/// All tables.
pub fn text(record: &BenchRecord) -> String {
    let mut text = format!(
        "{} rows, {} tokens; median of {} repeats, interleaved\n",
        count(record.corpus.rows),
        count(record.corpus.tokens),
        record.repeats,
    );
    write_modes(&mut text, record);
    text.push('\n');
    for acceptance in &record.acceptance {
        let _ = writeln!(text, "{}", acceptance.sentence());
    }
    write_verification(&mut text, record);
    write_peers(&mut text, record);
    if !record.memory.is_empty() {
        write_memory(&mut text, record);
    }
    text
}

fn write_modes(text: &mut String, record: &BenchRecord) {
    for subject in &record.subjects {
        let _ = writeln!(
            text,
            "\n{:<15} {:>8} {:>8} {:>9} {:>9} {:>7} {:>8} {:>8} {:>9} {:>9}",
            subject.name,
            "tasks/s",
            "ms/task",
            "tokens/s",
            "speed-up",
            "spread",
            "real",
            "of peak",
            "peak RSS",
            "max |Δ|"
        );
        for mode in &subject.modes {
            let _ = writeln!(
                text,
                "{:<15} {:>8} {:>8.2} {:>9.0} {:>8.2}× {:>6.2}× {:>8} {:>8} {:>9} {:>9.1e}",
                mode.name,
                measure(mode.tasks_per_second),
                mode.ms_per_task,
                mode.tokens_per_second,
                mode.speed_up.unwrap_or(1.0),
                mode.spread,
                percent(mode.padding_efficiency),
                mode.of_peak.map_or("–".to_owned(), percent),
                mode.peak_resident.map_or("–".to_owned(), bytes),
                mode.largest_difference,
            );
        }
        let rows = match subject.rows == record.corpus.rows {
            true => String::new(),
            false => format!(", on {} rows because it is slow", count(subject.rows)),
        };
        let _ = writeln!(text, "{} on {}{rows}", subject.numerics, subject.runs_on);
    }
}

fn write_verification(text: &mut String, record: &BenchRecord) {
    for subject in &record.subjects {
        let invariance = match subject.batch_invariant {
            true => "every vector has the same bits in every batch".to_owned(),
            false => format!("components differ by at most {TOLERANCE:.0e} between batches"),
        };
        let difference = match (subject.lowest_cosine, subject.largest_difference) {
            (Some(cosine), Some(difference)) => format!(
                "; compared with {}: cosine at least {cosine:.7}, components within {difference:.1e}",
                record.subjects[0].name
            ),
            _ => String::new(),
        };
        let neighbours = match subject.shared_neighbours {
            Some(share) => format!(", {} of the ten nearest neighbours stay", percent(share)),
            None => String::new(),
        };
        let _ =
            writeln!(text, "Verified for {}: {invariance}{difference}{neighbours}.", subject.name);
    }
}

fn write_peers(text: &mut String, record: &BenchRecord) {
    if let Some(tfidf) = record.tfidf {
        let _ = writeln!(
            text,
            "TF-IDF: {} tasks/s, {} times as fast as the fastest mode.",
            measure(tfidf.tasks_per_second),
            measure(tfidf.times)
        );
    }
    for peer in &record.peers {
        let rate = measure(peer.tasks_per_second);
        let _ = writeln!(text, "{rate:>9} tasks/s  {}", printable(&peer.name));
    }
}

fn write_memory(text: &mut String, record: &BenchRecord) {
    let _ = writeln!(
        text,
        "\n{:<15} {:>7} {:>7} {:>10} {:>10} {:>10} {:>8}",
        "memory", "tokens", "texts", "measured", "predicted", "per text", "ratio"
    );
    for line in &record.memory {
        let _ = writeln!(
            text,
            "{:<15} {:>7} {:>7} {:>10} {:>10} {:>10} {:>8.2}",
            line.engine,
            line.length,
            line.rows,
            bytes(line.measured),
            bytes(line.predicted),
            bytes(line.measured_per_row.round() as u64),
            line.ratio
        );
    }
    text.push_str(match record.predictions_hold() {
        true => "Every predicted size is within 15 % of the measured size.\n",
        false => "A predicted size differs by more than 15 % from the measured size.\n",
    });
}
