//! The texts that a check compares: rows of the sample, and texts that a wrong tokenizer or a wrong cut shows on.

use std::iter;

use crate::sample;

/// A text in a script, a form or a case of its own. What is invisible is escaped.
const UNUSUAL: [&str; 23] = [
    // Chinese in both forms, with a character beyond 16 bits.
    "昨天的備份任務失敗了，因為磁盘空间不足。请在𠮷野家旁的服务器上重新执行。",
    // Japanese, half and full width too.
    "検索結果が表示されません。ﾊﾝｶｸのカタカナと、ひらがな、ＦＵＬＬ　ｗｉｄｔｈ１２３。",
    // Korean, the second word in single letters.
    "로그인 \u{1112}\u{116a}\u{1106}\u{1167}\u{11ab}이 멈춥니다. 다시 시도해 주세요.",
    "Über die Brücke fährt der Zug, près d'une forêt où naît l'été; señor Łukasz, ångström.",
    // The same letters, and others, with marks of their own.
    "U\u{308}ber, fore\u{302}t, sen\u{303}or, a\u{30a}ngstro\u{308}m, o\u{302}\u{323}, x\u{336}\u{35b}\u{489}",
    "[CLS] first [SEP] second [MASK] third [PAD] [UNK] [unused7] [sep][SEP][ SEP ]",
    "<s>one</s> </s> two <mask> three <pad> <unk> <|endoftext|> <bos><eos> <start_of_turn>user",
    "",
    // A family, a profession, a tone of skin, flags, a key.
    "👩\u{200d}💻 👨\u{200d}👩\u{200d}👧\u{200d}👦 👍🏽 🏳\u{fe0f}\u{200d}🌈 🇳🇱🇯🇵 1\u{fe0f}\u{20e3} ☎\u{fe0e} done 🚀🚀",
    "فشل تحميل الملف بعد التحديث الأخير، والرجاء المحاولة مَرَّةً أُخرى خلال ١٥ دقيقة؟",
    "הקובץ לא נשמר אחרי העדכון: שָׁלוֹם עם ניקוד, צה״ל, וגם 42 שורות.",
    "खाता खोलने में त्रुटि हुई, क्षमा करें। กรุณาลองใหม่อีกครั้งในภายหลัง",
    "Ошибка входа: ещё раз, Ёлка и йод. Η ΣΕΛΙΔΑ ΔΕΝ ΑΝΟΙΓΕΙ, ὁ Σίσυφος.",
    // Letters whose lower case or compatible form is another one, or two.
    "İSTANBUL'da ısı, ẞ ß, ﬁnal ﬂow, Ⅷ ½ x² ℌ № ™, ǅ, ſ, 𝒳, \u{e000}, \u{fffd}",
    "zero\u{200b}width, soft\u{ad}hyphen, word\u{2060}joiner, \u{feff}mark, right\u{200f}to\u{202a}left\u{202c}",
    "no\u{a0}break, narrow\u{202f}space, thin\u{2009}space, figure\u{2007}space, ideographic\u{3000}space",
    "See https://user@example.org:8443/a_b/%C3%A9?q=1&r=%20#part-2 or ops+alerts@example.org.",
    "fn main() {\n\tlet x: Vec<u8> = vec![0; 1_024];\n\tif x[0] != b'\\n' { println!(\"{x:?}\") }\n}",
    "HTTPServer2 parseXMLFile snake_case __init__ kebab-case don't O’Neil’s NaN #4711 @name C++ $HOME",
    "-1,234.50 EUR, 1e-9, 0x7FFF_FFFF, 2024-02-29T23:59:60Z, 192.168.0.1, 3/4, 1234567890123456789",
    "“Quotes” ‘single’ — dash – so… «à» wait!!! ¿Qué?? {a|b} [c] (d) ~`^ \\ % & * = + §",
    "   three spaces before,  two inside, and behind   ",
    "first line\r\nsecond\rthird\n\n\tindented\u{b}tab\u{c}page\u{85}next\u{2028}line\u{2029}end\u{7}\n",
];

/// `count` texts: of the sample and unusual ones in turn, and of the sample alone when these are used up.
pub fn take(count: usize) -> Vec<String> {
    let rows = sample::task_rows(u64::MAX, sample::DEFAULT_SEED);
    let of_sample = rows.map(|row| reembed::build_input_text(&row)).filter(|text| !text.is_empty());
    let in_turn = of_sample.zip(unusual().map(Some).chain(iter::repeat(None)));
    in_turn.flat_map(|(row, unusual)| iter::once(row).chain(unusual)).take(count).collect()
}

/// The long ones are the first, so that a short check has them.
fn unusual() -> impl Iterator<Item = String> {
    [long_text(), long_word()].into_iter().chain(UNUSUAL.map(str::to_owned))
}

/// 3,000 words: longer than most models read, but no longer than the 8,192 tokens of a static embedding, which
/// sentence-transformers does not cut. It does not repeat itself soon, so that every other cut is another text.
fn long_text() -> String {
    const WHO: [&str; 7] = ["Server", "client", "the job", "user", "Cache", "a test", "worker"];
    const DOES: [&str; 5] = ["loses", "reads", "returns", "Deletes", "waits for"];
    const WHAT: [&str; 11] = [
        "rows.", "it,", "a file;", "pages:", "time", "keys.", "an error", "memory,", "text.",
        "state", "us!",
    ];
    let sentence =
        |n: usize| [WHO[n % WHO.len()], DOES[n % DOES.len()], WHAT[n % WHAT.len()]].join(" ");
    (0..820).map(sentence).collect::<Vec<_>>().join(" ")
}

/// A word of more than the hundred characters after which WordPiece gives up, between others.
fn long_word() -> String {
    format!("before {} behind", "Donaudampfschifffahrt".repeat(12))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn half_of_the_texts_are_unusual() {
        let texts = take(50);
        let unusual: BTreeSet<String> = unusual().collect();
        assert_eq!((texts.len(), unusual.len()), (50, 25));
        assert!(unusual.is_subset(&texts.iter().cloned().collect()));
        assert_eq!(take(7), texts[..7]);
        assert_eq!(take(120)[..50], texts);
        assert!(take(120)[50..].iter().all(|text| !unusual.contains(text)));
        assert!(!unusual.contains(&texts[0]), "a check of one text has a plain one");
    }

    #[test]
    fn texts_have_every_script_and_a_length_to_cut() {
        let texts = take(50);
        for range in
            ['一'..='龥', 'ぁ'..='ん', '가'..='힣', 'ا'..='ي', 'א'..='ת', 'ก'..='ฮ', '🌀'..='🛿']
        {
            let has = |text: &String| text.chars().any(|c| range.contains(&c));
            assert!(texts.iter().any(has), "{range:?}");
        }
        for part in ["\u{308}", "\u{200b}", "\u{200d}", "\u{a0}", "[SEP]", "</s>", "<mask>", "\n\n"]
        {
            assert!(texts.iter().any(|text| text.contains(part)), "{part:?}");
        }
        let words = |text: &String| text.split_whitespace().count();
        let longest = texts.iter().map(words).max().expect("a text");
        assert!((2_500..4_000).contains(&longest), "{longest} words");
        assert!(texts.contains(&long_word()) && texts.contains(&String::new()));
    }
}
