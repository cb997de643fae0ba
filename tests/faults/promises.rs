//! The list of promises and the tests it names.

use std::collections::BTreeSet;
use std::fs;

#[test]
fn every_promise_names_tests_that_exist() {
    let root = reembed_testing::repository();
    let page = fs::read_to_string(root.join("docs/reliability.md")).expect("the page");
    let mut promises = BTreeSet::new();
    let mut missing = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, _, tests, ..] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        promises.insert(number);
        // `file: name`, in code quotes.
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        let mut tested = 0;
        for named in named {
            let Some((file, name)) = named.split_once(": ") else { continue };
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                missing.push(format!("promise {number}: {file}: {name}"));
            }
            tested += 1;
        }
        assert!(tested > 0, "promise {number} names no test");
    }
    assert_eq!(promises, (1..=19).collect(), "a promise is missing in the list");
    assert!(missing.is_empty(), "{missing:#?}");
}
