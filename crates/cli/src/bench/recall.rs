//! What a precision does to a search: how many of a row's nearest neighbours stay.

/// Neighbours of a search.
const NEAREST: usize = 10;

/// Rows that are searched; the work grows with their square.
const MAX_ROWS: usize = 1000;

/// The share of the ten nearest neighbours of each row, by cosine, that two sets of vectors have in common. Vectors have
/// length 1; rows after the first thousand, and rows that one set lacks, are left out. `None` for less than two rows.
pub fn shared_neighbours(reference: &[f32], other: &[f32], dim: usize) -> Option<f64> {
    let rows = (reference.len().min(other.len()) / dim).min(MAX_ROWS);
    let nearest = NEAREST.min(rows.checked_sub(1).filter(|others| *others > 0)?);
    let mut shared = 0;
    for row in 0..rows {
        let expected = neighbours(&reference[..rows * dim], dim, row, nearest);
        let found = neighbours(&other[..rows * dim], dim, row, nearest);
        shared += found.iter().filter(|found| expected.contains(found)).count();
    }
    Some(shared as f64 / (rows * nearest) as f64)
}

/// The nearest other rows. Of equal ones the first.
fn neighbours(vectors: &[f32], dim: usize, row: usize, nearest: usize) -> Vec<usize> {
    let query = &vectors[row * dim..][..dim];
    let score = |other: &[f32]| query.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let scores: Vec<f32> = vectors.chunks_exact(dim).map(score).collect();
    let mut others: Vec<usize> = (0..scores.len()).filter(|other| *other != row).collect();
    let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if nearest < others.len() {
        others.select_nth_unstable_by(nearest, order);
    }
    others.truncate(nearest);
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unit vectors at these angles, in degrees.
    fn at(angles: &[f32]) -> Vec<f32> {
        angles
            .iter()
            .flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()])
            .collect()
    }

    #[test]
    fn neighbours_are_the_nearest_others() {
        let vectors = at(&[0.0, 50.0, 10.0, 90.0]);
        assert_eq!(neighbours(&vectors, 2, 0, 1), [2]);
        assert_eq!(neighbours(&vectors, 2, 3, 1), [1]);
        assert_eq!(neighbours(&at(&[5.0; 4]), 2, 2, 1), [0]);
    }

    #[test]
    fn shared_neighbours_are_counted() {
        // 12 rows a degree apart: each row has 11 others, and so leaves out the farthest.
        let angles: Vec<f32> = (0..12).map(|row| row as f32).collect();
        let reference = at(&angles);
        assert_eq!(shared_neighbours(&reference, &reference, 2), Some(1.0));
        // The first row goes to the other end: it leaves out what was near, and each other row has one that is new.
        let mut moved = angles;
        moved[0] = 12.5;
        let shared = shared_neighbours(&reference, &at(&moved), 2).expect("12 rows");
        assert!((0.8..1.0).contains(&shared), "{shared}");
    }

    #[test]
    fn one_row_has_no_neighbours() {
        assert_eq!(shared_neighbours(&at(&[1.0]), &at(&[1.0]), 2), None);
        assert_eq!(shared_neighbours(&at(&[1.0, 2.0]), &at(&[1.0]), 2), None);
        assert_eq!(shared_neighbours(&[], &[], 2), None);
    }
}
