use std::num::NonZeroUsize;
use std::sync::LazyLock;

use proptest::prelude::*;
use reembed_testing::model_directory::ModelDirectory;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::*;
use crate::model::config::{TextOptions, Truncation};
use crate::model::description;
use crate::model::prompt::PromptChoice;
use crate::model::source::{self, SourceConfig};

/// A tokenizer with a maximum of 256 tokens, from a changed `tokenizer.json`.
fn tokenizer_with(
    options: TextOptions,
    lower_case: bool,
    edit: impl FnOnce(&mut Value),
) -> TextTokenizer {
    // transformers takes this class as it is in `tokenizer.json`.
    let config = json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
    let written = ModelDirectory::tiny().tokenizer_config(config).write();
    written.edit_json("tokenizer.json", edit);
    written.edit_json("sentence_bert_config.json", |config| {
        config["do_lower_case"] = json!(lower_case);
    });
    let source = SourceConfig::from_directory(written.path());
    let files = source::resolve(&source, &|_| ()).expect("its files");
    let description = description::read(&files, &options).expect("a description");
    TextTokenizer::new(&files, &description).expect("a tokenizer")
}

fn prompt(text: &str) -> TextOptions {
    TextOptions { prompt: PromptChoice::Text(text.to_owned()), ..TextOptions::default() }
}

fn plain() -> TextTokenizer {
    tokenizer_with(TextOptions::default(), false, |_| ())
}

fn size(tokens: usize, overlap: usize) -> ChunkSize {
    ChunkSize::new(NonZeroUsize::new(tokens).expect("not zero"), overlap).expect("a size")
}

/// The chunks of a text, of which `slice_bytes` are encoded at a time.
fn sliced(
    tokenizer: &TextTokenizer,
    text: &str,
    size: ChunkSize,
    slice_bytes: usize,
) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let each = &mut |range, _| ranges.push(range);
    Splitter { tokenizer, text, size, each }.split(slice_bytes).expect("chunks");
    ranges
}

fn chunks<'t>(tokenizer: &TextTokenizer, text: &'t str, size: ChunkSize) -> Vec<&'t str> {
    let ranges = tokenizer.split(text, size).expect("chunks");
    ranges.into_iter().map(|range| &text[range]).collect()
}

/// Token ids without prompt and special tokens.
fn plain_ids(tokenizer: &TextTokenizer, text: &str) -> Vec<u32> {
    let encode = |tokenizer: &Tokenizer| tokenizer.encode(text, false).expect("ids");
    let mut encoding = encode(&tokenizer.tokenizer);
    if !encoding.get_overflowing().is_empty() {
        let mut whole = Tokenizer::clone(&tokenizer.tokenizer);
        whole.with_truncation(None).expect("no truncation");
        encoding = encode(&whole);
    }
    encoding.get_ids().to_vec()
}

#[test]
fn chunks_begin_at_words_and_overlap_by_whole_words() {
    let tokenizer = plain();
    // Two tokens are special.
    for (text, tokens, overlap, expected) in [
        ("", 8, 2, vec![""]),
        (" \n ", 8, 2, vec![" \n "]),
        ("  the file ", 8, 2, vec!["  the file "]),
        ("the file of the user", 5, 0, vec!["the file of", "the user"]),
        ("the file of the user", 5, 1, vec!["the file of", "of the user"]),
        ("  the file \n\n of the user ", 5, 0, vec!["the file \n\n of", "the user"]),
        // Punctuation stays with its word: `file,` has two tokens.
        ("the file, of (the user).", 5, 0, vec!["the file,", "of (the", "user)."]),
        ("the file, of the user", 5, 1, vec!["the file,", "of the user"]),
        // Each ideograph is a word, and its punctuation stays with it.
        ("中文日本語。中文", 5, 1, vec!["中文日", "日本", "本語。", "中文"]),
        ("the中文 file日x", 4, 0, vec!["the中", "文 file", "日x"]),
        // A word that does not fit is cut at words of the tokenizer, then at tokens.
        ("the a.b.c file", 5, 0, vec!["the a.", "b.c", "file"]),
        ("the qjxzkwv file", 5, 0, vec!["the qj", "xzk", "wv file"]),
        ("the qjxzkwv file", 5, 1, vec!["the qj", "jxz", "zkw", "wv file"]),
        (
            "the\u{200d}\u{200d} \u{200d}file of",
            4,
            0,
            vec!["the\u{200d}\u{200d} \u{200d}file", "of"],
        ),
        ("the \u{200d} file of", 4, 0, vec!["the \u{200d} file", "of"]),
        ("\u{200d} the file of", 4, 0, vec!["\u{200d} the file", "of"]),
        ("the [SEP] of [SEP]", 4, 0, vec!["the [SEP]", "of [SEP]"]),
    ] {
        let found = chunks(&tokenizer, text, size(tokens, overlap));
        assert_eq!(found, expected, "{text:?}, {tokens}, {overlap}");
    }
}

#[test]
fn prompt_takes_room_in_every_chunk() {
    let tokenizer = tokenizer_with(prompt("query: "), false, |_| ());
    let taken = tokenizer.tokenize("").expect("ids").ids.len();
    let found = chunks(&tokenizer, "the file of the user", size(taken + 2, 0));
    assert_eq!(found, ["the file", "of the", "user"]);
    let error = tokenizer.split("", size(taken, 0)).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::Config);
    let special = format!("prompt and special tokens take {taken}");
    assert!(error.to_string().ends_with(&special), "{error}");
    tokenizer.check_chunk_size(size(256, 0)).expect("it fits the model");
    let error = tokenizer.check_chunk_size(size(257, 0)).expect_err("too long");
    assert!(error.to_string().contains("`text.chunk.tokens` is 257"), "{error}");
}

#[test]
fn prompt_that_becomes_part_of_the_first_word_is_counted() {
    // `qj` before a word makes it a longer one, which is not known and has more tokens.
    let tokenizer = tokenizer_with(prompt("qj"), false, |_| ());
    let text = "the file of the user";
    for tokens in 6..12 {
        let found = chunks(&tokenizer, text, size(tokens, 0));
        assert_eq!(found.concat().replace(' ', ""), text.replace(' ', ""), "{tokens}");
        for chunk in found {
            let ids = tokenizer.tokenize(chunk).expect("ids").ids;
            assert!(ids.len() <= tokens, "{tokens}: {chunk:?} has {} tokens", ids.len());
        }
    }
}

#[test]
fn letters_whose_lower_case_is_longer_do_not_shift_chunks() {
    let cased = |lower_case| {
        tokenizer_with(TextOptions::default(), lower_case, |tokenizer| {
            tokenizer["normalizer"]["lowercase"] = json!(!lower_case);
            tokenizer["normalizer"]["strip_accents"] = json!(true);
        })
    };
    let text = format!("{} the file of the user", "İ\u{212a}İİ ".repeat(9));
    for lower_case in [false, true] {
        let found = chunks(&cased(lower_case), &text, size(5, 0));
        assert_eq!(found[found.len() - 2..], ["the file of", "the user"], "{lower_case}");
        assert!(found[..found.len() - 2].iter().all(|chunk| chunk.contains('İ')), "{found:?}");
        assert_eq!(found.concat().matches('İ').count(), 27, "{found:?}");
    }
}

#[test]
fn truncation_of_the_tokenizer_does_not_change_chunks() {
    let text = "the file of the user ".repeat(200);
    let of = |truncation| {
        let options = TextOptions { truncation, ..TextOptions::default() };
        tokenizer_with(options, false, |_| ()).split(&text, size(256, 16)).expect("chunks")
    };
    let expected = of(Truncation::End);
    assert_eq!(expected.len(), 5);
    assert_eq!(of(Truncation::Start), expected);
    assert_eq!(of(Truncation::Error), expected);
}

#[test]
fn very_long_words_are_whole_chunks_or_cut() {
    let tokenizer = plain();
    let unknown = "x".repeat(1 << 20);
    let text = format!("the file {unknown} of");
    assert_eq!(chunks(&tokenizer, &text, size(5, 0)), [&text[..text.len() - 3], "of"]);
    let marks = "!".repeat(1 << 17);
    let found = chunks(&tokenizer, &marks, size(256, 0));
    assert_eq!(found.len(), (1_usize << 17).div_ceil(254));
    assert_eq!(found.concat(), marks);
    let blanks = format!("the{}file", " ".repeat(1 << 20));
    assert_eq!(chunks(&tokenizer, &blanks, size(3, 0)), ["the", "file"]);
    assert_eq!(chunks(&tokenizer, &blanks, size(4, 0)), [blanks.as_str()]);
}

#[test]
fn tokenizer_without_special_treatment_is_split_at_white_space() {
    let tokenizer = tokenizer_with(TextOptions::default(), false, |tokenizer| {
        tokenizer["normalizer"] = json!(null);
        tokenizer["pre_tokenizer"] = json!({ "type": "WhitespaceSplit" });
    });
    assert!(tokenizer.shortener.is_none());
    let text = "the file of  the\u{b}user";
    assert_eq!(chunks(&tokenizer, text, size(4, 0)), ["the file", "of  the", "user"]);
    let long = "the file of the user ".repeat(2000);
    let expected = sliced(&tokenizer, &long, size(100, 10), usize::MAX);
    assert_eq!(sliced(&tokenizer, &long, size(100, 10), 64), expected);
}

#[test]
fn character_with_more_tokens_than_fit_is_an_error() {
    let tokenizer = tokenizer_with(TextOptions::default(), false, |tokenizer| {
        tokenizer["normalizer"] = json!({ "type": "NFKC" });
    });
    // U+FB03 is `ffi` in this form, which is three tokens without a known word.
    let ligature = "the \u{fb03} file";
    assert_eq!(plain_ids(&tokenizer, "\u{fb03}").len(), 3);
    assert_eq!(chunks(&tokenizer, ligature, size(5, 0)), ["the", "\u{fb03}", "file"]);
    let error = tokenizer.split(ligature, size(4, 0)).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("the character \"\u{fb03}\""), "{error}");
}

/// Texts of words, white space and what tokenizers treat in a special way.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(vec!["the", "file", "login", "updates", "qjx", "Résumé", "42"]),
        3 => prop::sample::select(vec![" ", "  ", "\n", "\u{a0}", "\u{3000}"]),
        2 => prop::sample::select(vec![",", ".", "(", "!", "'", "。", "[SEP]", "[", "]"]),
        2 => prop::sample::select(vec!["中", "文", "日本語", "の", "한국", "İ", "ΑΣ", "🚀"]),
        1 => prop::sample::select(vec!["\u{200d}", "\u{301}", "\u{b}", "\0", "\u{fe0f}"]),
        1 => Just("qjxzkwvqjxzkwvqjxzkwv"),
    ];
    prop::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn chunks_cover_the_text_in_order_and_fit(
        text in texts(),
        tokens in 8usize..40,
        overlap in 0usize..8,
        lower_case in any::<bool>(),
    ) {
        static TOKENIZERS: LazyLock<[TextTokenizer; 2]> = LazyLock::new(|| {
            [false, true].map(|lower_case| tokenizer_with(prompt("query: "), lower_case, |_| ()))
        });
        let tokenizer = &TOKENIZERS[usize::from(lower_case)];
        let taken = tokenizer.tokenize("").expect("ids").ids.len();
        let size = size(taken + tokens, overlap);
        let ranges = tokenizer.split(&text, size).expect("chunks");
        let ids = |text: &str| tokenizer.tokenize(text).expect("ids").ids;
        for range in &ranges {
            prop_assert!(ids(&text[range.clone()]).len() <= size.tokens().get(), "{:?}", ranges);
        }
        prop_assert!(text[..ranges[0].start].trim().is_empty());
        prop_assert!(text[ranges[ranges.len() - 1].end..].trim().is_empty());
        let has_long_word = text.split(|c| tokenizer.is_space(c))
            .any(|word| plain_ids(tokenizer, word).len() > tokens);
        let all = plain_ids(tokenizer, &text);
        let mut joined = plain_ids(tokenizer, &text[ranges[0].clone()]);
        for pair in ranges.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            prop_assert!(before.start < after.start && before.end < after.end, "{:?}", ranges);
            if after.start >= before.end {
                prop_assert!(text[before.end..after.start].trim().is_empty(), "{:?}", ranges);
            } else {
                let shared = plain_ids(tokenizer, &text[after.start..before.end]);
                prop_assert!(has_long_word || shared.len() <= overlap, "{:?}", ranges);
                prop_assert!(has_long_word || joined.ends_with(&shared), "{:?}", ranges);
                joined.truncate(joined.len().saturating_sub(shared.len()));
            }
            joined.extend(plain_ids(tokenizer, &text[after.clone()]));
        }
        // Together the chunks have the tokens of the text, unless a word was cut inside.
        prop_assert!(has_long_word || joined == all, "{:?}: {:?} and {:?}", ranges, joined, all);
        for slice_bytes in [1, 7, 64] {
            let sliced = sliced(tokenizer, &text, size, slice_bytes);
            prop_assert_eq!(&sliced, &ranges, "{} bytes", slice_bytes);
        }
    }
}
