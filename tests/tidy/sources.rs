//! Goal: what CONTRIBUTING.md says about sources is so. Method: the text of every source file, line
//! by line; what stands behind `#[cfg(test)]` counts as test.
//!
//! A line may be longer than the limit by the text inside its string literals, which rustfmt does
//! not break: the literals are taken as empty before the line is measured.

use crate::files;

const LINE_COUNT_MAX: usize = 800;
const COLUMN_COUNT_MAX: usize = 100;
/// Longer sources open with a word about what they own.
const LINES_WITHOUT_HEADER: usize = 60;

/// The part of a source file that is not a test.
fn without_tests(text: &str) -> &str {
    text.split_once("#[cfg(test)]")
        .map_or(text, |(before, _)| before)
}

/// Whether the whole file is a test or support for one.
fn is_test(name: &str) -> bool {
    name.split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

/// Lines that hold one of `words`, comments left out.
fn lines_with(name: &str, text: &str, words: &[String]) -> Vec<String> {
    let code = |line: &str| !line.trim_start().starts_with("//");
    let mut complaints = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| code(line)) {
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            complaints.push(format!("{name}:{}: {word}", number + 1));
        }
    }
    complaints
}

/// The words with a mark taken out that keeps this file from holding them.
fn spelt(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.replace('|', "")).collect()
}

#[test]
fn nothing_is_left_to_be_done() {
    let words = spelt(&["to|do!(", "unimpl|emented!(", "db|g!(", "FIX|ME", "XX|X"]);
    let sources = files::with_extension("", "rs");
    let found = sources
        .iter()
        .flat_map(|(name, text)| lines_with(name, text, &words));
    files::assert_none(&found.collect::<Vec<_>>());
}

#[test]
fn nobody_switches_a_lint_off_to_hide_dead_code() {
    let words = spelt(&["allow(de|ad_code", "allow(unus|ed"]);
    let sources = files::with_extension("", "rs");
    let found = sources
        .iter()
        .flat_map(|(name, text)| lines_with(name, text, &words));
    files::assert_none(&found.collect::<Vec<_>>());
}

#[test]
fn protocol_and_core_know_no_clock_no_chance_and_no_outside_world() {
    let words = spelt(&[
        "SystemTime",
        "Instant",
        "rand::",
        "std::fs",
        "std::net",
        "std::io",
        "std::env",
        "std::process",
        "std::thread",
        "std::sync::mpsc",
        "tokio",
        "tracing",
        "println!",
        "async fn",
        ".await",
    ]);
    let mut complaints = Vec::new();
    for folder in ["protocol/src", "broker/core/src"] {
        for (name, text) in files::with_extension(folder, "rs") {
            if !is_test(&name) {
                complaints.extend(lines_with(&name, without_tests(&text), &words));
            }
        }
    }
    files::assert_none(&complaints);
}

/// Their order differs from process to process, so replicas and repeated runs would part ways.
#[test]
fn what_is_replicated_or_simulated_uses_no_randomly_seeded_map() {
    let words = spelt(&["HashMap", "HashSet", "RandomState"]);
    let mut complaints = Vec::new();
    for folder in [
        "protocol/src",
        "broker/core/src",
        "broker/storage/src",
        "broker/cluster/src",
    ] {
        for (name, text) in files::with_extension(folder, "rs") {
            if !is_test(&name) {
                complaints.extend(lines_with(&name, without_tests(&text), &words));
            }
        }
    }
    files::assert_none(&complaints);
}

#[test]
fn files_and_lines_have_a_length_that_can_be_read() {
    let mut complaints = Vec::new();
    for (name, text) in files::with_extension("", "rs") {
        let line_count = without_tests(&text).lines().count();
        if line_count > LINE_COUNT_MAX {
            complaints.push(format!("{name}: {line_count} lines"));
        }
        for (number, line) in text.lines().enumerate() {
            let column_count = without_literals(line).chars().count();
            if column_count > COLUMN_COUNT_MAX {
                complaints.push(format!("{name}:{}: {column_count} columns", number + 1));
            }
        }
    }
    files::assert_none(&complaints);
}

/// The line with the text of its string literals taken out.
fn without_literals(line: &str) -> String {
    let (mut kept, mut inside, mut escaped) = (String::new(), false, false);
    for character in line.chars() {
        if character == '"' && !escaped {
            inside = !inside;
        } else if !inside {
            kept.push(character);
        }
        escaped = inside && character == '\\' && !escaped;
    }
    kept
}

#[test]
fn long_sources_open_with_what_they_own() {
    let mut complaints = Vec::new();
    for (name, text) in files::with_extension("", "rs") {
        let is_long = text.lines().count() > LINES_WITHOUT_HEADER;
        if name.contains("src/") && !is_test(&name) && is_long && !text.starts_with("//!") {
            complaints.push(format!("{name}: no header"));
        }
    }
    files::assert_none(&complaints);
}

#[test]
fn string_literals_do_not_count_as_columns() {
    assert_eq!(without_literals(r#"say("a \" b", x)"#), "say(, x)");
    assert_eq!(without_literals("let a = 'x';"), "let a = 'x';");
}
