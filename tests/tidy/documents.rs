//! Goal: no page points at something that is not there. Method: every relative link of every
//! markdown file.

use crate::files;

/// Targets of the inline links of a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
    kept.map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| anchor(line) == wanted)
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut complaints = Vec::new();
    for (name, text) in files::with_extension("", "md") {
        let page = files::root().join(&name);
        for (number, line) in text.lines().enumerate() {
            for target in targets(line).filter(|target| !is_elsewhere(target)) {
                let (path, heading) = target.split_once('#').unwrap_or((target, ""));
                let linked = if path.is_empty() {
                    page.clone()
                } else {
                    page.parent().expect("a file lies in a folder").join(path)
                };
                let is_good = match heading {
                    "" => linked.exists(),
                    heading => std::fs::read_to_string(&linked)
                        .is_ok_and(|text| has_anchor(&text, heading)),
                };
                if !is_good {
                    complaints.push(format!("{name}:{}: {target}", number + 1));
                }
            }
        }
    }
    files::assert_none(&complaints);
}

#[test]
fn links_are_found_in_a_line() {
    let line = "see [a](b.md#c-d), [e](f/) and [g](https://h)";
    assert_eq!(
        targets(line).collect::<Vec<_>>(),
        ["b.md#c-d", "f/", "https://h"]
    );
    assert_eq!(anchor("## The log, in short"), "the-log-in-short");
}
