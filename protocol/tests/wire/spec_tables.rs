//! Goal: spec/errors.md and spec/limits.md say what the code does, and leave nothing out. Method:
//! their tables are read and compared both ways.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sampan_protocol::{Applied, ErrorCode, limits};

fn spec(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../spec")
        .join(name);
    fs::read_to_string(path).unwrap()
}

/// Cells of the table rows of `text`, without headings and rules.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.strip_suffix('|'))
        .map(|line| {
            line.split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect()
        })
        .filter(|cells: &Vec<&str>| !cells[0].starts_with("---"))
        .collect()
}

/// The lines below the heading `## NAME`, to the next heading of that rank.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let heading = format!("\n## {name}\n");
    let start = text.find(&heading).expect(name) + heading.len();
    let end = text[start..]
        .find("\n## ")
        .map_or(text.len(), |end| start + end);
    &text[start..end]
}

#[test]
fn the_table_of_errors_is_the_list_of_codes() {
    let text = spec("errors.md");
    let written: Vec<_> = rows(&text)
        .into_iter()
        .filter(|cells| cells[0].parse::<u16>().is_ok())
        .map(|cells| {
            assert_eq!(cells.len(), 6, "{cells:?}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
            [cells[0], cells[1], cells[3], cells[4]].map(str::to_owned)
        })
        .collect();
    let known: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let retry = if code.retry() { "yes" } else { "no" };
            let applied = match code.applied() {
                Applied::No => "no",
                Applied::Yes => "yes",
                Applied::Unknown => "unknown",
            };
            [
                &code.number().to_string(),
                &format!("{code:?}"),
                retry,
                applied,
            ]
            .map(str::to_owned)
        })
        .collect();
    assert_eq!(written, known);
}

#[test]
fn numbers_ascend_and_lead_back_to_their_codes() {
    let numbers: Vec<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
    assert!(numbers.is_sorted_by(|before, after| before < after));
    for number in 0..=u16::MAX {
        let code = ErrorCode::from_number(number);
        assert_eq!(
            code.map(ErrorCode::number),
            numbers.contains(&number).then_some(number)
        );
    }
}

macro_rules! values {
    ($($name:ident)*) => {
        BTreeMap::from([$((stringify!($name), u64::try_from(limits::$name).unwrap()),)*])
    };
}

fn values() -> BTreeMap<&'static str, u64> {
    values! {
        FRAME_LEN_MAX GREETING_LEN_MAX BODY_LEN_MAX BATCH_COUNT_MAX BATCH_LEN_MAX HEADERS_LEN_MAX
        STORED_HEADERS_LEN_MAX RECEIVE_COUNT_MAX DEAD_LETTER_AFTER_MIN_MS
        KEY_LEN_MAX QUEUE_NAME_LEN_MAX SECRET_ID_LEN_MAX ERROR_TEXT_LEN_MAX RECEIVE_LEN_MAX
        RECEIVE_LEN_DEFAULT RECEIVE_FRAME_LEN RECEIVE_WAIT_MAX_MS VISIBILITY_TIMEOUT_MIN_MS
        VISIBILITY_TIMEOUT_MAX_MS VISIBILITY_TIMEOUT_DEFAULT_MS RETENTION_MIN_MS RETENTION_MAX_MS
        RETENTION_DEFAULT_MS MESSAGE_SIZE_MIN REQUESTS_IN_FLIGHT_MAX AUTHENTICATION_FAILURES_MAX
        QUEUE_COUNT_MAX QUEUE_LIST_COUNT_MAX ROUTE_NODE_COUNT_MAX ADMIN_LEN_MAX
        ADMIN_REPLY_LEN_MAX REDELIVERY_DELAY_MAX_MS MESSAGE_COUNT_MAX IN_FLIGHT_COUNT_MAX
        BYTE_COUNT_MAX DELAYED_COUNT_MAX DEDUP_WINDOW_DEFAULT_MS DEDUP_WINDOW_MAX_MS
    }
}

#[test]
fn the_table_of_limits_is_the_list_of_constants() {
    let text = spec("limits.md");
    let written: BTreeMap<_, _> = rows(section(&text, "Protocol"))
        .into_iter()
        .filter_map(|cells| {
            let value = cells[1].replace(',', "").parse::<u64>().ok()?;
            assert_eq!(cells.len(), 4, "{cells:?}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
            Some((cells[0], value))
        })
        .collect();
    assert_eq!(written, values());
}

#[test]
fn every_constant_of_the_limits_is_compared() {
    let source = include_str!("../../src/limits.rs");
    let constants: Vec<_> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const ")?.split(':').next())
        .collect();
    let values = values();
    let compared: Vec<_> = constants
        .iter()
        .filter(|name| values.contains_key(*name))
        .collect();
    assert_eq!(compared.len(), constants.len(), "{constants:?}");
    assert_eq!(values.len(), constants.len());
}
