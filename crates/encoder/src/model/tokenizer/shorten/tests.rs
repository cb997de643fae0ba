use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::*;

/// A tokenizer that differs from the others in a property that shortening depends on. Words are
/// looked up up to 6 characters, so that short texts have words that are too long.
struct Variant {
    name: &'static str,
    tokenizer: Tokenizer,
    shortener: Shortener,
}

const MAX_WORD_CHARS: usize = 6;

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
        let shortener =
            Shortener::from_tokenizer(&tokenizer, json.as_bytes()).expect("a shortener");
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
            "max_input_chars_per_word": MAX_WORD_CHARS, "vocab": vocab,
        },
    });
    Tokenizer::from_bytes(json.to_string()).expect("a tokenizer")
}

impl Variant {
    /// The words that are looked up, and the ids. All words that are too long are equal.
    fn words(&self, text: &str) -> (Vec<String>, Vec<u32>) {
        let ids = self.tokenizer.encode(text, false).expect("ids").get_ids().to_vec();
        let normalizer = self.tokenizer.get_normalizer();
        let mut words =
            self.tokenizer.get_added_vocabulary().extract_and_normalize(normalizer, text);
        BertPreTokenizer.pre_tokenize(&mut words).expect("words");
        let word = |(word, _, added): (&str, _, &Option<_>)| match added {
            // Some added tokens include the white space around them.
            Some(_) => format!("added {}", word.trim()),
            None if word.chars().count() > MAX_WORD_CHARS => "too long".to_owned(),
            None => word.to_owned(),
        };
        let words = words.get_splits(OffsetReferential::Normalized, OffsetType::None);
        (words.into_iter().map(word).collect(), ids)
    }

    fn shorten(&self, text: &str, min_bytes: usize) -> Shortened {
        self.shortener.shorten(text, min_bytes)
    }
}

fn class_of(c: char) -> CharClass {
    variants()[0].shortener.classes.class(c)
}

#[test]
fn classes_are_those_of_the_tokenizer() {
    for (class, characters) in [
        (CharClass::WhiteSpace, " \t\n\r\u{a0}\u{3000}\u{2028}\u{2003}"),
        // Control and private characters, and accents that are sorted.
        (CharClass::Deleted, "\0\u{1}\u{b}\u{85}\u{ad}\u{200b}\u{200d}\u{feff}\u{fffd}\u{e000}"),
        (CharClass::Deleted, "\u{301}\u{308}\u{323}\u{344}\u{f73}"),
        // Variation selectors, and vowel signs of Thai and Devanagari, are not sorted.
        (CharClass::DeletedStarter, "\u{fe0f}\u{e31}\u{941}"),
        (
            CharClass::Isolated,
            "![]'.…—“。¿文\u{3400}\u{f900}\u{20000}\u{37e}\u{1fef}\u{226e}\u{2f800}",
        ),
        (CharClass::Word, "aAé한ßﬁİ\u{1112}1Ⅷ€🚀\u{302e}\u{1b44}\u{212a}\u{e0000}"),
    ] {
        for c in characters.chars() {
            assert_eq!(class_of(c), class, "U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn text_ends_only_before_characters_that_are_not_reordered() {
    let shortener = &variants()[0].shortener;
    let [first, _] = UNORDERED_MARKS;
    for c in ('\0'..=char::MAX).filter(|c| shortener.may_end("", shortener.classes.class(*c), "")) {
        let words = shortener.classes.words(format!("{first}{c}")).expect("words");
        assert_eq!(words[0], first.to_string(), "U+{:04X}", u32::from(c));
    }
    let other =
        ('\0'..=char::MAX).filter(|c| shortener.classes.class(*c) == CharClass::Other).count();
    assert_eq!(other, 0, "each character has a known class");
}

#[test]
fn characters_that_cannot_change_an_id_are_left_out() {
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
        assert_eq!((shortened.text.as_str(), shortened.is_complete), (short, true), "{text:?}");
    }
}

#[test]
fn text_never_ends_inside_an_added_token() {
    let variant = &variants()[0];
    for (text, min_bytes, short) in [
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
        assert_eq!(variant.shorten(text, min_bytes).text, short, "{text:?} at {min_bytes}");
    }
}

#[test]
fn tokenizers_that_are_not_bert_have_no_shortener() {
    let json = |edit: fn(&mut Value)| {
        let mut json: Value =
            serde_json::from_str(&variants()[0].tokenizer.to_string(false).expect("JSON"))
                .expect("JSON");
        edit(&mut json);
        json.to_string()
    };
    let shortener = |edit: fn(&mut Value)| {
        let json = json(edit);
        Shortener::from_tokenizer(
            &Tokenizer::from_bytes(&json).expect("a tokenizer"),
            json.as_bytes(),
        )
    };
    assert!(shortener(|_| ()).is_some_and(|found| found.max_word_chars == Some(MAX_WORD_CHARS)));
    assert!(shortener(|json| json["normalizer"] = json!({ "type": "Lowercase" })).is_none());
    assert!(shortener(|json| json["normalizer"] = Value::Null).is_none());
    assert!(shortener(|json| json["pre_tokenizer"] = json!({ "type": "Whitespace" })).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["single_word"] = json!(true)).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["content"] = json!("[S P]")).is_none());
    assert!(shortener(|json| json["added_tokens"][0]["content"] = json!("[É]")).is_none());
    for content in ["SEP", "[SEP", "SEP]", "[ABCDE]"] {
        let json = json(|_| ()).replace("[SEP]", content);
        let tokenizer = Tokenizer::from_bytes(&json).expect("a tokenizer");
        let shortener =
            Shortener::from_tokenizer(&tokenizer, json.as_bytes()).expect("a shortener");
        assert_eq!(shortener.max_word_chars, None, "{content}: words are not shortened");
    }
}

#[test]
fn ten_megabytes_of_any_pattern_become_less_than_10_kb() {
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
    fn shortened_text_has_the_words_of_the_original(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = pieces.concat();
        VARIANTS.with(|variants| {
            for variant in variants {
                let Shortened { text: short, is_complete } = variant.shorten(&text, usize::MAX);
                prop_assert!(is_complete && short.len() <= text.len().max(7));
                prop_assert_eq!(variant.words(&short), variant.words(&text), "{}: {:?}", variant.name, short);
            }
            Ok(())
        })?;
    }

    #[test]
    fn text_that_ends_early_has_the_first_words(
        pieces in prop::collection::vec(piece(), 0..40),
        min_bytes in 0usize..60,
    ) {
        let text = pieces.concat();
        VARIANTS.with(|variants| {
            for variant in variants {
                let Shortened { text: short, is_complete } = variant.shorten(&text, min_bytes);
                let (first, all) = (variant.words(&short), variant.words(&text));
                let is_first = all.0.starts_with(&first.0) && all.1.starts_with(&first.1);
                prop_assert!(is_first, "{}: {:?}: {:?}, {:?}", variant.name, short, first, all);
                prop_assert!(!is_complete || first == all);
            }
            Ok(())
        })?;
    }

    #[test]
    fn tail_has_the_last_words(
        pieces in prop::collection::vec(piece(), 0..40),
        min_bytes in 0usize..60,
    ) {
        let text = pieces.concat();
        VARIANTS.with(|variants| {
            for variant in variants {
                let tail = variant.shortener.tail(&text, min_bytes);
                prop_assert!(tail.len() >= min_bytes.min(text.len()));
                let (last, all) = (variant.words(tail), variant.words(&text));
                let is_last = all.0.ends_with(&last.0) && all.1.ends_with(&last.1);
                prop_assert!(is_last, "{}: {:?}: {:?}, {:?}", variant.name, tail, last, all);
            }
            Ok(())
        })?;
    }
}

thread_local! {
    static VARIANTS: Vec<Variant> = variants();
}

/// Characters that may be left out, and characters that are similar to them.
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
