//! `sampan delete`, `sampan message extend` and `release`: what is done with receipt handles. Each
//! handle has an outcome of its own.

use std::time::Duration;

use sampan_client::{Client, Error, Queue, ReceiptHandle};
use sampan_protocol::limits::BATCH_COUNT_MAX;
use serde_json::{Value, json};

use super::args::{DeleteArguments, Format};
use super::failure::{Failure, client_text};
use super::output::{self, Output};

/// A handle that was refused, and why.
pub(crate) type Failed = (ReceiptHandle, Error);

/// Deletes and prints how each handle fared.
pub(crate) async fn run(
    client: &Client,
    arguments: &DeleteArguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let handles = handles_of(&arguments.handles);
    let failed = delete(&client.queue(&arguments.queue), &handles).await?;
    tell("deleted", &handles, &failed, output)
}

/// Extends or releases (with a timeout of zero), and prints how each handle fared.
pub(crate) async fn change_visibility(
    queue: &Queue,
    handles: &[u64],
    done: &str,
    timeout: Duration,
    output: &mut Output,
) -> Result<(), Failure> {
    let handles = handles_of(handles);
    let mut failed = Vec::new();
    for handles in handles.chunks(BATCH_COUNT_MAX) {
        let failures = queue.extend_batch(handles, timeout).await?;
        failed.extend(failures.into_iter().map(failed_of(handles)));
    }
    tell(done, &handles, &failed, output)
}

fn handles_of(numbers: &[u64]) -> Vec<ReceiptHandle> {
    numbers.iter().copied().map(ReceiptHandle).collect()
}

/// What failed, by its handle instead of its place.
fn failed_of(handles: &[ReceiptHandle]) -> impl Fn((usize, Error)) -> Failed {
    |(place, error)| (handles.get(place).copied().unwrap_or_default(), error)
}

fn tell(
    done: &str,
    handles: &[ReceiptHandle],
    failed: &[Failed],
    output: &mut Output,
) -> Result<(), Failure> {
    print(done, handles, failed, output)?;
    output.flush()?;
    tell_failed(done, failed)
}

/// Deletes any number of handles and returns those that were refused, in their order.
pub(crate) async fn delete(
    queue: &Queue,
    handles: &[ReceiptHandle],
) -> Result<Vec<Failed>, Failure> {
    let mut failed = Vec::new();
    for handles in handles.chunks(BATCH_COUNT_MAX) {
        let failures = queue.delete_batch(handles).await?;
        failed.extend(failures.into_iter().map(failed_of(handles)));
    }
    Ok(failed)
}

/// Tells each refusal on standard error; fails when there is one.
pub(crate) fn tell_failed(done: &str, failed: &[Failed]) -> Result<(), Failure> {
    for (handle, error) in failed {
        output::complain(&format!("handle {handle}: {}", client_text(error)));
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(Failure::Partial(format!(
            "{count} of the messages were not {done}"
        ))),
    }
}

/// What was refused is an object too; a table leaves it to standard error.
fn print(
    done: &str,
    handles: &[ReceiptHandle],
    failed: &[Failed],
    output: &mut Output,
) -> Result<(), Failure> {
    let mut refused = failed.iter().peekable();
    for handle in handles {
        match refused.next_if(|(failed, _)| failed == handle) {
            None => output.either(
                &format!("{done} {handle}"),
                &json!({ "handle": handle.0, done: true }),
            )?,
            Some((_, error)) if output.format() == Format::Json => {
                output.json(&refusal_json(done, *handle, error))?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn refusal_json(done: &str, handle: ReceiptHandle, error: &Error) -> Value {
    let number = match error {
        Error::Refused { number, .. } => Some(*number),
        _ => None,
    };
    json!({ "handle": handle.0, done: false, "error": number, "text": client_text(error) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sampan_client::Applied;

    use super::super::output::tests::printed;
    use super::*;

    fn expired(handle: u64) -> Failed {
        let error = Error::Refused {
            number: 401,
            text: "receipt expired".into(),
            applied: Applied::No,
            retry_after: Duration::ZERO,
        };
        (ReceiptHandle(handle), error)
    }

    #[test]
    fn each_handle_has_an_outcome_of_its_own() {
        let handles = [1, 2, 3].map(ReceiptHandle);
        let text = printed(Format::Json, |output| {
            print("deleted", &handles, &[expired(2)], output)
        });
        let values: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let deleted: Vec<_> = values
            .iter()
            .map(|value| value["deleted"].as_bool())
            .collect();
        assert_eq!(deleted, [Some(true), Some(false), Some(true)]);
        assert_eq!(values[1]["error"], 401);
        let text = printed(Format::Table, |output| {
            print("extended", &handles, &[expired(2)], output)
        });
        assert_eq!(text, "extended 1\nextended 3\n");
    }

    #[test]
    fn one_refused_handle_fails_the_command_with_code_1() {
        assert!(tell_failed("deleted", &[]).is_ok());
        let failure = tell_failed("deleted", &[expired(2)]).expect_err("one was refused");
        assert_eq!(failure.exit_code(), 1);
    }
}
