use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::*;

/// Tokenizers that differ in all that shortening depends on. Their words end at 6 letters, so that texts of a few
/// characters have some that are too long.
struct Variant {
    name: &'static str,
    tokenizer: Tokenizer,
    shortener: Shortener,
}

const MOST_LETTERS: usize = 6;

fn variants() -> Vec<Variant> {
    let plain = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true,
    });
    let with = |key: &str, value: Value| {
        let mut normalizer = plain.clone();
        normalizer[key] = value;
        normalizer
    };
    let special = |content: &str| AddedToken::from(content, true);
    let brackets = || ["[SEP]", "[CLS]", "[A]"].map(special).to_vec();
    let rows = [
        ("as all-MiniLM-L6-v2 has it", plain.clone(), brackets()),
        ("cased", with("lowercase", json!(false)), brackets()),
        ("cased without accents", with("strip_accents", json!(true)), brackets()),
        ("lower-cased with accents", with("strip_accents", json!(false)), brackets()),
        ("not cleaned", with("clean_text", json!(false)), brackets()),
        ("ideographs in words", with("handle_chinese_chars", json!(false)), brackets()),
        ("no added tokens", plain.clone(), Vec::new()),
        (
            "added tokens that take blanks",
            plain.clone(),
            vec![special("[SEP]").lstrip(true), special("[CLS]").rstrip(true)],
        ),
        ("added tokens of letters", plain.clone(), vec![special("ab"), special("[S")]),
        (
            "added tokens after cleaning",
            plain.clone(),
            vec![AddedToken::from("[SEP]", false), AddedToken::from("<a>", false)],
        ),
        ("an added token longer than a word", plain, vec![special("[ABCDEF]")]),
    ];
    rows.map(|(name, normalizer, added)| {
        let mut tokenizer = tokenizer(&normalizer);
        tokenizer.add_special_tokens(added).expect("tokens");
        let json = tokenizer.to_string(false).expect("JSON");
        let shortener = Shortener::of(&tokenizer, json.as_bytes()).expect("a shortener");
        Variant { name, tokenizer, shortener }
    })
    .into()
}

/// A WordPiece tokenizer that knows few letters.
fn tokenizer(normalizer: &Value) -> Tokenizer {
    let words = ["[UNK]", "a", "b", "##a", "##b", "ab", "A", "##A", "!", "[", "]", "文", "sep"];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| (word.to_string(), json!(id))).collect();
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": normalizer,
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": null, "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": MOST_LETTERS, "vocab": vocab,
        },
    });
    Tokenizer::from_bytes(json.to_string()).expect("a tokenizer")
}

impl Variant {
    /// The words that are looked up, and the ids. Words that are too long to be looked up are alike.
    fn words(&self, text: &str) -> (Vec<String>, Vec<u32>) {
        let ids = self.tokenizer.encode(text, false).expect("ids").get_ids().to_vec();
        let normalizer = self.tokenizer.get_normalizer();
        let mut words =
            self.tokenizer.get_added_vocabulary().extract_and_normalize(normalizer, text);
        BertPreTokenizer.pre_tokenize(&mut words).expect("words");
        let word = |(word, _, added): (&str, _, &Option<_>)| match added {
            // Some added tokens take the blanks around them.
            Some(_) => format!("added {}", word.trim()),
            None if word.chars().count() > MOST_LETTERS => "too long".to_owned(),
            None => word.to_owned(),
        };
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        (words.into_iter().map(word).collect(), ids)
    }

    fn shorten(&self, text: &str, enough: usize) -> Shortened {
        self.shortener.shorten(std::iter::once(Cow::Borrowed(text)), enough)
    }
}

fn kind_of(c: char) -> Kind {
    variants()[0].shortener.characters.kind(c)
}

#[test]
fn the_tokenizer_is_asked_what_a_character_is() {
    for (kind, characters) in [
        (Kind::Blank, " \t\n\r\u{a0}\u{3000}\u{2028}\u{2003}"),
        // Control characters and private ones, and accents that may be sorted.
        (Kind::Deleted, "\0\u{1}\u{b}\u{85}\u{ad}\u{200b}\u{200d}\u{feff}\u{fffd}\u{e000}"),
        (Kind::Deleted, "\u{301}\u{308}\u{323}\u{344}\u{f73}"),
        // Variation selectors, and vowel signs of Thai and Devanagari, are sorted with nothing.
        (Kind::Divider, "\u{fe0f}\u{e31}\u{941}"),
        (Kind::Alone, "![]'.…—“。¿文\u{3400}\u{f900}\u{20000}\u{37e}\u{1fef}\u{226e}\u{2f800}"),
        (Kind::Letter, "aAé한ßﬁİ\u{1112}1Ⅷ€🚀\u{302e}\u{1b44}\u{212a}\u{e0000}"),
    ] {
        for c in characters.chars() {
            assert_eq!(kind_of(c), kind, "U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn no_character_that_a_text_may_end_before_is_sorted_before_what_precedes_it() {
    let shortener = &variants()[0].shortener;
    let [first, _] = UNSORTED;
    for c in ('\0'..=char::MAX).filter(|c| shortener.may_end("", shortener.characters.kind(*c), ""))
    {
        let words = shortener.characters.words(format!("{first}{c}")).expect("words");
        assert_eq!(words[0], first.to_string(), "U+{:04X}", u32::from(c));
    }
    let mixed = ('\0'..=char::MAX).filter(|c| shortener.characters.kind(*c) == Kind::Mixed).count();
    assert_eq!(mixed, 0, "each character is of a kind that can be left out or ended at");
}

#[test]
fn what_cannot_matter_is_left_out() {
    let variant = &variants()[0];
    for (text, short) in [
        ("", ""),
        (" \t\n ", ""),
        ("  a\u{a0}\t b  ", "a\u{a0}b "),
        ("a\u{301}\u{302}\u{301}b", "a\u{301}b"),
        ("a\u{301}\0\u{fe0f}\u{302}\u{e31}b", "a\u{301}\u{fe0f}b"),
        (" \u{301}\0 \u{301} a", "a"),
        ("abcdef gh", "abcdef gh"),
        ("b\u{301}bbb\0bbb\u{301}\0bbb, a", "aaaaaaa, a"),
        ("bbbbbbbbbb文bbbbbbb", "aaaaaaa文aaaaaaa"),
        ("[SE\0\0\u{1}P]", "[SE\0P]"),
    ] {
        let shortened = variant.shorten(text, usize::MAX);
        assert_eq!((shortened.text.as_str(), shortened.is_whole), (short, true), "{text:?}");
    }
}

#[test]
fn a_text_ends_where_no_added_token_reaches_across() {
    let variant = &variants()[0];
    for (text, enough, short) in [
        ("aa aa aa", 3, "aa aa"),
        ("aaaaaa", 3, "aaaaaa"),
        ("aa!!!", 3, "aa!"),
        ("文文文", 3, "文"),
        ("a[SEP]b", 1, "a"),
        ("a[SEP]!", 2, "a[SEP]"),
        ("a[SEP][SEP]", 5, "a[SEP]"),
        ("a[SEQ]!", 2, "a[SEQ"),
        ("a[[[[", 2, "a["),
    ] {
        assert_eq!(variant.shorten(text, enough).text, short, "{text:?} at {enough}");
    }
}

#[test]
fn a_tokenizer_that_is_not_understood_is_left_alone() {
    let json = |edit: fn(&mut Value)| {
        let mut json: Value =
            serde_json::from_str(&variants()[0].tokenizer.to_string(false).expect("JSON"))
                .expect("JSON");
        edit(&mut json);
        json.to_string()
    };
    let shortener = |edit: fn(&mut Value)| {
        let json = json(edit);
        Shortener::of(&Tokenizer::from_bytes(&json).expect("a tokenizer"), json.as_bytes())
    };
    assert!(shortener(|_| ()).is_some_and(|found| found.most_letters == Some(MOST_LETTERS)));
    assert!(shortener(|json| json["normalizer"] = json!({ "type": "Lowercase" })).is_none());
    assert!(shortener(|json| json["normalizer"] = Value::Null).is_none());
    assert!(shortener(|json| json["pre_tokenizer"] = json!({ "type": "Whitespace" })).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["single_word"] = json!(true)).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["content"] = json!("[S P]")).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["content"] = json!("[É]")).is_none());
    for content in ["SEP", "[SEP", "SEP]", "[ABCDE]"] {
        let json = json(|_| ()).replace("[SEP]", content);
        let tokenizer = Tokenizer::from_bytes(&json).expect("a tokenizer");
        let shortener = Shortener::of(&tokenizer, json.as_bytes()).expect("a shortener");
        assert_eq!(shortener.most_letters, None, "{content}: words are left as they are");
    }
}

/// Ten megabytes of anything become a few kilobytes, for a cut after 4 KB.
#[test]
fn whatever_a_text_is_made_of_little_of_it_is_left() {
    let variant = &variants()[0];
    let marks: String = ('\u{300}'..='\u{36f}').collect();
    let all: String = ('\0'..=char::MAX).collect();
    for pattern in [
        " ",
        "\u{a0}",
        "\0",
        "\u{200b}",
        "\u{301}",
        "\u{fe0f}",
        "x",
        "é",
        "한",
        "İ",
        "文",
        "!",
        "[",
        "]",
        "[SEP]",
        "[SEP",
        "a ",
        "a\u{301}",
        "x\0",
        "!\0",
        " \u{301}",
        " \0\u{fe0f}",
        "\u{e000}\u{e001}",
        "\u{302e}",
        "\u{1b44}\u{301}",
        &marks,
        "x x\u{301}\0\u{fe0f}",
        &all,
    ] {
        let text = pattern.repeat(10_000_000 / pattern.len() + 1);
        let short = variant.shorten(&text, 4096).text;
        assert!(short.len() < 10_000, "{:.8?}: {}", pattern, short.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_shortened_text_has_the_words_of_the_whole(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        VARIANTS.with(|variants| {
            for variant in variants {
                let Shortened { text: short, is_whole } = variant.shorten(&text, usize::MAX);
                prop_assert!(is_whole && short.len() <= text.len().max(7));
                prop_assert_eq!(variant.words(&short), variant.words(&text), "{}: {:?}", variant.name, short);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_text_that_ends_early_has_the_first_words_of_the_whole(
        pieces in prop::collection::vec(piece(), 0..40),
        enough in 0usize..60,
    ) {
        let text = pieces.concat();
        VARIANTS.with(|variants| {
            for variant in variants {
                let Shortened { text: short, is_whole } = variant.shorten(&text, enough);
                let (first, all) = (variant.words(&short), variant.words(&text));
                let is_first = all.0.starts_with(&first.0) && all.1.starts_with(&first.1);
                prop_assert!(is_first, "{}: {:?}: {:?}, {:?}", variant.name, short, first, all);
                prop_assert!(!is_whole || first == all);
            }
            Ok(())
        })?;
    }
}

thread_local! {
    static VARIANTS: Vec<Variant> = variants();
}

/// Runs of what may be left out, and all that stands close to it in meaning.
fn piece() -> impl Strategy<Value = String> {
    const SOME: [&str; 64] = [
        " ",
        "\t",
        "\r\n",
        "\u{a0}",
        "\u{3000}",
        "\u{85}",
        "\u{b}",
        "\u{1680}",
        "\u{2028}",
        "\0",
        "\u{1}",
        "\u{7f}",
        "\u{ad}",
        "\u{200b}",
        "\u{200d}",
        "\u{feff}",
        "\u{fffd}",
        "\u{e000}",
        "\u{301}",
        "\u{308}",
        "\u{323}",
        "\u{344}",
        "\u{345}",
        "\u{f73}",
        "\u{f71}",
        "\u{fe0f}",
        "\u{e31}",
        "\u{94d}",
        "\u{302e}",
        "\u{1b44}",
        "\u{1d165}",
        "\u{a953}",
        "a",
        "b",
        "ab",
        "A",
        "é",
        "İ",
        "ẞ",
        "ﬁ",
        "Σ",
        "Ǆ",
        "한",
        "각",
        "\u{1112}\u{1161}",
        "文",
        "\u{f900}",
        "\u{20000}",
        "!",
        "…",
        "\u{226e}",
        "\u{37e}",
        "\u{1fef}",
        "[SEP]",
        "[CLS]",
        "[A]",
        "<a>",
        "[",
        "]",
        "SEP",
        "[S",
        "EP]",
        "sep",
        "[ABCDEF]",
    ];
    let one = || prop_oneof![8 => prop::sample::select(&SOME[..]).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop_oneof![
        5 => one(),
        3 => (one(), 1usize..20).prop_map(|(text, times)| text.repeat(times)),
        1 => "[ab]{1,9}",
    ]
}
