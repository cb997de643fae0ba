//! TF-IDF of the same texts: a baseline that counts words and needs no model.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

/// Rows per second of TF-IDF on one core, fit and transform, with the defaults of scikit-learn's `TfidfVectorizer`.
pub fn tasks_per_second(texts: &[String]) -> f64 {
    let started = Instant::now();
    black_box(vectors(texts));
    texts.len() as f64 / started.elapsed().as_secs_f64().max(1e-9)
}

/// A sparse vector for each text: pairs of word number and weight, in ascending order. Raw counts, smoothed inverse
/// document frequency, L2 norm.
fn vectors(texts: &[String]) -> Vec<Vec<(usize, f64)>> {
    let mut vocabulary: HashMap<String, usize> = HashMap::new();
    let mut documents: Vec<u32> = Vec::new();
    let mut counted: Vec<Vec<(usize, f64)>> = Vec::with_capacity(texts.len());
    for text in texts {
        let mut counts: HashMap<usize, f64> = HashMap::new();
        for word in words(&text.to_lowercase()) {
            let next = vocabulary.len();
            let number = match vocabulary.get(word) {
                Some(number) => *number,
                None => *vocabulary.entry(word.to_owned()).or_insert(next),
            };
            *counts.entry(number).or_default() += 1.0;
        }
        documents.resize(vocabulary.len(), 0);
        counts.keys().for_each(|number| documents[*number] += 1);
        counted.push(counts.into_iter().collect());
    }
    let all = texts.len() as f64;
    let frequency: Vec<f64> =
        documents.iter().map(|with| ((1.0 + all) / (1.0 + f64::from(*with))).ln() + 1.0).collect();
    for vector in &mut counted {
        vector.sort_unstable_by_key(|(number, _)| *number);
        vector.iter_mut().for_each(|(number, weight)| *weight *= frequency[*number]);
        let length = vector.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|(_, weight)| *weight /= length.max(f64::MIN_POSITIVE));
    }
    counted
}

/// Runs of at least two letters, digits or underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |word: &&str| word.chars().nth(1).is_some();
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_match_the_formula() {
        let texts = ["Fix the login".to_owned(), "the THE a login_page".to_owned()];
        let vectors = vectors(&texts);
        // Numbers: fix 0, the 1, login 2, login_page 3.
        let rare = (3.0f64 / 2.0).ln() + 1.0;
        let common = 1.0;
        let length = (2.0 * rare * rare + common * common).sqrt();
        assert_eq!(vectors[0], [(0, rare / length), (1, common / length), (2, rare / length)]);
        let length = (4.0 * common * common + rare * rare).sqrt();
        assert_eq!(vectors[1], [(1, 2.0 * common / length), (3, rare / length)]);
        assert!(tasks_per_second(&texts) > 0.0);
    }
}
